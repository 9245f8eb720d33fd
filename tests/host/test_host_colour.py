"""Colour operations against Pillow, level for level."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from dalikit.host import colour
from dalikit.host.pixels import CHUNK, Pixels, Scratch
from dalikit.transforms import operations as op

SIZES = [(1, 1), (1, 7), (5, 1), (3, 2), (37, 53), (96, 96), (2, 5000), (300, 401)]  # height, width
FACTORS = [0.0, 1e-6, 0.1, 0.6, 0.999, 1.0, float(np.nextafter(np.float32(1), 2)), 1.1, 1.4, 2.0, 7.5, 300.0]

Kernel = Callable[[Any, Pixels, Any, Scratch], None]
Enhance = Callable[[Image.Image], Any]


def carry_out(
    kernel: Kernel, operation: Any, image: Image.Image, *values: float, scratch: Scratch | None = None
) -> Any:
    """uint8 (H, W, 3)."""
    pixels = Pixels(torch.from_numpy(np.array(image)).permute(2, 0, 1))
    kernel(operation, pixels, np.float32(values).tolist(), scratch or Scratch())
    return pixels.levels().permute(1, 2, 0).numpy()


def noise(height: int, width: int, low: int = 0, high: int = 256) -> Image.Image:
    levels = np.random.default_rng(height * 7919 + width).integers(low, high, (height, width, 3))
    return Image.fromarray(levels.astype(np.uint8))


def all_colours(quarter: int) -> list[Image.Image]:
    """Every colour with red levels of this quarter (0 ... 3) once, in 64 images of 256x256."""
    green, blue = np.mgrid[:256, :256]
    reds = range(64 * quarter, 64 * quarter + 64)
    return [Image.fromarray(np.stack([np.full_like(green, red), green, blue], -1).astype(np.uint8)) for red in reds]


def turn_hue(image: Image.Image, steps: int) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = Image.fromarray(np.array(hue) + np.uint8(steps % 256))
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


@pytest.mark.parametrize(
    ("kernel", "operation", "enhance"),
    [
        (colour.brightness, op.Brightness(0), ImageEnhance.Brightness),
        (colour.contrast, op.Contrast(0), ImageEnhance.Contrast),
        (colour.saturation, op.Saturation(0), ImageEnhance.Color),
    ],
)
class TestBlends:
    """Brightness, contrast and saturation."""

    @pytest.mark.parametrize("size", SIZES)
    def test_equals_pillow_at_any_size(
        self, kernel: Kernel, operation: Any, enhance: Enhance, size: tuple[int, int]
    ) -> None:
        image = noise(*size)
        for factor in (0.0, 0.7, 1.3):
            expected = np.array(enhance(image).enhance(float(np.float32(factor))))
            np.testing.assert_array_equal(carry_out(kernel, operation, image, factor), expected)

    def test_equals_pillow_at_any_factor(self, kernel: Kernel, operation: Any, enhance: Enhance) -> None:
        images = noise(64, 64), noise(64, 64, 100, 140), noise(64, 64, 250, 256)
        factors = FACTORS + np.random.default_rng(1).uniform(0, 2, 100).astype(np.float32).tolist()
        for image, factor in itertools.product(images, factors):
            expected = np.array(enhance(image).enhance(float(np.float32(factor))))
            np.testing.assert_array_equal(carry_out(kernel, operation, image, factor), expected)

    def test_equals_pillow_on_photographs(
        self, kernel: Kernel, operation: Any, enhance: Enhance, photographs: list[Path]
    ) -> None:
        for path, factor in itertools.product(photographs[:4], (0.6, 1.4)):
            image = Image.open(path).convert("RGB")
            expected = np.array(enhance(image).enhance(float(np.float32(factor))))
            np.testing.assert_array_equal(carry_out(kernel, operation, image, factor), expected)


@pytest.mark.parametrize("quarter", range(4))
def test_gray_of_every_colour_equals_pillow(quarter: int) -> None:
    scratch = Scratch()
    for image in all_colours(quarter):
        got = carry_out(colour.grayscale, op.Grayscale(), image, scratch=scratch)
        assert np.array_equal(got, np.array(image.convert("L").convert("RGB")))
        scratch.reset()


@pytest.mark.parametrize("size", SIZES)
def test_gray_equals_pillow_at_any_size(size: tuple[int, int]) -> None:
    image = noise(*size)
    expected = np.array(image.convert("L").convert("RGB"))
    np.testing.assert_array_equal(carry_out(colour.grayscale, op.Grayscale(), image), expected)


class TestHue:
    """Both ways are tried whole: every colour to HSV, and every hue, saturation and value that come out of it back."""

    @pytest.mark.parametrize("quarter", range(4))
    def test_every_colour_equals_pillow(self, quarter: int) -> None:
        scratch = Scratch()
        for image in all_colours(quarter):
            got = carry_out(colour.hue, op.Hue(0), image, 20.5 / 255, scratch=scratch)
            assert np.array_equal(got, np.array(turn_hue(image, 20)))
            scratch.reset()

    @pytest.mark.parametrize("start", [-127, -42, 43])
    def test_every_hue_saturation_and_value_equal_pillow(self, start: int) -> None:
        brightest, darkest = np.mgrid[:256, :256]
        levels = np.stack([brightest, darkest, darkest], -1)[brightest >= darkest]  # of hue 0
        image = Image.fromarray(levels.astype(np.uint8).reshape(-1, 257, 3))
        scratch = Scratch()
        for steps in range(start, start + 85):
            part = (steps + 0.5 * np.sign(steps)) / 255 if abs(steps) < 127 else steps / 254
            got = carry_out(colour.hue, op.Hue(0), image, part, scratch=scratch)
            np.testing.assert_array_equal(got, np.array(turn_hue(image, steps)), err_msg=f"{steps} steps")
            scratch.reset()

    @pytest.mark.parametrize("size", SIZES)
    def test_equals_pillow_at_any_size(self, size: tuple[int, int]) -> None:
        image = noise(*size)
        for part in (-0.5, -0.1, 0.0, 0.003, 0.5):
            expected = np.array(turn_hue(image, int(part * 255)))
            np.testing.assert_array_equal(carry_out(colour.hue, op.Hue(0), image, part), expected)

    def test_equals_pillow_on_photographs(self, photographs: list[Path]) -> None:
        for path in photographs[:4]:
            image = Image.open(path).convert("RGB")
            np.testing.assert_array_equal(carry_out(colour.hue, op.Hue(0), image, 0.1), np.array(turn_hue(image, 25)))


class TestColorJitter:
    """The four in any order."""

    @pytest.mark.parametrize("order", list(itertools.permutations(range(5), 4)))
    def test_equals_pillow_in_any_order(self, order: tuple[int, ...], photographs: list[Path]) -> None:
        image = Image.open(photographs[0]).convert("RGB").resize((96, 96))
        factors = [float(np.float32(factor)) for factor in (1.3, 0.7, 1.15, -0.07)]
        got = carry_out(colour.color_jitter, op.ColorJitter(1), image, -1, *order, *factors)
        expected = image
        for number in order:
            if number < 3:
                enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[number]
                expected = enhance(expected).enhance(factors[number])
            elif number == 3:
                expected = turn_hue(expected, int(factors[3] * 255))
        np.testing.assert_array_equal(got, np.array(expected))

    def test_nothing_in_all_slots_leaves_the_image(self) -> None:
        image = noise(5, 6)
        got = carry_out(colour.color_jitter, op.ColorJitter(0), image, 4, 4, 4, 4, 2, 2, 2, 0.5)
        np.testing.assert_array_equal(got, np.array(image))


class TestPixels:
    """The two forms of an image, and whose memory is whose."""

    def test_the_given_levels_are_never_written_to(self) -> None:
        levels = torch.from_numpy(np.array(noise(9, 8))).permute(2, 0, 1)
        before = levels.clone()
        pixels, scratch = Pixels(levels), Scratch()
        for _ in range(2):
            colour.brightness(op.Brightness(0), pixels, np.float32([0.5]).tolist(), scratch)
        assert torch.equal(levels, before)
        assert not torch.equal(pixels.levels(), before)

    def test_levels_and_planes_say_the_same(self) -> None:
        pixels, scratch = Pixels(torch.from_numpy(np.array(noise(40, 30))).permute(2, 0, 1)), Scratch()
        assert not pixels.in_planes
        planes = pixels.planes(scratch)
        assert pixels.in_planes
        assert planes.shape == (3, 40, 30)
        assert planes.is_contiguous()
        assert planes.dtype is torch.float32
        colour.hue(op.Hue(0), pixels, np.float32([0.2]).tolist(), scratch)
        levels = pixels.levels()
        assert levels.shape == (3, 40, 30)
        assert levels.permute(1, 2, 0).is_contiguous()
        assert torch.equal(levels.float(), pixels.planes(scratch))

    @pytest.mark.parametrize("changed_before", [False, True])
    def test_a_copy_is_an_image_of_its_own(self, changed_before: bool) -> None:
        pixels, scratch = Pixels(torch.from_numpy(np.array(noise(6, 7))).permute(2, 0, 1)), Scratch()
        if changed_before:
            colour.brightness(op.Brightness(0), pixels, np.float32([0.9]).tolist(), scratch)
        copy = pixels.copy(scratch)
        expected = pixels.copy(scratch).levels()
        colour.brightness(op.Brightness(0), copy, np.float32([0.0]).tolist(), scratch)
        assert copy.levels().max() == 0
        assert expected.max() > 0
        assert torch.equal(pixels.levels(), expected)

    def test_replace_takes_another_size(self) -> None:
        pixels, scratch = Pixels(torch.zeros((3, 4, 5), dtype=torch.uint8)), Scratch()
        pixels.edit(scratch)
        pixels.replace(torch.full((3, 2, 9), 7, dtype=torch.uint8))
        assert (pixels.height, pixels.width, pixels.in_planes) == (2, 9, False)
        assert pixels.planes(scratch).unique().tolist() == [7]

    def test_frames_are_handed_out_again_after_reset(self) -> None:
        scratch = Scratch()
        first, second = scratch.frame(4, 5), scratch.frame(4, 5)
        assert first is not second
        scratch.reset()
        assert scratch.frame(4, 5) is first

    def test_a_thread_keeps_no_more_than_so_much_memory(self) -> None:
        scratch = Scratch()
        first = scratch.frame(2000, 2000)
        scratch.reset()
        assert scratch.frame(2000, 2000) is not first

    def test_chunks_cover_the_image(self) -> None:
        frame = Scratch().frame(3, CHUNK)
        assert sum(chunk.red.array.size for chunk in frame.chunks) == 3 * CHUNK
        frame.all.array[:] = 0
        for chunk in frame.chunks:
            chunk.all.array[:] += 1
        assert np.unique(frame.all.array).tolist() == [1]

    def test_images_of_many_sizes_in_turn(self) -> None:
        scratch = Scratch()
        for width in range(1, 40):
            image = noise(11, width)
            got = carry_out(colour.hue, op.Hue(0), image, 0.25, scratch=scratch)
            np.testing.assert_array_equal(got, np.array(turn_hue(image, 63)))
            scratch.reset()
