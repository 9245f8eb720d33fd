"""The index file.

    0         magic, version, length of the JSON part, fingerprint, digest of the columns, size of the file
    64        JSON: the shards with size and time (or tag), the extensions, the columns' types, places and lengths
    ...       the columns, little-endian, each from a multiple of 64 bytes on

A file is written under another name, down to the disk, and then renamed: there is never half of one. It is read without
pickle; whatever its bytes are, it is refused with a DatasetError or its columns lie within their bounds.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import secrets
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dalikit.errors import DatasetError, DatasetNotFoundError
from dalikit.shards.bounds import check_columns
from dalikit.shards.index import COLUMNS, ShardIndex
from dalikit.shards.merge import Fingerprint, Part, column_pieces, count_parts, join_extensions, shards_of
from dalikit.storage import ObjectInfo, is_remote

__all__ = ["ForeignFileError", "read_index", "reopen_index", "write_index"]

_MAGIC = b"dalikit\0"
_VERSION = 1
_FRONT = struct.Struct("<8sIIQ8s16sQ")  # magic version 0 json_size fingerprint digest file_size
_ALIGNMENT = 64
_LARGEST_JSON = 1 << 28  # 256 MiB: a million shards need half of it


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
    target = Path(path)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with unfinished.open("xb") as file:
            _write(file, parts, target.absolute().parent)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


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
    file.write(bytes(_ALIGNMENT) + text + bytes(start - _ALIGNMENT - len(text)))
    for name, place in places.items():
        file.write(bytes(start + place["offset"] - file.tell()))
        for piece in column_pieces(parts, name, extensions):
            block = np.ascontiguousarray(piece, COLUMNS[name])
            file.write(block.data)
            digest.update(block.data)
            fingerprint.update(name, block)
    file.seek(0)
    named = bytes.fromhex(fingerprint.digest())
    file.write(_FRONT.pack(_MAGIC, _VERSION, 0, len(text), named, digest.digest(), start + end))


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
    moved together. What follows "?" in an address may be a password, and is left out.
    """
    if is_remote(shard):
        return shard.partition("?")[0]
    path = Path(shard).absolute()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def read_index(
    path: str | os.PathLike[str],
    *,
    shards: Sequence[str] | None = None,
    digest: bool = False,
    mapped: bool = True,
) -> ShardIndex:
    """Maps an index file.

    Args:
        path: of the file.
        shards: what its shards are called now. None: as the file says.
        digest: compare the hash of all columns too, which takes a second a gigabyte.
        mapped: False: read it into memory, and keep no file open.

    Raises:
        DatasetNotFoundError: it is not there.
        ForeignFileError: it is no index.
        DatasetError: it is broken, of another version, or of other shards.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            front = file.read(_ALIGNMENT)
            if len(front) < _ALIGNMENT or not front.startswith(_MAGIC):
                raise ForeignFileError(f"file {name!r} is no index of shards")
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if mapped else front + file.read()
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"index {name!r} does not exist") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"index {name!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        index = _parse(name, _Front(*_FRONT.unpack_from(front)), content, size, shards, digest)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DatasetError(f"index {name!r} is broken: {error}; remove it, and it is made anew") from error
    return index if mapped else replace(index, path=None)


def reopen_index(path: str, fingerprint: str, shards: tuple[str, ...]) -> ShardIndex:
    """Maps an index file again, in another process.

    Raises:
        DatasetError: another index has taken its place since.
    """
    index = read_index(path, shards=shards)
    if index.fingerprint != fingerprint:
        raise DatasetError(f"index {path!r} was made anew while it was in use: open the dataset again")
    return index


def _parse(
    name: str, front: _Front, content: mmap.mmap | bytes, size: int, shards: Sequence[str] | None, digest: bool
) -> ShardIndex:
    """Raises nearly anything if the file is broken."""
    if front.version != _VERSION:
        raise ValueError(f"it has version {front.version}, this dalikit reads version {_VERSION}")
    if front.file_size != size or len(content) != size or front.json_size > min(size - _ALIGNMENT, _LARGEST_JSON):
        raise ValueError(f"it should have {front.file_size} bytes, it has {size}")
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
        uri, _whole(shard["size"]), None if mtime is None else _whole(mtime), None if etag is None else _string(etag)
    )


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value
