"""What executors carry out: the few primitive operations that every transform comes down to.

A transform says how its parameters are drawn and which operations they feed; an executor knows operations alone. An
operation names the columns of the `[batch, P]` parameter matrix that it reads; whatever is the same for all samples
stands in the operation itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Crop", "Flip", "InterpolationMode", "Operation", "Output", "Resize"]


class InterpolationMode(Enum):
    """How pixels between pixels are made; the values are torchvision's."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


@dataclass(frozen=True, slots=True)
class Crop:
    """Cuts a box out of the image."""

    column: int
    """First of four columns: top, left, height, width, in pixels of the image as it is at this step."""
    fill: tuple[int, int, int] | None = None
    """Colour of what lies outside the image; None: the box is known to lie inside."""


@dataclass(frozen=True, slots=True)
class Resize:
    """Resizes the whole image."""

    column: int
    """First of two columns: height, width, in pixels."""
    interpolation: InterpolationMode
    antialias: bool
    """Widen the filter when the image shrinks, as Pillow always does. No meaning for NEAREST."""


@dataclass(frozen=True, slots=True)
class Flip:
    """Mirrors the image where the column is 1."""

    column: int
    horizontal: bool
    """True: left and right change places; False: top and bottom."""


Operation = Crop | Resize | Flip


@dataclass(frozen=True, slots=True)
class Output:
    """The last step: uint8 as it is, or `value * scale + shift` as floating point, one pair a channel."""

    scale: tuple[float, float, float] | None = None
    """None: the uint8 values go out unchanged."""
    shift: tuple[float, float, float] | None = None

    @property
    def floating(self) -> bool:
        """True if the output is floating point."""
        return self.scale is not None
