"""Indexes of other programs: DALI's (`wds2idx`) and Megatron Energon's. Their entries are used only once checked.

DALI, text: "v1.2 N", then a line a sample: extension, offset, size, name of every member, between spaces (v1.1: no
names). Energon, binary: uint64, little-endian, where each sample's first header is, and where the last sample ends.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError
from dalikit.shards.addresses import file_name
from dalikit.shards.contents import check_header, choose_entries, header_fault, open_ranges
from dalikit.shards.headers import BLOCK, HeaderError
from dalikit.shards.index import ShardIndex
from dalikit.shards.merge import Part, merge_in_memory
from dalikit.shards.names import split_name
from dalikit.shards.source import Window, open_source
from dalikit.shards.table import ShardTable, index_shard
from dalikit.storage import ObjectInfo, is_remote, stat_object
from dalikit.storage.remote.address import redact
from dalikit.storage.replacing import replacing

__all__ = ["find_foreign_index", "read_dali_index", "read_energon_index", "read_foreign_index", "write_dali_index"]

_FIRST_LINE = re.compile(rb"v1\.([12]) (\d{1,18})\r?\n?")
_LONGEST_LINE = 1 << 20  # bytes: a hundred members with the longest names
_LONGEST_NAME = 100  # what a header has room for; a name that fills it may go on in an extended header
_NUM_CHECKED = 8  # members of a remote shard, besides the first and the last: each is a request
_SPACE = re.compile(r"\s")


class _Entry(NamedTuple):
    """A member, as a DALI index has it."""

    extension: bytes
    offset: int
    size: int
    name: bytes | None


def find_foreign_index(folder: str | os.PathLike[str], shard: str) -> Path:
    """The index of a shard in a folder: "name.idx" or "name.tar.idx".

    Raises:
        DatasetNotFoundError: there is neither.
    """
    name = file_name(shard)
    for candidate in (f"{os.path.splitext(name)[0]}.idx", f"{name}.idx"):
        path = Path(folder) / candidate
        if path.is_file():
            return path
    raise DatasetNotFoundError(
        f"folder {os.fspath(folder)!r} has no index of shard {redact(shard)!r}: no {candidate!r}"
    )


def read_foreign_index(path: str | os.PathLike[str], shard: str) -> ShardIndex:
    """As `read_dali_index` or `read_energon_index`, by the file's first bytes."""
    try:
        with open(path, "rb") as file:
            dali = file.read(2) == b"v1"
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"index {os.fspath(path)!r} does not exist") from error
    except OSError as error:
        raise DatasetError(f"index {os.fspath(path)!r} cannot be read: {error.strerror}") from error
    return read_dali_index(path, shard) if dali else read_energon_index(path, shard)


def read_dali_index(path: str | os.PathLike[str], shard: str) -> ShardIndex:
    """Reads a DALI index, version 1.1 or 1.2.

    Every entry must lie inside the shard, behind the one before it, and have a header of its size before it; so an
    index is refused that points elsewhere, as those of `wds2idx` do where GNU's long names are. Of a remote shard ten
    headers are looked at; its classes and the sizes of its images stay unknown.

    Raises:
        DatasetError: the file is broken, or is not of this shard.
    """
    version = stat_object(shard)
    table = ShardTable(redact(shard))
    try:
        if is_remote(shard):
            _take_remote(table, list(_entries(path)), version)
        else:
            _take_local(table, path, version)
        return table.finish(version)
    except HeaderError as error:
        raise DatasetError(
            f"index {os.fspath(path)!r} is not of shard {redact(shard)!r}: {error}. Make it anew: dalikit index"
        ) from None
    except OSError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"index {os.fspath(path)!r} cannot be read: {error.strerror}") from error


def _take_local(table: ShardTable, path: str | os.PathLike[str], version: ObjectInfo) -> None:
    """Every entry, its header, and of its content what is of concern."""
    end = 0
    with Window(open_source(version.uri)) as window:
        for entry in _entries(path):
            end = _check_range(entry, end, version.size)
            header = check_header(window.read(entry.offset - BLOCK, BLOCK), entry.offset, entry.size)
            table.take(_name(entry, header.name), entry.offset, entry.size, window.read)


def _take_remote(table: ShardTable, entries: list[_Entry], version: ObjectInfo) -> None:
    """Every entry, and the headers of some."""
    end = 0
    for entry in entries:
        end = _check_range(entry, end, version.size)
        table.take(_name(entry, None), entry.offset, entry.size, None)
    if entries:
        with open_ranges(version.uri) as ranges:
            for number in choose_entries(0, len(entries), _NUM_CHECKED, 0):
                fault = header_fault(ranges, entries[number].offset, entries[number].size)
                if fault is not None:
                    raise HeaderError(fault)


def _check_range(entry: _Entry, end: int, shard_size: int) -> int:
    """Where the content of an entry ends, if it begins behind `end` and a header."""
    if entry.offset < end + BLOCK or entry.offset + entry.size > shard_size:
        raise HeaderError(
            f"a member of {entry.size} bytes at offset {entry.offset} is not between the one before it, which ends "
            f"at {end}, and the end of the shard, at {shard_size}"
        )
    return entry.offset + entry.size


def _name(entry: _Entry, header_name: bytes | None) -> bytes:
    """The name of a member: the index's own, or with an old index the header's."""
    name = entry.name
    if name is None:
        if header_name is None or len(header_name) >= _LONGEST_NAME:
            raise HeaderError("version 1.1 has no names, and those in the shard are too long for their headers")
        name = header_name
    split = split_name(name)
    if split is None or split[1] != entry.extension:
        raise HeaderError(
            f"the member {name!r} at offset {entry.offset} does not have the extension {entry.extension!r}"
        )
    return name


def _entries(path: str | os.PathLike[str]) -> Iterator[_Entry]:
    """The entries of a DALI index, in order."""
    with open(path, "rb") as file:
        first = _FIRST_LINE.fullmatch(file.readline(64))
        if first is None:
            raise HeaderError("its first line is not that of a DALI index of version 1.1 or 1.2")
        width, count = (4 if first.group(1) == b"2" else 3), int(first.group(2))
        number = 0
        while line := file.readline(_LONGEST_LINE):
            fields = line.split()
            if not fields or len(fields) % width or (not line.endswith(b"\n") and len(line) == _LONGEST_LINE):
                raise HeaderError(f"line {number + 2} does not have {width} fields a member: {line[:80]!r}")
            number += 1
            for place in range(0, len(fields), width):
                extension, offset, size = fields[place : place + 3]
                name = fields[place + 3] if width == 4 else None
                yield _Entry(extension, _whole(offset), _whole(size), name)
        if number != count:
            raise HeaderError(f"it should have {count} samples, it has {number}")


def _whole(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise HeaderError(f"{text[:40]!r} is no offset or size")
    return int(text)


def read_energon_index(path: str | os.PathLike[str], shard: str) -> ShardIndex:
    """Reads an Energon index (`.tar.idx`). It has samples but not their members: so the shard is walked over, and what
    is found must agree with it.

    Raises:
        DatasetError: the file is broken, or is not of this shard.
    """
    version = stat_object(shard)
    try:
        if os.stat(path).st_size % 8:
            raise DatasetError(f"index {os.fspath(path)!r} is neither DALI's nor Energon's: it is no column of uint64")
        bounds: npt.NDArray[np.uint64] = np.fromfile(path, "<u8")
    except OSError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"index {os.fspath(path)!r} cannot be read: {error.strerror}") from error
    index = index_shard(version)
    reason = _energon_fault(bounds, index, version.size)
    if reason is not None:
        raise DatasetError(
            f"index {os.fspath(path)!r} is not of shard {redact(shard)!r}: {reason}. Make it anew: dalikit index"
        )
    return index


def _energon_fault(bounds: npt.NDArray[np.uint64], index: ShardIndex, shard_size: int) -> str | None:
    """Why sample bounds are not those of an index; None if they are."""
    if len(bounds) != len(index) + 1:
        return f"it has {max(0, len(bounds) - 1)} samples, the shard {len(index)}"
    if bounds.max() > shard_size or (bounds[1:] < bounds[:-1]).any():
        return "its offsets go back, or out of the shard"
    if not len(index):
        return None
    firsts = index.member_offset[index.sample_bounds[:-1]]
    lasts = index.sample_bounds[1:] - np.uint64(1)
    ends = index.member_offset[lasts] + index.member_size[lasts]
    inside = (bounds[:-1] + np.uint64(BLOCK) <= firsts) & (ends <= bounds[1:])
    inside[1:] &= ends[:-1] <= bounds[1:-1]
    if not inside.all():
        wrong = int(np.flatnonzero(~inside)[0])
        return f"sample {wrong} ({index.key(wrong)!r}) does not lie in [{bounds[wrong]}, {bounds[wrong + 1]})"
    return None


def write_dali_index(index: ShardIndex, shard_number: int, path: str | os.PathLike[str]) -> None:
    """Writes the index of one shard for DALI's `readers.webdataset`, version 1.2, at once or not at all.

    Extensions are written in small letters, as samples have them.

    Raises:
        ArgumentError: there is no such shard, or a name holds a space, which DALI's format cannot express.
        OSError: the file cannot be written.
    """
    if not 0 <= shard_number < len(index.shards):
        raise ArgumentError(f"shard_number must be one of {len(index.shards)} shards, got {shard_number}")
    one = merge_in_memory([Part(index, shard_number, shard_number + 1)])
    with replacing(path) as file:
        file.write(b"v1.2 %d\n" % len(one))
        file.writelines(_dali_line(one, sample) for sample in range(len(one)))


def _dali_line(index: ShardIndex, sample: int) -> bytes:
    """One sample."""
    start, stop = index.sample_bounds[sample : sample + 2].tolist()
    key = index.key(sample)
    fields = []
    for member in range(start, stop):
        extension = index.extensions[index.member_extension[member]]
        if not extension or _SPACE.search(key + extension):
            raise ArgumentError(
                f"shard {index.shards[0]!r}: the name {f'{key}.{extension}'!r} cannot stand in a DALI index, whose "
                "fields are separated by spaces"
            )
        fields.append(f"{extension} {index.member_offset[member]} {index.member_size[member]} {key}.{extension}")
    return " ".join(fields).encode("utf-8", "surrogateescape") + b"\n"
