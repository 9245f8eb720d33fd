"""What a policy such as RandAugment chooses from: named operations with magnitudes, as columns and as operations.

The names, their order and the magnitudes are torchvision's (torchvision/transforms/autoaugment.py), which took them
from the papers. A magnitude is one of `num_bins` evenly spaced numbers. torchvision computes them in float32, so that a
shift of, say, 16 pixels is 15 there on some processors; here they are exact.

A place is where one operation may stand: 12 columns that say which it is and what it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dalikit.transforms import operations as ops
from dalikit.transforms.base import Columns, Drawn, Sizes
from dalikit.transforms.matrices import rotation_map

__all__ = ["NONE", "PLACE_COLUMNS", "Space", "places_drawn"]

PLACE_COLUMNS = 12
"""Of a place: case of its Select, number of the operation, magnitude, factor (or bits, or threshold), then height,
width, a to f of a warp."""

NONE = -1
"""Number of the operation where nothing is done."""

_CASE, _NUMBER, _MAGNITUDE, _FACTOR, _WARP = 0, 1, 2, 3, 4

Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

_WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_BLENDS = ("Brightness", "Color", "Contrast", "Sharpness")
_SIGNED = (*_WARPS, *_BLENDS)
_OPERATIONS: dict[str, Callable[[int], ops.Operation]] = {
    "Brightness": lambda column: ops.Brightness(column + _FACTOR),
    "Color": lambda column: ops.Saturation(column + _FACTOR),
    "Contrast": lambda column: ops.Contrast(column + _FACTOR),
    "Sharpness": lambda column: ops.Sharpness(column + _FACTOR),
    "Posterize": lambda column: ops.Posterize(column + _FACTOR),
    "Solarize": lambda column: ops.Solarize(column + _FACTOR),
    "AutoContrast": lambda _: ops.Autocontrast(),
    "Equalize": lambda _: ops.Equalize(),
    "Invert": lambda _: ops.Invert(),
}


@dataclass(frozen=True, slots=True)
class Space:
    """Operations, and the largest magnitude of each."""

    names: tuple[str, ...]
    """An operation's number is its place in here."""
    shear: float
    """Tangent of the angle."""
    translate: tuple[int, int]
    """A fraction: of the image's side, or of a pixel."""
    translate_by_side: bool
    rotate: float
    """Degrees."""
    blend: float
    """How far the factor lies from 1."""
    posterize: tuple[int, int]
    """Bits that are kept at magnitude 0, and how many fewer at the largest."""

    def magnitudes(self, numbers: Integers, bins: Integers, num_bins: int, sizes: Sizes) -> Numbers:
        """float64 (R, S): without a sign; 0 for operations that have none.

        Args:
            numbers: (R, S), the operations.
            bins: (R, S), 0 to num_bins - 1.
            num_bins: at least 2.
            sizes: R images.
        """
        last = num_bins - 1
        ends = {"ShearX": self.shear, "ShearY": self.shear, "Rotate": self.rotate, **dict.fromkeys(_BLENDS, self.blend)}
        found = np.array([ends.get(name, 0.0) for name in (*self.names, "")])[numbers] * bins / last
        share, whole = self.translate
        bits, fewer = self.posterize
        for name, values in (
            # whole pixels, in whole numbers: no rounding can take one away
            ("TranslateX", share * bins * (sizes.widths[:, None] if self.translate_by_side else 1) // (whole * last)),
            ("TranslateY", share * bins * (sizes.heights[:, None] if self.translate_by_side else 1) // (whole * last)),
            ("Posterize", bits - np.rint(bins * fewer / last)),
            ("Solarize", 255.0 * (last - bins) / last),
        ):
            found = np.where(self._is(name, numbers), values, found)
        return found

    def signed(self, numbers: Integers) -> npt.NDArray[np.bool_]:
        """Which operations have magnitudes of either sign."""
        return np.array([name in _SIGNED for name in (*self.names, "")])[numbers]

    def columns(self, numbers: Integers, magnitudes: Numbers, sizes: Sizes) -> Columns:
        """The columns of S places, one place after the other.

        Args:
            numbers: (R, S), the operations; NONE where nothing is done.
            magnitudes: (R, S), with their signs.
            sizes: R images; they stay as they are.
        """
        cases = np.array([self._kinds().index(self._kind(name)) for name in (*self.names, "Identity")])[numbers]
        blends = np.array([name in _BLENDS for name in (*self.names, "")])[numbers]
        factors = np.where(blends, 1.0 + magnitudes, magnitudes)
        shape = numbers.shape
        heights, widths = (np.broadcast_to(side[:, None], shape) for side in (sizes.heights, sizes.widths))
        warp = self._warp(numbers, magnitudes, Sizes(heights, widths))
        parts = (cases, numbers, magnitudes, factors, heights, widths, *warp)
        return tuple(part[:, place] for place in range(shape[1]) for part in parts)

    def _warp(self, numbers: Integers, magnitudes: Numbers, sizes: Sizes) -> tuple[Numbers, ...]:
        """a to f of the places that warp; elsewhere what changes nothing."""
        rotated = np.where(self._is("Rotate", numbers), magnitudes, 0.0)
        a, b, c, d, e, f = rotation_map(rotated, sizes, None, expand=False)[0]
        # The image moves by the magnitude, so its pixels come from the other side; a shear's sign is torchvision's.
        return (
            a,
            np.where(self._is("ShearX", numbers), magnitudes, b),
            np.where(self._is("TranslateX", numbers), -magnitudes, c),
            np.where(self._is("ShearY", numbers), magnitudes, d),
            e,
            np.where(self._is("TranslateY", numbers), -magnitudes, f),
        )

    def _is(self, name: str, numbers: Integers) -> npt.NDArray[np.bool_]:
        return numbers == self.names.index(name) if name in self.names else np.zeros(numbers.shape, dtype=bool)

    @staticmethod
    def _kind(name: str) -> str:
        return "Warp" if name in _WARPS else name

    def _kinds(self) -> tuple[str, ...]:
        """What the cases of a place's Select do; the first does nothing. All warps are one case."""
        return ("Identity", *dict.fromkeys(self._kind(name) for name in self.names if name != "Identity"))

    def operation(self, column: int, interpolation: ops.InterpolationMode, fill: tuple[int, int, int]) -> ops.Operation:
        """What is done at the place whose columns begin at `column`."""
        warp = ops.Warp(column + _WARP, perspective=False, interpolation=interpolation, fill=fill)
        cases = ((warp if kind == "Warp" else _OPERATIONS[kind](column),) for kind in self._kinds()[1:])
        return ops.Select(column + _CASE, ((), *cases))


def places_drawn(values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
    """What users are told of S places: the operations' numbers, -1 for none, and their magnitudes.

    Args:
        values: float32 (R, S * PLACE_COLUMNS).
    """
    places = values.reshape(len(values), -1, PLACE_COLUMNS)
    return (
        Drawn("policy_operations", places[:, :, _NUMBER], float(NONE)),
        Drawn("policy_magnitudes", places[:, :, _MAGNITUDE], 0.0),
    )
