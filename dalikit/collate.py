"""From a batch's parts to what the user gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dalikit.items import rebuilt
from dalikit.transforms.recipe import Recipe

__all__ = [
    "as_tensors",
    "bundle_images",
    "move_tensors",
    "parameters_of_samples",
    "pin_tensors",
    "views_of_samples",
]


def move_tensors(value: Any, device: torch.device) -> Any:
    """Targets, or whatever else holds CPU tensors, with its tensors on `device`.

    From pinned memory and in the order of the stream that is current, so nothing waits. On the CPU: the very object.
    """
    if device.type == "cpu":
        return value
    return _map_tensors(value, lambda tensor: tensor.pin_memory().to(device, non_blocking=True))


def pin_tensors(value: Any) -> Any:
    """What stays on the CPU in pinned memory, as torch's `pin_memory=True` does; custom types by their own method.

    Without an accelerator nothing is pinned.
    """
    if not torch.accelerator.is_available():
        return value
    return _map_tensors(
        value, lambda tensor: tensor.pin_memory() if tensor.device.type == "cpu" else tensor, "pin_memory"
    )


def _map_tensors(value: Any, function: Callable[[Tensor], Tensor], method: str = "") -> Any:
    """The same containers with other tensors; whatever else has the method is replaced by what that returns."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return rebuilt(value, {key: _map_tensors(part, function, method) for key, part in value.items()})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_map_tensors(part, function, method) for part in value))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return rebuilt(value, [_map_tensors(part, function, method) for part in value])
    return getattr(value, method)() if method and hasattr(value, method) else value


def as_tensors(parameters: dict[str, Any]) -> dict[str, Any]:
    """Arrays, or dicts of them, as tensors that share their memory."""
    return {
        name: as_tensors(part) if isinstance(part, dict) else torch.from_numpy(part)
        for name, part in parameters.items()
    }


def parameters_of_samples(recipe: Recipe, parameters: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """What was drawn, sample by sample: {name: (...)}, or for each group {name: (n, ...)}."""
    if recipe.single:
        return [{name: values[row] for name, values in parameters.items()} for row in range(count)]
    return [
        {group: {name: values[:, row] for name, values in drawn.items()} for group, drawn in parameters.items()}
        for row in range(count)
    ]


def bundle_images(recipe: Recipe, outputs: Sequence[Tensor | list[list[Tensor]]]) -> Any:
    """An executor's outputs, one a group of views, as the images of a batch.

    Returns:
        Of a recipe with one view (B, 3, H, W), or a list of (3, H, W). Of several a dict: for each group
        (n, B, 3, H, W), or n lists; an alias is the very same object as its group.
    """
    if recipe.single:
        return outputs[0][0]
    images: dict[str, Any] = {str(group.name): part for group, part in zip(recipe.groups, outputs, strict=True)}
    images.update({alias: images[name] for alias, name in recipe.aliases})
    images.update(dict(recipe.constants))
    return images


def views_of_samples(recipe: Recipe, images: Any, count: int) -> list[Any]:
    """A batch's images sample by sample, not copied: for each its image, or a dict with the list of each group's views,
    as DINOv2's augmentation gives it.

    Args:
        recipe: how the images were made.
        images: of `bundle_images`.
        count: B.
    """
    if recipe.single:
        return images if isinstance(images, list) else list(images.unbind(0))
    rows = {
        str(group.name): [view if isinstance(view, list) else view.unbind(0) for view in images[group.name]]
        for group in recipe.groups
    }
    samples: list[Any] = []
    for row in range(count):
        sample: dict[str, Any] = {name: [view[row] for view in views] for name, views in rows.items()}
        sample.update({alias: sample[name] for alias, name in recipe.aliases})
        samples.append({**sample, **dict(recipe.constants)})
    return samples
