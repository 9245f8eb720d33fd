"""The protocol that all samplers obey, and what finite and endless ones have in common.

A sampler says WHICH sample comes next on one rank. It is a description: immutable but for the epoch, cheap to make,
to pickle and to print. What it describes is a pure function: any stretch of the stream can be asked for, in any
order, from any thread, and no global random state is read or changed.

The words: *index* is a row of the dataset. A *place* counts within a pass over the data of all ranks together, an
*epoch* counts passes, and a *position* is both in one 64-bit number. Intervals are `[start, stop)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from samplers.arguments import whole_number
from samplers.positions import EPOCH_STOP, position

__all__ = ["EndlessSampler", "FiniteSampler", "Sampler"]

_CHUNK = 8192  # indices made at a time by iteration: enough to forget the cost of a call, soon enough for the first


class Sampler(ABC, Iterable[int]):
    """One rank's stream of indices. See FiniteSampler and EndlessSampler for its two kinds.

    Iterating gives the stream as Python ints, from `advance` on, so that a sampler serves as the `sampler=` of a
    torch DataLoader. Iterating twice gives the same twice; two iterators do not disturb each other.
    """

    elastic: ClassVar[bool] = False
    """Whether what stands at a place does not depend on the number of ranks, and any k samples of each rank are the
    first `k * step` places of a pass: then `after` can deal the rest of a pass out to another number of ranks."""

    def __init__(self, *, sample_count: int, shuffle: bool, seed: int, start: int, step: int) -> None:
        self._sample_count = sample_count
        self._shuffle = shuffle
        self._seed = seed
        self._start = start
        self._step = step
        self._base = 0  # the place from which a pass is dealt out

    @property
    def sample_count(self) -> int:
        """Samples in the dataset: indices lie in [0, sample_count)."""
        return self._sample_count

    @property
    def shuffle(self) -> bool:
        """Whether the order is random."""
        return self._shuffle

    @property
    def seed(self) -> int:
        """What the random order follows from. Without shuffle it has no effect."""
        return self._seed

    @property
    def start(self) -> int:
        """The rank; the first place that is its own."""
        return self._start

    @property
    def step(self) -> int:
        """The number of ranks; the distance between two places of one rank."""
        return self._step

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Places in one pass over all ranks, without padding; None for endless samplers."""

    @property
    @abstractmethod
    def advance(self) -> int:
        """Samples of this rank that count as taken: the stream begins after them."""

    @property
    @abstractmethod
    def num_samples(self) -> int | None:
        """Samples of this rank in a whole epoch; None for endless samplers."""

    @property
    @abstractmethod
    def epoch(self) -> int:
        """The pass; 0 for endless samplers, which have one."""

    @property
    def taken(self) -> int:
        """Samples of this rank, of the present epoch, that count as taken by `advance`."""
        return self._here()[1]

    def stretch(self, epoch: int, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices and places of this rank's samples [first, last) of any epoch, whatever `epoch` and `advance` are.

        This is what a loader that keeps count itself works from: a pure function, in any order, from any thread.

        Args:
            epoch: The pass, in [0, 2**23); 0 for endless samplers.
            first: Counted from the epoch's start, not from `advance`.
            last: Likewise; clipped to the rank's samples in an epoch.

        Returns:
            Two int64 arrays, shape (last - first,) or less.

        Raises:
            ValueError: `first` is negative, or `last` less than `first`, or `epoch` out of range.
        """
        epochs = 1 if self.num_samples is None else EPOCH_STOP
        epoch = whole_number("epoch", epoch, 0, epochs, "Pass the number of passes made before this one.")
        first, last = _interval(first, last)
        end = self._here()[2]
        first, last = min(first, end), min(last, end)
        return self._indices(epoch, first, last), self._places(first, last)

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """The rank's indices [start, stop), counted after `advance`: `indices(0, k)` is what iteration yields first.

        Finite samplers end: `stop`, and then `start`, are clipped to the length. The array is the caller's own.

        Returns:
            int64, shape (stop - start,) or less.

        Raises:
            ValueError: `start` is negative, or `stop` less than `start`.
        """
        return self._indices(*self._span(start, stop))

    def places(self, start: int, stop: int) -> NDArray[np.int64]:
        """The global places, within the pass, of `indices(start, stop)`: int64, same shape, same errors."""
        _, first, last = self._span(start, stop)
        return self._places(first, last)

    def positions(self, start: int, stop: int) -> NDArray[np.int64]:
        """The global positions of `indices(start, stop)`, in this sampler's own epoch: int64, same shape and errors.

        See `position` for the numbers. Of two samples that any ranks draw in any passes, the positions differ, but
        for the padding of a DistributedSampler: a repeat has the position of the sample that it repeats.
        """
        epoch, first, last = self._span(start, stop)
        return position(epoch, self._places(first, last))

    def after(self, place: int) -> Self:
        """The sampler for the rest of a pass whose first `place` places are gone, whichever ranks took them.

        What is left is dealt out anew: sample k of this rank is place `place + start + k * step`. So a pass that 8
        ranks have begun goes on on 3, and nothing is taken twice or left out. Tails (padding, what is dropped) are
        those of the rest.

        Args:
            place: In [0, size]; for endless samplers below 2**61.

        Returns:
            A sampler of which `stretch`, `num_samples` and `common_samples` count from `place` on, in every epoch; none
            of its samples is taken. It is for the pass under way: for the next one use the sampler itself.

        Raises:
            TypeError: the sampler is not elastic.
            ValueError: `place` is out of range.
        """
        if not self.elastic:
            raise TypeError(
                f"{type(self).__name__} cannot deal out the rest of a pass: its ranks are not at one place of the "
                "order. Use KeyedInfiniteSampler or KeyedEpochSampler, whose order does not depend on the ranks."
            )
        stop = 2**61 if self.size is None else self.size + 1
        rest = copy(self)
        rest._base = whole_number("place", place, 0, stop, "Pass how many places of the pass are gone.")
        rest._begin()
        return rest

    def identity(self) -> dict[str, int | str | bool]:
        """What makes the stream, ready for JSON: equal identities mean equal streams.

        Neither epoch nor advance is in it: they say where in the stream. "rank" and "world_size" are the rank's; the
        identities of all ranks of a run agree in all but "rank". "after" is the place from which the rest of a pass
        is dealt out, if it is not the first.
        """
        rest: dict[str, int | str | bool] = {"after": self._base} if self._base else {}
        return rest | {
            "sampler": type(self).__name__,
            "sample_count": self._sample_count,
            "shuffle": self._shuffle,
            "seed": self._seed,
            "rank": self._start,
            "world_size": self._step,
        }

    def __iter__(self) -> Iterator[int]:
        """The stream from `advance` on. The epoch is the one at the time of this call."""
        return self._walk(*self._here())

    def __repr__(self) -> str:
        """The call that makes this sampler, at this epoch and advance."""
        if self._base:
            return f"{self.after(0)!r}.after({self._base})"
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._arguments().items())
        return f"{type(self).__name__}({arguments})"

    @abstractmethod
    def _begin(self) -> None:
        """Nothing of this rank is taken yet; what was worked out for another beginning is forgotten."""

    @abstractmethod
    def _arguments(self) -> Mapping[str, object]:
        """The constructor's arguments."""

    @abstractmethod
    def _here(self) -> tuple[int, int, int]:
        """The epoch, and this rank's samples in it: how many are taken, and where they end."""

    @abstractmethod
    def _indices(self, epoch: int, first: int, last: int) -> NDArray[np.int64]:
        """The rank's indices [first, last) of `epoch`, counted from the epoch's start, in a fresh array."""

    @abstractmethod
    def _places(self, first: int, last: int) -> NDArray[np.int64]:
        """The global places of this rank's [first, last), counted from the epoch's start."""

    @abstractmethod
    def _span(self, start: int, stop: int) -> tuple[int, int, int]:
        """The epoch, and [start, stop) checked and counted from the epoch's start."""

    def _walk(self, epoch: int, first: int, last: int) -> Iterator[int]:
        for chunk in range(first, last, _CHUNK):
            yield from self._indices(epoch, chunk, min(chunk + _CHUNK, last)).tolist()


class FiniteSampler(Sampler):
    """A stream that ends: `set_epoch` says which pass it is, `len` how much of it is left.

    `advance=k` is "as if k samples of this rank had been taken". With m samples of this rank an epoch and
    k = q * m + r, the sampler starts at epoch q with r samples gone: `len` is m - r. `set_epoch` to another epoch
    leaves them behind for good: every epoch from then on is whole. So `advance` always says where the sampler
    stands: epoch * m + what is gone of this epoch.
    """

    def __init__(
        self,
        *,
        sample_count: int,
        shuffle: bool,
        seed: int,
        start: int,
        step: int,
        size: int,
        advance: object,
    ) -> None:
        super().__init__(sample_count=sample_count, shuffle=shuffle, seed=seed, start=start, step=step)
        self._size = size
        self._num_samples = num_samples = self._share(size)
        stop = EPOCH_STOP * num_samples if num_samples else 1
        self._at = divmod(
            whole_number(
                "advance",
                advance,
                0,
                stop,
                f"This rank has {num_samples} samples an epoch; pass how many of its samples were taken.",
            ),
            num_samples or 1,
        )  # one tuple, replaced whole, so that other threads see both numbers or neither
        self._epochs_set = 0

    @property
    def size(self) -> int:
        """Places in one pass over all ranks, without padding."""
        return self._size

    @property
    def num_samples(self) -> int:
        """Samples of this rank in a whole epoch."""
        return self._num_samples

    @property
    def common_samples(self) -> int:
        """What a loader that leaves out short batches makes them of: samples of this rank in a whole epoch; or those
        that every rank has at least, where a sampler promises all ranks as many batches.
        """
        return self._num_samples

    @property
    def epoch(self) -> int:
        """The pass, as `advance` or the last `set_epoch` has it."""
        return self._at[0]

    @property
    def epochs_set(self) -> int:
        """How often `set_epoch` was called: so a loader that counts passes sees that the same is asked for again."""
        return self._epochs_set

    @property
    def advance(self) -> int:
        """Samples of this rank that count as taken, in all epochs: it moves with `set_epoch`."""
        epoch, taken = self._at
        return epoch * self._num_samples + taken

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of pass `epoch`, in [0, 2**23); if that is the pass already, stay where `advance` led.

        Iterators that are under way go on in their own epoch. Without a call every pass repeats the same order.
        """
        number = whole_number("epoch", epoch, 0, EPOCH_STOP, "Pass the number of passes made before this one.")
        if number != self._at[0]:
            self._at = (number, 0)
        self._epochs_set += 1

    def identity(self) -> dict[str, int | str | bool]:
        """What makes the stream; see Sampler.identity."""
        return {**super().identity(), "size": self._size}

    def _begin(self) -> None:
        self._num_samples = self._share(self._size - self._base)
        self._at = (self._at[0], 0)

    @abstractmethod
    def _share(self, size: int) -> int:
        """Samples of this rank of the last `size` places of a pass."""

    def __len__(self) -> int:
        """What iteration yields: this rank's samples of an epoch, less those of it that are gone."""
        return self._num_samples - self._at[1]

    def _here(self) -> tuple[int, int, int]:
        return *self._at, self._num_samples

    def _span(self, start: int, stop: int) -> tuple[int, int, int]:
        start, stop = _interval(start, stop)
        epoch, taken, end = self._here()
        return epoch, min(taken + start, end), min(taken + stop, end)


class EndlessSampler(Sampler):
    """A stream without end: no `len`, no epoch to set. `advance=k` leaves out this rank's first k samples."""

    def __init__(
        self, *, sample_count: int, shuffle: bool, seed: int, start: int, step: int, share: int, advance: object
    ) -> None:
        super().__init__(sample_count=sample_count, shuffle=shuffle, seed=seed, start=start, step=step)
        self._share = share  # samples of this rank in a pass; at least 1
        # A rank's samples lie less than 2 * step places apart on average: all positions fit 63 bits.
        self._end = (2**63 - 1 - sample_count) // (2 * step)
        self._advance = whole_number(
            "advance", advance, 0, self._end, "Pass how many of this rank's samples were taken."
        )

    @property
    def size(self) -> None:
        """None: a pass of an endless sampler has no end."""
        return None

    @property
    def num_samples(self) -> None:
        """None: a pass of an endless sampler has no end."""
        return None

    @property
    def epoch(self) -> int:
        """0: an endless sampler has one pass."""
        return 0

    @property
    def advance(self) -> int:
        """Samples of this rank that count as taken: the stream begins after them."""
        return self._advance

    def _begin(self) -> None:
        self._advance = 0

    def _here(self) -> tuple[int, int, int]:
        return 0, self._advance, self._end

    def _span(self, start: int, stop: int) -> tuple[int, int, int]:
        start, stop = _interval(start, stop)
        if self._advance + stop > self._end:
            raise ValueError(
                f"stop is {stop}, {self._advance} after advance, but positions are 63-bit numbers, which this rank's "
                f"stream uses up after {self._end} samples: ask for an earlier part."
            )
        return 0, self._advance + start, self._advance + stop

    def _arguments(self) -> Mapping[str, object]:
        return {
            "sample_count": self._sample_count,
            "shuffle": self._shuffle,
            "seed": self._seed,
            "start": self._start,
            "step": self._step,
            "advance": self._advance,
        }


def _interval(start: int, stop: int) -> tuple[int, int]:
    """`[start, stop)`, checked."""
    start = whole_number("start", start, 0, 2**63, "Places in the stream count from 0.")
    stop = whole_number("stop", stop, 0, 2**63, "Places in the stream count from 0.")
    if stop < start:
        raise ValueError(f"stop is {stop}, less than start={start}, but the interval is [start, stop): swap them?")
    return start, stop
