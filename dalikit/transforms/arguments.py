"""Checks of transforms' arguments: small pure functions that name the argument, what came and what is allowed."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from dalikit.errors import ArgumentError
from dalikit.transforms.operations import InterpolationMode

__all__ = [
    "check_antialias",
    "check_bool",
    "check_colour",
    "check_interpolation",
    "check_numbers",
    "check_probability",
    "check_range",
    "check_size",
]

_MAX_SIDE = 65535  # the largest side that JPEG can say; exact in the float32 parameter matrix too
_PIL_RESAMPLING = {0: InterpolationMode.NEAREST, 2: InterpolationMode.BILINEAR, 3: InterpolationMode.BICUBIC}


def check_size(name: str, value: Any) -> tuple[int, int] | int:
    """An int, or a pair (height, width), of pixels; a sequence of one number counts as an int, as in torchvision."""
    parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        sides = [operator.index(part) for part in parts if not isinstance(part, bool)]
    except TypeError:
        sides = []
    if len(sides) != len(parts) or len(sides) not in (1, 2) or not all(1 <= side <= _MAX_SIDE for side in sides):
        raise ArgumentError(
            f"{name}={value!r}: must be an int or a pair (height, width) of pixels, each from 1 to {_MAX_SIDE}"
        )
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def check_range(name: str, value: Any, *, low: float = 0.0, high: float = math.inf) -> tuple[float, float]:
    """A pair (minimum, maximum) of finite numbers with low < minimum <= maximum <= high."""
    numbers = check_numbers(name, value, (2,))
    if not low < numbers[0] <= numbers[1] <= high:
        bound = f"{high:g}" if math.isfinite(high) else "any number"
        raise ArgumentError(
            f"{name}={value!r}: must be (minimum, maximum) with {low:g} < minimum <= maximum <= {bound}"
        )
    return numbers[0], numbers[1]


def check_numbers(name: str, value: Any, counts: tuple[int, ...]) -> tuple[float, ...]:
    """As many finite numbers as `counts` allows."""
    allowed = " or ".join(str(count) for count in counts)
    try:
        numbers = tuple(float(part) for part in ([] if isinstance(value, str | bytes) else value))
    except (TypeError, ValueError):
        raise ArgumentError(f"{name}={value!r}: must be a sequence of {allowed} numbers") from None
    if len(numbers) not in counts or not all(math.isfinite(number) for number in numbers):
        raise ArgumentError(f"{name}={value!r}: must be a sequence of {allowed} finite numbers")
    return numbers


def check_probability(name: str, value: Any) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ArgumentError(f"{name}={value!r}: must be a number from 0 to 1")
    return float(value)


def check_bool(name: str, value: Any) -> bool:
    """True or False."""
    if isinstance(value, bool):
        return value
    raise ArgumentError(f"{name}={value!r}: must be True or False")


def check_antialias(value: Any) -> bool:
    """True or False; None counts as True, as it once was torchvision's default."""
    return check_bool("antialias", True if value is None else value)


def check_colour(name: str, value: Any) -> tuple[int, int, int]:
    """One level from 0 to 255 for all channels, or three of them (red, green, blue)."""
    parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * 3
    levels = [int(part) for part in parts if isinstance(part, int | float) and 0 <= part <= 255 and part == int(part)]
    if len(levels) != 3 or len(parts) != 3:
        raise ArgumentError(
            f"{name}={value!r}: must be a whole number from 0 to 255, or three of them (red, green, blue)"
        )
    return levels[0], levels[1], levels[2]


def check_interpolation(name: str, value: Any) -> InterpolationMode:
    """An InterpolationMode of dalikit or torchvision, its value as a string, or Pillow's number for it."""
    if isinstance(value, int) and value in _PIL_RESAMPLING:
        return _PIL_RESAMPLING[value]
    text = getattr(value, "value", value)
    text = "nearest" if text == "nearest-exact" else text  # one and the same in Pillow, which torchvision follows
    try:
        return InterpolationMode(text)
    except ValueError:
        allowed = ", ".join(mode.value for mode in InterpolationMode)
        raise ArgumentError(f"{name}={value!r}: must be one of {allowed}") from None
