"""Carries out operations on one image, by their class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dalikit.host import colour, filters, kernels, warp
from dalikit.host.pixels import Pixels, Scratch
from dalikit.transforms import operations as ops
from dalikit.transforms.regions import crop_box

__all__ = ["Values", "apply_operations"]

Values = list[float]
"""One row of the parameter matrix, as Python's numbers: taken one by one, they cost a fifth of numpy's."""


def apply_operations(operations: tuple[ops.Operation, ...], pixels: Pixels, values: Values, scratch: Scratch) -> None:
    """Does one operation after the other to an image, in place."""
    for operation in operations:
        _KERNELS[type(operation)](operation, pixels, values, scratch)


def _crop(operation: ops.Crop, pixels: Pixels, values: Values, scratch: Scratch) -> None:
    del scratch
    pixels.replace(kernels.crop(pixels.levels(), crop_box(operation, values), operation.fill))


def _resize(operation: ops.Resize, pixels: Pixels, values: Values, scratch: Scratch) -> None:
    height, width = int(values[operation.column]), int(values[operation.column + 1])
    levels, mode = pixels.levels(), operation.interpolation
    # Pillow always widens its filter, so it cannot do without.
    if scratch.pillow_resize and (operation.antialias or mode is ops.InterpolationMode.NEAREST):
        pixels.replace(kernels.resize_by_pillow(levels, height, width, mode))
    else:
        pixels.replace(kernels.resize(levels, height, width, mode, operation.antialias))


def _flip(operation: ops.Flip, pixels: Pixels, values: Values, scratch: Scratch) -> None:
    del scratch
    if values[operation.column]:
        pixels.replace(kernels.flip(pixels.levels(), operation.horizontal))


def _select(operation: ops.Select, pixels: Pixels, values: Values, scratch: Scratch) -> None:
    apply_operations(operation.cases[int(values[operation.column])], pixels, values, scratch)


def _mixture(operation: ops.Mixture, pixels: Pixels, values: Values, scratch: Scratch) -> None:
    weights = values[operation.column : operation.column + 1 + len(operation.branches)]
    total = pixels.levels().float().mul_(weights[0])
    for weight, branch in zip(weights[1:], operation.branches, strict=True):
        part = pixels.copy(scratch)
        apply_operations(branch, part, values, scratch)
        # not add_(alpha=...), which rounds once where torchvision does twice
        total.add_(part.levels().float().mul_(weight))
    pixels.replace(total.clamp_(0, 255).to(torch.uint8))


_Kernel = Callable[[Any, Pixels, Values, Scratch], None]

_KERNELS: dict[type[Any], _Kernel] = {
    ops.Crop: _crop,
    ops.Resize: _resize,
    ops.Flip: _flip,
    ops.Warp: warp.warp,
    ops.Brightness: colour.brightness,
    ops.Contrast: colour.contrast,
    ops.Saturation: colour.saturation,
    ops.Hue: colour.hue,
    ops.ColorJitter: colour.color_jitter,
    ops.Grayscale: colour.grayscale,
    ops.Solarize: filters.solarize,
    ops.Posterize: filters.posterize,
    ops.Invert: filters.invert,
    ops.Autocontrast: filters.autocontrast,
    ops.Equalize: filters.equalize,
    ops.Sharpness: filters.sharpness,
    ops.GaussianBlur: filters.gaussian_blur,
    ops.Select: _select,
    ops.Mixture: _mixture,
}
