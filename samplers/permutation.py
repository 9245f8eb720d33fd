"""Random orders: those that DINOv2, torch and numpy draw, exactly, without a Python loop over samples.

All of torch's orders on the CPU come from the Mersenne Twister. `torch.Generator.manual_seed` feeds it the low 32
bits of the seed only, so two seeds that differ by a multiple of 2**32 give one order. numpy's
`RandomState(seed & 0xFFFFFFFF)`, whose stream numpy froze (NEP 19), draws the same numbers.

Orders are int32 where they fit (half the memory, and torch draws them in two thirds of the time).
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = [
    "INSIDE_OUT_STOP",
    "RANDPERM_STOP",
    "Order",
    "OrderCache",
    "TorchEpochs",
    "choice_order",
    "hashed_seed",
    "inside_out_order",
    "torch_order",
]

Order: TypeAlias = NDArray[np.signedinteger[Any]]
"""A 1-D array of indices, int32 or int64."""

RANDPERM_STOP = (2**32 - 1) // 20
"""From this count on, `torch.randperm` draws 64 bits a sample and is no longer DINOv2's shuffle
(`randperm_cpu` in torch's ATen/native/TensorFactories.cpp)."""

INSIDE_OUT_STOP = 2**28
"""From this range on, `torch.randint` draws 64 bits (`uniform_int_from_to_distribution` in torch's
ATen/core/DistributionsHelper.h), and `inside_out_order`, which draws 32, is no longer DINOv2's shuffle."""

_SKIP_CHUNK = 1 << 16  # draws thrown away at a time: 256 KiB, which stays in the cache
_STATES_KEPT = 32  # a generator's state is 5 kB


def torch_order(count: int, seed: int) -> Order:
    """`torch.randperm(count)` from a generator of its own, seeded with `seed` in [0, 2**64). Shape (count,)."""
    import torch

    return _randperm(count, torch.Generator().manual_seed(seed))


def choice_order(population: int, size: int, seed: int) -> Order:
    """`numpy.random.default_rng(seed).choice(population, size, replace=False)`: int64, shape (size,).

    Drawing from `population` gives the places that drawing from an array of that length would take, and spares
    making the array.
    """
    order: NDArray[np.int64] = np.random.default_rng(seed).choice(population, size, replace=False)
    return order


def hashed_seed(seed: int, epoch: int) -> int:
    """A 64-bit hash of the pair. Seed arithmetic (`seed + epoch`) would make neighbouring seeds share epochs.

    numpy's SeedSequence takes 32-bit words, as many as a number needs; a fixed three of them tell all pairs apart.
    """
    words = [seed & 0xFFFFFFFF, seed >> 32, epoch]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])


def inside_out_order(count: int, seed: int) -> Order:
    """DINOv2's inside-out Fisher-Yates shuffle of `range(count)`, for `count` below `INSIDE_OUT_STOP`.

    The shuffle it equals runs one sample after the other (`_shuffle_tensor_slice` in DINOv2's
    dinov2/data/samplers.py), with one draw a step from a generator seeded with `seed`, none in step 0:

        for i in range(count):
            j = torch.randint(0, i + 1)         # slot[i] below
            result[i] = result[j]               # what lay in slot j moves to the new end
            result[j] = i                       # i is written to slot j

    All the slots are known beforehand, so the loop is solved instead of run. A slot ends with the last value written
    to it: a search in the writes sorted by (slot, time). A place that was never written after step i = place holds
    what step i moved there: the write before i to the same slot or, where there was none, what step j had moved
    there, and so on: a chain that is followed for all places at once and halves its length each time.

    Returns:
        int64, shape (count,): sample `order[p]` comes at place p.
    """
    slot = np.zeros(count, dtype=np.int64)
    slot[1:] = _torch_draws(count - 1, seed) % np.arange(2, count + 1, dtype=np.uint32)
    writes = np.sort(slot << 32 | np.arange(count))  # writes: (steps,) ordered by slot, then time
    written_slot, step = writes >> 32, writes & 0xFFFFFFFF
    again = written_slot[1:] == written_slot[:-1]

    moved = np.full(count, -1, dtype=np.int64)  # step -> what it moved to its end, -1 where the chain goes on
    moved[step[1:][again]] = step[:-1][again]
    order = np.full(count, -1, dtype=np.int64)
    last = np.append(~again, True)
    order[written_slot[last]] = step[last]

    place = np.flatnonzero(order < 0)
    link = place
    while place.size:
        value = moved[link]
        found = value >= 0
        order[place[found]] = value[found]
        place, link = place[~found], slot[link[~found]]
    return order


class OrderCache:
    """The orders built last, by number. Any thread may ask; two that want the same order build it once.

    Two are kept: a reader ahead in the next epoch and one behind in this one need no more. It pickles and deep-copies
    as an empty cache: what it holds can be built again.
    """

    def __init__(self, limit: int = 2) -> None:
        self._limit = limit
        self._lock = Lock()
        self._orders: dict[int, Order] = {}

    def get(self, number: int, build: Callable[[int], Order]) -> Order:
        """Order `number`, from `build(number)` if it is not here. Not to be written to."""
        with self._lock:
            order = self._orders.pop(number, None)
            if order is None:
                while len(self._orders) >= self._limit:
                    del self._orders[next(iter(self._orders))]
                order = build(number)
            self._orders[number] = order  # the youngest is the last
            return order

    def __reduce__(self) -> tuple[type[OrderCache], tuple[int]]:
        """An empty cache: a lock cannot be pickled, and orders are large."""
        return OrderCache, (self._limit,)


class TorchEpochs:
    """One generator that shuffles `range(count)` anew every epoch, as DINOv2's InfiniteSampler consumes it.

    DINOv2 takes `count` draws an epoch, `torch.randperm` one less for the same order: one draw is thrown away after
    it. An epoch further on is reached by drawing and throwing away (2.4 ns a draw); an earlier one from the nearest
    state that was kept.

    `count` is below `RANDPERM_STOP`. Not thread-safe: callers hold a lock (`OrderCache.get` does). It pickles without
    its state.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._generator: torch.Generator | None = None
        self._epoch: int | None = None  # the generator stands at its start; None while it is being moved
        self._states: dict[int, torch.Tensor] = {}  # epoch -> the generator's state at its start

    def orders(self, epoch: int, epochs: int, start: int = 0, step: int = 1) -> Order:
        """Places start, start + step, ... of `epochs` epochs from `epoch` on, one after the other, each epoch anew."""
        import torch

        generator = self._generator_at(epoch)
        self._epoch = None
        whole = torch.empty((epochs, self._count), dtype=torch.int32)
        unused = torch.empty(1, dtype=torch.int32)
        for row in whole.unbind():
            torch.randperm(self._count, generator=generator, out=row)
            unused.random_(generator=generator)
        self._epoch = epoch + epochs
        # Where step > 1 this copies: a slice would keep all of `whole` alive.
        return np.ascontiguousarray(whole.numpy()[:, start::step]).reshape(-1)

    def _generator_at(self, epoch: int) -> torch.Generator:
        """The generator, standing at the start of `epoch`."""
        import torch

        if self._generator is None:
            generator = torch.Generator().manual_seed(self._seed)
            self._states, self._epoch = {0: generator.get_state()}, 0
            self._generator = generator
        generator = self._generator
        known = max(kept for kept in self._states if kept <= epoch)
        here = self._epoch
        self._epoch = None  # an interrupt from here on leaves the generator somewhere: start from a kept state then
        if here is None or not known <= here <= epoch:
            generator.set_state(self._states[known])
            here = known
        _throw_away((epoch - here) * self._count, generator)
        self._keep(epoch, generator)
        return generator

    def _keep(self, epoch: int, generator: torch.Generator) -> None:
        """Keep the state at the start of `epoch`; where there are too many, let go of every second one."""
        if epoch in self._states:
            return
        if len(self._states) >= _STATES_KEPT:
            for kept in sorted(self._states)[1::2]:
                del self._states[kept]
        self._states[epoch] = generator.get_state()

    def __reduce__(self) -> tuple[type[TorchEpochs], tuple[int, int]]:
        """A generator at its beginning: what moved it can be done again."""
        return TorchEpochs, (self._count, self._seed)


def _randperm(count: int, generator: torch.Generator) -> Order:
    """`torch.randperm`, in the smallest dtype that holds `count`; the order does not depend on it."""
    import torch

    dtype = torch.int32 if count < 2**31 else torch.int64
    order: Order = torch.randperm(count, generator=generator, dtype=dtype).numpy()
    return order


def _throw_away(draws: int, generator: torch.Generator) -> None:
    """Move `generator` on by 32-bit `draws`: filling int32 takes one each, and is as fast as drawing can be."""
    import torch

    buffer = torch.empty(min(draws, _SKIP_CHUNK), dtype=torch.int32)
    for _ in range(draws // _SKIP_CHUNK):
        buffer.random_(generator=generator)
    if draws % _SKIP_CHUNK:
        buffer[: draws % _SKIP_CHUNK].random_(generator=generator)


def _torch_draws(count: int, seed: int) -> NDArray[np.uint32]:
    """The first 32-bit draws of `torch.Generator().manual_seed(seed)`. (torch has no call that fills uint32.)"""
    return np.random.RandomState(seed & 0xFFFFFFFF).randint(0, 2**32, size=count, dtype=np.uint32)
