"""Samplers whose passes end: DINOv2's EpochSampler, torch's DistributedSampler, and one rank in order or at random."""

from __future__ import annotations

from collections.abc import Sized
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from samplers.arguments import flag, rank_and_world_size, seed_number, whole_number
from samplers.permutation import Order, OrderCache, choice_order, hashed_seed, torch_order
from samplers.positions import COUNT_STOP
from samplers.sampler import FiniteSampler

__all__ = ["DistributedSampler", "EpochSampler", "RandomSampler", "SequentialSampler"]

_SAMPLE_COUNT_ADVICE = "Pass the number of samples in the dataset, at least one."


class EpochSampler(FiniteSampler):
    """DINOv2's EpochSampler: `size` samples a pass, dealt out to the ranks one by one.

    With 3 ranks, size 8 and 5 samples, the dataset is laid end to end until it fills the pass (without shuffle; with
    it, `size` of these samples are drawn without replacement):

        place    0  1  2  3  4  5  6  7
        index    0  1  2  3  4  0  1  2
        rank     0  1  2  0  1  2  0  1        3, 3 and 2 samples: nothing is padded or dropped

    The order of a pass is the same for every number of ranks. It is DINOv2's, index for index, oddities included: an
    epoch is seeded with `seed * epoch` (`epoch` where seed is 0), so epoch 0 has one order for all seeds, and seed 2
    in epoch 3 that of seed 3 in epoch 2.

    Costs: numpy's `choice` once an epoch, about 10 ns a place, and then a slice. Every epoch is seeded by itself:
    `advance` costs nothing.

    Args:
        size: Places in a pass over all ranks, in [1, 2**40). A rank gets `ceil((size - start) / step)`, possibly 0.
        sample_count: Samples in the dataset, in [1, 2**40).
        shuffle: Whether to draw at random. Default False, as in DINOv2.
        seed: In [0, 2**63). Default 0, as in DINOv2.
        start: This rank. Default None: torch.distributed's if it is initialised, else 0.
        step: The number of ranks. Default None: torch.distributed's if it is initialised, else 1.
        advance: Samples of this rank that count as taken; see FiniteSampler. Default 0. (DINOv2 has none here.)

    Raises:
        TypeError, ValueError: an argument is no whole number or no bool, or out of range.
    """

    elastic = True

    def __init__(
        self,
        *,
        size: int,
        sample_count: int,
        shuffle: bool = False,
        seed: int = 0,
        start: int | None = None,
        step: int | None = None,
        advance: int = 0,
    ) -> None:
        rank, world_size = rank_and_world_size(start, step)
        size = whole_number("size", size, 1, COUNT_STOP, "Pass the number of samples in an epoch of all ranks.")
        super().__init__(
            sample_count=whole_number("sample_count", sample_count, 1, COUNT_STOP, _SAMPLE_COUNT_ADVICE),
            shuffle=flag("shuffle", shuffle),
            seed=seed_number(seed),
            start=rank,
            step=world_size,
            size=size,
            advance=advance,
        )
        self._orders = OrderCache()

    def _share(self, size: int) -> int:
        return max(0, -(-(size - self.start) // self.step))

    def _begin(self) -> None:
        super()._begin()
        self._orders = OrderCache()

    def _indices(self, epoch: int, first: int, last: int) -> NDArray[np.int64]:
        if not self.shuffle:
            return self._places(first, last) % self.sample_count
        return self._orders.get(epoch, self._order)[first:last].astype(np.int64)

    def _places(self, first: int, last: int) -> NDArray[np.int64]:
        return np.arange(first, last, dtype=np.int64) * self.step + (self._base + self.start)

    def _order(self, epoch: int) -> Order:
        """The rank's indices in `epoch`."""
        n, size = self.sample_count, self.size
        seed = self.seed * epoch if self.seed else epoch
        order = choice_order(-(-size // n) * n, size, seed)[self._base + self.start :: self.step]
        if size > n:
            order = order % n
        return order.astype(np.int32 if n <= 2**31 else np.int64)

    def _arguments(self) -> dict[str, int | bool]:
        return {
            "size": self.size,
            "sample_count": self.sample_count,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "start": self.start,
            "step": self.step,
            "advance": self.advance,
        }


class DistributedSampler(FiniteSampler):
    """torch's DistributedSampler: every sample once a pass, the same number on every rank.

    With 3 ranks and 8 samples, in the order without shuffle:

        place         0  1  2  3  4  5  6  7 | 0        the pass is padded from its own beginning,
        index         0  1  2  3  4  5  6  7 | 0        or, with drop_last, cut to 0 ... 5
        rank          0  1  2  0  1  2  0  1 | 2

    A padded repeat has the place and the position of the sample that it repeats. Orders are torch's, index for
    index: `torch.randperm` from a generator seeded with `seed + epoch`, so neighbouring seeds share epochs.

    Args:
        dataset: What has a length, or the length itself, in [1, 2**40). It is not kept.
        num_replicas: The number of ranks. Default None: torch.distributed's if it is initialised, else 1 (torch
            raises there).
        rank: This rank. Default None: torch.distributed's if it is initialised, else 0.
        shuffle: Whether to shuffle. Default True, as in torch.
        seed: In [0, 2**63), the same on all ranks. Default 0, as in torch.
        drop_last: Whether to cut the pass to a multiple of `num_replicas`, instead of padding it. Default False, as
            in torch. With fewer samples than ranks nothing is left of it.
        advance: Samples of this rank that count as taken; see FiniteSampler. Default 0. (torch has none.)

    Raises:
        TypeError, ValueError: an argument is no whole number or no bool, or out of range.
    """

    elastic = True

    def __init__(
        self,
        dataset: Sized | int,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        advance: int = 0,
    ) -> None:
        rank, num_replicas = rank_and_world_size(rank, num_replicas, names=("rank", "num_replicas"))
        length = len(dataset) if isinstance(dataset, Sized) else dataset
        count = whole_number("dataset", length, 1, COUNT_STOP, "Pass a dataset that has samples and a length.")
        self._drop_last = flag("drop_last", drop_last)
        super().__init__(
            sample_count=count,
            shuffle=flag("shuffle", shuffle),
            seed=seed_number(seed),
            start=rank,
            step=num_replicas,
            size=count,
            advance=advance,
        )
        self._orders = OrderCache()

    @property
    def rank(self) -> int:
        """The rank that the stream is for."""
        return self.start

    @property
    def num_replicas(self) -> int:
        """The number of ranks."""
        return self.step

    @property
    def drop_last(self) -> bool:
        """Whether the pass is cut to a multiple of `num_replicas`, instead of padded."""
        return self._drop_last

    @property
    def total_size(self) -> int:
        """Samples that all ranks yield in a pass, repeats included."""
        return self.num_samples * self.num_replicas

    def identity(self) -> dict[str, int | str | bool]:
        """What makes the stream; see Sampler.identity."""
        return {**super().identity(), "drop_last": self._drop_last}

    def _share(self, size: int) -> int:
        return size // self.step if self._drop_last else -(-size // self.step)

    def _begin(self) -> None:
        super()._begin()
        self._orders = OrderCache()

    def _indices(self, epoch: int, first: int, last: int) -> NDArray[np.int64]:
        if not self.shuffle:
            return self._places(first, last)
        return self._orders.get(epoch, self._order)[first:last].astype(np.int64)

    def _places(self, first: int, last: int) -> NDArray[np.int64]:
        places = np.arange(first, last, dtype=np.int64) * self.step + (self._base + self.start)
        return places if self._drop_last else places % self.sample_count

    def _order(self, epoch: int) -> Order:
        """The rank's indices in `epoch`."""
        order = torch_order(self.sample_count, self.seed + epoch)
        if self.step == 1:
            return order[self._base :]
        return order[self._places(0, self.num_samples)]

    def _arguments(self) -> dict[str, int | bool]:
        return {
            "dataset": self.sample_count,
            "num_replicas": self.num_replicas,
            "rank": self.rank,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "drop_last": self.drop_last,
            "advance": self.advance,
        }


class _OneRank(FiniteSampler):
    """Every sample once, the same on every rank: the place is the rank's own count."""

    elastic = True
    _shuffled: ClassVar[bool]

    def __init__(self, sample_count: int, seed: int, advance: int) -> None:
        count = whole_number("sample_count", sample_count, 1, COUNT_STOP, _SAMPLE_COUNT_ADVICE)
        super().__init__(
            sample_count=count,
            shuffle=self._shuffled,
            seed=seed_number(seed),
            start=0,
            step=1,
            size=count,
            advance=advance,
        )

    def _share(self, size: int) -> int:
        return size

    def _places(self, first: int, last: int) -> NDArray[np.int64]:
        return np.arange(self._base + first, self._base + last, dtype=np.int64)


class SequentialSampler(_OneRank):
    """0 ... sample_count - 1 in every pass, on every rank: what a loader without shuffle and without sampler does.

    Args:
        sample_count: Samples in the dataset, in [1, 2**40).
        advance: Samples that count as taken; see FiniteSampler. Default 0.

    Raises:
        TypeError, ValueError: an argument is no whole number, or out of range.
    """

    _shuffled = False

    def __init__(self, sample_count: int, advance: int = 0) -> None:
        super().__init__(sample_count, 0, advance)

    def _indices(self, epoch: int, first: int, last: int) -> NDArray[np.int64]:  # noqa: ARG002 - every pass is alike
        return self._places(first, last)

    def _arguments(self) -> dict[str, int | bool]:
        return {"sample_count": self.sample_count, "advance": self.advance}


class RandomSampler(_OneRank):
    """Every sample once a pass, in random order, the same on every rank: what a loader with `shuffle=True` does.

    Every epoch is a `torch.randperm` whose generator is seeded with a 64-bit hash of seed and epoch (`hashed_seed`),
    so that neighbouring seeds share no epochs, and no epoch needs the ones before it.

    Args:
        sample_count: Samples in the dataset, in [1, 2**40).
        seed: In [0, 2**63). Default 0.
        advance: Samples that count as taken; see FiniteSampler. Default 0.

    Raises:
        TypeError, ValueError: an argument is no whole number, or out of range.
    """

    _shuffled = True

    def __init__(self, sample_count: int, seed: int = 0, advance: int = 0) -> None:
        super().__init__(sample_count, seed, advance)
        self._orders = OrderCache()

    def _indices(self, epoch: int, first: int, last: int) -> NDArray[np.int64]:
        return self._orders.get(epoch, self._order)[self._base + first : self._base + last].astype(np.int64)

    def _order(self, epoch: int) -> Order:
        return torch_order(self.sample_count, hashed_seed(self.seed, epoch))

    def _arguments(self) -> dict[str, int | bool]:
        return {"sample_count": self.sample_count, "seed": self.seed, "advance": self.advance}
