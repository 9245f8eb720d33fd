"""Reads byte ranges, wherever they lie."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dalikit.storage.arena import Arena
from dalikit.storage.local import read_local
from dalikit.storage.location import Location, is_remote

__all__ = ["read"]


def read(location: Location, arena: Arena, *, max_size: int | None = None) -> npt.NDArray[np.uint8]:
    """Reads a byte range of a file or of a remote object. Thread-safe; lets other threads run while it waits.

    Args:
        location: what to read; `size` None: to the end.
        arena: where the bytes of a file go; those of an object have memory of their own.
        max_size: refuse more bytes than this. None: no limit.

    Returns:
        uint8 (size,), at least one byte; not to be written to.

    Raises:
        ReadError: it cannot be read, holds no byte, ends too early or is larger than `max_size`.
    """
    if not is_remote(location.uri):
        return read_local(location, arena, max_size=max_size)
    from dalikit.storage.remote import read_remote  # needs a package that only remote data needs

    return read_remote(location, max_size=max_size)
