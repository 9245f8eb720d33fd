"""Reads byte ranges, wherever they lie."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dalikit.errors import Place, ReadError
from dalikit.storage.arena import Arena
from dalikit.storage.local import read_local
from dalikit.storage.location import Location, is_remote
from dalikit.storage.remote.address import redact

__all__ = ["MAX_SIZE", "check_range", "read"]

MAX_SIZE = 1 << 31
"""2 GiB, the most that is read at once. No image is so large: a file that claims more, as a sparse one may, is not to
take all memory first."""


def read(location: Location, arena: Arena, *, max_size: int | None = None) -> npt.NDArray[np.uint8]:
    """Reads a byte range of a file or of a remote object. Thread-safe; lets other threads run while it waits.

    Args:
        location: what to read; `size` None: to the end.
        arena: where the bytes of a file go; those of an object have memory of their own.
        max_size: refuse more bytes than this. None: than 2 GiB.

    Returns:
        uint8 (size,), at least one byte; not to be written to.

    Raises:
        ReadError: it cannot be read, holds no byte, ends too early or is larger than `max_size`.
    """
    check_range(location)
    max_size = MAX_SIZE if max_size is None else max_size
    if not is_remote(location.uri):
        return read_local(location, arena, max_size=max_size)
    from dalikit.storage.remote import read_remote  # needs a package that only remote data needs

    return read_remote(location, max_size=max_size)


def check_range(location: Location) -> None:
    """Refuses what no file holds and no memory is to be taken for.

    Raises:
        ReadError: the range is larger than 2 GiB, or lies further out than files are long.
    """
    offset, size = location.offset, location.size or 0
    if size <= MAX_SIZE and offset + size < 1 << 63:
        return
    reason = f"{size} bytes are more than the limit of {MAX_SIZE}" if size > MAX_SIZE else "no file has so many bytes"
    raise ReadError(reason, Place(file=redact(location.uri), offset=offset or None, stage="read"))
