"""DINOv2's endless samplers, index for index."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from samplers.arguments import flag, rank_and_world_size, seed_number, whole_number
from samplers.permutation import (
    INSIDE_OUT_STOP,
    RANDPERM_STOP,
    Order,
    OrderCache,
    TorchEpochs,
    inside_out_order,
    torch_order,
)
from samplers.positions import COUNT_STOP
from samplers.sampler import EndlessSampler

__all__ = ["InfiniteSampler", "ShardedInfiniteSampler"]

_SAMPLE_COUNT_ADVICE = "Pass the number of samples in the dataset, at least one."
_BLOCK = 4096  # samples of a rank that are ordered at a time, where a pass has fewer: the cost of a call, shared
_SHARD_PERIOD = 256  # pass k is seeded with ... + (k << 24), of which torch's generator takes 32 bits


class _Passes(EndlessSampler):
    """Pass after pass over a share of the dataset, each in an order of its own."""

    def __init__(
        self, *, sample_count: int, shuffle: bool, seed: int, start: int, step: int, share: int, advance: int
    ) -> None:
        super().__init__(
            sample_count=sample_count,
            shuffle=shuffle,
            seed=seed,
            start=start,
            step=step,
            share=share,
            advance=advance,
        )
        # A power of two: it divides _SHARD_PERIOD.
        self._epochs_in_block = min(_SHARD_PERIOD, 1 << max(0, (_BLOCK // share).bit_length() - 1))
        self._orders = OrderCache()

    def _indices(self, epoch: int, first: int, last: int) -> NDArray[np.int64]:  # noqa: ARG002 - one epoch, 0
        if first == last:
            return np.empty(0, dtype=np.int64)
        if self._in_order():
            return self._counted(first, last)[1] * self.step + self.start
        size = self._epochs_in_block * self._share
        block, offset = divmod(first, size)
        if offset + last - first <= size:  # mostly: a slice of one order
            order = self._orders.get(self._repeated(block), self._block)
            return order[offset : offset + last - first].astype(np.int64)
        parts = [
            self._orders.get(self._repeated(block), self._block)[max(first - block * size, 0) : last - block * size]
            for block in range(first // size, (last - 1) // size + 1)
        ]
        return np.concatenate(parts, dtype=np.int64)

    def _counted(self, first: int, last: int) -> tuple[int | NDArray[np.int64], NDArray[np.int64]]:
        """The pass of each of [first, last), and its number within this rank's share of it."""
        epoch, offset = divmod(first, self._share)
        numbers = np.arange(offset, offset + last - first, dtype=np.int64)
        if offset + last - first <= self._share:  # one pass: spare the divisions
            return epoch, numbers
        return epoch + numbers // self._share, numbers % self._share

    def _in_order(self) -> bool:
        """Whether every pass is the places start, start + step, ... themselves."""
        return not self.shuffle

    def _repeated(self, block: int) -> int:
        """The first block with the orders of `block`."""
        return block

    @abstractmethod
    def _block(self, block: int) -> Order:
        """The rank's indices in the `_epochs_in_block` passes of `block`, one after the other."""


class InfiniteSampler(_Passes):
    """DINOv2's InfiniteSampler: all ranks share one endless sequence of epochs, every epoch in a new order.

    With 3 ranks and 8 samples, in the order without shuffle; the cut is made anew in each epoch:

        epoch    0  0  0  0  0  0  0  0 | 1  1  1  1 ...
        index    0  1  2  3  4  5  6  7 | 0  1  2  3 ...
        rank     0  1  2  0  1  2  0  1 | 0  1  2  0 ...

    So where `step` does not divide `sample_count` the ranks drift apart: here rank 2 has 2 samples an epoch, the
    others 3, and after the same number of samples rank 2 is further on.

    The place is `epoch * sample_count + place in the epoch`; it does not depend on the number of ranks. Orders are
    DINOv2's: one generator, seeded once, runs through all epochs.

    Costs: one `torch.randperm` an epoch on every rank, about 5 ns a sample of the dataset, and then a slice.
    `advance` draws and throws away what came before, 2.4 ns a sample of all ranks.

    Args:
        sample_count: Samples in the dataset, in [1, 2**40); shuffled, less than 214748364, where torch changes the
            way it draws.
        shuffle: Whether to shuffle. Default False, as in DINOv2.
        seed: In [0, 2**63). Default 0, as in DINOv2. torch's generator uses the low 32 bits.
        start: This rank. Default None: torch.distributed's if it is initialised, else 0.
        step: The number of ranks. Default None: torch.distributed's if it is initialised, else 1.
        advance: Samples of this rank that are left out at the beginning. Default 0.

    Raises:
        TypeError, ValueError: an argument is no whole number or no bool, or out of range; this rank has no sample
            (DINOv2 would loop for ever).
    """

    def __init__(
        self,
        *,
        sample_count: int,
        shuffle: bool = False,
        seed: int = 0,
        start: int | None = None,
        step: int | None = None,
        advance: int = 0,
    ) -> None:
        rank, world_size = rank_and_world_size(start, step)
        count = whole_number("sample_count", sample_count, 1, COUNT_STOP, _SAMPLE_COUNT_ADVICE)
        if rank >= count:
            raise ValueError(
                f"start is {rank}, but sample_count is {count}: this rank would never get a sample. "
                "Use no more ranks than there are samples."
            )
        shuffle = flag("shuffle", shuffle)
        if shuffle and count >= RANDPERM_STOP:
            raise ValueError(
                f"sample_count is {count}, but a shuffled InfiniteSampler takes less than {RANDPERM_STOP}: from there "
                "on torch draws in another way than DINOv2. Use KeyedInfiniteSampler (KEYED_INFINITE), which has no "
                "such limit, or ShardedInfiniteSampler with use_new_shuffle_tensor_slice=True (SHARDED_INFINITE_NEW)."
            )
        super().__init__(
            sample_count=count,
            shuffle=shuffle,
            seed=seed_number(seed),
            start=rank,
            step=world_size,
            share=-(-(count - rank) // world_size),
            advance=advance,
        )
        self._epochs = TorchEpochs(count, self.seed)

    def _in_order(self) -> bool:
        return not self.shuffle or self.sample_count == 1

    def _block(self, block: int) -> Order:
        epochs = self._epochs_in_block
        return self._epochs.orders(block * epochs, epochs, self.start, self.step)

    def _places(self, first: int, last: int) -> NDArray[np.int64]:
        epoch, number = self._counted(first, last)
        return epoch * self.sample_count + (number * self.step + self.start)


class ShardedInfiniteSampler(_Passes):
    """DINOv2's ShardedInfiniteSampler: every rank owns a shard for ever and reshuffles it by itself.

    With 3 ranks and 8 samples, shuffled: all ranks draw one permutation, seeded with `seed`, and share it out:

        place         0  1  2  3  4  5  6  7
        permutation   6  0  3  7  5  1  4  2
        rank          0  1  2  0  1  2  -  -        8 // 3 = 2 samples each: 4 and 2 are never seen, in any epoch

    Rank 0 then yields 6 and 7 for ever, in pass k in an order seeded with `seed + start + (k << 24)`. torch's
    generator takes the low 32 bits of it, so pass k + 256 has the order of pass k. Without shuffle no sample is left
    out: rank r yields r, r + step, ... and begins again, as InfiniteSampler does.

    The place of a rank's l-th sample is `l * step + start`. Where DINOv2's own `advance` contradicts its stream (on
    several ranks, from `sample_count` on) the stream wins: `advance=k` leaves out this rank's first k samples.

    Costs: the shared permutation once, 5 ns a sample of the dataset; then a permutation of the shard every pass, 7 ns
    an index new, about 100 ns old. Every pass is seeded by itself: `advance` costs nothing.

    Args:
        sample_count: Samples in the dataset, in [1, 2**40), and no fewer than there are ranks.
        shuffle: Whether to shuffle. Default False, as in DINOv2.
        seed: In [0, 2**63). Default 0, as in DINOv2.
        start: This rank. Default None: torch.distributed's if it is initialised, else 0.
        step: The number of ranks. Default None: torch.distributed's if it is initialised, else 1.
        advance: Samples of this rank that are left out at the beginning. Default 0.
        use_new_shuffle_tensor_slice: Which of DINOv2's two shuffles makes the order of a shard: True is
            `torch.randperm`; False, the default as in DINOv2, an inside-out Fisher-Yates shuffle, which takes shards
            of less than 2**28 samples.

    Raises:
        TypeError, ValueError: an argument is no whole number or no bool, or out of range; there are more ranks than
            samples (DINOv2 would loop for ever on some of them).
    """

    def __init__(
        self,
        *,
        sample_count: int,
        shuffle: bool = False,
        seed: int = 0,
        start: int | None = None,
        step: int | None = None,
        advance: int = 0,
        use_new_shuffle_tensor_slice: bool = False,
    ) -> None:
        rank, world_size = rank_and_world_size(start, step)
        count = whole_number("sample_count", sample_count, 1, COUNT_STOP, _SAMPLE_COUNT_ADVICE)
        if count < world_size:
            raise ValueError(
                f"sample_count is {count}, but step is {world_size}: a shard would have no sample. "
                "Use no more ranks than there are samples."
            )
        shuffle = flag("shuffle", shuffle)
        self._use_new = flag("use_new_shuffle_tensor_slice", use_new_shuffle_tensor_slice)
        if shuffle and not self._use_new and count // world_size >= INSIDE_OUT_STOP:
            raise ValueError(
                f"sample_count is {count}, {count // world_size} a rank, but use_new_shuffle_tensor_slice=False takes "
                f"less than {INSIDE_OUT_STOP} a rank. Use SHARDED_INFINITE_NEW."
            )
        super().__init__(
            sample_count=count,
            shuffle=shuffle,
            seed=seed_number(seed),
            start=rank,
            step=world_size,
            share=count // world_size if shuffle else -(-(count - rank) // world_size),
            advance=advance,
        )
        self._shards = OrderCache(limit=1)

    @property
    def use_new_shuffle_tensor_slice(self) -> bool:
        """Whether a shard's order is torch.randperm's, instead of DINOv2's first shuffle's."""
        return self._use_new

    def identity(self) -> dict[str, int | str | bool]:
        """What makes the stream; see Sampler.identity."""
        return {**super().identity(), "use_new_shuffle_tensor_slice": self._use_new}

    def _repeated(self, block: int) -> int:
        return block % (_SHARD_PERIOD // self._epochs_in_block)

    def _block(self, block: int) -> Order:
        shard = self._shards.get(0, self._shard)
        epochs = range(block * self._epochs_in_block, (block + 1) * self._epochs_in_block)
        parts = [shard[self._order_in_shard(epoch)] for epoch in epochs]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _shard(self, _: int) -> Order:
        """What this rank owns, in the order of the shared permutation."""
        shard = torch_order(self.sample_count, self.seed)[self.start :: self.step][: self._share]
        return shard if self.step == 1 else np.ascontiguousarray(shard)

    def _order_in_shard(self, epoch: int) -> Order:
        seed = (self.seed + self.start + (epoch << 24)) & 0xFFFFFFFF  # what torch's generator uses of it
        return torch_order(self._share, seed) if self._use_new else inside_out_order(self._share, seed)

    def _places(self, first: int, last: int) -> NDArray[np.int64]:
        return np.arange(first, last, dtype=np.int64) * self.step + self.start

    def _arguments(self) -> Mapping[str, object]:
        return {**super()._arguments(), "use_new_shuffle_tensor_slice": self._use_new}
