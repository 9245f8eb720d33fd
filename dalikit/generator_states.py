"""The states of the process's random generators: taken, compared and put back, at little cost where nothing is drawn.

Asking numpy for its state takes 55 us, far more than many a dataset takes for an item, so its generator's memory is
looked at where that tells as much.
"""

from __future__ import annotations

import ctypes
import random
import sys
from typing import Any

import numpy as np
import torch

__all__ = ["GeneratorStates"]

_WORDS = 624  # of a Mersenne twister: 32 bits each, and a place in them (numpy's struct mt19937_state)
_BYTES = 4 * _WORDS + 4


class GeneratorStates:
    """The states of Python's `random`, of `numpy.random` (if anything has imported it) and of torch's default generator
    of the CPU, when it is made. Takes 9 us, or 60 if numpy's was used since the last time.
    """

    def __init__(self) -> None:
        numpy_random: Any = sys.modules.get("numpy.random")
        self._random = random.getstate()
        self._torch = torch.default_generator.get_state()
        self._numpy = None if numpy_random is None else _NumpyState(numpy_random)

    def differ(self) -> bool:
        """Whether anything was drawn or seeded since."""
        return (
            random.getstate() != self._random
            or not torch.equal(torch.default_generator.get_state(), self._torch)
            or (self._numpy is not None and self._numpy.differs())
        )

    def put_back(self) -> None:
        """Makes them the generators' own again."""
        random.setstate(self._random)
        torch.default_generator.set_state(self._torch)
        if self._numpy is not None:
            self._numpy.put_back()


class _NumpyState:
    """The state of numpy's global generator.

    It is the twister's, whose memory can be read, and a normal number that was drawn in advance, which cannot. There is
    none as long as the twister has not moved since there was none: only drawing two at once leaves one.
    """

    def __init__(self, numpy_random: Any) -> None:
        self._numpy_random = numpy_random
        self._generator = numpy_random.get_bit_generator()
        self._memory = _memory_of(self._generator)
        self._whole: Any = None
        """As numpy gives it, where the memory does not tell all; else None."""
        if self._memory is None or self._memory != _plain.memory:
            self._whole = numpy_random.get_state(legacy=False)
            if self._memory is not None and _is_plain(self._whole, self._memory):
                _plain.memory, self._whole = self._memory, None

    def differs(self) -> bool:
        if self._whole is not None:
            return not _equal(self._numpy_random.get_state(legacy=False), self._whole)
        return self._numpy_random.get_bit_generator() is not self._generator or (
            _memory_of(self._generator) != self._memory
        )

    def put_back(self) -> None:
        if self._whole is not None:
            self._numpy_random.set_state(self._whole)
            return
        assert self._memory is not None
        words = np.frombuffer(self._memory, dtype=np.uint32, count=_WORDS)
        self._numpy_random.set_state(("MT19937", words, _place_in(self._memory), 0, 0.0))


class _Plain:
    """The memory of numpy's generator when it was last seen without a normal number drawn in advance."""

    memory: bytes | None = None


_plain = _Plain()


def _memory_of(generator: Any) -> bytes | None:
    """A twister's memory; None for other generators, which the user may have set."""
    if type(generator).__name__ != "MT19937":
        return None
    return ctypes.string_at(generator.ctypes.state_address, _BYTES)


def _place_in(memory: bytes) -> int:
    return int.from_bytes(memory[4 * _WORDS :], sys.byteorder, signed=True)


def _is_plain(whole: Any, memory: bytes) -> bool:
    """Whether the memory tells all of a state, and is laid out as expected."""
    twister = whole["state"]
    same = twister["key"].astype(np.uint32).tobytes() == memory[: 4 * _WORDS] and twister["pos"] == _place_in(memory)
    return bool(same and not whole["has_gauss"])


def _equal(state: Any, other: Any) -> bool:
    """Whether two of numpy's states, which are dicts of numbers, arrays and dicts, are the same."""
    if isinstance(state, dict):
        return all(_equal(part, other[name]) for name, part in state.items())
    return bool((state == other).all()) if hasattr(state, "all") else bool(state == other)
