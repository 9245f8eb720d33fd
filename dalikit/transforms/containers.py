"""Transforms made of others: whether, which, and in which order is drawn for each sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, ClassVar

import numpy as np

from dalikit.errors import ArgumentError
from dalikit.transforms.arguments import check_numbers, check_probability
from dalikit.transforms.base import Columns, Sizes, Transform
from dalikit.transforms.compose import Compose, check_transforms, flatten
from dalikit.transforms.conversion import Conversion
from dalikit.transforms.draws import Draws, integers, uniform
from dalikit.transforms.mixing import BatchTransform
from dalikit.transforms.purposes import Purpose

__all__ = ["RandomApply", "RandomChoice", "RandomOrder"]

_MAX_IN_ORDER = 4
"""Every order is a case of its own, which has to be drawn and built: 24 of them are enough."""


def _check_parts(name: str, value: Any) -> tuple[Transform, ...]:
    """Transforms that work on images; a Compose counts as the list of its parts."""
    parts = check_transforms(name, value.transforms if isinstance(value, Compose) else value)
    for step in (step for part in parts for step in flatten(part)):
        if isinstance(step, Conversion) and not step.changes_values:
            continue
        if not step.cases and not step.operations(0):
            raise ArgumentError(
                f"{name}: {type(step).__name__} must stand outside; only transforms of images can be chosen by chance"
            )
    return parts


class _Container(Transform):
    num_blocks: ClassVar[int] = 1
    _num_columns: ClassVar[int] = 1


@dataclass(frozen=True)
class RandomApply(_Container):
    """Applies all of some transforms, or none, with probability `p`. Nothing is drawn or done for the other images.

    Args:
        transforms: dalikit transforms that work on images, or a Compose of such.
        p: how often.

    Raises:
        ArgumentError: a part does not work on images, or `p` is out of range.
    """

    transforms: Any
    p: Any = 0.5

    purpose: ClassVar[int] = Purpose.RANDOM_APPLY

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        object.__setattr__(self, "transforms", _check_parts("transforms", self.transforms))
        object.__setattr__(self, "p", check_probability("p", self.p))

    @property
    def cases(self) -> tuple[tuple[Transform, ...], ...]:
        """Nothing; all."""
        return (), self.transforms

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: 1 where the transforms are applied."""
        return ((uniform(draws.words()[:, 0]) < self.p).astype(np.int64),), sizes


@dataclass(frozen=True)
class RandomChoice(_Container):
    """Applies one of several transforms.

    Args:
        transforms: dalikit transforms that work on images, at least one; a Compose among them is one choice. Or MixUps
            and CutMixes alone, of which each batch gets one: last in a Compose then, as they are.
        p: how often each is taken, as weights of any sum; None: all equally often.

    Raises:
        ArgumentError: a part does not work on images, or the weights do not fit.
    """

    transforms: Any
    p: Any = None

    purpose: ClassVar[int] = Purpose.RANDOM_CHOICE

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        if isinstance(self.transforms, Compose):
            raise ArgumentError("transforms: must be a list of dalikit transforms to choose from, came a Compose")
        parts = check_transforms("transforms", self.transforms)
        if not parts or not all(isinstance(part, BatchTransform) for part in parts):  # the compiler knows what to do
            parts = _check_parts("transforms", parts)
        if not parts:
            raise ArgumentError("transforms: must hold at least one transform to choose")
        object.__setattr__(self, "transforms", parts)
        if self.p is not None:
            object.__setattr__(self, "p", self._check_weights(self.p, len(parts)))

    @staticmethod
    def _check_weights(value: Any, count: int) -> tuple[float, ...]:
        if not isinstance(value, Sequence):
            raise ArgumentError(f"p={value!r}: should be a sequence, a weight for each of the {count} transforms")
        weights = check_numbers("p", value, (count,))
        if min(weights) < 0.0 or not 0.0 < sum(weights) < math.inf:
            raise ArgumentError(f"p={value!r}: weights must be at least 0, and one of them above 0")
        return weights

    @property
    def cases(self) -> tuple[tuple[Transform, ...], ...]:
        """One for each transform."""
        return tuple((part,) for part in self.transforms)

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: the number of the transform."""
        words = draws.words()[:, 0]
        if self.p is None:
            return (integers(words, len(self.transforms)),), sizes
        stops = np.cumsum(self.p)
        # A number in [0, sum) lies left of the last stop, but for rounding; weights of 0 take up no room.
        places = np.searchsorted(stops, uniform(words, 0.0, float(stops[-1])), side="right")
        return (np.minimum(places, np.flatnonzero(self.p)[-1]),), sizes


@dataclass(frozen=True)
class RandomOrder(_Container):
    """Applies all of several transforms, in a random order.

    Every order is drawn and built as a case of its own, so that four transforms cost as much as 96.

    Args:
        transforms: dalikit transforms that work on images, at most four.

    Raises:
        ArgumentError: a part does not work on images, or there are more than four.
    """

    transforms: Any

    purpose: ClassVar[int] = Purpose.RANDOM_ORDER

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        parts = _check_parts("transforms", self.transforms)
        if len(parts) > _MAX_IN_ORDER:
            raise ArgumentError(
                f"transforms: RandomOrder takes at most {_MAX_IN_ORDER}, came {len(parts)}; "
                "make a Compose of some that can stay together"
            )
        object.__setattr__(self, "transforms", parts)

    @property
    def cases(self) -> tuple[tuple[Transform, ...], ...]:
        """One for each order."""
        return tuple(permutations(self.transforms))

    @property
    def orders(self) -> tuple[tuple[int, ...], ...]:
        """All, in the order of the cases."""
        return tuple(permutations(range(len(self.transforms))))

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: the number of the order."""
        return (integers(draws.words()[:, 0], math.factorial(len(self.transforms))),), sizes
