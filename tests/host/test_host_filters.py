"""Operations level by level and sharpness against Pillow; blur against a convolution in double precision."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from dalikit.host import filters
from dalikit.host.pixels import Pixels, Scratch
from dalikit.transforms import operations as op

SIZES = [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3), (5, 7), (96, 96), (3, 5000), (300, 401)]  # height, width

Kernel = Callable[[Any, Pixels, Any, Scratch], None]


def carry_out(kernel: Kernel, operation: Any, image: Image.Image, *values: float, in_planes: bool) -> Any:
    """uint8 (H, W, 3)."""
    levels = np.array(image)
    before = levels.copy()
    pixels, scratch = Pixels(torch.from_numpy(levels).permute(2, 0, 1)), Scratch()
    if in_planes:
        pixels.edit(scratch)
    kernel(operation, pixels, np.float32(values).tolist(), scratch)
    np.testing.assert_array_equal(levels, before, err_msg="the levels given were written to")
    return pixels.levels().permute(1, 2, 0).numpy()


def images(height: int, width: int) -> list[Image.Image]:
    """Noise over all levels and over some, of one colour, and of two levels."""
    generator = np.random.default_rng(height * 7919 + width)
    shape = height, width, 3
    made = [
        generator.integers(0, 256, shape),
        generator.integers(60, 100, shape),
        np.broadcast_to([77, 0, 255], shape),
        generator.choice([3, 250], shape),
    ]
    return [Image.fromarray(levels.astype(np.uint8)) for levels in made]


@pytest.fixture
def photograph(photographs: list[Path]) -> Image.Image:
    return Image.open(photographs[2]).convert("RGB")


@pytest.mark.parametrize("in_planes", [False, True])
class TestLevels:
    """Solarize, posterize, invert, autocontrast and equalize."""

    @pytest.mark.parametrize("threshold", [-3.0, 0.0, 1.0, 99.5, 127.5, 128.0, 128.5, 254.5, 255.0, 255.5, 256.0])
    def test_solarize(self, threshold: float, in_planes: bool) -> None:
        for image in images(30, 41):
            got = carry_out(filters.solarize, op.Solarize(0), image, threshold, in_planes=in_planes)
            expected = ImageOps.solarize(image, threshold)  # type: ignore[arg-type]  # any number will do
            np.testing.assert_array_equal(got, np.array(expected))

    @pytest.mark.parametrize("bits", range(9))
    def test_posterize(self, bits: int, in_planes: bool) -> None:
        for image in images(30, 41):
            got = carry_out(filters.posterize, op.Posterize(0), image, bits, in_planes=in_planes)
            expected = np.array(ImageOps.posterize(image, bits)) if bits else np.zeros_like(got)
            np.testing.assert_array_equal(got, expected)

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize(
        ("kernel", "operation", "reference"),
        [
            (filters.invert, op.Invert(), ImageOps.invert),
            (filters.autocontrast, op.Autocontrast(), ImageOps.autocontrast),
            (filters.equalize, op.Equalize(), ImageOps.equalize),
        ],
    )
    def test_others_at_any_size(
        self,
        size: tuple[int, int],
        kernel: Kernel,
        operation: Any,
        reference: Callable[[Image.Image], Image.Image],
        in_planes: bool,
    ) -> None:
        for image in images(*size):
            got = carry_out(kernel, operation, image, in_planes=in_planes)
            np.testing.assert_array_equal(got, np.array(reference(image)))

    def test_all_on_a_photograph(self, photograph: Image.Image, in_planes: bool) -> None:
        for kernel, operation, reference in (
            (filters.solarize, op.Solarize(0), ImageOps.solarize(photograph, 100)),
            (filters.invert, op.Invert(), ImageOps.invert(photograph)),
            (filters.autocontrast, op.Autocontrast(), ImageOps.autocontrast(photograph)),
            (filters.equalize, op.Equalize(), ImageOps.equalize(photograph)),
        ):
            got = carry_out(kernel, operation, photograph, 100, in_planes=in_planes)
            np.testing.assert_array_equal(got, np.array(reference))


def test_autocontrast_of_every_range() -> None:
    """Every darkest and brightest level, with all levels between them."""
    scratch = Scratch()
    for low in range(256):
        highs = np.arange(low, 256)[:, None]
        rows = np.minimum(np.arange(low, 256)[None], highs)
        for high, row in zip(highs[:, 0], rows, strict=True):
            if (low * 7 + high) % 11:
                continue  # one in eleven: the table has two parameters alone
            image = Image.fromarray(np.repeat(row.astype(np.uint8), 3).reshape(1, -1, 3))
            pixels = Pixels(torch.from_numpy(np.array(image)).permute(2, 0, 1))
            filters.autocontrast(op.Autocontrast(), pixels, [], scratch)
            np.testing.assert_array_equal(
                pixels.levels().permute(1, 2, 0).numpy(), np.array(ImageOps.autocontrast(image))
            )
            scratch.reset()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.5, 9.0])
def test_sharpness_equals_pillow(size: tuple[int, int], factor: float) -> None:
    for image in images(*size):
        got = carry_out(filters.sharpness, op.Sharpness(0), image, factor, in_planes=True)
        expected = ImageEnhance.Sharpness(image).enhance(float(np.float32(factor)))
        np.testing.assert_array_equal(got, np.array(expected))


def test_sharpness_of_a_photograph_equals_pillow(photograph: Image.Image) -> None:
    for factor in (0.1, 1.9):
        got = carry_out(filters.sharpness, op.Sharpness(0), photograph, factor, in_planes=False)
        expected = ImageEnhance.Sharpness(photograph).enhance(float(np.float32(factor)))
        np.testing.assert_array_equal(got, np.array(expected))


def convolve(image: Image.Image, kernel_size: tuple[int, int], sigma: float) -> Any:
    """The definition of torchvision's blur, in double precision: whole numbers (H, W, 3)."""
    values = np.asarray(image).astype(np.float64)
    for axis, size in ((1, kernel_size[0]), (0, kernel_size[1])):
        weights = np.exp(-0.5 * (np.arange(-(size // 2), size // 2 + 1) / sigma) ** 2)
        margins = [(0, 0)] * 3
        margins[axis] = size // 2, size // 2
        padded = np.pad(values, margins, mode="reflect")
        length = values.shape[axis]
        values = sum(
            weight * np.take(padded, range(start, start + length), axis)
            for start, weight in enumerate(weights / weights.sum())
        )
    return np.rint(values)


class TestBlur:
    """At most one level from the definition, and hardly ever that."""

    @pytest.mark.parametrize("sigma", [0.1, 0.2, 0.26, 0.35, 0.5, 0.7, 1.0, 1.3, 1.7, 2.0, 30.0])
    @pytest.mark.parametrize("kernel_size", [(9, 9), (3, 3), (23, 23), (1, 5), (5, 1), (1, 1), (3, 7)])
    def test_photographs_and_noise(self, sigma: float, kernel_size: tuple[int, int], photograph: Image.Image) -> None:
        for image in (photograph.resize((96, 80)), *images(64, 70)):
            got = carry_out(filters.gaussian_blur, op.GaussianBlur(0, kernel_size), image, sigma, in_planes=False)
            difference = np.abs(got - convolve(image, kernel_size, float(np.float32(sigma))))
            assert difference.max() <= 1
            assert difference.mean() < 0.02

    @pytest.mark.parametrize("size", [(5, 5), (5, 3000), (3000, 5), (7, 20000), (224, 224), (500, 401)])
    def test_any_size(self, size: tuple[int, int]) -> None:
        for image, sigma in itertools.product(images(*size)[:2], (0.4, 1.9)):
            got = carry_out(filters.gaussian_blur, op.GaussianBlur(0, (9, 9)), image, sigma, in_planes=True)
            assert np.abs(got - convolve(image, (9, 9), sigma)).max() <= 1

    def test_a_window_of_one_pixel_leaves_the_smallest_image(self) -> None:
        image = images(1, 1)[0]
        got = carry_out(filters.gaussian_blur, op.GaussianBlur(0, (1, 1)), image, 2.0, in_planes=False)
        np.testing.assert_array_equal(got, np.array(image))

    def test_one_colour_stays(self) -> None:
        image = images(64, 64)[2]
        got = carry_out(filters.gaussian_blur, op.GaussianBlur(0, (9, 9)), image, 1.1, in_planes=False)
        np.testing.assert_array_equal(got, np.array(image))

    @pytest.mark.parametrize("size", [(4, 100), (100, 4)])
    @pytest.mark.parametrize("sigma", [0.1, 2.0])
    def test_images_too_small_to_reflect_are_refused(self, size: tuple[int, int], sigma: float) -> None:
        with pytest.raises(ValueError, match=rf"an image of {size[0]}x{size[1]} .* too small .* window of 9x9"):
            carry_out(filters.gaussian_blur, op.GaussianBlur(0, (9, 9)), images(*size)[0], sigma, in_planes=False)

    def test_images_in_turn_do_not_meet(self) -> None:
        """Buffers are used again for images of other sizes, whose margins lie elsewhere."""
        scratch = Scratch()
        for size in ((300, 401), (20, 30), (9, 9), (64, 5)):
            for image in images(*size):
                pixels = Pixels(torch.from_numpy(np.array(image)).permute(2, 0, 1))
                filters.gaussian_blur(op.GaussianBlur(0, (9, 9)), pixels, np.float32([1.5]).tolist(), scratch)
                got = pixels.levels().permute(1, 2, 0).numpy()
                assert np.abs(got - convolve(image, (9, 9), 1.5)).max() <= 1
                scratch.reset()
