"""The states of the process's random generators: taken, compared and put back, at little cost where nothing is drawn.

Asking numpy for its state takes 30 us or more, far longer than many a dataset takes for an item, so the memory of its
generator is looked at, in which all of its state lies.
"""

from __future__ import annotations

import ctypes
import functools
import random
import struct
import sys
from typing import Any

import numpy as np
import torch

__all__ = ["GeneratorStates"]

_WORDS = 624  # of a Mersenne twister: 32 bits each, and a place in them (numpy's struct mt19937_state)
_BYTES = 4 * _WORDS + 4
_NORMAL = struct.Struct("i4xd")  # whether there is one, and the number (numpy's struct aug_bitgen)


class GeneratorStates:
    """The states of Python's `random`, of `numpy.random` (if anything has imported it) and of torch's default generator
    of the CPU, when it is made. Exact: that a normal number drawn in advance was taken is seen, and it comes back too.
    Takes about 10 us.
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

    It is the twister's, and perhaps a normal number that was drawn in advance. Both are read from memory; where that is
    not laid out as expected, or the user has set another generator, numpy is asked.
    """

    def __init__(self, numpy_random: Any) -> None:
        self._numpy_random = numpy_random
        self._memory = _memory_of(numpy_random)
        self._whole: Any = numpy_random.get_state(legacy=False) if self._memory is None else None

    def differs(self) -> bool:
        memory = _memory_of(self._numpy_random)
        if self._memory is None or memory is None:
            return memory is not self._memory or not _equal(self._numpy_random.get_state(legacy=False), self._whole)
        return memory != self._memory

    def put_back(self) -> None:
        if self._memory is None:
            self._numpy_random.set_state(self._whole)
            return
        generator, twister, normal = self._memory
        if self._numpy_random.get_bit_generator() is not generator:
            self._numpy_random.set_bit_generator(generator)
        words = np.frombuffer(twister, dtype=np.uint32, count=_WORDS)
        place = int.from_bytes(twister[4 * _WORDS :], sys.byteorder, signed=True)
        self._numpy_random.set_state(("MT19937", words, place, *_NORMAL.unpack(normal)))


def _memory_of(numpy_random: Any) -> tuple[Any, bytes, bytes] | None:
    """numpy's twister, its memory, and that of the normal number; None: they cannot be read."""
    generator = numpy_random.get_bit_generator()
    owner = numpy_random.get_state.__self__
    kind: Any = type(owner)
    if type(generator).__name__ != "MT19937" or kind.__name__ != "RandomState":
        return None
    offset = _find_normal(kind)
    if offset is None:
        return None
    twister = ctypes.string_at(generator.ctypes.state_address, _BYTES)
    return generator, twister, ctypes.string_at(id(owner) + offset, _NORMAL.size)


@functools.cache
def _find_normal(kind: Any) -> int | None:
    """Where in a RandomState it lies whether a normal number was drawn in advance, and behind it that number.

    Found out with an object of our own, as numpy does not tell. None: it is not laid out as expected.
    """
    probe, size = kind(0), kind.__basicsize__
    words, place = probe.get_state()[1:3]

    def look(has: int, number: float) -> bytes:
        probe.set_state(("MT19937", words, place, has, number))
        return ctypes.string_at(id(probe), size)

    numbers = 0.7310585786300049, -1.2533141373155001
    offset = look(1, numbers[0]).find(_NORMAL.pack(1, numbers[0]))
    found = offset >= 0 and all(
        _NORMAL.unpack_from(look(has, number), offset) == (has, number) for has in (0, 1) for number in numbers
    )
    twister = probe.get_state(legacy=False)["state"]
    memory = ctypes.string_at(probe._bit_generator.ctypes.state_address, _BYTES)
    expected = twister["key"].astype(np.uint32).tobytes() + int(twister["pos"]).to_bytes(4, sys.byteorder, signed=True)
    return offset if found and memory == expected else None


def _equal(state: Any, other: Any) -> bool:
    """Whether two of numpy's states, which are dicts of numbers, arrays and dicts, are the same."""
    if isinstance(state, dict):
        return all(_equal(part, other[name]) for name, part in state.items())
    return bool((state == other).all()) if hasattr(state, "all") else bool(state == other)
