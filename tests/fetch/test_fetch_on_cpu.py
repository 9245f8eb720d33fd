"""A user's function on the CPU: what it is given, what becomes of what it returns."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from encoded_images import encode
from executor_bench import Pixels
from PIL import Image, ImageDraw

from dalikit.errors import DecodeError
from dalikit.fetch import HostFunction

LEVELS = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)


def encoded(levels: Pixels = LEVELS, **options: Any) -> Pixels:
    """The bytes of a PNG."""
    return np.frombuffer(encode(Image.fromarray(levels), "PNG", **options), np.uint8)


def invert(image: Image.Image) -> Image.Image:
    """A function that pickles."""
    return Image.fromarray(255 - np.asarray(image))


def noisy(image: Image.Image) -> Any:
    """Draws from all three global generators."""
    shift = random.randrange(80) + int(torch.randint(0, 80, ())) + int(np.random.randint(80))
    return np.asarray(image) // 2 + np.uint8(shift % 128)


RETURNED: dict[str, tuple[Callable[[Image.Image], Any], Pixels]] = {
    "image": (invert, 255 - LEVELS),
    "the image itself": (lambda image: image, LEVELS),
    "gray image": (
        lambda image: image.getchannel(0),
        LEVELS[:, :, :1].repeat(3, axis=2),
    ),
    "image with alpha": (lambda image: image.convert("RGBA"), LEVELS),
    "array": (lambda image: 255 - np.asarray(image), 255 - LEVELS),
    "array, not contiguous": (lambda image: np.asarray(image)[::-2, 10:, ::-1], LEVELS[::-2, 10:, ::-1]),
    "tensor": (lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous(), LEVELS),
    "tensor, channels last in memory": (lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1), LEVELS),
}


@pytest.mark.parametrize("kind", RETURNED)
@pytest.mark.parametrize("form", ["encoded", "decoded"])
def test_it_gives_pixels_whatever_the_function_returns(form: str, kind: str) -> None:
    """uint8 (H, W, 3), contiguous; of an encoded image as of a decoded one."""
    returned, expected = RETURNED[kind]
    function = HostFunction(returned, 0)
    pixels = function(encoded(), 5) if form == "encoded" else function.of_pixels(LEVELS, 5)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize("kind", ["image", "array", "tensor"])
def test_a_function_may_use_its_memory_again(kind: str) -> None:
    """What it returned for the sample before stays."""
    canvas = Image.new("RGB", (50, 30))
    buffer = np.empty((30, 50, 3), np.uint8)
    planes = torch.empty((3, 30, 50), dtype=torch.uint8)

    def draw(image: Image.Image) -> Any:
        canvas.paste(image)
        buffer[:] = np.asarray(image)
        planes.copy_(torch.from_numpy(np.array(image)).permute(2, 0, 1))
        return {"image": canvas, "array": buffer, "tensor": planes}[kind]

    function = HostFunction(draw, 0)
    first = function(encoded(), 0)
    second = function.of_pixels(255 - LEVELS, 1)
    function.of_pixels(LEVELS // 2, 2)
    assert np.array_equal(first, LEVELS)
    assert np.array_equal(second, 255 - LEVELS)


@pytest.mark.parametrize("writeable", [False, True])
def test_a_decoded_image_stays_as_it_is_though_the_function_draws_on_it(writeable: bool) -> None:
    """The function is given a copy, and may do with it what it likes."""

    def cross_out(image: Image.Image) -> Image.Image:
        ImageDraw.Draw(image).line((0, 0, 49, 29), fill=(255, 0, 255), width=3)
        return image

    levels = LEVELS.copy()
    levels.setflags(write=writeable)
    crossed = HostFunction(cross_out, 0).of_pixels(levels, 0)
    assert np.array_equal(levels, LEVELS)
    assert not np.array_equal(crossed, LEVELS)
    crossed_again = HostFunction(cross_out, 0)(encoded(), 0)
    assert np.array_equal(crossed, crossed_again)


def test_what_it_draws_follows_from_seed_and_position() -> None:
    """Not from what was drawn before, nor from how the image came; the caller's generators are left alone."""
    function = HostFunction(noisy, 3)
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()[1]
    first = function(encoded(), 7)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.array_equal(np.random.get_state()[1], before[2])
    random.random()
    assert np.array_equal(function.of_pixels(LEVELS, 7), first)
    others = [function(encoded(), 8), HostFunction(noisy, 4)(encoded(), 7)]
    assert [np.array_equal(other, first) for other in others] == [False, False]


def test_it_pickles() -> None:
    """With its seed, and whether it turns images."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    data = encoded(exif=exif)
    function = pickle.loads(pickle.dumps(HostFunction(noisy, 9, adjust_orientation=True)))
    expected = HostFunction(noisy, 9, adjust_orientation=True)(data, 4)
    assert expected.shape == (50, 30, 3)
    assert np.array_equal(function(data, 4), expected)


@pytest.mark.parametrize("turn", [False, True])
def test_only_an_encoded_image_is_turned(turn: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    function = HostFunction(invert, 0, adjust_orientation=turn)
    expected = 255 - LEVELS
    assert np.array_equal(function(encoded(exif=exif), 0), np.rot90(expected, -1) if turn else expected)
    assert np.array_equal(function.of_pixels(LEVELS, 0), expected)


def test_what_pillow_cannot_decode_is_said() -> None:
    bad = np.frombuffer(b"\xff\xd8\xff\xe0 no image", np.uint8)
    with pytest.raises(DecodeError, match=r"^the image cannot be decoded by Pillow: "):
        HostFunction(invert, 0)(bad, 0)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (5, r"^the function of OnCPU returned int of int64 \(\): must be a PIL image, a uint8 array"),
        (LEVELS[:, :, 0], r"returned ndarray of uint8 \(30, 50\): must be"),
        (LEVELS / 255, r"returned ndarray of float64 \(30, 50, 3\): .*leave conversion to floating point"),
        (LEVELS[:0], r"returned ndarray of uint8 \(0, 50, 3\): must be"),
        (torch.zeros((30, 50, 3), dtype=torch.uint8), r"returned Tensor of uint8 \(30, 50, 3\): must be"),
        ([LEVELS, LEVELS], r"returned a list of 2: it must make one image; several views are T\.MultiCrop"),
        ({"global_crops": LEVELS}, r"returned a dict of 1: .*T\.DataAugmentationDINO"),
    ],
)
def test_what_is_no_image_is_refused(result: Any, message: str) -> None:
    function = HostFunction(lambda _: result, 0)
    with pytest.raises(TypeError, match=message):
        function(encoded(), 0)
    with pytest.raises(TypeError, match=message):
        function.of_pixels(LEVELS, 0)
