"""Reads byte ranges of local files."""

from __future__ import annotations

import os
import stat

import numpy as np
import numpy.typing as npt

from dalikit.errors import Place, ReadError
from dalikit.storage.arena import Arena
from dalikit.storage.descriptors import OPEN_FLAGS, Descriptor, RecentFiles
from dalikit.storage.information import ObjectInfo, change_between
from dalikit.storage.location import Location

__all__ = ["changed_file", "read_local"]


def read_local(
    location: Location,
    arena: Arena,
    *,
    max_size: int | None = None,
    descriptors: RecentFiles[Descriptor] | None = None,
) -> npt.NDArray[np.uint8]:
    """Reads a byte range of a local file into an arena. Thread-safe; lets other threads run while the kernel works.

    Files are read, never mapped: a mapped file that shrinks kills the process.

    Args:
        location: `uri` is a path. `size` None reads to the end of the file, as long as it is when it is opened.
        arena: where the bytes go. What a failed read took of it stays taken until the arena is reset.
        max_size: refuse more bytes than this, before memory is taken. None: no limit.
        descriptors: files that are read in ranges and stay open; whole files are opened and closed in any case. None:
            so are all.

    Returns:
        uint8 (size,): a view of the arena, at least one byte.

    Raises:
        ReadError: the file cannot be opened or read, holds no byte, ends too early, is larger than `max_size`, or is
            not of the location's version any more.
    """
    uri, _, size, _ = location
    if descriptors is not None and size is not None:
        try:
            file = descriptors.get(uri)
        except (OSError, ValueError) as error:
            raise _error(location, _cause(error)) from error
        return _read(location, file.number, arena, max_size)  # `file` keeps it open meanwhile
    try:
        descriptor = os.open(uri, OPEN_FLAGS)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise _error(location, _cause(error)) from error
    try:
        return _read(location, descriptor, arena, max_size)
    finally:
        os.close(descriptor)


def _read(location: Location, descriptor: int, arena: Arena, max_size: int | None) -> npt.NDArray[np.uint8]:
    """A range of an open file."""
    _, offset, size, version = location
    try:
        if size is None:
            size = os.fstat(descriptor).st_size - offset
        if size <= 0 or offset < 0 or (max_size is not None and size > max_size):
            raise _refusal(location, descriptor, size, max_size)
        view = arena.allocate(size)
        done = os.preadv(descriptor, [view.data], offset)
        if done != size:
            _check_version(location, descriptor)
            _read_rest(location, descriptor, view, done)
        if version is not None:  # afterwards: a change shows in the file's time before it shows in its bytes
            _check_version(location, descriptor)
    except ReadError:
        raise
    except OSError as error:
        raise _error(location, _cause(error)) from error
    return view


def changed_file(version: ObjectInfo, descriptor: int) -> str | None:
    """What is to be said of an open file that is not of a version any more; None: it is. Takes 1 to 2 us."""
    status = os.fstat(descriptor)
    if status.st_size == version.size and version.mtime_ns in (None, status.st_mtime_ns):
        return None
    return change_between(version, ObjectInfo(version.uri, status.st_size, status.st_mtime_ns))


def _check_version(location: Location, descriptor: int) -> None:
    if location.version is not None:
        change = changed_file(location.version, descriptor)
        if change is not None:
            raise _error(location, change)


def _read_rest(location: Location, descriptor: int, view: npt.NDArray[np.uint8], done: int) -> None:
    """Goes on where the kernel returned fewer bytes than asked for: a signal, a network file, more than 2 GiB."""
    size = len(view)
    while done < size:
        count = os.preadv(descriptor, [view[done:].data], location.offset + done)
        if count == 0:
            raise _error(
                location, f"short read: expected {size} bytes, got {done}; the file was cut or is being written"
            )
        done += count


def _refusal(location: Location, descriptor: int, size: int, max_size: int | None) -> ReadError:
    """Why a range of `size` bytes is not read."""
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        return _error(location, "is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        return _error(location, "is no regular file, but a pipe, socket or device")
    if location.offset < 0 or (location.size is not None and location.size <= 0):
        return _error(location, f"nothing to read: offset {location.offset}, size {location.size}")
    if size > 0:
        return _error(location, f"{size} bytes are more than the limit of {max_size}")
    if status.st_size == 0:
        return _error(location, "empty file")
    return _error(location, f"offset {location.offset} is not before the end of the file, at {status.st_size}")


def _cause(error: OSError | ValueError) -> str:
    """What the operating system says, without the path: the place has it."""
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _error(location: Location, reason: str) -> ReadError:
    """A ReadError with the place of `location`. The offset of a whole file is not worth a word."""
    return ReadError(reason, Place(file=location.uri, offset=location.offset or None, stage="read"))
