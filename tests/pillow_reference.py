"""What a transform makes of an image file, done as torchvision does it: with Pillow, and torchvision's own functions.

Held beside the executors. The parameters are the drawn ones; nothing of the executors is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision_import import import_torchvision

import dalikit.transforms as T
from dalikit.transforms import operations as op
from dalikit.transforms.compiler import compile_recipe

__all__ = ["finish", "open_rgb", "pillow_pixels", "pillow_views", "to_tensor"]

import_torchvision()
from torchvision.transforms import functional as tv  # noqa: E402

Values = np.ndarray[Any, Any]

_RESAMPLING = {
    T.InterpolationMode.NEAREST: Image.Resampling.NEAREST,
    T.InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    T.InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
}


def open_rgb(path: Path) -> Image.Image:
    """The image as torchvision's and DINOv2's datasets open it."""
    with Image.open(path) as file:
        return file.convert("RGB")


def pillow_pixels(image: Image.Image, transform: T.Transform, values: Values) -> Tensor:
    """uint8 (3, H, W): what a transform of one view does to an image, with one row of its parameter matrix."""
    ((view,),) = pillow_views(image, transform, values)
    return view


def pillow_views(image: Image.Image, transform: T.Transform, values: Values) -> list[list[Tensor]]:
    """The same of several views: for each group its views, uint8, before they are converted to floating point."""
    recipe = compile_recipe(transform)
    shared = _apply_all(image, recipe.shared, values)
    return [[to_tensor(_apply_all(shared, view.operations, values)) for view in group.views] for group in recipe.groups]


def finish(levels: Tensor, output: op.Output, values: Values) -> Tensor:
    """A view's levels as its output: ToTensor, Normalize, what is erased."""
    image = levels.clone()
    if output.scale is not None and output.shift is not None:
        pair = (output.scale, output.shift)
        scale, shift = (torch.tensor(numbers, dtype=torch.float64)[:, None, None] for numbers in pair)
        image = (levels.double() * scale + shift).float()
    for erase in output.erase:
        top, left, height, width = values[erase.column : erase.column + 4].astype(int).tolist()
        for channel in range(3):
            image[channel, top : top + height, left : left + width] = erase.value[channel]
    return image


def to_tensor(image: Image.Image) -> Tensor:
    """uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _apply_all(image: Image.Image, operations: tuple[op.Operation, ...], values: Values) -> Image.Image:
    for operation in operations:
        image = _REFERENCE[type(operation)](image, operation, values)
    return image


def _crop(image: Image.Image, operation: op.Crop, values: Values) -> Image.Image:
    top, left, height, width = values[operation.column : operation.column + 4].astype(int).tolist()
    canvas = Image.new("RGB", (width, height), operation.fill or (0, 0, 0))
    canvas.paste(image, (-left, -top))
    return canvas


def _resize(image: Image.Image, operation: op.Resize, values: Values) -> Image.Image:
    height, width = values[operation.column : operation.column + 2].astype(int).tolist()
    if operation.antialias or operation.interpolation is T.InterpolationMode.NEAREST:
        return image.resize((width, height), _RESAMPLING[operation.interpolation])
    # Pillow always widens its filter; torchvision's tensor path is the one that can leave it
    mode = operation.interpolation.value
    levels = functional.interpolate(
        to_tensor(image)[None].float(), size=(height, width), mode=mode, align_corners=False
    )
    return Image.fromarray(levels[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


def _flip(image: Image.Image, operation: op.Flip, values: Values) -> Image.Image:
    if not values[operation.column]:
        return image
    side = Image.Transpose.FLIP_LEFT_RIGHT if operation.horizontal else Image.Transpose.FLIP_TOP_BOTTOM
    return image.transpose(side)


def _warp(image: Image.Image, operation: op.Warp, values: Values) -> Image.Image:
    count = 8 if operation.perspective else 6
    height, width, *coefficients = values[operation.column : operation.column + 2 + count].tolist()
    return image.transform(
        (int(width), int(height)),
        Image.Transform.PERSPECTIVE if operation.perspective else Image.Transform.AFFINE,
        coefficients,
        _RESAMPLING[operation.interpolation],
        fillcolor=operation.fill,
    )


def _of_factor(function: Callable[[Image.Image, float], Image.Image]) -> Callable[..., Image.Image]:
    return lambda image, operation, values: function(image, float(values[operation.column]))


def _color_jitter(image: Image.Image, operation: op.ColorJitter, values: Values) -> Image.Image:
    functions = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    order, factors = np.split(values[operation.column : operation.column + 8], 2)
    for which in order.astype(int).tolist():
        if which != op.NOTHING:
            image = functions[which](image, float(factors[which]))
    return image


def _posterize(image: Image.Image, operation: op.Posterize, values: Values) -> Image.Image:
    bits = int(values[operation.column])  # Pillow refuses none, which leaves black
    return tv.posterize(image, bits) if bits else image.point([0] * 768)


def _blur(image: Image.Image, operation: op.GaussianBlur, values: Values) -> Image.Image:
    return tv.gaussian_blur(image, list(operation.kernel_size), [float(values[operation.column])] * 2)


def _select(image: Image.Image, operation: op.Select, values: Values) -> Image.Image:
    return _apply_all(image, operation.cases[int(values[operation.column])], values)


def _mixture(image: Image.Image, operation: op.Mixture, values: Values) -> Image.Image:
    parts = [image, *(_apply_all(image, branch, values) for branch in operation.branches)]
    weights = values[operation.column : operation.column + len(parts)]
    total = sum(np.float32(weight) * np.asarray(part, np.float32) for weight, part in zip(weights, parts, strict=True))
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


_REFERENCE: dict[type[Any], Callable[..., Image.Image]] = {
    op.Crop: _crop,
    op.Resize: _resize,
    op.Flip: _flip,
    op.Warp: _warp,
    op.Brightness: _of_factor(tv.adjust_brightness),
    op.Contrast: _of_factor(tv.adjust_contrast),
    op.Saturation: _of_factor(tv.adjust_saturation),
    op.Hue: _of_factor(tv.adjust_hue),
    op.ColorJitter: _color_jitter,
    op.Grayscale: lambda image, *_: tv.to_grayscale(image, 3),
    op.Solarize: _of_factor(tv.solarize),
    op.Posterize: _posterize,
    op.Invert: lambda image, *_: tv.invert(image),
    op.Autocontrast: lambda image, *_: tv.autocontrast(image),
    op.Equalize: lambda image, *_: tv.equalize(image),
    op.Sharpness: _of_factor(tv.adjust_sharpness),
    op.GaussianBlur: _blur,
    op.Select: _select,
    op.Mixture: _mixture,
}
