"""Transforms at the two ends of a recipe: how the image is decoded, and what kind of tensor comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dalikit.errors import ArgumentError
from dalikit.transforms.arguments import check_bool, check_numbers
from dalikit.transforms.base import Transform

__all__ = ["Conversion", "ConvertImageDtype", "Decode", "Normalize", "PILToTensor", "ToDtype", "ToImage", "ToTensor"]

_FLOATS = ("float32", "float16", "bfloat16")


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


class Conversion(Transform):
    """A step at the end of a recipe: multiplies and adds."""

    @property
    def changes_values(self) -> bool:
        """False for steps that only change the kind of object, which is always a uint8 image here."""
        return True

    def arithmetic(self) -> tuple[Sequence[float], Sequence[float]]:
        """Factor and offset: one number for all channels, or three."""
        raise NotImplementedError


@dataclass(frozen=True)
class ToTensor(Conversion):
    """Turns uint8 levels into floating point from 0 to 1, channels first."""

    def arithmetic(self) -> tuple[Sequence[float], Sequence[float]]:
        """A division by 255."""
        return (1.0 / 255.0,), (0.0,)


@dataclass(frozen=True)
class Normalize(Conversion):
    """`(value - mean) / std` for each channel, after ToTensor.

    Args:
        mean: three numbers (red, green, blue), or one for all (bare or in a sequence), on the scale of 0 to 1.
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

    def arithmetic(self) -> tuple[Sequence[float], Sequence[float]]:
        """As a multiplication and an addition."""
        pairs = zip(self.mean, self.std, strict=True)
        return tuple(1.0 / std for std in self.std), tuple(-mean / std for mean, std in pairs)


class _KindOnly(Conversion):
    @property
    def changes_values(self) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class PILToTensor(_KindOnly):
    """Nothing: images are uint8 tensors here from the beginning."""


@dataclass(frozen=True)
class ToImage(_KindOnly):
    """Nothing: images are uint8 tensors here from the beginning."""


@dataclass(frozen=True)
class ConvertImageDtype(Conversion):
    """Turns uint8 levels into floating point from 0 to 1.

    Args:
        dtype: torch.float32 (default) or another floating type; or torch.uint8, which changes nothing. The type that
            comes out is the loader's `dtype`, so give float16 there.

    Raises:
        ArgumentError: `dtype` is none of these.
    """

    dtype: Any = "float32"

    def __post_init__(self) -> None:
        """Keeps the type's name."""
        object.__setattr__(self, "dtype", _check_dtype(self.dtype))

    @property
    def changes_values(self) -> bool:
        """Not if it stays uint8."""
        return bool(self.dtype != "uint8")

    def arithmetic(self) -> tuple[Sequence[float], Sequence[float]]:
        """A division by 255."""
        return (1.0 / 255.0,), (0.0,)


@dataclass(frozen=True)
class ToDtype(ConvertImageDtype):
    """Turns uint8 levels into floating point.

    Args:
        dtype: torch.float32 (default) or another floating type; or torch.uint8, which changes nothing. The type that
            comes out is the loader's `dtype`, so give float16 there.
        scale: True: from 0 to 1; False (torchvision's default): from 0 to 255.

    Raises:
        ArgumentError: an argument is none of these.
    """

    scale: Any = False

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        check_bool("scale", self.scale)

    def arithmetic(self) -> tuple[Sequence[float], Sequence[float]]:
        """A division by 255, or nothing."""
        return ((1.0 / 255.0,), (0.0,)) if self.scale else ((1.0,), (0.0,))


def _check_dtype(value: Any) -> str:
    name = str(value).removeprefix("torch.")
    if name not in (*_FLOATS, "uint8"):
        raise ArgumentError(
            f"dtype={value!r}: must be torch.uint8 or one of {', '.join(f'torch.{n}' for n in _FLOATS)}"
        )
    return name
