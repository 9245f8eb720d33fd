"""Users' own callables that draw from global generators: seeded by position, so that they resume exactly too."""

from __future__ import annotations

import hashlib
import os
import random
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import torch

from dalikit.generator_states import GeneratorStates

__all__ = ["ItemSeeder", "loader_draws", "seed_generators", "seeded_generators"]

_lock = threading.RLock()
"""The generators are the process's: one block at a time. Re-entrant, as blocks may be nested."""


class _Blocks:
    """How many blocks were opened so far, by whichever thread."""

    opened = 0


_blocks = _Blocks()


class _LoaderDraws(threading.local):
    """What loaders draw: how often each thread has begun to, and how often it has ended."""

    everyones: ClassVar[list[int]] = [0, 0]

    def __init__(self) -> None:
        self.own = [0, 0]

    def count(self, which: int) -> None:
        with _lock:
            self.everyones[which] += 1
        self.own[which] += 1

    def of_others(self) -> tuple[int, int]:
        """Of the other threads: begun, ended."""
        return self.everyones[0] - self.own[0], self.everyones[1] - self.own[1]


_loader_draws = _LoaderDraws()


def _forget_other_threads() -> None:
    """In a forked child the thread that held it may be gone, and one that was drawing."""
    global _lock
    _lock = threading.RLock()
    _loader_draws.everyones[:] = _loader_draws.own


os.register_at_fork(after_in_child=_forget_other_threads)


@contextmanager
def loader_draws() -> Iterator[None]:
    """Around what a loader draws from the global generators for its order, as torch's loader does too: for good.

    If that happens in one thread while another reads items, those are not taken for items that draw.
    """
    _loader_draws.count(0)
    try:
        yield
    finally:
        _loader_draws.count(1)


@contextmanager
def seeded_generators(seed: int, position: int, purpose: int) -> Iterator[None]:
    """While it is open, the global generators are seeded from (seed, position); afterwards they are as they were.

    Those are Python's `random`, `numpy.random` (if anything has imported it) and torch's default generator of the CPU;
    CUDA's are left alone. The caller's states come back after an exception too.

    The generators belong to the whole process, so blocks of several threads come one after the other; a block must not
    wait for another thread's. That keeps dalikit's own blocks apart, and nobody else's code: a thread that draws from
    the global generators outside such a block while one is open disturbs it, its own draws follow the block's key, and
    are taken back at the block's end. Where that can happen, as while a loader with `OnCPU` runs ahead, code that draws
    needs a generator of its own, or must be run where nothing else draws. Takes about 60 us.

    Args:
        seed: the loader's, 0 <= seed < 2**64.
        position: a global position, 0 <= position < 2**64; of a batch that of its first sample.
        purpose: what it is for, 0 to 65535: other draws for another purpose.
    """
    with _lock, _seeded(*_seeds(seed, position, purpose)):
        yield


@contextmanager
def _seeded(*seeds: Any) -> Iterator[None]:
    _blocks.opened += 1
    before = GeneratorStates()
    try:
        _seed(*seeds)
        yield
    finally:
        before.put_back()


def seed_generators(seed: int, position: int, purpose: int) -> None:
    """Seeds the global generators from (seed, position), as `seeded_generators` does, for good: in a process that is
    the loader's own.
    """
    _seed(*_seeds(seed, position, purpose))


class ItemSeeder:
    """Reads items so that what each draws from the global generators follows from (seed, position) alone.

    Seeding takes longer than many a dataset takes for an item, so a dataset that draws nothing is spared it. The first
    item is read unseeded, and the generators are looked at after it; then the rest of the call, with a look at its end;
    then call by call. As soon as something was drawn, what was read since the last look is read again, seeded, and from
    then on the generators are seeded before each item. So the outcome does not depend on the calls' sizes. Of a dataset
    that draws from the start, one item is read twice.

    Seen is what moved the generators. An item that draws within `torch.random.fork_rng()`, or puts a generator's state
    back itself, is taken for one that draws nothing: what it draws is not seeded.

    In the user's own process (`put_back`) the caller's states come back afterwards. While items are read seeded, no
    block of `seeded_generators` in another thread runs, nor do other seeded items: the generators are theirs. So an
    item that draws must not wait for another thread that reads such items. One that draws nothing may wait for
    anything; but the first draw of a dataset, if it comes while another thread's block or `loader_draws` is open, may
    not be seen, and disturbs that block. What other threads draw otherwise is taken for the items' own: they are read
    again, seeded. One thread at a time.

    Takes about 30 us a call if nothing is drawn, and 14 us an item if it is.

    Args:
        seed: the loader's.
        purpose: what is drawn for, as for `seeded_generators`.
        put_back: whether the caller's states come back.
    """

    def __init__(self, seed: int, purpose: int, *, put_back: bool) -> None:
        import numpy.random  # noqa: F401 - a dataset that imports it while it is read would draw from it unseeded

        self._seed = seed
        self._purpose = purpose
        self._put_back = put_back
        self._draws: bool | None = None
        """Whether items draw; None: nobody has looked yet."""

    def read(
        self,
        read: Callable[[int], Any],
        positions: Sequence[int],
        read_all: Callable[[], list[Any]] | None = None,
    ) -> list[Any]:
        """What `read(row)` gives for each row, in order.

        Args:
            read: reads an item; it may be asked for one twice.
            positions: of the items, by row.
            read_all: reads all items in a row, in a shorter way; None: `read` does.
        """
        everything = range(len(positions))
        draws = self._draws
        if draws is None and everything:
            first = self._unless_drawn(lambda: [read(0)], read, positions, everything[:1])
            if self._draws:
                return first + self._seeded(read, positions, everything[1:])

            def read_all() -> list[Any]:
                return first + [read(row) for row in everything[1:]]

        elif read_all is None:

            def read_all() -> list[Any]:
                return [read(row) for row in everything]

        return self._unless_drawn(read_all, read, positions, everything)

    def _unless_drawn(
        self, unseeded: Callable[[], list[Any]], read: Callable[[int], Any], positions: Sequence[int], rows: range
    ) -> list[Any]:
        """The items of some rows as `unseeded` gives them, unless something is drawn."""
        if self._draws:
            return self._seeded(read, positions, rows)
        with self._lock():  # within another thread's block the states are not the caller's
            before, since = GeneratorStates(), (_blocks.opened, _loader_draws.of_others()[1])
        try:
            items = unseeded()
        except Exception:  # if it came after a draw, it may follow from that
            if not self._look(before, *since):
                raise
        except BaseException:  # the user's wish to end
            if self._look(before, *since) and self._put_back:
                before.put_back()
            raise
        else:
            if not self._look(before, *since):
                return items
        return self._seeded(read, positions, rows, before)

    def _look(self, before: GeneratorStates, blocks: int, draws_ended: int) -> bool:
        """Whether the items have drawn anything since; where that cannot be told, it is left open for the next look."""
        with self._lock():
            if before.differ():
                # None that had not ended before has begun by now: then no other thread's loader has drawn.
                self._draws = True if draws_ended == _loader_draws.of_others()[0] else None
            else:  # a block that another thread had open meanwhile has taken back what was drawn within it
                self._draws = False if blocks == _blocks.opened else None
        return self._draws is True

    def _seeded(
        self,
        read: Callable[[int], Any],
        positions: Sequence[int],
        rows: range,
        before: GeneratorStates | None = None,
    ) -> list[Any]:
        """The items of some rows; afterwards the states are those from before."""
        items = []
        with self._lock():
            _blocks.opened += 1
            if before is None and self._put_back:
                before = GeneratorStates()
            try:
                for row in rows:
                    _seed(*_seeds(self._seed, positions[row], self._purpose))
                    items.append(read(row))
            finally:
                if before is not None and self._put_back:
                    before.put_back()
        return items

    def _lock(self) -> Any:
        return _lock if self._put_back else nullcontext()


def _seed(for_random: int, for_numpy: tuple[int, ...], for_torch: int) -> None:
    numpy_random: Any = sys.modules.get("numpy.random")
    random.seed(for_random)
    torch.default_generator.manual_seed(for_torch)
    if numpy_random is not None:
        numpy_random.seed(for_numpy)


def _seeds(seed: int, position: int, purpose: int) -> tuple[int, tuple[int, ...], int]:
    """For random a number of 128 bits, for numpy four words of 32 bits, for torch 64 bits.

    A hash, because seeds that are added up would meet: (seed 1, position 2) must have nothing of (2, 1).
    """
    digest = hashlib.blake2b(struct.pack("<QQH", seed, position, purpose), digest_size=40, person=b"dalikit").digest()
    words = struct.unpack("<4IQ", digest[16:])
    return int.from_bytes(digest[:16], "little"), words[:4], words[4]
