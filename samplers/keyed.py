"""Samplers whose order is a function of the place: nothing stored, nothing replayed, whatever the number of ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from samplers.arguments import flag, rank_and_world_size, seed_number, whole_number
from samplers.keyed_permutation import KeyedPermutation
from samplers.permutation import Order, OrderCache
from samplers.sampler import COUNT_STOP, EndlessSampler, FiniteSampler

__all__ = ["KeyedEpochSampler", "KeyedInfiniteSampler", "Tail"]

Tail = Literal["uneven", "pad", "drop"]
"""What becomes of a pass that the ranks do not divide: some have one sample more; the first samples are repeated; the
last are left out."""

_COUNT_ADVICE = "Pass the number of samples in the dataset, at least one."
_BLOCK = 4096  # indices made at a time: numpy's cost a call is then 1 ns an index
_LAPS = 8  # epochs that they span at most, where datasets are tiny: each needs a permutation of its own


class _KeyedOrders:
    """The orders of all epochs of a dataset.

    A run of places that is longer than the dataset goes over it again and again, each lap in an order of its own.
    """

    def __init__(self, count: int, seed: int, *, shuffle: bool) -> None:
        self._count = count
        self._seed = seed
        self._shuffle = shuffle

    def indices(self, epoch: int, places: NDArray[np.int64], *, laps_are_epochs: bool) -> NDArray[np.int64]:
        """What stands at each place: int64, same shape.

        Args:
            epoch: the pass.
            places: from 0 on, in any order.
            laps_are_epochs: whether each lap is the next epoch, not a further lap of this one.
        """
        if not self._shuffle or self._count == 1 or not len(places):
            return places % self._count
        laps, places = np.divmod(places, self._count)
        different, which = np.unique(laps, return_inverse=True)
        keys = [self._key(epoch, lap, laps_are_epochs) for lap in different.tolist()]
        return KeyedPermutation(self._count, *keys).at(places, which if len(keys) > 1 else None)

    def _key(self, epoch: int, lap: int, laps_are_epochs: bool) -> tuple[int, int, int]:
        return (self._seed, epoch + lap, 0) if laps_are_epochs else (self._seed, epoch, lap)


class _Blocks:
    """A rank's indices, made some thousands at a time. Thread-safe; pickles empty.

    Args:
        share: the rank's samples of an epoch.
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


class KeyedEpochSampler(FiniteSampler):
    """Every sample once a pass, in a new random order each pass, dealt out to the ranks one by one.

    With 3 ranks and 8 samples; the order is made up:

        place    0  1  2  3  4  5  6  7
        index    6  1  3  0  7  2  5  4
        rank     0  1  2  0  1  2  0  1        "uneven": 3, 3 and 2 samples
                                        2      "pad":    rank 2 repeats place 0, index 6
                                               "drop":   places 6 and 7 are left out, 2 samples each

    What stands at a place does not depend on the number of ranks. The order is a KeyedPermutation, keyed by (seed,
    epoch): every place is found at once, so `advance` and `set_epoch` cost nothing, and nothing is stored, however
    large the dataset is.

    Costs: some 60 ns an index.

    Args:
        sample_count: Samples in the dataset, in [1, 2**40).
        size: Places in a pass over all ranks, in [1, 2**40). Default None: `sample_count`. With less, a pass is the
            beginning of the order; with more, the dataset is gone through again, each lap in an order of its own.
        shuffle: Whether to shuffle. Default True.
        seed: In [0, 2**63). Default 0.
        start: This rank. Default None: torch.distributed's if it is initialised, else 0.
        step: The number of ranks. Default None: torch.distributed's if it is initialised, else 1.
        tail: "uneven", "pad" or "drop"; see above. Default "uneven": nothing is seen twice and nothing left out.
        advance: Samples of this rank that count as taken; see FiniteSampler. Default 0.

    Raises:
        TypeError, ValueError: an argument is not of its kind, or out of range.
    """

    elastic = True

    def __init__(
        self,
        *,
        sample_count: int,
        size: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        start: int | None = None,
        step: int | None = None,
        tail: Tail = "uneven",
        advance: int = 0,
    ) -> None:
        rank, world_size = rank_and_world_size(start, step)
        count = whole_number("sample_count", sample_count, 1, COUNT_STOP, _COUNT_ADVICE)
        places = count if size is None else size
        places = whole_number("size", places, 1, COUNT_STOP, "Pass the number of samples in a pass of all ranks.")
        if tail not in get_args(Tail):
            raise ValueError(f'tail is {tail!r}, but must be "uneven", "pad" or "drop".')
        self._tail = tail
        super().__init__(
            sample_count=count,
            shuffle=flag("shuffle", shuffle),
            seed=seed_number(seed),
            start=rank,
            step=world_size,
            size=places,
            advance=advance,
        )
        self._orders = _KeyedOrders(count, self.seed, shuffle=self.shuffle)
        self._blocks = _Blocks(count // world_size)

    @property
    def tail(self) -> Tail:
        """What becomes of a pass that the ranks do not divide."""
        return self._tail

    def identity(self) -> dict[str, int | str | bool]:
        """What makes the stream; see Sampler.identity."""
        return {**super().identity(), "tail": self._tail}

    @property
    def common_samples(self) -> int:
        """Samples that every rank has at least in an epoch: so where short batches are left out, all ranks have as
        many batches, with an uneven tail too.
        """
        return (self.size - self._base) // self.step if self._tail == "uneven" else self.num_samples

    def _share(self, size: int) -> int:
        if self._tail == "uneven":
            return max(0, -(-(size - self.start) // self.step))
        return size // self.step if self._tail == "drop" else -(-size // self.step)

    def _begin(self) -> None:
        super()._begin()
        self._blocks = _Blocks(self.sample_count // self.step)

    def _indices(self, epoch: int, first: int, last: int) -> NDArray[np.int64]:
        return self._blocks.indices(epoch, first, last, self.num_samples, self._block)

    def _block(self, epoch: int, first: int, last: int) -> Order:
        return self._orders.indices(epoch, self._places(first, last), laps_are_epochs=False)

    def _places(self, first: int, last: int) -> NDArray[np.int64]:
        places = np.arange(first, last, dtype=np.int64) * self.step + (self._base + self.start)
        return places % self.size if self._tail == "pad" else places

    def _arguments(self) -> dict[str, int | bool]:
        return {
            "sample_count": self.sample_count,
            "size": self.size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "start": self.start,
            "step": self.step,
            "tail": self._tail,  # type: ignore[dict-item]
            "advance": self.advance,
        }


class KeyedInfiniteSampler(EndlessSampler):
    """Epochs without end, each in a new random order, dealt out to the ranks one by one.

    With 3 ranks and 8 samples; the order is made up:

        epoch    0  0  0  0  0  0  0  0 | 1  1  1  1 ...
        index    6  1  3  0  7  2  5  4 | 3  5  0  6 ...
        rank     0  1  2  0  1  2  0  1 | 2  0  1  2 ...

    The ranks go on over the epoch's end, and do not drift apart: after k samples each, exactly the first `k * step`
    places are gone. What stands at a place does not depend on the number of ranks. Epoch e has the order of
    KeyedEpochSampler's epoch e, for the same seed.

    Costs: some 60 ns an index, wherever in the stream; nothing is stored.

    Args:
        sample_count: Samples in the dataset, in [1, 2**40).
        shuffle: Whether to shuffle. Default True.
        seed: In [0, 2**63). Default 0.
        start: This rank. Default None: torch.distributed's if it is initialised, else 0.
        step: The number of ranks. Default None: torch.distributed's if it is initialised, else 1.
        advance: Samples of this rank that are left out at the beginning. Default 0.

    Raises:
        TypeError, ValueError: an argument is not of its kind, or out of range.
    """

    elastic = True

    def __init__(
        self,
        *,
        sample_count: int,
        shuffle: bool = True,
        seed: int = 0,
        start: int | None = None,
        step: int | None = None,
        advance: int = 0,
    ) -> None:
        rank, world_size = rank_and_world_size(start, step)
        count = whole_number("sample_count", sample_count, 1, COUNT_STOP, _COUNT_ADVICE)
        super().__init__(
            sample_count=count,
            shuffle=flag("shuffle", shuffle),
            seed=seed_number(seed),
            start=rank,
            step=world_size,
            share=max(1, count // world_size),
            advance=advance,
        )
        self._orders = _KeyedOrders(count, self.seed, shuffle=self.shuffle)
        self._blocks = _Blocks(count // world_size)

    def _indices(self, epoch: int, first: int, last: int) -> NDArray[np.int64]:
        return self._blocks.indices(epoch, first, last, 2**62, self._block)

    def _block(self, epoch: int, first: int, last: int) -> Order:
        return self._orders.indices(epoch, self._places(first, last), laps_are_epochs=True)

    def _begin(self) -> None:
        super()._begin()
        self._blocks = _Blocks(self.sample_count // self.step)

    def _places(self, first: int, last: int) -> NDArray[np.int64]:
        return np.arange(first, last, dtype=np.int64) * self.step + (self._base + self.start)
