"""Bytes that lie in gzip."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from dalikit.errors import ReadError

__all__ = ["MAX_INFLATED", "inflate"]

MAX_INFLATED = 1 << 30
"""1 GiB: no image file is larger, and a bomb is."""

_MAX_MEMBERS = 1000  # gzip itself writes one; what is left is copied for each

_MAGIC = b"\x1f\x8b"  # RFC 1952; no image format begins so
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to ask for a gzip header and its checksum


def inflate(data: npt.NDArray[np.uint8], *, max_size: int = MAX_INFLATED) -> npt.NDArray[np.uint8]:
    """What a gzip file holds; of anything else the very bytes.

    Args:
        data: uint8 (n,).
        max_size: refuse to inflate to more bytes than this; no more memory is taken.

    Returns:
        uint8 (m,).

    Raises:
        ReadError: the gzip file is broken, cut off, holds more than `max_size` bytes or has a thousand members. Whoever
            reads adds the place.
    """
    if len(data) < 2 or data[0] != _MAGIC[0] or data[1] != _MAGIC[1]:
        return data
    pieces: list[bytes] = []
    rest, left = bytes(data), max_size
    try:
        while rest:  # a gzip file may have several members, one behind the other
            if len(pieces) == _MAX_MEMBERS:
                raise ReadError(f"gzip: has more than {_MAX_MEMBERS} members")
            member = zlib.decompressobj(_GZIP)
            piece = member.decompress(rest, left + 1)
            left -= len(piece)
            if left < 0:
                raise ReadError(f"gzip: holds more than the limit of {max_size} bytes")
            if not member.eof:
                raise ReadError(f"gzip: {len(data)} bytes end before the compressed data does")
            pieces.append(piece)
            rest = member.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise ReadError(f"gzip: cannot be inflated: {error}") from None
    return np.frombuffer(b"".join(pieces), dtype=np.uint8)
