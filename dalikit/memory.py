"""Output memory that is used again.

A batch of 64 x 3 x 224 x 224 float32 is 38 MB. Fresh from the system it costs a page fault every 4 KB, which is a good
part of the whole work on an image. So blocks come back here once the last tensor that refers to them is gone.
"""

from __future__ import annotations

import math
import threading
import weakref

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["OutputMemory"]

_ALIGNMENT = 64  # a cache line, and what AVX-512 stores like


class OutputMemory:
    """Makes tensors whose memory returns to a pool when the last tensor over it (a view, a slice) is gone.

    Args:
        max_idle: how many blocks to keep; more are given back to the system.
    """

    def __init__(self, max_idle: int = 4) -> None:
        self._max_idle = max_idle
        self._idle: list[npt.NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A contiguous CPU tensor of undefined content."""
        size = math.prod(shape) * dtype.itemsize
        block = self._take(size)
        start = -block.ctypes.data % _ALIGNMENT
        # torch keeps exactly this array alive, and nothing else refers to it: its end is the end of the last tensor.
        lease = block[start : start + size]
        weakref.finalize(lease, OutputMemory._give_back, weakref.ref(self), block).atexit = False
        return torch.from_numpy(lease).view(dtype).view(shape)

    def _take(self, size: int) -> npt.NDArray[np.uint8]:
        with self._lock:
            for place, block in enumerate(self._idle):
                if len(block) == size + _ALIGNMENT:
                    return self._idle.pop(place)
            self._idle.clear()  # the batch's shape changed: these will hardly be asked for again
        return np.empty(size + _ALIGNMENT, dtype=np.uint8)

    @staticmethod
    def _give_back(memory: weakref.ref[OutputMemory], block: npt.NDArray[np.uint8]) -> None:
        pool = memory()
        # No lock: this may run in any thread, in the middle of `_take` too. `append` and `len` are atomic.
        if pool is not None and len(pool._idle) < pool._max_idle:
            pool._idle.append(block)
