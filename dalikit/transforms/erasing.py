"""RandomErasing: a box of the finished tensor set to one value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError
from dalikit.transforms.arguments import check_bool, check_numbers, check_probability, check_range
from dalikit.transforms.base import Columns, Drawn, Sizes, Transform
from dalikit.transforms.draws import Draws, integers, uniform
from dalikit.transforms.purposes import Purpose

__all__ = ["RandomErasing"]

_ATTEMPTS = 10  # torchvision's: how many boxes are tried before nothing is erased


@dataclass(frozen=True)
class RandomErasing(Transform):
    """Sets a random box to one value, with probability `p`. After ToTensor, usually after Normalize.

    Source: Z. Zhong et al., "Random Erasing Data Augmentation", 2017; the box is drawn as torchvision draws it.

    Args:
        p: how often.
        scale: smallest and largest share of the area.
        ratio: smallest and largest aspect ratio (height / width).
        value: what it is set to, in the units of the tensor at this step: a number, or three (red, green, blue).
            torchvision's "random", noise for each pixel, is not on the device.
        inplace: accepted for torchvision's sake.

    Raises:
        ArgumentError: an argument is out of range.
    """

    p: Any = 0.5
    scale: Any = (0.02, 0.33)
    ratio: Any = (0.3, 3.3)
    value: Any = 0
    inplace: Any = False

    purpose: ClassVar[int] = Purpose.RANDOM_ERASING
    num_blocks: ClassVar[int] = 1 + _ATTEMPTS
    _num_columns: ClassVar[int] = 4

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        set_field = object.__setattr__
        set_field(self, "p", check_probability("p", self.p))
        set_field(self, "scale", check_range("scale", self.scale, high=1.0, from_low=True))
        set_field(self, "ratio", check_range("ratio", self.ratio))
        check_bool("inplace", self.inplace)
        if isinstance(self.value, str):
            raise ArgumentError(f"value={self.value!r}: must be a number or three; noise is not on the device")
        numbers = check_numbers("value", self.value, (1, 3))
        set_field(self, "value", numbers * 3 if len(numbers) == 1 else numbers)

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: top, left, height, width; the height is 0 where nothing is erased."""
        erased = uniform(draws.words()[:, 0]) < self.p
        words = draws.blocks(1, 1 + _ATTEMPTS)  # (R, attempts, 4): area, aspect ratio, top, left
        area = (sizes.heights * sizes.widths).astype(np.float64)[:, None]
        target = area * uniform(words[:, :, 0], *self.scale)
        aspect = np.exp(uniform(words[:, :, 1], math.log(self.ratio[0]), math.log(self.ratio[1])))
        box_heights = np.rint(np.sqrt(target * aspect)).astype(np.int64)
        box_widths = np.rint(np.sqrt(target / aspect)).astype(np.int64)
        fits = (box_heights < sizes.heights[:, None]) & (box_widths < sizes.widths[:, None])
        rows, attempt = np.arange(len(sizes)), fits.argmax(axis=1)
        done = erased & fits.any(axis=1)
        heights, widths = box_heights[rows, attempt], box_widths[rows, attempt]
        chosen = words[rows, attempt]
        tops = integers(chosen[:, 2], np.maximum(sizes.heights - heights + 1, 1))
        lefts = integers(chosen[:, 3], np.maximum(sizes.widths - widths + 1, 1))
        columns = tuple(np.where(done, values, 0) for values in (tops, lefts, heights, widths))
        return columns, sizes

    def drawn(self, values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
        """The box in pixels of the output: top, left, height, width; zeros where nothing was erased."""
        return (Drawn("erased_box", values, 0.0),)
