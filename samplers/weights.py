"""Samples in proportion to weights: systematic sampling, in whole numbers, so that any slot is found at once.

* W. G. Madow, L. H. Madow, "On the Theory of Systematic Sampling, I", Annals of Mathematical Statistics 15, 1944, and
  W. G. Madow, "On the Theory of Systematic Sampling, II", the same 20, 1949: one random offset, equal steps from there
  along the cumulative sizes.
* G. Kitagawa, "Monte Carlo Filter and Smoother for Non-Gaussian Nonlinear State Space Models", Journal of
  Computational and Graphical Statistics 5, 1996: the same as "systematic resampling" of particles.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplers.keyed_permutation import Key, hashed_words

__all__ = ["WEIGHTED_STOP", "SampleWeights", "balanced_weights", "equal_steps"]

WEIGHTED_STOP = 2**31
"""Weights are for fewer samples than this: then a slot is found in 64-bit whole numbers, without rounding."""

_SUM_BITS = 61  # of the whole numbers that weights are turned into; with all that is rounded up, below 2**62
_OFFSET = 1  # the purpose of what is hashed here; the permutation's is 0


class SampleWeights:
    """Which sample stands in each of n slots, n being the number of weights. Immutable, thread-safe; 8 bytes a sample.

    The weights lie end to end on a line, which n points cut into equal steps, from a random offset on. Slot x holds
    the sample in whose stretch point x lies:

        weights    000001111111111111224444444444        5, 13, 2, 0 and 10
        points        x     x     x     x     x          slots 0 ... 4 hold 0, 1, 1, 4, 4

    So sample i comes floor(e) or ceil(e) times with e = n * weight i / sum, and e times on average over the offsets.

    The weights are kept as whole numbers with a sum of nearly 2**61: the given ones times a power of two, rounded, and
    1 where a positive one would vanish. Counts and other numbers of less than 30 binary digits keep their proportions
    exactly.

    Args:
        weights: array-like of real numbers, shape (count,), finite and not negative, not all 0. It is not kept.
        count: samples in the dataset.

    Raises:
        TypeError: they are no real numbers.
        ValueError: they have another shape, hold what is no weight, or are too many.
    """

    def __init__(self, weights: ArrayLike, count: int) -> None:
        numbers = _whole_numbers(_checked(weights, count))
        self._digest = hashlib.sha256(numbers.astype("<i8", copy=False).data).hexdigest()[:16]
        self._ends: NDArray[np.int64] = np.cumsum(numbers, out=numbers)
        self._sum = int(self._ends[-1])

    @property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the whole numbers (int64, little-endian)."""
        return self._digest

    @property
    def sum(self) -> int:
        """Of the whole numbers."""
        return self._sum

    def numbers(self) -> NDArray[np.int64]:
        """The whole numbers: int64 (count,), a fresh array."""
        return np.diff(self._ends, prepend=np.int64(0))

    def offset(self, key: Key) -> int:
        """Where the first point lies, in 1 / count: in [0, sum), all equally often."""
        high, low = map(int, hashed_words(key, 2, _OFFSET))
        return (high << 64 | low) * self._sum >> 128  # a bias below 2**-66

    def at(self, slots: NDArray[np.int64], keys: list[Key], which: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """The sample of each slot: int64, same shape. Some 100 ns a slot of a million, if there are thousands.

        Args:
            slots: int64 (n,), each in [0, count). Not checked.
            keys: what offsets follow from.
            which: int64 (n,): by which key, counted from 0. None: all by the first.
        """
        points = equal_steps(slots, len(self._ends), self._sum, [self.offset(key) for key in keys], which)
        order = np.argsort(points)  # sorted, the search is twice as fast: its way lies in the cache
        samples = np.empty_like(points)
        # The first stretch that ends beyond the point: an empty one ends where the one before it does.
        samples[order] = self._ends.searchsorted(points[order], side="right")
        return samples

    def __repr__(self) -> str:
        """How many, and the digest: not a million numbers."""
        return f"<{len(self._ends):,} weights, {self._digest}>"


def equal_steps(
    slots: NDArray[np.int64], count: int, length: int, offsets: list[int], which: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Where `count` points lie that cut a line into equal steps: `(slot * length + offset) // count`, int64 (n,).

    Args:
        slots: int64 (n,), which points, each in [0, count).
        count: in [1, 2**31).
        length: of the line, in [count, 2**62).
        offsets: of the first point, in 1 / count: each in [0, length).
        which: int64 (n,): which offset is a point's, counted from 0. None: the first is.
    """
    step, excess = divmod(length, count)
    wholes, parts = np.array([divmod(offset, count) for offset in offsets], dtype=np.int64).T
    chosen: int | NDArray[np.int64] = 0 if which is None else which
    points = slots * excess  # below 2**62, where slot * length would not be
    points += parts[chosen]
    points //= count
    points += wholes[chosen]
    points += slots * step
    return points


def balanced_weights(targets: ArrayLike, power: float = 1.0) -> NDArray[np.float64]:
    """Weights by which rare classes come more often, for the `weights` of the keyed samplers.

    A class of m samples gets a share of the order in proportion to `m ** (1 - power)`:

        power 1      every class the same share, class-balanced sampling
        power 0.5    square-root sampling (D. Mahajan et al., "Exploring the Limits of Weakly Supervised Pretraining",
                     ECCV 2018)
        power 0      its own share: every sample the same weight

    A class-balanced order of ImageNet:

        KeyedEpochSampler(sample_count=len(dataset), weights=balanced_weights(dataset.get_targets()))

    Where the samples of a class lie together in the dataset, as in one of folders, each class comes as often as is
    expected of it, rounded down or up, in every lap; elsewhere that holds of each sample.

    Args:
        targets: The class of each sample: shape (n,), n >= 1; whole numbers or texts, whichever.
        power: In [0, 1]. Default 1.

    Returns:
        float64 (n,), with sum n: how often a sample is to be expected in n places.

    Raises:
        TypeError: `targets` are neither whole numbers nor texts.
        ValueError: `targets` are none or not in a row, or `power` is out of range.
    """
    classes = _classes(targets)
    power = float(power)
    if not 0 <= power <= 1:
        raise ValueError(f"power is {power}, but must lie in [0, 1]. Pass 1 for equal classes, 0.5 for square roots.")
    _, which, counts = np.unique(classes, return_inverse=True, return_counts=True)
    weights = counts**-power
    weights *= len(classes) / (weights * counts).sum()
    result: NDArray[np.float64] = weights[which]
    return result


def _classes(targets: ArrayLike) -> NDArray[np.generic]:
    """`targets` as an array that can be sorted."""
    classes = np.asarray(targets)
    if classes.ndim != 1 or not len(classes):
        raise ValueError(f"targets have shape {classes.shape}, but must be (n,). Pass the class of each sample.")
    kinds = {type(target) for target in classes.tolist()} if classes.dtype.kind == "O" else set()
    if kinds and (kinds == {str} or kinds == {int}):
        return np.array(classes.tolist())
    if classes.dtype.kind not in "biuUST":
        came = f"hold {', '.join(sorted(kind.__name__ for kind in kinds))}" if kinds else f"are {classes.dtype}"
        raise TypeError(f"targets {came}, but must be whole numbers or texts. Pass the class of each sample.")
    return classes


def _checked(weights: ArrayLike, count: int) -> NDArray[np.float64]:
    """`weights` as float64 (count,), a copy."""
    given = np.asarray(weights)
    if given.dtype.kind not in "biuf":
        raise TypeError(
            f"weights have dtype {given.dtype}, but must be real numbers. Pass one for each sample, 0 or more."
        )
    if given.shape != (count,):
        raise ValueError(
            f"weights have shape {given.shape}, but must be ({count},). Pass one for each sample of the dataset."
        )
    if count >= WEIGHTED_STOP:
        raise ValueError(
            f"weights are {count}, but must be fewer than {WEIGHTED_STOP}. Draw from parts of the dataset, or without."
        )
    numbers = given.astype(np.float64)
    fine = np.isfinite(numbers) & (numbers >= 0)
    if not fine.all():
        first = int(np.argmin(fine))
        raise ValueError(
            f"weights[{first}] is {numbers[first]}, but must be finite and 0 or more. "
            "Give 0 to a sample that is never to come."
        )
    if not numbers.any():
        raise ValueError("weights are all 0, but one at least must be more. Give 1 to every sample that is to come.")
    return numbers


def _whole_numbers(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """The same proportions in int64. Overwrites `weights`."""
    positive = weights > 0
    np.ldexp(weights, -math.frexp(float(weights.max()))[1], out=weights)  # the largest is in [0.5, 1)
    np.ldexp(weights, _SUM_BITS - math.frexp(float(weights.sum()))[1], out=weights)
    numbers: NDArray[np.int64] = np.rint(weights, out=weights).astype(np.int64)
    return np.maximum(numbers, positive, out=numbers)
