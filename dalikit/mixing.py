"""MixUp and CutMix carried out on a finished batch, on the device where it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dalikit.collate import move_tensors
from dalikit.errors import ArgumentError
from dalikit.transforms.mixing import Mix

__all__ = ["apply_mix"]

_ONE_BY_ONE = ("cpu",)
"""Where images are joined one at a time, from the last to the first: within the cache and without a second batch, which
is several times as fast on a CPU. On a GPU it would be as many launches."""


def apply_mix(mix: Mix, images: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Mixes every sample of a batch with the one before it (the first with the last), as torchvision does.

    Nothing waits for a GPU as long as the targets come on the CPU; on the device their range can only be checked by
    waiting for it.

    Args:
        mix: what was drawn.
        images: (B, C, H, W) in any memory order; for MixUp floating point. Changed in place.
        targets: integers (B,), class numbers, if `mix.num_classes` is given; or probabilities (B, classes).

    Returns:
        The same images; and probabilities (B, classes) on their device, float32 (or the targets' own floating type).

    Raises:
        ArgumentError: images or targets are none of these, or a class number is out of range.
    """
    images = _check_images(mix, images)
    targets = _check_targets(mix, targets, len(images))
    if targets.device != images.device:
        targets = move_tensors(targets, images.device)
    share = _cut(mix, images) if mix.name == "CutMix" else _blend(mix, images)
    if targets.ndim == 1:
        # Not one_hot, which would ask the GPU for the range, nor scatter_add_, which sums in any order there.
        targets = (targets[:, None] == torch.arange(mix.num_classes or 0, device=targets.device)).float()
    elif not targets.is_floating_point():
        targets = targets.float()
    return images, targets.roll(1, 0).mul_(1.0 - share).add_(targets.mul(share))


def _blend(mix: Mix, images: Tensor) -> float:
    _join(images, lambda own, other: own.lerp_(other, 1.0 - mix.lam))
    return mix.lam


def _cut(mix: Mix, images: Tensor) -> float:
    """Replaces the box; gives the share of the image that is left, which is less or more than drawn."""
    height, width = images.shape[-2:]
    center_x, center_y = int(mix.x * width), int(mix.y * height)
    part = 0.5 * math.sqrt(1.0 - mix.lam)
    half_width, half_height = int(part * width), int(part * height)
    left, right = max(center_x - half_width, 0), min(center_x + half_width, width)
    top, bottom = max(center_y - half_height, 0), min(center_y + half_height, height)
    _join(images[..., top:bottom, left:right], lambda own, other: own.copy_(other))
    return 1.0 - (right - left) * (bottom - top) / (width * height)


def _join(images: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Changes every image in place, given it and what the one before it was."""
    if images.device.type not in _ONE_BY_ONE:
        change(images, images.roll(1, 0))
        return
    last = images[-1].clone()
    for row in range(len(images) - 1, 0, -1):
        change(images[row], images[row - 1])
    change(images[0], last)


def _check_images(mix: Mix, images: Any) -> Tensor:
    if not isinstance(images, Tensor):
        raise ArgumentError(f"{mix.name}: the images must be of one size; put a Resize or a crop before it")
    if images.ndim != 4:
        raise ArgumentError(f"Expected a batched input with 4 dims, but got {images.ndim} dimensions instead.")
    if mix.name == "MixUp" and not images.is_floating_point():
        raise ArgumentError(f"MixUp: does not support {images.dtype} images; put ToTensor before it")
    return images


def _check_targets(mix: Mix, targets: Any, count: int) -> Tensor:
    """The targets, integers as int64. In torchvision's words, and torch's of one_hot."""
    if not isinstance(targets, Tensor):
        raise ArgumentError(f"The labels must be a tensor, but got {type(targets)} instead.")
    if targets.ndim not in (1, 2):
        raise ArgumentError(
            "labels should be index based with shape (batch_size,) or probability based with shape "
            f"(batch_size, num_classes), but got a tensor of shape {targets.shape} instead."
        )
    if len(targets) != count:
        raise ArgumentError(
            "The batch size of the image or video does not match the batch size of the labels: "
            f"{count} != {len(targets)}."
        )
    if targets.ndim == 1:
        return _check_classes(mix, targets)
    if mix.num_classes is not None and targets.shape[-1] != mix.num_classes:
        raise ArgumentError(
            "When passing 2D labels, the number of elements in last dimension must match num_classes: "
            f"{targets.shape[-1]} != {mix.num_classes}. You can Leave num_classes to None."
        )
    return targets


def _check_classes(mix: Mix, targets: Tensor) -> Tensor:
    if mix.num_classes is None:
        raise ArgumentError("num_classes must be passed if the labels are index-based (1D)")
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise ArgumentError(
            f"one_hot is only applicable to index tensor of type LongTensor, but got {targets.dtype} labels."
        )
    low, high = (int(number) for number in targets.aminmax())
    if low < 0:
        raise ArgumentError(f"Class values must be non-negative, but a label is {low}.")
    if high >= mix.num_classes:
        raise ArgumentError(
            f"Class values must be smaller than num_classes, but a label is {high} and num_classes={mix.num_classes}."
        )
    return targets.long()
