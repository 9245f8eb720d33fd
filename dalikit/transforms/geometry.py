"""Transforms that say which part of an image is taken, how large it becomes, and which way round.

Names, arguments, defaults and the rules for sizes are torchvision's (torchvision/transforms/transforms.py and
functional.py); what is drawn is dalikit's own stream.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError
from dalikit.transforms.arguments import (
    check_antialias,
    check_bool,
    check_colour,
    check_interpolation,
    check_padding,
    check_probability,
    check_range,
    check_size,
)
from dalikit.transforms.base import Columns, Sizes, Transform, TransformRefusalError
from dalikit.transforms.draws import Draws, Words, integers, uniform
from dalikit.transforms.operations import Crop, Flip, InterpolationMode, Operation
from dalikit.transforms.operations import Resize as ResizeOperation
from dalikit.transforms.purposes import Purpose

__all__ = [
    "CenterCrop",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomVerticalFlip",
    "Resize",
]

_ATTEMPTS = 10  # torchvision's: how many boxes are tried before the central one is taken


def _pair(size: tuple[int, int] | int) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """Cuts out a random part of the image and resizes it: the crop of ImageNet and DINO training.

    Up to ten boxes are tried, each of a random share of the area and a random aspect ratio (width / height, uniform in
    its logarithm); the first that fits is taken, else the largest central box within `ratio`. As the first step, only
    the box is decoded.

    Args:
        size: an int (square) or (height, width) of the output, in pixels.
        scale: smallest and largest share of the area.
        ratio: smallest and largest aspect ratio.
        interpolation: "nearest", "bilinear" (default, as torchvision's) or "bicubic".
        antialias: widen the filter when shrinking, as Pillow always does.

    Raises:
        ArgumentError: an argument is out of range.
    """

    size: Any
    scale: Any = (0.08, 1.0)
    ratio: Any = (3.0 / 4.0, 4.0 / 3.0)
    interpolation: Any = InterpolationMode.BILINEAR
    antialias: Any = True

    purpose: ClassVar[int] = Purpose.RANDOM_RESIZED_CROP
    num_blocks: ClassVar[int] = 1
    _num_columns: ClassVar[int] = 6

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        set_field = object.__setattr__
        set_field(self, "size", _pair(check_size("size", self.size)))
        set_field(self, "scale", check_range("scale", self.scale, high=1.0, from_low=True))
        set_field(self, "ratio", check_range("ratio", self.ratio))
        set_field(self, "interpolation", check_interpolation("interpolation", self.interpolation))
        set_field(self, "antialias", check_antialias(self.antialias))

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: top, left, height, width of the box, then height and width of the output."""
        heights, widths = self._central(sizes)
        tops, lefts = (sizes.heights - heights) // 2, (sizes.widths - widths) // 2
        left_over = np.arange(len(sizes))
        for start, stop in ((0, 1), (1, _ATTEMPTS)):  # most rows are done after the first: only the others draw more
            inner = sizes.of(left_over)
            words = (draws.of(left_over) if start else draws).blocks(start, stop)  # (R', attempts, 4)
            fits, box_heights, box_widths = self._boxes(words, inner)
            done = np.flatnonzero(fits.any(axis=1))
            chosen = done, fits[done].argmax(axis=1)
            rows = left_over[done]
            heights[rows], widths[rows] = box_heights[chosen], box_widths[chosen]
            tops[rows] = integers(words[chosen][:, 2], inner.heights[done] - heights[rows] + 1)
            lefts[rows] = integers(words[chosen][:, 3], inner.widths[done] - widths[rows] + 1)
            left_over = np.delete(left_over, done)
            if not len(left_over):
                break
        after = Sizes.full(len(sizes), *self.size)
        return (tops, lefts, heights, widths, after.heights, after.widths), after

    def _boxes(
        self, words: Words, sizes: Sizes
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Whether the box of each attempt fits, its height, and its width.

        Args:
            words: uint32 (R, attempts, 4): area, aspect ratio, top, left.
            sizes: R images.
        """
        area = (sizes.heights * sizes.widths).astype(np.float64)[:, None]
        target = area * uniform(words[:, :, 0], *self.scale)
        aspect = np.exp(uniform(words[:, :, 1], math.log(self.ratio[0]), math.log(self.ratio[1])))
        widths = np.rint(np.sqrt(target * aspect)).astype(np.int64)
        heights = np.rint(np.sqrt(target / aspect)).astype(np.int64)
        fits = (widths > 0) & (heights > 0) & (widths <= sizes.widths[:, None]) & (heights <= sizes.heights[:, None])
        return fits, heights, widths

    def _central(self, sizes: Sizes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Height and width of the box that is taken when no attempt fits."""
        ratio = sizes.widths / sizes.heights
        low, high = self.ratio
        heights = np.where(ratio < low, np.rint(sizes.widths / low).astype(np.int64), sizes.heights)
        widths = np.where(ratio > high, np.rint(sizes.heights * high).astype(np.int64), sizes.widths)
        # Rounding can pass the edge by a pixel, or make nothing of a strip one pixel wide.
        return np.clip(heights, 1, sizes.heights), np.clip(widths, 1, sizes.widths)

    def operations(self, column: int) -> tuple[Operation, ...]:
        """A crop inside the image, then a resize."""
        resize = ResizeOperation(column + 4, self.interpolation, self.antialias)
        return Crop(column, fill=None), resize


@dataclass(frozen=True)
class Resize(Transform):
    """Resizes the image.

    Args:
        size: (height, width) of the output; or an int, which the shorter side gets while the aspect ratio stays (the
            longer side is cut down to a whole number, as torchvision does). In pixels.
        interpolation: "nearest", "bilinear" (default) or "bicubic".
        max_size: with an int `size`: the longer side is never larger than this; the shorter one gives way.
        antialias: widen the filter when shrinking, as Pillow always does.

    Raises:
        ArgumentError: an argument is out of range.
    """

    size: Any
    interpolation: Any = InterpolationMode.BILINEAR
    max_size: Any = None
    antialias: Any = True

    _num_columns: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        set_field = object.__setattr__
        size = check_size("size", self.size)
        set_field(self, "size", size)
        set_field(self, "interpolation", check_interpolation("interpolation", self.interpolation))
        set_field(self, "antialias", check_antialias(self.antialias))
        if self.max_size is None:
            return
        limit = check_size("max_size", self.max_size)
        if not isinstance(size, int) or not isinstance(limit, int) or limit <= size:
            raise ArgumentError(
                f"max_size={self.max_size!r}: must be an int larger than size={self.size!r}, which must be an int then"
            )
        set_field(self, "max_size", limit)

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: height and width of the output."""
        del draws
        if not isinstance(self.size, int):
            after = Sizes.full(len(sizes), *self.size)
            return (after.heights, after.widths), after
        short = np.minimum(sizes.heights, sizes.widths)
        long = np.maximum(sizes.heights, sizes.widths)
        new_short = np.full(len(sizes), self.size, dtype=np.int64)
        new_long = (self.size * long / short).astype(np.int64)
        if self.max_size is not None:
            over = new_long > self.max_size
            cut_short = np.maximum((self.max_size * new_short / new_long).astype(np.int64), 1)
            new_short = np.where(over, cut_short, new_short)
            new_long = np.where(over, self.max_size, new_long)
        upright = sizes.heights >= sizes.widths
        after = Sizes(np.where(upright, new_long, new_short), np.where(upright, new_short, new_long))
        return (after.heights, after.widths), after

    def operations(self, column: int) -> tuple[Operation, ...]:
        """A resize."""
        return (ResizeOperation(column, self.interpolation, self.antialias),)


@dataclass(frozen=True)
class CenterCrop(Transform):
    """Cuts out the middle of the image; where the image is smaller, black is added around it.

    Args:
        size: an int (square) or (height, width), in pixels.

    Raises:
        ArgumentError: `size` is out of range.
    """

    size: Any

    _num_columns: ClassVar[int] = 4

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        object.__setattr__(self, "size", _pair(check_size("size", self.size)))

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: top, left (negative where the image is smaller), height, width."""
        del draws
        after = Sizes.full(len(sizes), *self.size)
        tops = self._start(sizes.heights, after.heights)
        lefts = self._start(sizes.widths, after.widths)
        return (tops, lefts, after.heights, after.widths), after

    @staticmethod
    def _start(sides: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        inside = np.rint((sides - wanted) / 2.0).astype(np.int64)  # halves to even, as Python's round in torchvision
        return np.where(sides >= wanted, inside, -((wanted - sides) // 2))

    def operations(self, column: int) -> tuple[Operation, ...]:
        """A crop that may reach over the edge."""
        return (Crop(column, fill=(0, 0, 0)),)


@dataclass(frozen=True)
class RandomCrop(Transform):
    """Cuts out a box of a given size at a random place.

    Args:
        size: an int (square) or (height, width), in pixels.
        padding: pixels added around the image first: an int, (left/right, top/bottom) or (left, top, right, bottom).
        pad_if_needed: add as much as is missing on both sides where the image is smaller than `size`.
        fill: colour of what is added: a level from 0 to 255, or three of them.
        padding_mode: "constant" is the only one; reflected and repeated edges are not on the device.

    Raises:
        ArgumentError: an argument is out of range.
    """

    size: Any
    padding: Any = None
    pad_if_needed: Any = False
    fill: Any = 0
    padding_mode: str = "constant"

    purpose: ClassVar[int] = Purpose.RANDOM_CROP
    num_blocks: ClassVar[int] = 1
    _num_columns: ClassVar[int] = 4

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        set_field = object.__setattr__
        set_field(self, "size", _pair(check_size("size", self.size)))
        set_field(self, "padding", None if self.padding is None else check_padding("padding", self.padding))
        set_field(self, "pad_if_needed", check_bool("pad_if_needed", self.pad_if_needed))
        set_field(self, "fill", check_colour("fill", self.fill))
        if self.padding_mode != "constant":
            raise ArgumentError(f"padding_mode={self.padding_mode!r}: must be 'constant', the only one on the device")

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: top, left (negative inside the added border), height, width."""
        height, width = self.size
        left, top, right, bottom = self.padding or (0, 0, 0, 0)
        before_top, canvas_heights = self._canvas(sizes.heights, top, bottom, height)
        before_left, canvas_widths = self._canvas(sizes.widths, left, right, width)
        small = (canvas_heights < height) | (canvas_widths < width)
        if small.any():
            row = int(small.argmax())
            raise TransformRefusalError(
                row,
                f"RandomCrop(size={self.size}): the image is {canvas_heights[row]}x{canvas_widths[row]} "
                "(height x width) with its padding; resize it first, or give pad_if_needed=True",
            )
        tops = integers(draws.words()[:, 0], canvas_heights - height + 1) - before_top
        lefts = integers(draws.words()[:, 1], canvas_widths - width + 1) - before_left
        after = Sizes.full(len(sizes), height, width)
        return (tops, lefts, after.heights, after.widths), after

    def _canvas(
        self, sides: npt.NDArray[np.int64], before: int, after: int, wanted: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """What is added before a side's first pixel, and the side's length with all that is added."""
        padded = sides + before + after
        # torchvision adds the whole of what is missing on both sides
        missing = np.maximum(wanted - padded, 0) if self.pad_if_needed else np.zeros_like(sides)
        return before + missing, padded + 2 * missing

    def operations(self, column: int) -> tuple[Operation, ...]:
        """A crop; one that may reach over the edge if there is padding."""
        padded = self.padding is not None or self.pad_if_needed
        return (Crop(column, self.fill if padded else None),)


@dataclass(frozen=True)
class _RandomFlip(Transform):
    p: Any = 0.5

    num_blocks: ClassVar[int] = 1
    _num_columns: ClassVar[int] = 1
    horizontal: ClassVar[bool]

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        object.__setattr__(self, "p", check_probability("p", self.p))

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: 1 where the image is mirrored."""
        return ((uniform(draws.words()[:, 0]) < self.p).astype(np.int64),), sizes

    def operations(self, column: int) -> tuple[Operation, ...]:
        """A flip."""
        return (Flip(column, horizontal=self.horizontal),)


@dataclass(frozen=True)
class RandomHorizontalFlip(_RandomFlip):
    """Mirrors left and right with probability `p` (default 0.5)."""

    purpose: ClassVar[int] = Purpose.RANDOM_HORIZONTAL_FLIP
    horizontal: ClassVar[bool] = True


@dataclass(frozen=True)
class RandomVerticalFlip(_RandomFlip):
    """Mirrors top and bottom with probability `p` (default 0.5)."""

    purpose: ClassVar[int] = Purpose.RANDOM_VERTICAL_FLIP
    horizontal: ClassVar[bool] = False
