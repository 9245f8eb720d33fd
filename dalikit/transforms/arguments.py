"""Checks of transforms' arguments: small pure functions that name the argument, what came and what is allowed."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from dalikit.errors import ArgumentError
from dalikit.transforms.operations import InterpolationMode

__all__ = [
    "check_angles",
    "check_antialias",
    "check_bool",
    "check_centre",
    "check_colour",
    "check_fill",
    "check_interpolation",
    "check_jitter",
    "check_kernel_size",
    "check_number",
    "check_numbers",
    "check_padding",
    "check_probability",
    "check_range",
    "check_sigma",
    "check_size",
    "check_warp_interpolation",
    "check_whole",
]

_MAX_SIDE = 65535  # the largest side that JPEG can say; exact in the float32 parameter matrix too
_PIL_RESAMPLING = {0: InterpolationMode.NEAREST, 2: InterpolationMode.BILINEAR, 3: InterpolationMode.BICUBIC}


def check_size(name: str, value: Any, *, order: str = "(height, width)") -> tuple[int, int] | int:
    """An int, or a pair (height, width), of pixels; a sequence of one number counts as an int, as in torchvision."""
    parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        sides = [operator.index(part) for part in parts if not isinstance(part, bool)]
    except TypeError:
        sides = []
    if len(sides) != len(parts) or len(sides) not in (1, 2) or not all(1 <= side <= _MAX_SIDE for side in sides):
        raise ArgumentError(f"{name}={value!r}: must be an int or a pair {order} of pixels, each from 1 to {_MAX_SIDE}")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def check_range(
    name: str, value: Any, *, low: float = 0.0, high: float = math.inf, from_low: bool = False
) -> tuple[float, float]:
    """A pair of finite numbers with low < minimum <= maximum <= high; `from_low`: the minimum may be low itself."""
    numbers = check_numbers(name, value, (2,))
    if not (low < numbers[0] or (from_low and low == numbers[0])) or not numbers[0] <= numbers[1] <= high:
        bound = f"{high:g}" if math.isfinite(high) else "any number"
        sign = "<=" if from_low else "<"
        raise ArgumentError(
            f"{name}={value!r}: must be (minimum, maximum) with {low:g} {sign} minimum <= maximum <= {bound}"
        )
    return numbers[0], numbers[1]


def check_numbers(name: str, value: Any, counts: tuple[int, ...]) -> tuple[float, ...]:
    """As many finite numbers as `counts` allows; a bare number counts as a sequence of one."""
    allowed = " or ".join(str(count) for count in counts)
    parts = (value,) if 1 in counts and isinstance(value, Real) else value
    try:
        numbers = tuple(float(part) for part in ([] if isinstance(value, str | bytes) else parts))
    except (TypeError, ValueError):
        raise ArgumentError(f"{name}={value!r}: must be a sequence of {allowed} numbers") from None
    if len(numbers) not in counts or not all(math.isfinite(number) for number in numbers):
        raise ArgumentError(f"{name}={value!r}: must be a sequence of {allowed} finite numbers")
    return numbers


def _single(value: Any) -> float | None:
    """A finite number as it is; None for anything else, a sequence above all."""
    if isinstance(value, bool | str | bytes | Sequence):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def check_number(name: str, value: Any, *, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number with low <= number <= high."""
    number = _single(value)
    if number is not None and low <= number <= high:
        return number
    if math.isfinite(high):
        allowed = f"a number from {low:g} to {high:g}"
    elif math.isfinite(low):
        allowed = f"a finite number of at least {low:g}"
    else:
        allowed = "a finite number"
    raise ArgumentError(f"{name}={value!r}: must be {allowed}")


def check_whole(name: str, value: Any, low: int, high: int) -> int:
    """A whole number with low <= number <= high."""
    if not isinstance(value, bool):
        try:
            number = operator.index(value)
        except TypeError:
            number = low - 1
        if low <= number <= high:
            return number
    raise ArgumentError(f"{name}={value!r}: must be a whole number from {low} to {high}")


def check_probability(name: str, value: Any) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= float(value) <= 1.0:
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
    parts: list[Any] = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * 3
    levels = [int(part) for part in parts if _is_level(part)]
    if len(levels) != 3 or len(parts) != 3:
        raise ArgumentError(
            f"{name}={value!r}: must be a whole number from 0 to 255, or three of them (red, green, blue)"
        )
    return levels[0], levels[1], levels[2]


def _is_level(value: Any) -> bool:
    number = float(value) if isinstance(value, Real) else math.nan
    return 0 <= number <= 255 and number.is_integer()


def check_fill(name: str, value: Any) -> tuple[int, int, int]:
    """A colour; None is black and a sequence of one level counts as the level, as in torchvision."""
    if value is None:
        return 0, 0, 0
    single = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1
    return check_colour(name, value[0] if single else value)


def check_jitter(
    name: str, value: Any, *, neutral: float = 1.0, low: float = 0.0, high: float = math.inf
) -> tuple[float, float]:
    """The range of a factor: from a number, how far it may be from neutral, or (minimum, maximum).

    None counts as (neutral, neutral): that is how torchvision keeps what is not jittered.
    """
    if value is None:
        return neutral, neutral
    number = _single(value)
    if number is not None:
        if number < 0:
            raise ArgumentError(f"{name}={value!r}: if {name} is a single number, it must be non negative")
        # A factor of less than 0 has no meaning, so its range is cut; a hue's is refused below, as in torchvision.
        pair: tuple[float, ...] = (max(neutral - number, 0.0) if low == 0.0 else neutral - number, neutral + number)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) == 2:
        pair = check_numbers(name, value, (2,))
    else:
        raise ArgumentError(f"{name}={value!r}: should be a single number or a list/tuple with length 2")
    if not low <= pair[0] <= pair[1] <= high:
        raise ArgumentError(f"{name}={value!r}: values should be between ({low:g}, {high:g}), smaller one first")
    return pair[0], pair[1]


def check_sigma(name: str, value: Any) -> tuple[float, float]:
    """A positive number, or (minimum, maximum) of such."""
    number = _single(value)
    if number is not None:
        if number <= 0:
            raise ArgumentError(f"{name}={value!r}: if {name} is a single number, it must be positive")
        return number, number
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != 2:
        raise ArgumentError(f"{name}={value!r}: should be a single number or a list/tuple with length 2")
    low, high = check_numbers(name, value, (2,))
    if not 0.0 < low <= high:
        raise ArgumentError(f"{name}={value!r}: values should be positive and of the form (min, max)")
    return low, high


def check_kernel_size(name: str, value: Any) -> tuple[int, int]:
    """An odd number of pixels, or (width, height) of such."""
    size = check_size(name, value, order="(width, height)")
    width, height = (size, size) if isinstance(size, int) else size
    if width % 2 == 0 or height % 2 == 0:
        raise ArgumentError(f"{name}={value!r}: should be an odd and positive number, or two (width, height)")
    return width, height


def check_angles(name: str, value: Any, counts: tuple[int, ...] = (2,)) -> tuple[float, ...]:
    """Ranges of angles in degrees: a number d for (-d, d), or as many numbers as `counts` allows, in pairs."""
    number = _single(value)
    if number is not None:
        if number < 0:
            raise ArgumentError(f"{name}={value!r}: if {name} is a single number, it must be positive")
        return -number, number
    allowed = " or ".join(str(count) for count in counts)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) not in counts:
        raise ArgumentError(f"{name}={value!r}: should be a number or a sequence of length {allowed}")
    numbers = check_numbers(name, value, counts)
    if any(low > high for low, high in zip(numbers[::2], numbers[1::2], strict=True)):
        raise ArgumentError(f"{name}={value!r}: each range must be (minimum, maximum) with minimum <= maximum")
    return numbers


def check_centre(name: str, value: Any) -> tuple[float, float] | None:
    """A point (x, y) in pixels from the upper left corner, or None."""
    if value is None:
        return None
    x, y = check_numbers(name, value, (2,))
    return x, y


def check_padding(name: str, value: Any) -> tuple[int, int, int, int]:
    """(left, top, right, bottom), from an int, (left/right, top/bottom) or all four."""
    parts: list[Any] = list(value) if isinstance(value, Sequence) else [value]
    whole = [int(part) for part in parts if not isinstance(part, bool) and isinstance(part, Integral)]
    if len(whole) != len(parts) or not all(0 <= part <= _MAX_SIDE for part in whole) or len(parts) not in (1, 2, 4):
        raise ArgumentError(
            f"{name}={value!r}: must be an int, (left/right, top/bottom) or (left, top, right, bottom), "
            f"in pixels, each from 0 to {_MAX_SIDE}"
        )
    left, top, right, bottom = (whole * 4)[:4]
    return left, top, right, bottom


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


def check_warp_interpolation(name: str, value: Any) -> InterpolationMode:
    """NEAREST or BILINEAR, in any form that `check_interpolation` takes."""
    mode = check_interpolation(name, value)
    if mode is InterpolationMode.BICUBIC:
        raise ArgumentError(f"{name}={value!r}: must be nearest or bilinear here; bicubic warps are not on the device")
    return mode
