"""From a batch's parts to what the user gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

__all__ = ["collate_targets", "move_targets", "samples_of"]


def collate_targets(targets: list[Any]) -> Any:
    """Targets stacked as torch's `default_collate` does: numbers to a tensor, dicts and tuples part by part."""
    return default_collate(targets)


def move_targets(targets: Any, device: torch.device) -> Any:
    """The targets with their tensors on `device`.

    From pinned memory and in the order of the stream that is current, so nothing waits.
    """
    if device.type == "cpu":
        return targets
    return _map_tensors(targets, lambda tensor: tensor.pin_memory().to(device, non_blocking=True))


def _map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return type(value)({key: _map_tensors(part, function) for key, part in value.items()})  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_map_tensors(part, function) for part in value))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return type(value)([_map_tensors(part, function) for part in value])  # type: ignore[call-arg]
    return value


def samples_of(images: Tensor | list[Tensor], targets: list[Any]) -> list[tuple[Tensor, Any]]:
    """A batch as the list of samples that a `collate_fn` takes: (image, target) each, images not copied."""
    rows = images if isinstance(images, list) else list(images.unbind(0))
    return list(zip(rows, targets, strict=True))
