"""Transforms that move pixels: affine, rotation, perspective and padding.

Names, arguments, defaults and the maps are torchvision's; what is drawn is dalikit's own stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError
from dalikit.transforms.arguments import (
    check_angles,
    check_bool,
    check_centre,
    check_fill,
    check_number,
    check_numbers,
    check_padding,
    check_probability,
    check_range,
    check_warp_interpolation,
)
from dalikit.transforms.base import Columns, Drawn, Sizes, Transform
from dalikit.transforms.draws import Draws, Words, integers, uniform
from dalikit.transforms.matrices import affine_map, perspective_map, rotation_map
from dalikit.transforms.operations import Crop, InterpolationMode, Operation, Select, Warp
from dalikit.transforms.purposes import Purpose

__all__ = ["Pad", "RandomAffine", "RandomPerspective", "RandomRotation"]


def _rounded(words: Words, low: float, high: float) -> npt.NDArray[np.float64]:
    """Uniform, and what float32 can say: the map is made of the very number that users are told."""
    return uniform(words, low, high).astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class RandomAffine(Transform):
    """Rotates, shifts, scales and shears the image about a point, all by random amounts.

    Args:
        degrees: a number d for an angle (clockwise) in [-d, d], or (minimum, maximum); 0 does not rotate.
        translate: None (default), or (a, b): shifts of up to a * width and b * height, rounded to whole pixels.
        scale: None (default), or (minimum, maximum) of a factor.
        shear: None (default); a number s for a shear along x in [-s, s]; two numbers for a range along x, four for
            ranges along x and y. In degrees.
        interpolation: "nearest" (default, as torchvision's) or "bilinear".
        fill: colour of what lies outside the image: a level from 0 to 255, or three of them.
        center: the point (x, y) that rotation, scale and shear leave in place, in pixels from the upper left corner;
            None: the middle.

    Raises:
        ArgumentError: an argument is out of range.
    """

    degrees: Any
    translate: Any = None
    scale: Any = None
    shear: Any = None
    interpolation: Any = InterpolationMode.NEAREST
    fill: Any = 0
    center: Any = None

    purpose: ClassVar[int] = Purpose.RANDOM_AFFINE
    num_blocks: ClassVar[int] = 2
    _num_columns: ClassVar[int] = 14

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        set_field = object.__setattr__
        set_field(self, "degrees", check_angles("degrees", self.degrees))
        if self.translate is not None:
            set_field(self, "translate", self._check_translate(self.translate))
        if self.scale is not None:
            set_field(self, "scale", check_range("scale", self.scale))
        if self.shear is not None:
            set_field(self, "shear", check_angles("shear", self.shear, (2, 4)))
        set_field(self, "interpolation", check_warp_interpolation("interpolation", self.interpolation))
        set_field(self, "fill", check_fill("fill", self.fill))
        set_field(self, "center", check_centre("center", self.center))

    @staticmethod
    def _check_translate(value: Any) -> tuple[float, float]:
        across, down = check_numbers("translate", value, (2,))
        if not (0.0 <= across <= 1.0 and 0.0 <= down <= 1.0):
            raise ArgumentError(f"translate={value!r}: translation values should be between 0 and 1")
        return across, down

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: height, width, a to f; then angle, shift along x and y, scale, shear along x and y."""
        first, second = draws.words(0).T, draws.words(1).T
        angle = _rounded(first[0], *self.degrees)
        across, down = (
            np.rint(limit * side * uniform(word, -1.0, 1.0))
            for limit, side, word in zip(
                self.translate or (0, 0), (sizes.widths, sizes.heights), first[1:3], strict=True
            )
        )
        scale = _rounded(first[3], *(self.scale or (1.0, 1.0)))
        limits = (*(self.shear or ()), 0.0, 0.0, 0.0, 0.0)
        shear = _rounded(second[0], *limits[:2]), _rounded(second[1], *limits[2:4])
        centre = (sizes.widths / 2.0, sizes.heights / 2.0) if self.center is None else self.center
        found = affine_map(angle, scale, shear).around(centre, (across, down))
        return (sizes.heights, sizes.widths, *found, angle, across, down, scale, *shear), sizes

    def operations(self, column: int) -> tuple[Operation, ...]:
        """A warp."""
        return (Warp(column, perspective=False, interpolation=self.interpolation, fill=self.fill),)

    def drawn(self, values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
        """Angle in degrees (clockwise), shift (x, y) in pixels, scale, and shear (x, y) in degrees."""
        return (
            Drawn("angle", values[:, 8], 0.0),
            Drawn("translation", values[:, 9:11], 0.0),
            Drawn("scale", values[:, 11], 1.0),
            Drawn("shear", values[:, 12:14], 0.0),
        )


@dataclass(frozen=True)
class RandomRotation(Transform):
    """Rotates the image by a random angle, as Pillow's `Image.rotate` does.

    Args:
        degrees: a number d for an angle (counter-clockwise) in [-d, d], or (minimum, maximum).
        interpolation: "nearest" (default, as torchvision's) or "bilinear".
        expand: make the output large enough for the whole turned image. As the sizes then differ, a step that makes
            them equal has to follow. Default False: the size stays.
        center: the point (x, y) that stays in place, in pixels from the upper left corner; None: the middle.
        fill: colour of what lies outside the image: a level from 0 to 255, or three of them.

    Raises:
        ArgumentError: an argument is out of range.
    """

    degrees: Any
    interpolation: Any = InterpolationMode.NEAREST
    expand: Any = False
    center: Any = None
    fill: Any = 0

    purpose: ClassVar[int] = Purpose.RANDOM_ROTATION
    num_blocks: ClassVar[int] = 1
    _num_columns: ClassVar[int] = 9

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        set_field = object.__setattr__
        set_field(self, "degrees", check_angles("degrees", self.degrees))
        set_field(self, "interpolation", check_warp_interpolation("interpolation", self.interpolation))
        set_field(self, "expand", check_bool("expand", self.expand))
        set_field(self, "center", check_centre("center", self.center))
        set_field(self, "fill", check_fill("fill", self.fill))

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: height, width, a to f; then the angle."""
        angle = _rounded(draws.words()[:, 0], *self.degrees)
        found, after = rotation_map(angle, sizes, self.center, expand=self.expand)
        return (after.heights, after.widths, *found, angle), after

    def operations(self, column: int) -> tuple[Operation, ...]:
        """A warp."""
        return (Warp(column, perspective=False, interpolation=self.interpolation, fill=self.fill),)

    def drawn(self, values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
        """The angle in degrees, counter-clockwise."""
        return (Drawn("angle", values[:, 8], 0.0),)


@dataclass(frozen=True)
class RandomPerspective(Transform):
    """Looks at the image from elsewhere: its four corners are moved inwards at random, with probability `p`.

    Where three of the corners would lie on one line, which takes an image of a few pixels or a distortion near 1,
    the image is left as it is.

    Args:
        distortion_scale: from 0 to 1: how far a corner may move, as a share of half the side.
        p: how often.
        interpolation: "bilinear" (default, as torchvision's) or "nearest".
        fill: colour of what lies outside the image: a level from 0 to 255, or three of them.

    Raises:
        ArgumentError: an argument is out of range.
    """

    distortion_scale: Any = 0.5
    p: Any = 0.5
    interpolation: Any = InterpolationMode.BILINEAR
    fill: Any = 0

    purpose: ClassVar[int] = Purpose.RANDOM_PERSPECTIVE
    num_blocks: ClassVar[int] = 3
    _num_columns: ClassVar[int] = 11

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        set_field = object.__setattr__
        distortion = check_number("distortion_scale", self.distortion_scale, low=0.0, high=1.0)
        set_field(self, "distortion_scale", distortion)
        set_field(self, "p", check_probability("p", self.p))
        set_field(self, "interpolation", check_warp_interpolation("interpolation", self.interpolation))
        set_field(self, "fill", check_fill("fill", self.fill))

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: 1 where the image is warped; then height, width, a to h."""
        done = uniform(draws.words()[:, 0]) < self.p
        columns = np.zeros((11, len(sizes)))
        rows = np.flatnonzero(done)
        inner = sizes.of(rows)
        found, valid = perspective_map(self._corners(draws.of(rows), inner), inner)
        columns[:, rows] = np.stack([valid.astype(np.float64), inner.heights, inner.widths, *found])
        return tuple(columns), sizes

    def _corners(self, draws: Draws, sizes: Sizes) -> npt.NDArray[np.int64]:
        """(R, 4, 2): the new places x, y of the top left, top right, bottom right and bottom left pixel."""
        words = draws.blocks(1, 3).reshape(len(sizes), 4, 2)
        sides = np.stack([sizes.widths, sizes.heights], axis=1)[:, None]  # (R, 1, 2)
        bound = (self.distortion_scale * (sides // 2)).astype(np.int64) + 1
        inwards = integers(words, bound)
        at_far_side = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=bool)
        return np.where(at_far_side, sides - 1 - inwards, inwards)

    def operations(self, column: int) -> tuple[Operation, ...]:
        """A warp, for the images that drew it."""
        warp = Warp(column + 1, perspective=True, interpolation=self.interpolation, fill=self.fill)
        return (Select(column, ((), (warp,))),)

    def drawn(self, values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
        """Where it is done."""
        return (Drawn("perspective", values[:, 0] == 1, 0.0),)


@dataclass(frozen=True)
class Pad(Transform):
    """Adds a border.

    Args:
        padding: an int, (left/right, top/bottom) or (left, top, right, bottom), in pixels.
        fill: colour of the border: a level from 0 to 255, or three of them.
        padding_mode: "constant" is the only one; reflected and repeated edges are not on the device.

    Raises:
        ArgumentError: an argument is out of range.
    """

    padding: Any
    fill: Any = 0
    padding_mode: str = "constant"

    _num_columns: ClassVar[int] = 4

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        object.__setattr__(self, "padding", check_padding("padding", self.padding))
        object.__setattr__(self, "fill", check_fill("fill", self.fill))
        if self.padding_mode != "constant":
            raise ArgumentError(f"padding_mode={self.padding_mode!r}: must be 'constant', the only one on the device")

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: top, left (negative), height, width."""
        del draws
        left, top, right, bottom = self.padding
        after = Sizes(sizes.heights + (top + bottom), sizes.widths + (left + right))
        starts = (np.full(len(sizes), -start, dtype=np.int64) for start in (top, left))
        return (*starts, after.heights, after.widths), after

    def operations(self, column: int) -> tuple[Operation, ...]:
        """A crop that reaches over the edges."""
        return (Crop(column, self.fill),)
