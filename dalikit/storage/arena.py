"""Reusable memory for the encoded bytes of a batch."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError, InternalError

__all__ = ["Arena", "ArenaPool"]

DEFAULT_CHUNK_SIZE = 16 << 20
"""16 MiB: a batch of 256 photographs takes two or three chunks; a page that nothing is read into costs no memory."""

_LINE = 64  # views start on a cache line of their own, so that two readers never write to the same one


class Arena:
    """Memory for one batch, handed out in views and taken back all at once.

        chunk      [ image | image |  image   |....free....]   <- the bump pointer moves right
        own chunk  [ one huge image                    |...]
        free       [...............]                           <- left over from an earlier batch

    The kernel has to clear and map every page of fresh memory at its first touch, which costs about as much as reading
    the bytes from the page cache. So `reset` keeps the chunks, and the next batch writes into pages that are there.

    `allocate` may be called by many threads at once. `reset` must not run beside it, nor while a view is in use: the
    views of the batch before then show the bytes of the next. An arena does not pickle.

    Args:
        chunk_size: bytes of a chunk. A hint: whatever is asked for fits, larger pieces get a chunk of their own.
    """

    def __init__(self, chunk_size: int = DEFAULT_CHUNK_SIZE) -> None:
        if chunk_size < 1:
            raise ArgumentError(f"chunk_size must be at least 1 byte, got {chunk_size}")
        self._chunk_size = chunk_size
        self._lock = threading.Lock()
        self._free: list[npt.NDArray[np.uint8]] = []  # by size, the smallest first
        self._taken: list[npt.NDArray[np.uint8]] = []
        self._chunk: npt.NDArray[np.uint8] = np.empty(0, dtype=np.uint8)  # the one being filled
        self._used = 0  # bytes of it

    @property
    def capacity(self) -> int:
        """Bytes of all chunks, used or not."""
        with self._lock:
            return sum(map(len, self._free)) + sum(map(len, self._taken))

    def allocate(self, size: int) -> npt.NDArray[np.uint8]:
        """Hands out `size` contiguous bytes, whose content is undefined.

        Returns:
            A view uint8 (size,), valid until `reset`. It overlaps no other view.

        Raises:
            ArgumentError: `size` is negative.
            MemoryError: there is not that much memory.
        """
        if size < 0:
            raise ArgumentError(f"size must not be negative, got {size}")
        with self._lock:
            chunk, start = self._chunk, self._used
            if start + size <= len(chunk):
                self._used = (start + size + _LINE - 1) & -_LINE
            else:
                chunk, start = self._from_next_chunk(size), 0
        return chunk[start : start + size]

    def reset(self) -> None:
        """Takes all views back. Keeps the chunks, except large ones that this batch did not need."""
        with self._lock:
            kept = [chunk for chunk in self._free if len(chunk) <= self._chunk_size]
            self._free = sorted(kept + self._taken, key=len)
            self._taken = []
            self._chunk = self._chunk[:0]
            self._used = 0

    def _from_next_chunk(self, size: int) -> npt.NDArray[np.uint8]:
        """A chunk whose first `size` bytes are the caller's. Called under the lock."""
        chunk = self._take_chunk(size)
        if 2 * size <= self._chunk_size:
            self._chunk = chunk
            self._used = (size + _LINE - 1) & -_LINE
        # else it is the piece's own: the chunk being filled is filled further
        return chunk

    def _take_chunk(self, size: int) -> npt.NDArray[np.uint8]:
        """The smallest free chunk that holds `size` bytes, else a new one, of a whole number of chunk sizes."""
        for place, chunk in enumerate(self._free):
            if len(chunk) >= size:
                del self._free[place]
                break
        else:
            chunk = np.empty(-(-size // self._chunk_size) * self._chunk_size, dtype=np.uint8)
        self._taken.append(chunk)
        return chunk


class ArenaPool:
    """Lends arenas and keeps the returned ones for the next batch. Thread-safe.

    Args:
        max_idle: how many returned arenas to keep; further ones are freed. As many as there are batches under way.
        chunk_size: of the arenas that it makes, in bytes.
    """

    def __init__(self, max_idle: int = 4, chunk_size: int = DEFAULT_CHUNK_SIZE) -> None:
        if max_idle < 0:
            raise ArgumentError(f"max_idle must not be negative, got {max_idle}")
        if chunk_size < 1:
            raise ArgumentError(f"chunk_size must be at least 1 byte, got {chunk_size}")
        self._max_idle = max_idle
        self._chunk_size = chunk_size
        self._lock = threading.Lock()
        self._idle: list[Arena] = []

    @property
    def num_idle(self) -> int:
        """How many arenas wait to be lent."""
        return len(self._idle)

    def acquire(self) -> Arena:
        """An empty arena: the one returned last, whose pages are the likeliest to be cached, else a new one."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Arena(self._chunk_size)

    def release(self, arena: Arena) -> None:
        """Takes an arena back. Neither it nor its views may be used afterwards.

        Raises:
            InternalError: it was released before: two batches would share its memory.
        """
        with self._lock:
            if any(idle is arena for idle in self._idle):
                raise InternalError("arena was released twice: two batches would share its memory")
            arena.reset()
            if len(self._idle) < self._max_idle:
                self._idle.append(arena)
