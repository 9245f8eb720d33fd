"""Affine and perspective maps of one image, by Pillow, which runs them without holding the interpreter's lock."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from dalikit.host.pixels import Pixels, Scratch
from dalikit.transforms.operations import InterpolationMode, Warp

__all__ = ["warp"]

_FILTERS = {
    InterpolationMode.NEAREST: Image.Resampling.NEAREST,
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
}


def warp(operation: Warp, pixels: Pixels, values: list[float], scratch: Scratch) -> None:
    """Takes each pixel from another place (`Image.transform`)."""
    del scratch
    count = 8 if operation.perspective else 6
    height, width, *coefficients = values[operation.column : operation.column + 2 + count]
    image = Image.fromarray(np.ascontiguousarray(pixels.levels().permute(1, 2, 0).numpy()))
    warped = image.transform(
        (int(width), int(height)),
        Image.Transform.PERSPECTIVE if operation.perspective else Image.Transform.AFFINE,
        coefficients,
        _FILTERS[operation.interpolation],
        fillcolor=operation.fill,
    )
    pixels.replace(torch.from_numpy(np.array(warped)).permute(2, 0, 1))
