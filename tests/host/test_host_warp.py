"""Affine and perspective maps against Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dalikit.host.pixels import Pixels, Scratch
from dalikit.host.warp import warp
from dalikit.transforms.operations import InterpolationMode, Warp

AFFINE = [1.1, 0.2, -3.0, -0.1, 0.9, 4.5]
PERSPECTIVE = [*AFFINE, 1e-3, -2e-3]
FILTERS = {
    InterpolationMode.NEAREST: Image.Resampling.NEAREST,
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
}


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (64, 48)])
@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("perspective", [False, True])
@pytest.mark.parametrize("in_planes", [False, True])
def test_equals_pillow(
    size: tuple[int, int], interpolation: InterpolationMode, perspective: bool, in_planes: bool, photographs: list[Path]
) -> None:
    image = Image.open(photographs[1]).convert("RGB").resize((size[1], size[0]))
    height, width = size[0] + 2, 2 * size[1]
    coefficients = np.array(PERSPECTIVE if perspective else AFFINE, np.float32)
    pixels, scratch = Pixels(torch.from_numpy(np.array(image)).permute(2, 0, 1)), Scratch()
    if in_planes:
        pixels.edit(scratch)
    operation = Warp(1, perspective, interpolation, (10, 200, 30))
    warp(operation, pixels, np.float32([9, height, width, *coefficients]).tolist(), scratch)
    kind = Image.Transform.PERSPECTIVE if perspective else Image.Transform.AFFINE
    expected = image.transform(
        (width, height), kind, coefficients.tolist(), FILTERS[interpolation], fillcolor=(10, 200, 30)
    )
    assert (pixels.height, pixels.width) == (height, width)
    np.testing.assert_array_equal(pixels.levels().permute(1, 2, 0).numpy(), np.array(expected))


def test_takes_a_part_of_a_larger_image() -> None:
    levels = torch.randint(0, 256, (20, 30, 3), dtype=torch.uint8).permute(2, 0, 1)[:, 3:9, 4:15]
    pixels = Pixels(levels)
    operation = Warp(0, False, InterpolationMode.NEAREST, (0, 0, 0))
    warp(operation, pixels, np.float32([6, 11, 1, 0, 0, 0, 1, 0]).tolist(), Scratch())
    assert torch.equal(pixels.levels(), levels)
