"""Holds what an index says against the headers in the shards."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dalikit.errors import DatasetError, ReadError
from dalikit.shards.headers import BLOCK, Header, HeaderError, parse_header
from dalikit.storage import Arena, Location, is_remote, read
from dalikit.storage.remote.address import redact

__all__ = ["check_header", "choose_entries", "header_fault", "open_ranges"]

_PLAIN = frozenset({b"0", b"\0", b"7"})
_ELSEWHERE = 8 << 30  # bytes from which a size does not fit into a ustar header, but stands in a pax header before it

Ranges = Callable[[int, int], bytes]
"""read(offset, size): bytes of a shard, fewer at its end."""


@contextmanager
def open_ranges(shard: str) -> Iterator[Ranges]:
    """Reads anywhere in a shard, local or remote.

    Raises:
        DatasetError: it cannot be opened, or later, cannot be read.
    """
    if is_remote(shard):
        arena = Arena(chunk_size=1)

        def read_object(offset: int, size: int) -> bytes:
            try:
                return read(Location(shard, offset, size), arena).tobytes()
            except ReadError as error:
                raise DatasetError(f"shard {redact(shard)!r}: {error.reason}") from error

        yield read_object
        return
    try:
        descriptor = os.open(shard, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe is not waited for
    except OSError as error:
        raise DatasetError(f"shard {shard!r} cannot be read: {error.strerror}") from error
    try:
        yield lambda offset, size: os.pread(descriptor, size, offset)
    except OSError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"shard {shard!r} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def check_header(block: bytes, offset: int, size: int) -> Header:
    """The header before a member's content.

    Args:
        block: the 512 bytes before it.
        offset: of the content.
        size: of the content, in bytes.

    Raises:
        HeaderError: it is none, or one of another kind or size.
    """
    if len(block) < BLOCK:
        raise HeaderError(f"there is no header before offset {offset}")
    header = parse_header(block)
    if header.kind not in _PLAIN:
        raise HeaderError(
            f"the header before offset {offset} is not a file's but of kind {header.kind!r} (an index made by wds2idx "
            "from long names in GNU's format points there)"
        )
    if header.size != size and size < _ELSEWHERE:
        raise HeaderError(f"the header before offset {offset} says {header.size} bytes, the index {size}")
    return header


def header_fault(ranges: Ranges, offset: int, size: int) -> str | None:
    """What is wrong with the header of a member; None if nothing is."""
    try:
        check_header(ranges(offset - BLOCK, BLOCK), offset, size)
    except HeaderError as error:
        return f"offset {offset}: {error}"
    return None


def choose_entries(start: int, stop: int, count: int, seed: int) -> Sequence[int]:
    """The first, the last and `count` others of the entries [start, stop), in order; the same at every call."""
    if stop - start <= count + 2:
        return range(start, stop)
    others = random.Random(seed).sample(range(start + 1, stop - 1), count)
    return [start, *sorted(others), stop - 1]
