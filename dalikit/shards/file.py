"""The index file.

    0         magic, version, length of the JSON part, fingerprint, digest of JSON and columns, size of the file
    56        CRC-32 of all other bytes
    64        JSON: the shards with size and time (or tag), the extensions, the columns' types, places and lengths
    ...       the columns, little-endian, each from a multiple of 64 bytes on

A file is written under another name, down to the disk, and then renamed: there is never half of one. It is read
without pickle; whatever its bytes are, it is refused with a DatasetError or its columns lie within their bounds. The
CRC-32 is of all other bytes and is compared at every opening (16 ms for 100 MiB, which is a million samples), so that a
flipped bit gives no wrong rows; the digest is what tells one index from another.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dalikit.errors import DatasetError, DatasetNotFoundError
from dalikit.shards.addresses import plain_address
from dalikit.shards.bounds import check_columns
from dalikit.shards.index import COLUMNS, ShardIndex
from dalikit.shards.merge import Fingerprint, Part, column_pieces, count_parts, join_extensions, shards_of
from dalikit.storage import ObjectInfo, is_remote
from dalikit.storage.replacing import replacing

__all__ = ["ForeignFileError", "read_index", "reopen_index", "replace_index", "write_index"]

_MAGIC = b"dalikit\0"
_VERSION = 2
_FRONT = struct.Struct("<8sIIQ8s16sQ")  # magic version 0 json_size fingerprint digest file_size
_CHECKSUM = struct.Struct("<I")  # behind it: of the front, and of all from _ALIGNMENT on
_ALIGNMENT = 64
_LARGEST_JSON = 1 << 28  # 256 MiB: a million shards need half of it
_IN_MEMORY = 32 << 20
"""Bytes of a file up to which it is read into memory, some 350,000 samples: 40 ms. A larger one is mapped, which takes
half as long and is shared by processes; but who writes over a mapped file instead of replacing it, as `cp` does, kills
those that use it (SIGBUS)."""
_CHECKED_AGAIN = 256 << 20
"""Bytes of a file up to which worker processes compare its checksum too, which the process that began them has done."""


class ForeignFileError(DatasetError):
    """The file is no index at all: what it is instead must not be overwritten."""


class _Front(NamedTuple):
    """The first bytes of a file."""

    magic: bytes
    version: int
    unused: int
    json_size: int
    fingerprint: bytes
    digest: bytes
    file_size: int


def write_index(path: str | os.PathLike[str], parts: Sequence[Part], *, sync: bool = True) -> None:
    """Writes an index of all parts, at once or not at all.

    Args:
        path: of the file; one that is there is replaced.
        parts: what it holds, in this order.
        sync: wait until it is on the disk.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path, sync=sync) as file:
        _write(file, parts, Path(path).absolute().parent)


def replace_index(path: str | os.PathLike[str], parts: Sequence[Part], shards: Sequence[str]) -> ShardIndex:
    """As `write_index`, and reads what was written: not what lies at `path`, where another process may have put an
    index of its own by then.

    Args:
        path: of the file.
        parts: what it holds.
        shards: what its shards are called now.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path, sync=True) as file:
        _write(file, parts, Path(path).absolute().parent)
        file.flush()
        return _read(os.fspath(path), file, shards)


def _write(file: Any, parts: Sequence[Part], folder: Path) -> None:
    """Writes everything, the front last: its hashes are of what follows."""
    shards, versions = shards_of(parts)
    extensions = join_extensions(parts)
    places, end = _places(count_parts(parts))
    header = {
        "shards": [
            {
                "name": _stored_name(shard, folder),
                "size": version.size,
                "mtime_ns": version.mtime_ns,
                "etag": version.etag,
            }
            for shard, version in zip(shards, versions, strict=True)
        ],
        "extensions": extensions,
        "columns": places,
    }
    text = json.dumps(header).encode()
    start = _aligned(_ALIGNMENT + len(text))
    fingerprint, digest = Fingerprint(shards, extensions), hashlib.blake2b(text, digest_size=16)
    file.write(bytes(_ALIGNMENT))
    checksum = _write_checked(file, text + bytes(start - _ALIGNMENT - len(text)), 0)
    for name, place in places.items():
        checksum = _write_checked(file, bytes(start + place["offset"] - file.tell()), checksum)
        for piece in column_pieces(parts, name, extensions):
            block = np.ascontiguousarray(piece, COLUMNS[name])
            checksum = _write_checked(file, block.data, checksum)
            digest.update(block.data)
            fingerprint.update(name, block)
    file.seek(0)
    named = bytes.fromhex(fingerprint.digest())
    front = _FRONT.pack(_MAGIC, _VERSION, 0, len(text), named, digest.digest(), start + end)
    file.write(front + _CHECKSUM.pack(zlib.crc32(front, checksum)))


def _write_checked(file: Any, piece: bytes | memoryview, checksum: int) -> int:
    """Writes bytes. Returns the checksum of all so far."""
    file.write(piece)
    return zlib.crc32(piece, checksum)


def _places(counts: dict[str, int]) -> tuple[dict[str, dict[str, Any]], int]:
    """Where each column begins, counted from where the first does; and where the last one ends."""
    places: dict[str, dict[str, Any]] = {}
    end = 0
    for name, kind in COLUMNS.items():
        offset = _aligned(end)
        places[name] = {"type": kind, "offset": offset, "length": counts[name]}
        end = offset + counts[name] * np.dtype(kind).itemsize
    return places, end


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _stored_name(shard: str, folder: Path) -> str:
    """What an index calls a shard: relative to its own folder, if the shard lies in it or below, so that both can be
    moved together. Addresses without their signatures.
    """
    if is_remote(shard):
        return plain_address(shard)
    path = Path(shard).absolute()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def read_index(
    path: str | os.PathLike[str],
    *,
    shards: Sequence[str] | None = None,
    digest: bool = False,
    mapped: bool = True,
) -> ShardIndex:
    """Reads an index file, or maps it if it is larger than 32 MiB.

    Args:
        path: of the file.
        shards: what its shards are called now. None: as the file says.
        digest: compare the digest too, which takes a second a gigabyte. The checksum is compared in any case.
        mapped: False: read it into memory however large it is, and keep no file open.

    Raises:
        DatasetNotFoundError: it is not there.
        ForeignFileError: it is no index.
        DatasetError: it is broken, of another version, or of other shards.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            index = _read(name, file, shards, digest=digest, mapped=mapped)
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"index {name!r} does not exist") from error
    except (OSError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"index {name!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return index if mapped else replace(index, path=None)


def _read(
    name: str,
    file: IO[bytes],
    shards: Sequence[str] | None,
    *,
    digest: bool = False,
    mapped: bool = True,
    again: bool = False,
) -> ShardIndex:
    """As `read_index`, of an open file. `again`: whoever opened it first has compared the checksum."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    front = file.read(_ALIGNMENT)
    if len(front) < _ALIGNMENT or not front.startswith(_MAGIC):
        raise ForeignFileError(f"file {name!r} is no index of shards")
    content: mmap.mmap | bytes
    if mapped and size > _IN_MEMORY:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    else:
        file.seek(0)
        content = file.read()
    try:
        found = _Front(*_FRONT.unpack_from(front))
        _check_file(found, content, size, checksum=not again or size <= _CHECKED_AGAIN)
        return _parse(name, found, content, size, shards, digest)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DatasetError(f"index {name!r} is broken: {error}; remove it, and it is made anew") from error


def reopen_index(path: str, digest: str, shards: tuple[str, ...]) -> ShardIndex:
    """Reads or maps an index file again, in another process.

    Raises:
        DatasetError: another index has taken its place since, or it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            index = _read(path, file, shards, again=True)
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"index {path!r} does not exist any more") from error
    except OSError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"index {path!r} cannot be read: {error.strerror}") from error
    if index.digest != digest:
        raise DatasetError(
            f"index {path!r} was made anew while it was in use: open the dataset again; datasets of other shards need "
            "an index of their own"
        )
    return index


def _check_file(front: _Front, content: mmap.mmap | bytes, size: int, *, checksum: bool) -> None:
    """Whether the file is whole. Raises ValueError."""
    if front.version != _VERSION:
        raise ValueError(f"it has version {front.version}, this dalikit reads version {_VERSION}")
    if front.file_size != size or len(content) != size or front.json_size > min(size - _ALIGNMENT, _LARGEST_JSON):
        raise ValueError(f"it should have {front.file_size} bytes, it has {size}")
    if checksum:
        whole = memoryview(content)
        found = zlib.crc32(whole[: _FRONT.size], zlib.crc32(whole[_ALIGNMENT:]))
        if _CHECKSUM.unpack_from(content, _FRONT.size) != (found,):
            raise ValueError("its bytes are not those that were written")


def _parse(
    name: str, front: _Front, content: mmap.mmap | bytes, size: int, shards: Sequence[str] | None, digest: bool
) -> ShardIndex:
    """Raises nearly anything if the file is broken."""
    text = content[_ALIGNMENT : _ALIGNMENT + front.json_size]
    header = json.loads(text)
    columns = dict(_columns(header["columns"], content, _aligned(_ALIGNMENT + front.json_size), size))
    if digest and _digest(text, columns) != front.digest:
        raise ValueError("its columns are not those that were written")
    names = [_string(shard["name"]) for shard in header["shards"]]
    uris = (
        tuple(_uri(stored, os.path.dirname(os.path.abspath(name))) for stored in names)
        if shards is None
        else tuple(shards)
    )
    if len(uris) != len(names):
        raise ValueError(f"it is of {len(names)} shards, not of {len(uris)}")
    index = ShardIndex(
        shards=uris,
        extensions=tuple(_string(extension) for extension in header["extensions"]),
        fingerprint=front.fingerprint.hex(),
        versions=tuple(_version(uri, shard) for uri, shard in zip(uris, header["shards"], strict=True)),
        path=os.path.abspath(name),
        digest=front.digest.hex(),
        **columns,
    )
    check_columns(index)
    return index


def _columns(
    places: dict[str, dict[str, Any]], content: mmap.mmap | bytes, start: int, size: int
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The columns, each within the file."""
    for name, kind in COLUMNS.items():
        place = places[name]
        offset, length = start + _whole(place["offset"]), _whole(place["length"])
        if place["type"] != kind or offset % _ALIGNMENT or offset + length * np.dtype(kind).itemsize > size:
            raise ValueError(f"its column {name!r} is not inside the file")
        empty = length == 0  # whose place may be the end of the file, where there is nothing to map
        yield name, np.empty(0, kind) if empty else np.frombuffer(content, kind, length, offset)


def _digest(text: bytes, columns: dict[str, npt.NDArray[Any]]) -> bytes:
    found = hashlib.blake2b(text, digest_size=16)
    for column in columns.values():
        found.update(column.data)
    return found.digest()


def _uri(stored: str, folder: str) -> str:
    """What `_stored_name` was made from."""
    return stored if is_remote(stored) else os.path.join(folder, stored)


def _version(uri: str, shard: dict[str, Any]) -> ObjectInfo:
    mtime, etag = shard["mtime_ns"], shard["etag"]
    return ObjectInfo(
        uri,
        _whole(shard["size"]),
        None if mtime is None else _whole(mtime, -(2**63)),  # negative: before 1970
        None if etag is None else _string(etag),
    )


def _whole(value: Any, least: int = 0) -> int:
    if type(value) is not int or not least <= value < 2**63:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value
