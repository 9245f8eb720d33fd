"""Users' own callables that draw from global generators: seeded by position, so that they resume exactly too."""

from __future__ import annotations

import hashlib
import random
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["CALLABLE_PURPOSE", "seeded_generators"]

CALLABLE_PURPOSE = 28
"""Number of users' callables in the key of randomness, as a transform's `purpose` is."""


@contextmanager
def seeded_generators(seed: int, position: int, purpose: int = CALLABLE_PURPOSE) -> Iterator[None]:
    """While it is open, the global generators are seeded from (seed, position); afterwards they are as they were.

    Those are Python's `random`, `numpy.random` (if anything has imported it) and torch's default generator of the CPU;
    CUDA's are left alone. The caller's states come back after an exception too.

    The generators belong to the whole process. So this is for code on the user's own thread, such as `collate_fn`:
    another thread that draws meanwhile would disturb it, and be disturbed. Takes about 0.1 ms, mostly for numpy's
    state.

    Args:
        seed: the loader's, 0 <= seed < 2**64.
        position: a global position, 0 <= position < 2**64; of a batch that of its first sample.
        purpose: what it is for, 0 to 65535: other draws for another purpose.
    """
    for_random, for_numpy, for_torch = _seeds(seed, position, purpose)
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
