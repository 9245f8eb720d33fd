"""How far each operation is from Pillow's result, in each executor: measured, in grey levels."""

from __future__ import annotations

from dalikit.transforms.measured import MEASURED
from dalikit.transforms.operations import InterpolationMode, Resize, Warp

__all__ = ["EXECUTORS", "MEASURED", "Accuracy", "accuracy_keys", "measured_error"]

Accuracy = tuple[float, float]
"""Largest and mean difference from Pillow, in grey levels of 256."""

EXECUTORS = ("host", "dali")
"""host: torch's kernels on the CPU's threads. dali: one DALI graph on the device."""


def accuracy_keys(operation: object) -> list[str]:
    """Under which keys an operation may stand in `MEASURED`, the first that is there counts.

    That of an operation that interpolates names the mode, such as "Resize.bicubic", and where the filter is not
    widened for shrinking, which gives other pixels, "Resize.bicubic antialias=False".

    Args:
        operation: of dalikit.transforms.operations, or the name of its class.
    """
    name = operation if isinstance(operation, str) else type(operation).__name__
    if not isinstance(operation, Resize | Warp):
        return [name]
    mode = f"{name}.{operation.interpolation.value}"
    if isinstance(operation, Resize) and operation.interpolation is not InterpolationMode.NEAREST:
        return [mode, name] if operation.antialias else [f"{mode} antialias=False", mode, name]
    return [mode, name]


def measured_error(operation: object, executor: str) -> Accuracy | None:
    """What was measured of an operation; None: not measured.

    Args:
        operation: of dalikit.transforms.operations, or the name of its class.
        executor: "host" or "dali".
    """
    found = next((MEASURED[key] for key in accuracy_keys(operation) if key in MEASURED), {})
    return found.get(executor)
