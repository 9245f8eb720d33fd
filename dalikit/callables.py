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
from typing import Any

import torch

from dalikit.generator_states import GeneratorStates

__all__ = ["ItemSeeder", "seed_generators", "seeded_generators"]

_lock = threading.RLock()
"""The generators are the process's: one block at a time. Re-entrant, as blocks may be nested."""


def _forget_lock() -> None:
    """In a forked child the thread that held it may be gone."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_forget_lock)


@contextmanager
def seeded_generators(seed: int, position: int, purpose: int) -> Iterator[None]:
    """While it is open, the global generators are seeded from (seed, position); afterwards they are as they were.

    Those are Python's `random`, `numpy.random` (if anything has imported it) and torch's default generator of the CPU;
    CUDA's are left alone. The caller's states come back after an exception too.

    The generators belong to the whole process, so blocks of several threads come one after the other; a block must not
    wait for another thread's. That keeps dalikit's own blocks apart, and nobody else's code: a thread that draws from
    the global generators outside such a block while one is open disturbs it, its own draws follow the block's key, and
    are taken back at the block's end. Where that can happen, as while a loader with `OnCPU` runs ahead, code that draws
    needs a generator of its own, or must be run where nothing else draws. Takes about 0.1 ms, mostly for numpy's state.

    Args:
        seed: the loader's, 0 <= seed < 2**64.
        position: a global position, 0 <= position < 2**64; of a batch that of its first sample.
        purpose: what it is for, 0 to 65535: other draws for another purpose.
    """
    with _lock, _seeded(*_seeds(seed, position, purpose)):
        yield


@contextmanager
def _seeded(*seeds: Any) -> Iterator[None]:
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

    Seeding takes longer than many a dataset takes for an item, so a dataset that draws nothing is spared it. In the
    first call the generators are seeded before each item, and looked at after it, until one is found that drew. From
    then on they are seeded before each item; if none drew, they are looked at once a call, and should one have drawn
    after all, the call's items are read again, seeded. So the outcome is the same in whichever way they were read.

    In the user's own process (`put_back`) the caller's states come back afterwards, and no block of `seeded_generators`
    in another thread runs meanwhile, so an item must not wait for one. One thread at a time.

    Takes about 25 us a call if nothing is drawn, and 14 us an item if it is.

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
        if read_all is None:

            def read_all() -> list[Any]:
                return [read(row) for row in range(len(positions))]

        with _lock if self._put_back else nullcontext():
            before = GeneratorStates()
            touched = True
            try:
                if self._draws is False:
                    items = self._read_unseeded(read_all, before)
                    if items is not None:
                        touched = False
                        return items
                return self._read_seeded(read, positions)
            finally:
                if touched and self._put_back:
                    before.put_back()

    def _read_unseeded(self, read_all: Callable[[], list[Any]], before: GeneratorStates) -> list[Any] | None:
        """None: they drew, so they have to be read again; an error that came after a draw may depend on it."""
        try:
            items = read_all()
        except Exception:
            if not before.differ():
                raise
        else:
            if not before.differ():
                return items
        self._draws = True
        return None

    def _read_seeded(self, read: Callable[[int], Any], positions: Sequence[int]) -> list[Any]:
        items = []
        for row, position in enumerate(positions):
            _seed(*_seeds(self._seed, position, self._purpose))
            seeded = None if self._draws else GeneratorStates()
            items.append(read(row))
            if seeded is not None and seeded.differ():
                self._draws = True
        if items and self._draws is None:
            self._draws = False
        return items


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
