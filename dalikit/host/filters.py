"""Operations level by level, sharpness and blur, on one image.

All but the blur are bit for bit Pillow's. `Pixels` come in either form: what can be done to uint8 levels faster than
the image can be brought into planes is done to them.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dalikit.host.pixels import CHUNK, Pixels, Plane, Scratch
from dalikit.transforms.operations import (
    Autocontrast,
    Equalize,
    GaussianBlur,
    Invert,
    Posterize,
    Sharpness,
    Solarize,
)

__all__ = ["autocontrast", "equalize", "gaussian_blur", "invert", "posterize", "sharpness", "solarize"]

_Values = list[float]
_Array = NDArray[Any]

_LEVELS = np.arange(256)

_DROPPED = 1e-4
"""Weight of a Gaussian window, both sides together, that is not worth a pass over the image: it changes a result by
less than 1e-4 * 255 = 0.03 levels in each direction."""


def solarize(operation: Solarize, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """Inverts the levels at or above the threshold (`ImageOps.solarize`)."""
    threshold = math.ceil(values[operation.column])
    if threshold > 255:
        return
    if threshold <= 0:
        _invert(pixels, scratch)
    elif not pixels.in_planes:
        levels = _levels(pixels)
        inverted = np.greater_equal(levels, threshold).view(np.uint8)
        _replace(pixels, np.bitwise_xor(np.negative(inverted, out=inverted), levels, out=inverted))
    elif threshold == 128:
        # The lower of v and 255 - v.
        planes = pixels.edit(scratch).all.array
        np.subtract(planes, 127.5, out=planes)
        np.abs(planes, out=planes)
        np.subtract(127.5, planes, out=planes)
    else:
        table = np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS)
        _look_up(pixels, [table] * 3, scratch)


def invert(operation: Invert, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """`255 - value`."""
    del operation, values
    _invert(pixels, scratch)


def posterize(operation: Posterize, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """Keeps the highest bits (`ImageOps.posterize`); no bits at all give black, as torchvision's for tensors."""
    step = 1 << (8 - int(values[operation.column]))
    if step == 1:
        return
    if not pixels.in_planes:
        _replace(pixels, np.bitwise_and(_levels(pixels), np.uint8(256 - step & 255)))
        return
    planes = pixels.edit(scratch).all
    np.multiply(planes.array, 1 / step, out=planes.array)
    planes.tensor.floor_()
    np.multiply(planes.array, step, out=planes.array)


def autocontrast(operation: Autocontrast, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """Stretches each channel (`ImageOps.autocontrast`)."""
    del operation, values
    planes = pixels.planes(scratch).view(3, -1)  # torch's aminmax takes five times as long
    lows, highs = planes.amin(1).tolist(), planes.amax(1).tolist()
    _look_up(pixels, [_stretched(low, high) for low, high in zip(lows, highs, strict=True)], scratch)


def equalize(operation: Equalize, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """Makes each channel's histogram even (`ImageOps.equalize`)."""
    del operation, values
    histograms = np.zeros((3, 256), np.int64)
    for chunk in pixels.edit(scratch).chunks:
        levels = scratch.work(chunk.red.array.size).byte
        for histogram, plane in zip(histograms, (chunk.red, chunk.green, chunk.blue), strict=True):
            np.copyto(levels.array, plane.array, casting="unsafe")
            histogram += torch.bincount(levels.tensor, minlength=256).numpy()
    _look_up(pixels, [_evened(histogram) for histogram in histograms], scratch)


def sharpness(operation: Sharpness, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """Blends with the smoothed image (`ImageEnhance.Sharpness`)."""
    factor = values[operation.column]
    if factor == 1 or pixels.height < 3 or pixels.width < 3:
        return  # Pillow leaves the outermost pixels as they are
    array, tensor = pixels.edit(scratch).all
    together = 3 if array.size <= CHUNK else 1
    for first in range(0, 3, together):
        part = slice(first, first + together)
        _sharpen(Plane(array[part], tensor[part]), factor, scratch)


def gaussian_blur(operation: GaussianBlur, pixels: Pixels, values: _Values, scratch: Scratch) -> None:
    """Blurs with a Gaussian window (torchvision's `gaussian_blur`).

    Raises:
        ValueError: the image is too small to be reflected.
    """
    width, height = operation.kernel_size
    if width // 2 >= pixels.width or height // 2 >= pixels.height:
        raise ValueError(
            f"an image of {pixels.height}x{pixels.width} (height x width) is too small to be blurred with a window of "
            f"{height}x{width}: reflecting it takes more than {height // 2} rows and {width // 2} columns"
        )
    sigma = values[operation.column]
    across, down = _window(width, sigma), _window(height, sigma)
    if len(across) == len(down) == 1:
        return
    source = pixels.edit(scratch).all.array
    target = pixels.redraw(scratch).all.array
    padded_width = pixels.width + 2 * (len(across) - 1)
    margin = 2 * (len(down) - 1)
    together = 3 if 3 * padded_width * (pixels.height + margin) <= CHUNK else 1
    rows = max(CHUNK // padded_width - margin, margin, 1)
    for first in range(0, 3, together):
        part = slice(first, first + together)
        for top in range(0, pixels.height, rows):
            _blur(source[part], target[part, top : top + rows], top, across, down, scratch)


def _levels(pixels: Pixels) -> _Array:
    """uint8 (H, W, 3)."""
    return pixels.levels().permute(1, 2, 0).numpy()


def _replace(pixels: Pixels, levels: _Array) -> None:
    pixels.replace(torch.from_numpy(levels).permute(2, 0, 1))


def _invert(pixels: Pixels, scratch: Scratch) -> None:
    if pixels.in_planes:
        planes = pixels.edit(scratch).all.array
        np.subtract(255, planes, out=planes)
    else:
        _replace(pixels, np.invert(_levels(pixels)))


def _look_up(pixels: Pixels, tables: list[_Array | None], scratch: Scratch) -> None:
    """Replaces the levels of each channel by those of its table of 256; None: by themselves."""
    if all(table is None for table in tables):
        return
    for chunk in pixels.edit(scratch).chunks:
        index = scratch.work(chunk.red.array.size).indices
        for plane, table in zip((chunk.red, chunk.green, chunk.blue), tables, strict=True):
            if table is not None:
                np.copyto(index.array, plane.array, casting="unsafe")
                levels = torch.from_numpy(table.astype(np.float32))
                torch.index_select(levels, 0, index.tensor, out=plane.tensor)


def _stretched(low: float, high: float) -> _Array | None:
    """`ImageOps.autocontrast`'s table for a channel with levels from low to high, in double precision as there."""
    if high <= low or (low, high) == (0, 255):
        return None
    scale = 255.0 / (high - low)
    table: _Array = np.clip((_LEVELS * scale + -low * scale).astype(int), 0, 255)
    return table


def _evened(histogram: _Array) -> _Array | None:
    """`ImageOps.equalize`'s table for a channel with this histogram."""
    present = np.flatnonzero(histogram)
    step = int(histogram.sum() - histogram[present[-1]]) // 255
    if len(present) <= 1 or step == 0:
        return None
    below = np.cumsum(histogram) - histogram
    table: _Array = np.minimum((step // 2 + below) // step, 255)
    return table


def _sharpen(planes: Plane, factor: float, scratch: Scratch) -> None:
    """Sharpens (n, H, W) in place.

    Sums of three run along the memory, from the end of a row or plane into the next: they are wrong at the edges alone,
    which stay as they are. The rounding of sum / 13 + 1/2 has no ties, so its order does not matter.
    """
    shape = planes.array.shape
    width, size = shape[2], planes.array.size
    values = planes.array.reshape(-1)
    across, smoothed = scratch.buffer(0, size).array, scratch.buffer(1, size)
    np.add(values[:-2], values[2:], out=across[1:-1])
    np.add(across[1:-1], values[1:-1], out=across[1:-1])
    inner = slice(width + 1, size - width - 1)
    values, total, result = values[inner], smoothed.array[inner], smoothed.tensor[inner]
    np.add(across[1 : size - 2 * width - 1], across[2 * width + 1 : -1], out=total)
    np.add(total, across[inner], out=total)
    result.add_(planes.tensor.view(-1)[inner], alpha=4)
    np.multiply(total, 1 / 13, out=total)
    np.add(total, 0.5, out=total)
    result.floor_()
    difference = across[inner]
    np.subtract(values, total, out=difference)
    np.multiply(difference, factor, out=difference)
    np.add(total, difference, out=total)
    if factor > 1:
        result.clamp_(0, 255)
    result.floor_()
    np.copyto(planes.array[:, 1:-1, 1:-1], smoothed.array.reshape(shape)[:, 1:-1, 1:-1])


@functools.lru_cache(64)
def _offsets(radius: int) -> _Array:
    return np.arange(radius + 1, dtype=np.float32)


def _window(size: int, sigma: float) -> list[float]:
    """Weights at 0, 1, ... pixels from the middle of a window of `size` pixels, without those too small to matter."""
    weights = np.exp(-0.5 * np.square(_offsets(size // 2) / np.float32(sigma))).tolist()
    total = 2 * sum(weights) - weights[0]
    dropped = 0.0
    while len(weights) > 1 and dropped + 2 * weights[-1] <= _DROPPED * total:
        dropped += 2 * weights.pop()
    return [weight / (total - dropped) for weight in weights]


def _blur(source: _Array, target: _Array, top: int, across: list[float], down: list[float], scratch: Scratch) -> None:
    """Blurs some rows of `source`, (n, H, W), into `target`, (n, h, W), which stands for rows from `top` on.

    The rows, with a margin of reflected pixels, lie one after the other in a buffer. A neighbour is then a constant
    distance away, so each weight takes one pass over the whole buffer; what comes out in the margins is not used.
    """
    columns, margin = len(across) - 1, len(down) - 1
    count, rows, width = target.shape
    shape = count, rows + 2 * margin, width + 2 * columns
    size = math.prod(shape)
    padded, half, pair = (scratch.buffer(number, size) for number in range(3))
    _pad(source, padded.array.reshape(shape), top, columns, margin)
    _convolve(padded, half, pair, 1, across)
    _convolve(half, padded, pair, shape[2], down)
    result = padded.array.reshape(shape)[:, margin : margin + rows, columns : columns + width]
    np.rint(result, out=target)


def _pad(source: _Array, padded: _Array, top: int, columns: int, margin: int) -> None:
    height, width = source.shape[1:]
    first, last = top - margin, top - margin + padded.shape[1]
    above, below = max(0, -first), max(0, last - height)
    inner = slice(columns, columns + width)
    np.copyto(padded[:, above : padded.shape[1] - below, inner], source[:, max(0, first) : min(last, height)])
    if above:
        padded[:, :above, inner] = source[:, 1 : above + 1][:, ::-1]
    if below:
        padded[:, padded.shape[1] - below :, inner] = source[:, height - 1 - below : height - 1][:, ::-1]
    if columns:
        padded[:, :, :columns] = padded[:, :, columns + 1 : 2 * columns + 1][:, :, ::-1]
        padded[:, :, columns + width :] = padded[:, :, width - 1 : width + columns - 1][:, :, ::-1]


def _convolve(source: Plane, target: Plane, pair: Plane, distance: int, weights: list[float]) -> None:
    """The symmetric convolution of the memory of `source` with weights `distance` values apart, into `target`."""
    reach = distance * (len(weights) - 1)
    size = source.array.size
    inner = slice(reach, size - reach)
    np.multiply(source.array[inner], weights[0], out=target.array[inner])
    result, both = target.tensor[inner], pair.tensor[: size - 2 * reach]
    sums = pair.array[: size - 2 * reach]
    for number, weight in enumerate(weights[1:], 1):
        shift = distance * number
        np.add(
            source.array[reach - shift : size - reach - shift],
            source.array[reach + shift : size - reach + shift],
            out=sums,
        )
        result.add_(both, alpha=weight)
