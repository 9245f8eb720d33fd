"""Walks over the headers of a tar shard and says where its members lie."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

from dalikit.errors import DatasetError
from dalikit.shards.headers import BLOCK, HeaderError, parse_header, parse_pax, pax_number
from dalikit.shards.source import Window

__all__ = ["MAX_EXTENDED", "MAX_NAME", "Member", "walk_members"]

MAX_EXTENDED = 1 << 20
"""1 MiB, the largest extended header: a name of 4 KiB needs a few; one that claims gigabytes is a bomb."""

MAX_NAME = 4096
"""Bytes of a member's name: Linux has no longer paths."""

_END = bytes(BLOCK)
_RECORD = 20 * BLOCK  # what tar fills up with null bytes, unless it is told otherwise
_PLAIN = frozenset({b"0", b"\0", b"7"})
_WITHOUT_CONTENT = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})  # links, devices, folders, pipes
_PAX = frozenset({b"x", b"X"})  # "X": Solaris
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}


logger = logging.getLogger(__name__)


class Member(NamedTuple):
    """A regular file in a shard."""

    name: bytes
    offset: int
    """Of its first byte, in the shard."""
    size: int
    """In bytes."""


class _Said(NamedTuple):
    """What extended headers say of the member that follows them. None: nothing."""

    name: bytes | None = None
    size: int | None = None


_NOTHING = _Said()


def walk_members(shard: str, window: Window, shard_size: int) -> Iterator[Member]:
    """The regular files of a tar shard, in order. Folders, links and devices are passed over.

    Understands ustar, pax and GNU archives. Every header's checksum is verified, every member must lie inside the
    shard, and offsets only grow, so that the walk ends whatever the bytes are.

    Args:
        shard: what messages call it.
        window: gives its bytes.
        shard_size: in bytes.

    Raises:
        DatasetError: it is no tar archive, is compressed, cut off or broken, or holds sparse files; with the offset.
    """
    offset = 0  # of the next header
    said = _NOTHING
    while (block := window.read(offset, BLOCK)) != _END:
        place = offset
        if len(block) < BLOCK:
            raise _cut(shard, place, shard_size, block)
        try:
            name, size, kind = parse_header(block)
            if kind == b"\0" and name.endswith(b"/"):
                kind = b"5"  # before ustar, folders were marked so
            if said is not _NOTHING:
                name, size = _overridden(name, size, said)
            start = place + BLOCK
            offset = start if kind in _WITHOUT_CONTENT else start + (size + BLOCK - 1) // BLOCK * BLOCK
            if offset > shard_size:
                raise _cut(shard, place, shard_size, block, name, size)
            if kind in _PLAIN:
                yield Member(_checked(name), start, size)
                said = _NOTHING
            else:
                said = _extended(kind, window, start, size, said)
        except HeaderError as error:
            raise _broken(shard, place, block, error) from None
    if said is not _NOTHING:
        raise DatasetError(f"shard {shard!r} ends at offset {offset} after an extended header, without its member")
    _warn_of_more(shard, window, offset, shard_size)


def _warn_of_more(shard: str, window: Window, end: int, shard_size: int) -> None:
    """Says if another archive follows behind the two blocks that end one, or behind the record that they are in."""
    for place in (end + 2 * BLOCK, -(-(end + 2 * BLOCK) // _RECORD) * _RECORD):
        if place + BLOCK > shard_size:
            return
        try:
            parse_header(window.read(place, BLOCK))
        except HeaderError:
            continue
        logger.warning(
            "shard %r holds a second archive behind the end of the first, at offset %d (archives joined with cat?); it "
            "is not read, nor does webdataset read it",
            shard,
            place,
        )
        return


def _extended(kind: bytes, window: Window, start: int, size: int, said: _Said) -> _Said:
    """What is known of the next member after a header that is no regular file's."""
    if kind == b"S":
        raise HeaderError("sparse files are not supported: write the shard without them (tar without --sparse)")
    if kind not in _PAX and kind not in (b"L", b"K", b"g"):
        return _NOTHING
    if size > MAX_EXTENDED:
        raise HeaderError(f"an extended header of {size} bytes; the limit is {MAX_EXTENDED}")
    content = window.read(start, size)
    if kind == b"L":
        return _add(said, _Said(name=content.partition(b"\0")[0]))
    if kind == b"K":
        return said
    records = parse_pax(content)
    if any(key.startswith(b"GNU.sparse.") for key in records):
        raise HeaderError("sparse files are not supported: write the shard without them (tar without --sparse)")
    path = records.get(b"path")
    found = _Said(
        path if path is None else path.rstrip(b"/"), pax_number(records[b"size"]) if b"size" in records else None
    )
    if kind != b"g":
        return _add(said, found)
    if found != _NOTHING:
        raise HeaderError("a global header that gives every member one name or size")
    return said


def _add(said: _Said, more: _Said) -> _Said:
    """Both together."""
    if (said.name is not None and more.name is not None) or (said.size is not None and more.size is not None):
        raise HeaderError("two extended headers for one member")
    return _Said(said.name if more.name is None else more.name, said.size if more.size is None else more.size)


def _overridden(name: bytes, size: int, said: _Said) -> tuple[bytes, int]:
    """A member's name and size, where extended headers say otherwise."""
    return (
        name if said.name is None else said.name,
        size if said.size is None else said.size,
    )


def _checked(name: bytes) -> bytes:
    """A member's name, if it is one."""
    if len(name) > MAX_NAME:
        raise HeaderError(f"a member's name of {len(name)} bytes, {name[:40]!r}...; the limit is {MAX_NAME}")
    return name


def _cut(
    shard: str, offset: int, shard_size: int, block: bytes, name: bytes | None = None, size: int = 0
) -> DatasetError:
    """The shard ends too early."""
    if shard_size == 0:
        return DatasetError(f"shard {shard!r} is empty: not even the end of a tar archive is there")
    if offset == 0 and name is None:
        return _compressed(shard, block) or DatasetError(
            f"shard {shard!r} is no tar archive: it has {shard_size} bytes"
        )
    if name is not None:
        why = f"the member {name[:MAX_NAME].decode('utf-8', 'backslashreplace')!r} at offset {offset} has {size} bytes"
    else:
        why = f"at offset {offset} neither a header nor the end of the archive follows"
    return DatasetError(
        f"shard {shard!r} is cut off after {shard_size} bytes: {why}. Copy it again, or repack what is left of it"
    )


def _broken(shard: str, offset: int, block: bytes, error: HeaderError) -> DatasetError:
    """A header cannot be used."""
    compressed = _compressed(shard, block) if offset == 0 else None
    return compressed or DatasetError(f"shard {shard!r}, offset {offset}: {error}")


def _compressed(shard: str, block: bytes) -> DatasetError | None:
    """The shard begins as compressed files do."""
    for magic, name in _COMPRESSED.items():
        if block.startswith(magic):
            return DatasetError(
                f"shard {shard!r} is compressed with {name}: compressed shards have no random access. "
                "Repack it as a plain tar (images do not shrink further)"
            )
    return None
