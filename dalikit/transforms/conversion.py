"""Transforms at the two ends of a recipe: how the image is decoded, and what kind of tensor comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dalikit.errors import ArgumentError
from dalikit.transforms.arguments import check_bool, check_numbers
from dalikit.transforms.base import Transform

__all__ = ["Decode", "Normalize", "ToTensor"]


@dataclass(frozen=True)
class Decode(Transform):
    """How the encoded image becomes RGB. Only as the first step; without it `Decode()` is meant.

    Args:
        adjust_orientation: turn the image as its EXIF orientation says. Default False: DINOv2's and torchvision's
            datasets decode by Pillow's `convert("RGB")`, which does not. True decodes whole images, never a region.
    """

    adjust_orientation: Any = False

    def __post_init__(self) -> None:
        """Checks the argument."""
        check_bool("adjust_orientation", self.adjust_orientation)


@dataclass(frozen=True)
class ToTensor(Transform):
    """Turns uint8 levels into floating point from 0 to 1, channels first."""


@dataclass(frozen=True)
class Normalize(Transform):
    """`(value - mean) / std` for each channel, after ToTensor.

    Args:
        mean: three numbers (red, green, blue), or one for all, on the scale of 0 to 1.
        std: the same; none may be zero.
        inplace: accepted for torchvision's sake; there is nothing here that could be kept.

    Raises:
        ArgumentError: a count is wrong, a number is not finite, or a std is zero.
    """

    mean: Any
    std: Any
    inplace: bool = False

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        for name in ("mean", "std"):
            numbers = check_numbers(name, getattr(self, name), (1, 3))
            object.__setattr__(self, name, numbers * 3 if len(numbers) == 1 else numbers)
        if 0.0 in self.std:
            raise ArgumentError(f"std={self.std!r}: must not be zero")
