"""How far each operation is from Pillow's result, in each executor: measured, in grey levels.

`MEASURED` is generated from measurements over many images, never written by hand but for what is exact by definition.
"""

from __future__ import annotations

from dalikit.transforms.operations import Resize, Warp

__all__ = ["EXECUTORS", "MEASURED", "Accuracy", "measured_error"]

Accuracy = tuple[float, float]
"""Largest and mean difference from Pillow, in grey levels of 256."""

EXECUTORS = ("host", "dali")
"""host: torch's kernels on the CPU's threads. dali: one DALI graph on the device."""

MEASURED: dict[str, dict[str, Accuracy | None]] = {
    "Autocontrast": {"host": None, "dali": None},
    "Brightness": {"host": None, "dali": None},
    "ColorJitter": {"host": None, "dali": None},
    "Contrast": {"host": None, "dali": None},
    "Crop": {"host": (0.0, 0.0), "dali": (0.0, 0.0)},
    "Decode": {"host": None, "dali": None},
    "Equalize": {"host": None, "dali": None},
    "Erase": {"host": None, "dali": None},
    "Flip": {"host": (0.0, 0.0), "dali": (0.0, 0.0)},
    "GaussianBlur": {"host": None, "dali": None},
    "Grayscale": {"host": None, "dali": None},
    "Hue": {"host": None, "dali": None},
    "Invert": {"host": None, "dali": None},
    "Mixture": {"host": None, "dali": None},
    "Output": {"host": None, "dali": None},
    "Posterize": {"host": None, "dali": None},
    "Resize": {"host": None, "dali": None},
    "Saturation": {"host": None, "dali": None},
    "Sharpness": {"host": None, "dali": None},
    "Solarize": {"host": None, "dali": None},
    "Warp": {"host": None, "dali": None},
}
"""Name of an operation's class -> executor -> what was measured, or None: not measured. An operation that interpolates
may have entries for single modes too, such as "Resize.bicubic", which then count in place of the general one."""


def measured_error(operation: object, executor: str) -> Accuracy | None:
    """What was measured of an operation; None: not measured.

    Args:
        operation: of dalikit.transforms.operations, or the name of its class.
        executor: "host" or "dali".
    """
    name = operation if isinstance(operation, str) else type(operation).__name__
    keys = [name]
    if isinstance(operation, Resize | Warp):
        keys.insert(0, f"{name}.{operation.interpolation.value}")
    found = next((MEASURED[key] for key in keys if key in MEASURED), {})
    return found.get(executor)
