"""What a transform makes of an image file, done with Pillow and torch as torchvision does it.

Held beside the executors. The parameters are the drawn ones; nothing else of dalikit is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

import dalikit.transforms as T

__all__ = ["open_rgb", "pillow_pixels", "to_tensor"]

_RESAMPLING = {
    T.InterpolationMode.NEAREST: Image.Resampling.NEAREST,
    T.InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    T.InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
}


def open_rgb(path: Path) -> Image.Image:
    """The image as torchvision's and DINOv2's datasets open it."""
    with Image.open(path) as file:
        return file.convert("RGB")


def pillow_pixels(image: Image.Image, transform: T.Transform, values: np.ndarray[Any, Any]) -> Tensor:
    """uint8 (3, H, W): the geometric steps of `transform`, with one row of its parameter matrix."""
    steps = transform.flat() if isinstance(transform, T.Compose) else (transform,)
    column = 0
    for step in steps:
        image = _apply(image, step, values[column : column + step.num_columns].astype(int).tolist())
        column += step.num_columns
    return to_tensor(image)


def to_tensor(image: Image.Image) -> Tensor:
    """uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _apply(image: Image.Image, step: T.Transform, values: list[int]) -> Image.Image:
    if isinstance(step, T.RandomResizedCrop):
        return _resize(_cut(image, *values[:4], fill=(0, 0, 0)), step, *values[4:])
    if isinstance(step, T.Resize):
        return _resize(image, step, *values)
    if isinstance(step, T.CenterCrop | T.RandomCrop):
        return _cut(image, *values, fill=getattr(step, "fill", (0, 0, 0)))
    if isinstance(step, T.RandomHorizontalFlip) and values[0]:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if isinstance(step, T.RandomVerticalFlip) and values[0]:
        return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image


def _cut(image: Image.Image, top: int, left: int, height: int, width: int, fill: tuple[int, int, int]) -> Image.Image:
    canvas = Image.new("RGB", (width, height), fill)
    canvas.paste(image, (-left, -top))
    return canvas


def _resize(image: Image.Image, step: Any, height: int, width: int) -> Image.Image:
    if step.antialias or step.interpolation is T.InterpolationMode.NEAREST:
        return image.resize((width, height), _RESAMPLING[step.interpolation])
    # Pillow always widens its filter; torchvision's tensor path is the one that can leave it
    levels = functional.interpolate(
        to_tensor(image)[None].float(), size=(height, width), mode=step.interpolation.value, align_corners=False
    )
    return Image.fromarray(levels[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy())
