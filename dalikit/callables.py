"""Users' own callables that draw from global generators: seeded by position, so that they resume exactly too."""

from __future__ import annotations

import hashlib
import os
import random
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["seeded_generators"]

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
def _seeded(for_random: int, for_numpy: tuple[int, ...], for_torch: int) -> Iterator[None]:
    numpy_random: Any = sys.modules.get("numpy.random")
    random_state = random.getstate()
    torch_state = torch.default_generator.get_state()
    numpy_state = None if numpy_random is None else numpy_random.get_state(legacy=False)
    try:
        random.seed(for_random)
        torch.default_generator.manual_seed(for_torch)
        if numpy_random is not None:
            numpy_random.seed(for_numpy)
        yield
    finally:
        random.setstate(random_state)
        torch.default_generator.set_state(torch_state)
        if numpy_random is not None:
            numpy_random.set_state(numpy_state)


def _seeds(seed: int, position: int, purpose: int) -> tuple[int, tuple[int, ...], int]:
    """For random a number of 128 bits, for numpy four words of 32 bits, for torch 64 bits.

    A hash, because seeds that are added up would meet: (seed 1, position 2) must have nothing of (2, 1).
    """
    digest = hashlib.blake2b(struct.pack("<QQH", seed, position, purpose), digest_size=40, person=b"dalikit").digest()
    words = struct.unpack("<4IQ", digest[16:])
    return int.from_bytes(digest[:16], "little"), words[:4], words[4]
