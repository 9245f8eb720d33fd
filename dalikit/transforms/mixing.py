"""MixUp and CutMix: what is done to a finished batch, each sample together with the one before it.

The draws belong to the batch, not to a sample: they are keyed by the position of the batch's first sample.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import numpy as np

from dalikit.errors import ArgumentError
from dalikit.transforms.base import Transform
from dalikit.transforms.draws import Draws, Slot, draw_slots, uniform
from dalikit.transforms.gamma import beta
from dalikit.transforms.purposes import Purpose

__all__ = ["BatchTransform", "CutMix", "Mix", "MixUp", "Mixing", "check_mixing", "draw_mix"]

_BLOCKS = 5  # one for the box, four for two attempts at each of the two gamma numbers: hardly ever more are needed


class Mix(NamedTuple):
    """What was drawn for one batch."""

    name: str
    """The transform's class: "MixUp" or "CutMix"."""
    num_classes: int | None
    """Of targets that are class numbers; None: they must be probabilities."""
    lam: float
    """Share of a sample itself, 0 to 1, before CutMix cuts its box to the image; the one before it has the rest."""
    x: float = 0.0
    """CutMix: where the box has its centre, as a part of the width, 0 <= x < 1."""
    y: float = 0.0
    """The same of the height."""


@dataclass(frozen=True, kw_only=True)
class BatchTransform(Transform):
    """What MixUp and CutMix have in common; not for use itself."""

    alpha: Any = 1.0
    num_classes: Any = None

    def __post_init__(self) -> None:
        """Checks the arguments."""
        object.__setattr__(self, "alpha", _check_alpha(self.alpha))
        object.__setattr__(self, "num_classes", _check_classes(self.num_classes))

    def mix(self, draws: Draws) -> Mix:
        """What is done to one batch, from one row of random words."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class MixUp(BatchTransform):
    """Blends every sample of a batch with the one before it (the first with the last), and their targets alike.

    Last in a Compose, after ToTensor and Normalize. Targets come out as probabilities: float32 (B, num_classes). One
    share is drawn for the whole batch, and who comes before whom is the batch's order: equal after a resume only at the
    same batch size and number of ranks.

    Source: H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2017; blended as torchvision does it.

    Args:
        alpha: the share is drawn from Beta(alpha, alpha). Default 1, torchvision's: evenly from 0 to 1.
        num_classes: how many classes there are. None only if the targets are probabilities (B, classes) already.

    Raises:
        ArgumentError: an argument is out of range.
    """

    purpose: ClassVar[int] = Purpose.MIX_UP

    def mix(self, draws: Draws) -> Mix:
        """The share."""
        return Mix("MixUp", self.num_classes, _draw_share(draws, self.alpha))


@dataclass(frozen=True, kw_only=True)
class CutMix(BatchTransform):
    """Replaces a box of every sample of a batch by that of the one before it (the first by the last's).

    Targets are blended by the box's area. Last in a Compose; targets come out as probabilities: float32
    (B, num_classes). One box is drawn for the whole batch, and who comes before whom is the batch's order: equal after
    a resume only at the same batch size and number of ranks.

    Source: S. Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
    2019; the box is drawn and the share adjusted to it as torchvision does it.

    Args:
        alpha: the share that is kept is drawn from Beta(alpha, alpha). Default 1, torchvision's: evenly from 0 to 1.
        num_classes: how many classes there are. None only if the targets are probabilities (B, classes) already.

    Raises:
        ArgumentError: an argument is out of range.
    """

    purpose: ClassVar[int] = Purpose.CUT_MIX

    def mix(self, draws: Draws) -> Mix:
        """The share and the box's centre."""
        x, y = uniform(draws.words()[0, :2]).tolist()
        return Mix("CutMix", self.num_classes, _draw_share(draws, self.alpha), x, y)


Mixing = BatchTransform | tuple[tuple[BatchTransform, float], ...]
"""A MixUp or CutMix, or several with a weight each (at least 0, their sum above 0), of which every batch gets one."""


def draw_mix(mixing: Mixing, seed: int, first_position: int) -> Mix:
    """Draws what is done to a batch: a pure function of the arguments.

    Args:
        mixing: what may be done.
        seed: the loader's seed, 0 <= seed < 2**64.
        first_position: global position of the batch's first sample.
    """
    if not isinstance(mixing, BatchTransform):
        sums = list(accumulate(weight for _, weight in mixing))
        drawn = uniform(_draws(seed, first_position, Purpose.MIXING_CHOICE, 1).words()[0, 0]) * sums[-1]
        mixing = next(part for (part, _), total in zip(mixing, sums, strict=True) if drawn < total)
    return mixing.mix(_draws(seed, first_position, mixing.purpose, _BLOCKS))


def check_mixing(
    mixing: Mixing, *, floating: bool, single: bool, collate_fn: Callable[[list[Any]], Any] | None = None
) -> None:
    """Refuses what cannot be mixed, when a loader is made.

    Args:
        mixing: what is to be done to batches.
        floating: whether the recipe gives floating point.
        single: whether it gives one image a sample.
        collate_fn: the loader's.

    Raises:
        ArgumentError: MixUp and uint8 images, several views, a collate_fn, or two different numbers of classes.
    """
    parts = [mixing] if isinstance(mixing, BatchTransform) else [part for part, _ in mixing]
    name = type(parts[0]).__name__
    if not floating and any(isinstance(part, MixUp) for part in parts):
        raise ArgumentError("MixUp: does not support uint8 images; put ToTensor (and Normalize) before it")
    if not single:
        raise ArgumentError(f"{name}: must not stand in a transform with several views (MultiCrop)")
    if collate_fn is not None:
        raise ArgumentError(f"{name}: must not stand beside a collate_fn, whose samples are not a batch yet")
    numbers = {part.num_classes for part in parts}
    if len(numbers) > 1:
        given = ", ".join(repr(part.num_classes) for part in parts)
        raise ArgumentError(f"num_classes={given}: must be the same for all that may be done to a batch")


def _draws(seed: int, position: int, purpose: int, num_blocks: int) -> Draws:
    positions, views = np.array([position], dtype=np.int64), np.zeros(1, dtype=np.int64)
    return draw_slots(seed, positions, views, (Slot(purpose, num_blocks),))[0]


def _draw_share(draws: Draws, alpha: float) -> float:
    return float(beta(draws, alpha, alpha, block=1)[0])


def _check_alpha(value: Any) -> float:
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if not 0 < number < math.inf:
        raise ArgumentError(f"alpha={value!r}: must be a number above 0")
    return number


def _check_classes(value: Any) -> int | None:
    if value is None:
        return None
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ArgumentError(f"num_classes={value!r}: must be a whole number of at least 1, or None")
    return number
