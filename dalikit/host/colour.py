"""Colour operations on one image, bit for bit Pillow's.

Brightness, contrast and saturation are `ImageEnhance`'s, blends with `Image.blend` (libImaging/Blend.c): in float32,
`first + alpha * (second - first)`, rounded at each step, clipped to 0...255, cut to a whole number. Gray is
`convert("L")` (libImaging/Convert.c), hue is torchvision's: a shift of the first channel of `convert("HSV")`.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dalikit.host.pixels import Chunk, Pixels, Plane, Scratch, Work
from dalikit.transforms.operations import Brightness, ColorJitter, Contrast, Grayscale, Hue, Saturation

__all__ = ["brightness", "color_jitter", "contrast", "grayscale", "hue", "saturation"]

_Values = list[float]

# floor((19595 R + 38470 G + 7471 B + 32768) / 65536), from libImaging/Convert.c. Each sum is a multiple of 2**-16
# below 256: float32 holds it exactly.
_RED, _GREEN, _BLUE = 19595 / 65536, 38470 / 65536, 7471 / 65536

_SIDE = 512
"""Width of the table of hues, at least 2 * 255 + 1."""

_TINY = 1e-30
"""Added to a brightest level before dividing by it: changes 0 alone."""

_TURN = np.float32(6 / 65025)
"""65025 is 255 * 255, for S and a; a sixth of a is what `_find_slopes` gives."""


def brightness(operation: Brightness, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """Blends with black."""
    _brightness(pixels, values[operation.column], scratch)


def contrast(operation: Contrast, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """Blends with the mean gray."""
    _contrast(pixels, values[operation.column], scratch)


def saturation(operation: Saturation, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """Blends with the gray image."""
    _saturation(pixels, values[operation.column], scratch)


def hue(operation: Hue, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """Turns the hue."""
    _hue(pixels, values[operation.column], scratch)


def color_jitter(operation: ColorJitter, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """Carries out the four in the order that the parameters give."""
    parameters = values[operation.column : operation.column + 8]
    for slot in parameters[:4]:
        number = int(slot)
        if number < len(_JITTER):
            _JITTER[number](pixels, parameters[4 + number], scratch)


def grayscale(operation: Grayscale, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """Makes all channels gray."""
    del operation, values
    for chunk in pixels.edit(scratch).chunks:
        np.copyto(chunk.all.array, _gray(chunk, scratch.work(chunk.all.array.shape[1])).array)


def _brightness(pixels: Pixels, factor: float, scratch: Scratch) -> None:
    if factor == 1:
        return
    array, tensor = pixels.edit(scratch).all
    np.multiply(array, factor, out=array)
    if factor > 1:
        tensor.clamp_(max=255)
    tensor.floor_()


def _contrast(pixels: Pixels, factor: float, scratch: Scratch) -> None:
    if factor == 1:
        return
    frame = pixels.edit(scratch)
    total = 0.0
    for chunk in frame.chunks:
        total += _gray(chunk, scratch.work(chunk.all.array.shape[1])).tensor.sum().item()
    mean = float(int(total / (pixels.height * pixels.width) + 0.5))
    array, tensor = frame.all
    np.subtract(array, mean, out=array)
    np.multiply(array, factor, out=array)
    np.add(array, mean, out=array)
    _cut(tensor, factor)


def _saturation(pixels: Pixels, factor: float, scratch: Scratch) -> None:
    if factor == 1:
        return
    for chunk in pixels.edit(scratch).chunks:
        array, tensor = chunk.all
        gray = _gray(chunk, scratch.work(array.shape[1])).array
        np.subtract(array, gray, out=array)
        np.multiply(array, factor, out=array)
        np.add(array, gray, out=array)
        _cut(tensor, factor)


def _hue(pixels: Pixels, part: float, scratch: Scratch) -> None:
    # Never skipped: with 8 bits a channel, going to HSV and back changes the image even when the hue stays.
    shift = np.uint8(int(part * 255) % 256)
    for chunk in pixels.edit(scratch).chunks:
        _turn(chunk, shift, scratch.work(chunk.all.array.shape[1]))


class _Step(Protocol):
    def __call__(self, pixels: Pixels, factor: float, scratch: Scratch, /) -> None: ...


_JITTER: tuple[_Step, ...] = (_brightness, _contrast, _saturation, _hue)


def _cut(tensor: Tensor, factor: float) -> None:
    """The end of a blend: values between the two images cannot leave 0...255."""
    if factor > 1:
        tensor.clamp_(0, 255)
    tensor.floor_()


def _gray(chunk: Chunk, work: Work) -> Plane:
    """The gray levels (n,), in `work.first`."""
    array, tensor = work.first
    np.multiply(chunk.red.array, _RED, out=array)
    tensor.add_(chunk.green.tensor, alpha=_GREEN).add_(chunk.blue.tensor, alpha=_BLUE)
    np.add(array, 0.5, out=array)
    tensor.floor_()
    return work.first


def _turn(chunk: Chunk, shift: np.uint8, work: Work) -> None:
    """RGB to HSV, `shift` to H, and back to RGB, in place.

    With H and S from 0 to 255 and V the brightest level, libImaging's way back comes to

        channel = V - round(V * S * a / 65025),

    where a, from 0 to 255, is a piecewise linear function of H, one per channel. Rounding has no ties, as 65025 is odd,
    and the error of the float32 product is below the distance to the nearest tie (proved by trying all).
    """
    _find_hue(chunk, shift, work)
    value, spread = _find_spread(chunk, work)
    _find_slopes(work)
    slopes = work.all.array
    np.multiply(slopes, spread, out=slopes)
    np.rint(slopes, out=slopes)
    np.subtract(value, slopes, out=chunk.all.array)


def _find_hue(chunk: Chunk, shift: np.uint8, work: Work) -> None:
    """Puts the shifted hue (n,), whole numbers from 0 to 255, into `work.first`."""
    # Hue depends on two differences alone.
    array, tensor = work.first
    np.subtract(chunk.green.array, chunk.blue.array, out=array)
    tensor.add_(chunk.red.tensor, alpha=_SIDE).add_(chunk.green.tensor, alpha=-_SIDE)
    np.add(array, 255 * _SIDE + 255, out=array)
    np.copyto(work.indices.array, array, casting="unsafe")
    torch.index_select(_hues(), 0, work.indices.tensor, out=work.byte.tensor)
    np.add(work.byte.array, shift, out=work.byte.array)  # goes around at 256, as torchvision's
    np.copyto(array, work.byte.array)


def _find_spread(chunk: Chunk, work: Work) -> tuple[NDArray[Any], NDArray[Any]]:
    """The brightest level V, and V * S * 6 / 65025, (n,), in `work.second` and `work.third`."""
    value, spread, other = work.second.array, work.third.array, work.fourth.array
    red, green, blue = chunk.red.array, chunk.green.array, chunk.blue.array
    np.maximum(red, green, out=value)
    np.maximum(value, blue, out=value)
    np.minimum(red, green, out=spread)
    np.minimum(spread, blue, out=spread)
    np.subtract(value, spread, out=spread)
    np.multiply(spread, 255, out=spread)
    np.add(value, _TINY, out=other)
    np.divide(spread, other, out=spread)
    work.third.tensor.floor_()  # S
    np.multiply(spread, value, out=spread)
    np.multiply(spread, _TURN, out=spread)
    return value, spread


def _find_slopes(work: Work) -> None:
    """Puts a / 6, (3, n), into `work.all`."""
    turned = work.first.array
    slopes = work.all.array
    np.subtract(turned, 127.5, out=slopes[0])
    np.subtract(turned, 85, out=slopes[1])
    np.subtract(turned, 170, out=slopes[2])
    np.abs(slopes, out=slopes)
    work.all.tensor.clamp_(42.5, 85)
    np.subtract(85, slopes[0], out=slopes[0])
    np.subtract(slopes[1:], 42.5, out=slopes[1:])


@functools.cache
def _hues() -> Tensor:
    """Pillow's hue, uint8 (511 * 512,), at (R - G + 255) * 512 + (G - B + 255)."""
    first, second = np.mgrid[-255:256, -255 : _SIDE - 255]
    green = np.maximum(np.maximum(-first, second), 0)
    colours = np.stack([green + first, green, green - second], axis=-1)
    possible = (colours.max(-1) <= 255) & (colours.min(-1) >= 0)
    image = Image.fromarray(np.where(possible[..., None], colours, 0).astype(np.uint8))
    return torch.from_numpy(np.array(image.convert("HSV"))[..., 0].ravel())
