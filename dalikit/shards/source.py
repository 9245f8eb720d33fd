"""The bytes of a shard, read forward."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol, Self

from dalikit.errors import DatasetError, DatasetNotFoundError
from dalikit.storage import is_remote, read_stream

__all__ = ["Source", "Window", "open_source"]

_SMALLEST, _LARGEST = 4 << 10, 256 << 10
"""Bytes of a window. The small one holds a header and the first bytes of an image; the large one is where the cost of a
system call no longer shows."""


class Source(Protocol):
    """Where the bytes of a shard come from."""

    def read(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on, fewer than `size` only at the end. No call may begin before an earlier one."""
        ...

    def close(self) -> None:
        """Lets go of the file or connection."""
        ...


class _FileSource:
    """A local file."""

    def __init__(self, path: str) -> None:
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its writer
                raise DatasetError(f"shard {path!r} is not a regular file")
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise DatasetNotFoundError(f"shard {path!r} does not exist") from error
        except (OSError, ValueError) as error:
            raise DatasetError(f"shard {path!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        self._path = path

    def read(self, offset: int, size: int) -> bytes:
        """See `Source`."""
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise DatasetError(f"shard {self._path!r} cannot be read at offset {offset}: {error.strerror}") from error

    def close(self) -> None:
        """See `Source`."""
        os.close(self._descriptor)


class _StreamSource:
    """A file or object that is read once, from its beginning."""

    def __init__(self, uri: str, stopped: Callable[[], bool] | None) -> None:
        self._chunks: Iterator[bytes] = read_stream(uri, stopped=stopped)
        self._held = b""
        self._start = 0  # where `_held` begins

    def read(self, offset: int, size: int) -> bytes:
        """See `Source`."""
        while offset >= self._start + len(self._held):
            chunk = next(self._chunks, b"")
            if not chunk:
                return b""
            self._start, self._held = self._start + len(self._held), chunk
        place = offset - self._start
        if place + size > len(self._held):
            self._held, self._start, place = self._joined(place, size), offset, 0
        return self._held[place : place + size]

    def _joined(self, place: int, size: int) -> bytes:
        """What is held from `place` on, with as many further chunks as make it `size` bytes long."""
        pieces = [self._held[place:]]
        length = len(pieces[0])
        while length < size and (chunk := next(self._chunks, b"")):
            pieces.append(chunk)
            length += len(chunk)
        return b"".join(pieces)

    def close(self) -> None:
        """See `Source`."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()


def open_source(uri: str, *, stream: bool = False, stopped: Callable[[], bool] | None = None) -> Source:
    """Opens a shard. Local files are read where it is needed, remote ones (and all, if `stream`) from end to end.
    `stopped` is asked while a remote one is waited for: whether to give up, by a DatasetError.
    """
    return _StreamSource(uri, stopped) if stream or is_remote(uri) else _FileSource(uri)


class Window:
    """Reads a source by pieces that suit it: short ones where members are large and most of the shard is skipped, long
    ones where they are small and one read brings many.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._bytes = b""
        self._start = 0
        self._wanted = _SMALLEST

    def __enter__(self) -> Self:
        """Does nothing; see `__exit__`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the source."""
        self._source.close()

    def read(self, offset: int, size: int) -> bytes:
        """The bytes [offset, offset + size), fewer only at the end. No call may begin before an earlier one."""
        place = offset - self._start
        if place + size > len(self._bytes):
            self._load(offset, size)
            place = 0
        return self._bytes[place : place + size]

    def _load(self, offset: int, size: int) -> None:
        """Moves the window to `offset`."""
        gap = offset - self._start - len(self._bytes)
        if 0 <= gap <= len(self._bytes):
            self._wanted = min(2 * self._wanted, _LARGEST)
        elif gap > 0:
            self._wanted = max(_SMALLEST, self._wanted // 2)
        wanted = max(size, self._wanted)
        self._bytes, self._start = self._source.read(offset, wanted), offset
        while size > len(self._bytes):  # a signal, or a network file: the kernel gave less than there is
            more = self._source.read(offset + len(self._bytes), wanted - len(self._bytes))
            if not more:
                return
            self._bytes += more
