"""Byte ranges of local files as views of the mapped file: nothing is copied."""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

from dalikit.errors import Place, ReadError
from dalikit.storage.descriptors import Descriptor, RecentFiles
from dalikit.storage.local import changed_file
from dalikit.storage.location import Location

__all__ = ["MappedFile", "map_file", "read_mapped"]


class MappedFile(Descriptor):
    """A file that is mapped, and stays open so that it can be asked whether it has changed."""

    __slots__ = ("data",)

    def __init__(self, path: str) -> None:
        """Maps it. Raises what `map_file` does."""
        super().__init__(path)
        self.data: npt.NDArray[np.uint8] = np.frombuffer(mmap.mmap(self.number, 0, prot=mmap.PROT_READ), dtype=np.uint8)
        """uint8 (size,), not to be written to. The mapping lasts as long as any view of it."""


def map_file(path: str) -> MappedFile:
    """Maps a whole file.

    If the file is made shorter meanwhile, whoever touches what is gone is killed by SIGBUS.

    Raises:
        OSError: it cannot be opened or mapped.
        ValueError: it is empty, or there is a null character in the path.
    """
    return MappedFile(path)


def read_mapped(location: Location, files: RecentFiles[MappedFile]) -> npt.NDArray[np.uint8]:
    """A byte range of a local file, not copied. Thread-safe.

    Args:
        location: `uri` is a path; it has a size.
        files: that were made with `map_file`. Views stay valid whatever becomes of it.

    Returns:
        uint8 (size,), at least one byte, not to be written to.

    Raises:
        ReadError: the file cannot be mapped, the range is empty or goes beyond its end, or the file is not of the
            location's version any more. What is changed later shows in the view.
    """
    uri, offset, size, version = location
    try:
        file = files.get(uri)
    except (OSError, ValueError) as error:
        raise _error(location, f"cannot be mapped: {getattr(error, 'strerror', None) or error}") from error
    if size is None or size <= 0 or offset < 0:
        raise _error(location, f"nothing to read: offset {offset}, size {size}")
    change = None if version is None else changed_file(version, file.number)
    if change is not None:
        raise _error(location, change)
    data = file.data
    if offset + size > len(data):
        raise _error(location, f"short read: expected {size} bytes, the file ends at {len(data)}; it was cut")
    return data[offset : offset + size]


def _error(location: Location, reason: str) -> ReadError:
    return ReadError(reason, Place(file=location.uri, offset=location.offset or None, stage="read"))
