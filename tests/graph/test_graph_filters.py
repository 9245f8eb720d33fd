"""Blur, sharpness, warps and erased boxes of the graph against Pillow and torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graph_runner import check, odd_images, resized, run, serialized
from nvidia.dali import fn, types
from PIL import Image, ImageEnhance
from torch.nn import functional

from dalikit.graph.filters import erase
from dalikit.transforms import operations as op

NEAREST, BILINEAR = op.InterpolationMode.NEAREST, op.InterpolationMode.BILINEAR


def blurred(image: Image.Image, sigma: float, kernel_size: tuple[int, int]) -> Any:
    """torchvision's `gaussian_blur`."""

    def weights(size: int) -> torch.Tensor:
        offsets = torch.linspace(-(size - 1) * 0.5, (size - 1) * 0.5, steps=size)
        density = torch.exp(-0.5 * (offsets / sigma).pow(2))
        return density / density.sum()

    width, height = kernel_size
    kernel = torch.mm(weights(height)[:, None], weights(width)[None, :]).expand(3, 1, height, width)
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()[None]
    padded = functional.pad(levels, [width // 2, width // 2, height // 2, height // 2], mode="reflect")
    return functional.conv2d(padded, kernel, groups=3)[0].round().byte().permute(1, 2, 0).numpy()


def matrix(size: tuple[int, int], seed: int, perspective: bool) -> list[float]:
    """Coefficients that rotate, scale, shear and move an image of this width and height."""
    generator = np.random.default_rng(seed)
    angle, scale = generator.uniform(-0.7, 0.7), generator.uniform(0.7, 1.4)
    a, b = scale * np.cos(angle), -scale * np.sin(angle) + generator.uniform(-0.2, 0.2)
    d, e = scale * np.sin(angle), scale * np.cos(angle)
    x, y = size[0] / 2, size[1] / 2
    move = generator.uniform(-0.2, 0.2, 2) * size
    affine = [a, b, x - a * x - b * y + move[0], d, e, y - d * x - e * y + move[1]]
    return affine + list(generator.uniform(-0.1, 0.1, 2) / max(size)) if perspective else affine


class TestGaussianBlur:
    @pytest.mark.parametrize("kernel_size", [(9, 9), (23, 5), (1, 3)])
    def test_levels_are_torchvisions(self, kernel_size: tuple[int, int], photographs: list[Path]) -> None:
        images = resized(photographs)
        sigmas = np.geomspace(0.1, 3, len(images), dtype=np.float32)
        references = [blurred(image, float(s), kernel_size) for image, s in zip(images, sigmas, strict=True)]
        check(run((op.GaussianBlur(0, kernel_size),), images, sigmas), references, largest=1, mean=0.001)

    def test_small_images_are_mirrored_as_far_as_the_window_reaches(self) -> None:
        images = [image for image in odd_images() if min(image.size) > 4]
        sigmas = np.full(len(images), 2.0, np.float32)
        references = [blurred(image, 2.0, (9, 9)) for image in images]
        check(run((op.GaussianBlur(0, (9, 9)),), images, sigmas), references, largest=1, mean=0.01)

    def test_images_smaller_than_the_window(self) -> None:
        """torch refuses these; one colour stays one colour, and nothing fails."""
        images = odd_images()
        results = run((op.GaussianBlur(0, (23, 23)),), images, np.full(len(images), 2.0))
        for image, result in zip(images[2::3], results[2::3], strict=True):
            np.testing.assert_array_equal(result, np.array(image))


class TestSharpness:
    def test_levels_are_pillows(self, photographs: list[Path]) -> None:
        for images in (resized(photographs), odd_images()):
            factors = np.linspace(0, 3, len(images), dtype=np.float32)
            references = [
                ImageEnhance.Sharpness(image).enhance(float(factor))
                for image, factor in zip(images, factors, strict=True)
            ]
            check(run((op.Sharpness(0),), images, factors), references, largest=1, mean=0.01)


class TestWarp:
    @pytest.mark.parametrize("perspective", [False, True])
    @pytest.mark.parametrize("fill", [(0, 0, 0), (124, 116, 104)])
    @pytest.mark.parametrize(("interpolation", "mean"), [(NEAREST, 0.1), (BILINEAR, 0.03)])
    def test_photographs(
        self, perspective: bool, fill: tuple[int, int, int], interpolation: Any, mean: float, photographs: list[Path]
    ) -> None:
        """Of sizes of their own. Single pixels on an outline may come from the other side of it."""
        images = [image.resize((150 + 7 * n, 224 - 5 * n)) for n, image in enumerate(resized(photographs))]
        rows, references = [], []
        for seed, image in enumerate(images):
            coefficients = np.float32(matrix(image.size, seed, perspective)).tolist()
            height, width = 200, 180 + seed
            rows.append([height, width, *coefficients])
            method = Image.Transform.PERSPECTIVE if perspective else Image.Transform.AFFINE
            resample = Image.Resampling.NEAREST if interpolation is NEAREST else Image.Resampling.BILINEAR
            references.append(image.transform((width, height), method, coefficients, resample, fillcolor=fill))
        results = run((op.Warp(0, perspective, interpolation, fill),), images, rows)
        check(results, references, largest=255, mean=mean)

    @pytest.mark.parametrize("interpolation", [NEAREST, BILINEAR])
    def test_the_identity_changes_nothing(self, interpolation: Any) -> None:
        images = odd_images()
        rows = [[image.size[1], image.size[0], 1, 0, 0, 0, 1, 0] for image in images]
        results = run((op.Warp(0, False, interpolation, (9, 8, 7)),), images, rows)
        check(results, images, largest=0, mean=0)

    @pytest.mark.parametrize("interpolation", [NEAREST, BILINEAR])
    def test_whole_pixels(self, interpolation: Any) -> None:
        """Moved by one pixel and a half turn: what comes from outside is filled, what comes from inside is exact."""
        image = odd_images()[-3]
        width, height = image.size
        rows = [[height, width, 1, 0, 1, 0, 1, 0], [height, width, -1, 0, width, 0, -1, height]]
        moved, turned = run((op.Warp(0, False, interpolation, (9, 8, 7)),), [image, image], rows)
        np.testing.assert_array_equal(moved[:, :-1], np.array(image)[:, 1:])
        assert (moved[:, -1] == [9, 8, 7]).all()
        np.testing.assert_array_equal(turned, np.array(image)[::-1, ::-1])


class TestErase:
    @pytest.mark.parametrize("layout", ["CHW", "HWC"])
    @pytest.mark.parametrize("half", [False, True])
    def test_boxes(self, layout: str, half: bool, photographs: list[Path]) -> None:
        images = resized(photographs[:4], 32)
        rows = np.float32([[0, 0, 32, 32], [3, 4, 5, 6], [31, 31, 1, 1], [7, 7, 0, 0]])
        operation = op.Erase(0, (1.5, -2.0, 0.25))

        def finish(image: Any, parameters: Any) -> Any:
            dtype = types.FLOAT16 if half else types.FLOAT
            floating = fn.crop_mirror_normalize(image, dtype=dtype, output_layout=layout, mean=[0.0], std=[1.0])
            return erase(operation, floating, parameters)

        for image, row, result in zip(images, rows, run((), images, rows, finish=finish), strict=True):
            top, left, height, width = row.astype(int)
            expected = np.array(image).astype(np.float16 if half else np.float32)
            expected[top : top + height, left : left + width] = operation.value
            np.testing.assert_array_equal(result, expected.transpose(2, 0, 1) if layout == "CHW" else expected)


@pytest.mark.parametrize(
    "operation",
    [
        op.GaussianBlur(0, (9, 9)),
        op.Sharpness(0),
        op.Warp(0, False, NEAREST, (0, 0, 0)),
        op.Warp(0, True, BILINEAR, (1, 2, 3)),
    ],
    ids=["blur", "sharpness", "affine", "perspective"],
)
def test_the_gpus_graph_serializes_without_a_gpu(operation: Any) -> None:
    assert b"\x03gpu" in serialized((operation,), 10, on_gpu=True)
