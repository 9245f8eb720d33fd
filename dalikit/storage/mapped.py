"""Byte ranges of local files as views of the mapped file: nothing is copied."""

from __future__ import annotations

import mmap
import os

import numpy as np
import numpy.typing as npt

from dalikit.errors import Place, ReadError
from dalikit.storage.descriptors import RecentFiles
from dalikit.storage.location import Location

__all__ = ["map_file", "read_mapped"]


def map_file(path: str) -> npt.NDArray[np.uint8]:
    """A whole file, mapped: uint8 (size,), not to be written to. The mapping lasts as long as any view of it.

    If the file is made shorter meanwhile, whoever touches what is gone is killed by SIGBUS.

    Raises:
        OSError: it cannot be opened or mapped.
        ValueError: it is empty, or there is a null character in the path.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return np.frombuffer(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ), dtype=np.uint8)
    finally:
        os.close(descriptor)


def read_mapped(location: Location, files: RecentFiles[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """A byte range of a local file, not copied. Thread-safe.

    Args:
        location: `uri` is a path; it has a size.
        files: that were made with `map_file`. Views stay valid whatever becomes of it.

    Returns:
        uint8 (size,), at least one byte, not to be written to.

    Raises:
        ReadError: the file cannot be mapped, the range is empty or goes beyond its end.
    """
    uri, offset, size = location
    try:
        file = files.get(uri)
    except (OSError, ValueError) as error:
        raise _error(location, f"cannot be mapped: {getattr(error, 'strerror', None) or error}") from error
    if size is None or size <= 0 or offset < 0:
        raise _error(location, f"nothing to read: offset {offset}, size {size}")
    if offset + size > len(file):
        raise _error(location, f"short read: expected {size} bytes, the file ends at {len(file)}; it was cut")
    return file[offset : offset + size]


def _error(location: Location, reason: str) -> ReadError:
    return ReadError(reason, Place(file=location.uri, offset=location.offset or None, stage="read"))
