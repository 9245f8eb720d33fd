"""What stands at each place of a keyed order: laps over the dataset, repeats, weights. And blocks of it, kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplers.arguments import flag, seed_number, whole_number
from samplers.keyed_permutation import Key, KeyedPermutation
from samplers.permutation import Order, OrderCache
from samplers.positions import COUNT_STOP
from samplers.weights import SampleWeights

__all__ = ["Blocks", "KeyedOrders"]

_BLOCK = 4096  # indices made at a time: numpy's cost a call is then 1 ns an index
_LAPS = 8  # laps that they span at most, where datasets are tiny: each needs a permutation of its own


class KeyedOrders:
    """The orders of all epochs of a dataset.

    A place is taken apart like this, here with 2 repeats of 3 samples; slots are put in order by a permutation that
    is keyed by (seed, epoch, lap):

        place      0  1  2  3  4  5 | 6  7  8  9 10 11
        lap        0  0  0  0  0  0 | 1  1  1  1  1  1
        slot       0  0  1  1  2  2 | 0  0  1  1  2  2
        index      2  2  0  0  1  1 | 1  1  2  2  0  0

    Args: those of the keyed samplers.

    Raises:
        TypeError, ValueError: one of them is not of its kind, or out of range.
    """

    def __init__(
        self, sample_count: object, *, shuffle: object, seed: object, repeats: object, weights: ArrayLike | None
    ) -> None:
        self.count = count = whole_number(
            "sample_count", sample_count, 1, COUNT_STOP, "Pass the number of samples in the dataset, at least one."
        )
        self.shuffle = flag("shuffle", shuffle)
        self.seed = seed_number(seed)
        advice = f"A sample comes so often in a row, and {count} samples that often must be fewer than {COUNT_STOP}."
        self.repeats = whole_number("repeats", repeats, 1, (COUNT_STOP - 1) // count + 1, advice)
        self.weights = None if weights is None else SampleWeights(weights, count)

    @property
    def lap(self) -> int:
        """Places in which the dataset is gone through once."""
        return self.count * self.repeats

    def options(self) -> dict[str, int | str]:
        """Repeats and weights, ready for JSON, where they are not left out: streams without keep their identity."""
        repeats: dict[str, int | str] = {} if self.repeats == 1 else {"repeats": self.repeats}
        return repeats if self.weights is None else {**repeats, "weights": self.weights.digest}

    def indices(self, epoch: int, places: NDArray[np.int64], *, laps_are_epochs: bool) -> NDArray[np.int64]:
        """What stands at each place: int64, same shape.

        Args:
            epoch: the pass.
            places: from 0 on, in any order.
            laps_are_epochs: whether each lap is the next epoch, not a further lap of this one.
        """
        if not len(places) or self.count == 1 or not (self.shuffle or self.weights):
            return places % self.lap // self.repeats
        laps, slots = np.divmod(places, self.lap)
        if self.repeats > 1:
            slots //= self.repeats
        different, which = np.unique(laps, return_inverse=True)
        keys = [self._key(epoch, lap, laps_are_epochs) for lap in different.tolist()]
        by = which if len(keys) > 1 else None
        if self.shuffle:
            slots = KeyedPermutation(self.count, *keys).at(slots, by)
        return slots if self.weights is None else self.weights.at(slots, keys, by)

    def _key(self, epoch: int, lap: int, laps_are_epochs: bool) -> Key:
        return (self.seed, epoch + lap, 0) if laps_are_epochs else (self.seed, epoch, lap)


class Blocks:
    """A rank's indices, made some thousands at a time. Thread-safe; pickles empty.

    Args:
        share: the rank's samples of a lap.
    """

    def __init__(self, share: int) -> None:
        self._size = min(_BLOCK, _LAPS * max(share, 1))
        self._made = OrderCache()

    def indices(
        self, epoch: int, first: int, last: int, end: int, make: Callable[[int, int, int], Order]
    ) -> NDArray[np.int64]:
        """Those [first, last) of an epoch.

        Args:
            epoch: the pass.
            first: counted from the epoch's start.
            last: likewise.
            end: how many there are.
            make: gives those of an epoch, from one to another.
        """
        size = self._size

        def block(number: int) -> Order:
            start = (number & (2**64 - 1)) * size
            return make(epoch, start, min(start + size, end))

        parts = [
            self._made.get(epoch << 64 | number, block)[max(first - number * size, 0) : last - number * size]
            for number in range(first // size, -(-last // size))
        ]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])
