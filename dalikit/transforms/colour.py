"""Transforms that change colours: torchvision's names, arguments, defaults and ranges, dalikit's own stream."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError
from dalikit.transforms import operations as ops
from dalikit.transforms.arguments import check_jitter, check_number, check_probability, check_whole
from dalikit.transforms.base import Columns, Drawn, Sizes, Transform
from dalikit.transforms.draws import Draws, uniform
from dalikit.transforms.purposes import Purpose

__all__ = [
    "ColorJitter",
    "Grayscale",
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomEqualize",
    "RandomGrayscale",
    "RandomInvert",
    "RandomPosterize",
    "RandomSolarize",
]

_ORDERS = np.array(list(permutations(range(4))), dtype=np.int64)  # (24, 4)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@dataclass(frozen=True)
class ColorJitter(Transform):
    """Changes brightness, contrast, saturation and hue, each by a factor of its own and in a random order.

    Args:
        brightness: a number b, for a factor uniform in [max(0, 1 - b), 1 + b], or (minimum, maximum). Default 0: not
            changed.
        contrast: the same.
        saturation: the same.
        hue: a number h from 0 to 0.5, for a part of a full turn uniform in [-h, h], or (minimum, maximum) within
            [-0.5, 0.5].

    Raises:
        ArgumentError: an argument is out of range.
    """

    brightness: Any = 0
    contrast: Any = 0
    saturation: Any = 0
    hue: Any = 0

    purpose: ClassVar[int] = Purpose.COLOR_JITTER
    num_blocks: ClassVar[int] = 1
    _num_columns: ClassVar[int] = 8

    def __post_init__(self) -> None:
        """Checks, and keeps (minimum, maximum) of each."""
        for name in ("brightness", "contrast", "saturation"):
            object.__setattr__(self, name, check_jitter(name, getattr(self, name)))
        object.__setattr__(self, "hue", check_jitter("hue", self.hue, neutral=0.0, low=-0.5, high=0.5))

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: which comes first, second, third, last; then the four factors."""
        words = draws.words()
        # One word gives two numbers: its product with 24 is an order (high half) and what is left over, a number of
        # 27 random bits (low half), of which float32 keeps 24. That saves every row a block of words.
        product = words[:, 0].astype(np.uint64) * np.uint64(len(_ORDERS))
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        active = np.array(
            [low != neutral or high != neutral for (low, high), neutral in zip(ranges, (1, 1, 1, 0), strict=True)]
        )
        order = np.where(active[_ORDERS], _ORDERS, ops.NOTHING)[(product >> _HALF).astype(np.int64)]
        left_over = (product & _LOW).astype(np.uint32)
        factors = (uniform(word, *limits) for word, limits in zip((left_over, *words[:, 1:].T), ranges, strict=True))
        return (*order.T, *factors), sizes

    def operations(self, column: int) -> tuple[ops.Operation, ...]:
        """All four as one operation."""
        return (ops.ColorJitter(column),)

    def drawn(self, values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
        """The four factors, and the order: 0 brightness, 1 contrast, 2 saturation, 3 hue, 4 nothing."""
        names = ("brightness", "contrast", "saturation", "hue")
        factors = (
            Drawn(name, values[:, place], neutral)
            for place, (name, neutral) in enumerate(zip(names, (1.0, 1.0, 1.0, 0.0), strict=True), start=4)
        )
        return (*factors, Drawn("color_order", values[:, :4], float(ops.NOTHING)))


@dataclass(frozen=True)
class Grayscale(Transform):
    """Makes the image gray, by ITU-R 601-2: 0.299 red + 0.587 green + 0.114 blue.

    Args:
        num_output_channels: must be 3, equal ones, as every image has three channels here. torchvision's default is 1,
            which is therefore refused: write `Grayscale(num_output_channels=3)`.

    Raises:
        ArgumentError: `num_output_channels` is not 3.
    """

    num_output_channels: Any = 1

    def __post_init__(self) -> None:
        """Checks the argument."""
        if self.num_output_channels != 3 or isinstance(self.num_output_channels, bool):
            raise ArgumentError(
                f"num_output_channels={self.num_output_channels!r}: images have three channels here; "
                "write Grayscale(num_output_channels=3), which makes them equal"
            )

    def operations(self, column: int) -> tuple[ops.Operation, ...]:
        """Gray."""
        del column
        return (ops.Grayscale(),)

    def drawn(self, values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
        """True everywhere."""
        return (Drawn("grayscale", np.ones(len(values), dtype=bool), 0.0),)


class _Sometimes(Transform):
    """One operation, done with probability `p`."""

    p: Any

    num_blocks: ClassVar[int] = 1
    _num_columns: ClassVar[int] = 1
    _name: ClassVar[str]

    def __post_init__(self) -> None:
        """Checks the probability."""
        object.__setattr__(self, "p", check_probability("p", self.p))

    def _parameters(self) -> tuple[float, ...]:
        """What the operation reads, the same for all images."""
        return ()

    def _operation(self, column: int) -> ops.Operation:
        raise NotImplementedError

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: 1 where it is done; then what the operation reads."""
        done = (uniform(draws.words()[:, 0]) < self.p).astype(np.int64)
        return (done, *(np.full(len(sizes), value, dtype=np.float64) for value in self._parameters())), sizes

    def operations(self, column: int) -> tuple[ops.Operation, ...]:
        """The operation, for the images that drew it."""
        return (ops.Select(column, ((), (self._operation(column + 1),))),)

    def drawn(self, values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
        """Where it is done."""
        return (Drawn(self._name, values[:, 0] == 1, 0.0),)


@dataclass(frozen=True)
class RandomGrayscale(_Sometimes):
    """Makes the image gray, as Grayscale does, with probability `p` (default 0.1)."""

    p: Any = 0.1

    purpose: ClassVar[int] = Purpose.RANDOM_GRAYSCALE
    _name: ClassVar[str] = "grayscale"

    def _operation(self, column: int) -> ops.Operation:
        del column
        return ops.Grayscale()


@dataclass(frozen=True)
class RandomSolarize(_Sometimes):
    """Inverts the levels at or above a threshold, with probability `p`.

    Args:
        threshold: a level; 256 and more inverts nothing.
        p: how often. Default 0.5.

    Raises:
        ArgumentError: an argument is out of range.
    """

    threshold: Any
    p: Any = 0.5

    purpose: ClassVar[int] = Purpose.RANDOM_SOLARIZE
    _num_columns: ClassVar[int] = 2
    _name: ClassVar[str] = "solarize"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        object.__setattr__(self, "threshold", check_number("threshold", self.threshold))

    def _parameters(self) -> tuple[float, ...]:
        return (self.threshold,)

    def _operation(self, column: int) -> ops.Operation:
        return ops.Solarize(column)


@dataclass(frozen=True)
class RandomPosterize(_Sometimes):
    """Keeps the highest bits of each level, with probability `p`.

    Args:
        bits: how many, 0 to 8.
        p: how often. Default 0.5.

    Raises:
        ArgumentError: an argument is out of range.
    """

    bits: Any
    p: Any = 0.5

    purpose: ClassVar[int] = Purpose.RANDOM_POSTERIZE
    _num_columns: ClassVar[int] = 2
    _name: ClassVar[str] = "posterize"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        object.__setattr__(self, "bits", check_whole("bits", self.bits, 0, 8))

    def _parameters(self) -> tuple[float, ...]:
        return (self.bits,)

    def _operation(self, column: int) -> ops.Operation:
        return ops.Posterize(column)


@dataclass(frozen=True)
class RandomInvert(_Sometimes):
    """Inverts all levels with probability `p` (default 0.5)."""

    p: Any = 0.5

    purpose: ClassVar[int] = Purpose.RANDOM_INVERT
    _name: ClassVar[str] = "invert"

    def _operation(self, column: int) -> ops.Operation:
        del column
        return ops.Invert()


@dataclass(frozen=True)
class RandomAutocontrast(_Sometimes):
    """Stretches each channel to the whole range of levels with probability `p` (default 0.5)."""

    p: Any = 0.5

    purpose: ClassVar[int] = Purpose.RANDOM_AUTOCONTRAST
    _name: ClassVar[str] = "autocontrast"

    def _operation(self, column: int) -> ops.Operation:
        del column
        return ops.Autocontrast()


@dataclass(frozen=True)
class RandomEqualize(_Sometimes):
    """Makes each channel's histogram even with probability `p` (default 0.5)."""

    p: Any = 0.5

    purpose: ClassVar[int] = Purpose.RANDOM_EQUALIZE
    _name: ClassVar[str] = "equalize"

    def _operation(self, column: int) -> ops.Operation:
        del column
        return ops.Equalize()


@dataclass(frozen=True)
class RandomAdjustSharpness(_Sometimes):
    """Smooths or sharpens the image with probability `p`.

    Args:
        sharpness_factor: at least 0: 0 smooths, 1 leaves the image as it is, 2 sharpens.
        p: how often. Default 0.5.

    Raises:
        ArgumentError: an argument is out of range.
    """

    sharpness_factor: Any
    p: Any = 0.5

    purpose: ClassVar[int] = Purpose.RANDOM_ADJUST_SHARPNESS
    _num_columns: ClassVar[int] = 2
    _name: ClassVar[str] = "sharpness"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        factor = check_number("sharpness_factor", self.sharpness_factor, low=0.0)
        object.__setattr__(self, "sharpness_factor", factor)

    def _parameters(self) -> tuple[float, ...]:
        return (self.sharpness_factor,)

    def _operation(self, column: int) -> ops.Operation:
        return ops.Sharpness(column)

    def drawn(self, values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
        """The factor; 1 where it is not done."""
        return (Drawn(self._name, np.where(values[:, 0] == 1, values[:, 1], np.float32(1.0)), 1.0),)
