"""What executors carry out: the few primitive operations that every transform comes down to.

A transform says how its parameters are drawn and which operations they feed; an executor knows operations alone. An
operation names the columns of the `[batch, P]` parameter matrix that it reads; whatever is the same for all samples
stands in the operation itself. Unless said otherwise an operation takes and gives a uint8 RGB image, and its result is
Pillow's, which torchvision calls for images that are not tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = [
    "NOTHING",
    "Autocontrast",
    "Brightness",
    "ColorJitter",
    "Contrast",
    "Crop",
    "Equalize",
    "Erase",
    "Flip",
    "GaussianBlur",
    "Grayscale",
    "Hue",
    "InterpolationMode",
    "Invert",
    "Mixture",
    "Operation",
    "Output",
    "Posterize",
    "Resize",
    "Saturation",
    "Select",
    "Sharpness",
    "Solarize",
    "Warp",
]

NOTHING = 4
"""In a slot of a ColorJitter's order: nothing is done."""


class InterpolationMode(Enum):
    """How pixels between pixels are made; the values are torchvision's."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


# Where pixels come from


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


@dataclass(frozen=True, slots=True)
class Warp:
    """Takes each pixel from another place: Pillow's `Image.transform` with AFFINE or PERSPECTIVE.

    The pixel (x, y) of the output is taken at ((a x + b y + c) / w, (d x + e y + f) / w) of the input, where x, y and
    what comes out count from the image's corner, pixel centres at halves, and w = g x + h y + 1 (1 if affine).
    """

    column: int
    """First of the columns height, width (of the output, in pixels), a, b, c, d, e, f, and if perspective g, h."""
    perspective: bool
    interpolation: InterpolationMode
    """NEAREST or BILINEAR (never antialiased)."""
    fill: tuple[int, int, int]
    """Colour of what lies outside the image."""


# Colour. Factors are torchvision's: 1 leaves the image as it is.


@dataclass(frozen=True, slots=True)
class Brightness:
    """Blends with black: `value * factor`, clipped, cut to whole levels."""

    column: int
    """The factor, at least 0."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Blends with the mean of the image's gray, a whole level."""

    column: int
    """The factor, at least 0."""


@dataclass(frozen=True, slots=True)
class Saturation:
    """Blends with the gray image."""

    column: int
    """The factor, at least 0."""


@dataclass(frozen=True, slots=True)
class Hue:
    """Turns the hue, in Pillow's HSV with 8 bits a channel."""

    column: int
    """Part of a full turn, from -0.5 to 0.5; the shift is `int(part * 255)` steps of 256."""


@dataclass(frozen=True, slots=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue, in an order of each sample's own."""

    column: int
    """First of eight columns: which one comes first, second, third, last (0 brightness, 1 contrast, 2 saturation,
    3 hue, 4 nothing); then the four factors, in that order."""


@dataclass(frozen=True, slots=True)
class Grayscale:
    """Gray (ITU-R 601-2) in all three channels."""


@dataclass(frozen=True, slots=True)
class Solarize:
    """Inverts the levels at or above the threshold."""

    column: int
    """The threshold, a level; not necessarily a whole one. 256 leaves the image as it is."""


@dataclass(frozen=True, slots=True)
class Posterize:
    """Keeps the highest bits of each level."""

    column: int
    """How many bits, 0 to 8."""


@dataclass(frozen=True, slots=True)
class Invert:
    """`255 - value`."""


@dataclass(frozen=True, slots=True)
class Autocontrast:
    """Stretches each channel so that its darkest level becomes 0 and its brightest 255 (`ImageOps.autocontrast`)."""


@dataclass(frozen=True, slots=True)
class Equalize:
    """Makes each channel's histogram even (`ImageOps.equalize`)."""


@dataclass(frozen=True, slots=True)
class Sharpness:
    """Blends with the image smoothed by [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13 (`ImageEnhance.Sharpness`)."""

    column: int
    """The factor, at least 0: 0 is the smoothed image."""


@dataclass(frozen=True, slots=True)
class GaussianBlur:
    """Blurs with a Gaussian window, the image reflected at its edges (torchvision's, not Pillow's)."""

    column: int
    """Standard deviation, in pixels."""
    kernel_size: tuple[int, int]
    """Width and height of the window, odd, in pixels."""


# Which samples


@dataclass(frozen=True, slots=True)
class Select:
    """Each sample goes through the operations of one case: work is done for the samples that drew it alone."""

    column: int
    """The number of the case."""
    cases: tuple[tuple[Operation, ...], ...]
    """What is done; an empty tuple leaves the image as it is."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """A weighted sum of the image and of what branches make of it, cut to whole levels (AugMix)."""

    column: int
    """First of 1 + len(branches) columns: the weight of the image, then those of the branches."""
    branches: tuple[tuple[Operation, ...], ...]
    """Sizes stay as they are in every branch."""


Operation = (
    Crop
    | Resize
    | Flip
    | Warp
    | Brightness
    | Contrast
    | Saturation
    | Hue
    | ColorJitter
    | Grayscale
    | Solarize
    | Posterize
    | Invert
    | Autocontrast
    | Equalize
    | Sharpness
    | GaussianBlur
    | Select
    | Mixture
)


# What comes out


@dataclass(frozen=True, slots=True)
class Erase:
    """Sets a box of the finished output to one value a channel."""

    column: int
    """First of four columns: top, left, height, width, in pixels; a height of 0 erases nothing."""
    value: tuple[float, float, float]
    """In the units of the output, after `scale` and `shift`."""


@dataclass(frozen=True, slots=True)
class Output:
    """The last step: uint8 as it is, or `value * scale + shift` as floating point, one pair a channel."""

    scale: tuple[float, float, float] | None = None
    """None: the uint8 values go out unchanged."""
    shift: tuple[float, float, float] | None = None
    erase: tuple[Erase, ...] = ()
    """Carried out in this order, at the end."""

    @property
    def floating(self) -> bool:
        """True if the output is floating point."""
        return self.scale is not None
