"""Joins indexes of single shards, or ranges of them, into one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.errors import DatasetError
from dalikit.shards.addresses import file_name
from dalikit.shards.index import COLUMNS, MAX_EXTENSIONS, ShardIndex
from dalikit.storage import ObjectInfo

__all__ = ["Fingerprint", "Part", "column_pieces", "count_parts", "join_extensions", "merge_in_memory"]

_BOUNDS = frozenset({"shard_bounds", "sample_bounds", "key_bounds"})
_IN_FINGERPRINT = frozenset({"shard_bounds", "sample_bounds", "key_bounds", "keys", "member_extension", "member_size"})


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The shards [start, stop) of an index."""

    index: ShardIndex
    start: int
    stop: int

    @property
    def samples(self) -> slice:
        """Which samples."""
        return _range(self.index.shard_bounds, self.start, self.stop)

    @property
    def members(self) -> slice:
        """Which members."""
        samples = self.samples
        return _range(self.index.sample_bounds, samples.start, samples.stop)

    @property
    def key_bytes(self) -> slice:
        """Which bytes of the keys."""
        samples = self.samples
        return _range(self.index.key_bounds, samples.start, samples.stop)

    @property
    def num_bytes(self) -> int:
        """Bytes of its columns."""
        return sum(self.column(name).nbytes for name in COLUMNS)

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of this range; bounds with one entry more, as they are in the whole index."""
        column: npt.NDArray[Any] = getattr(self.index, name)
        if name == "keys":
            return column[self.key_bytes]
        if name == "shard_bounds":
            return column[self.start : self.stop + 1]
        if name in _BOUNDS:
            samples = self.samples
            return column[samples.start : samples.stop + 1]
        return column[self.samples if name == "sample_class" else self.members]


def merge_in_memory(parts: Sequence[Part]) -> ShardIndex:
    """One index of all parts, in their order.

    Raises:
        DatasetError: there are too many extensions.
    """
    shards, versions = shards_of(parts)
    extensions = join_extensions(parts)
    fingerprint = Fingerprint(shards, extensions)
    columns: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        columns[name] = np.concatenate([*column_pieces(parts, name, extensions), np.empty(0, kind)])
        columns[name].flags.writeable = False
        fingerprint.update(name, columns[name])
    return ShardIndex(shards, extensions, fingerprint=fingerprint.digest(), versions=versions, **columns)


def shards_of(parts: Sequence[Part]) -> tuple[tuple[str, ...], tuple[ObjectInfo, ...]]:
    """The shards of all parts, and what is known of them."""
    shards = tuple(shard for part in parts for shard in part.index.shards[part.start : part.stop])
    versions = tuple(version for part in parts for version in part.index.versions[part.start : part.stop])
    return shards, versions


def join_extensions(parts: Sequence[Part]) -> tuple[str, ...]:
    """Every extension that a member of the parts has, sorted, so that the order in which shards were walked is no
    matter.
    """
    found: set[str] = set()
    for part in parts:
        used = np.bincount(part.column("member_extension"), minlength=1)
        found.update(part.index.extensions[number] for number in np.flatnonzero(used).tolist())
    if len(found) > MAX_EXTENSIONS:
        raise DatasetError(
            f"the shards have {len(found)} different extensions, the limit is {MAX_EXTENSIONS}: names are split at "
            "their first dot, so a key must have none"
        )
    return tuple(sorted(found))


def column_pieces(parts: Sequence[Part], name: str, extensions: tuple[str, ...]) -> Iterator[npt.NDArray[Any]]:
    """A column of the joint index, part by part."""
    if name in _BOUNDS:
        yield np.zeros(1, "<u8")
    total = 0
    numbers = {extension: number for number, extension in enumerate(extensions)}
    for part in parts:
        column = part.column(name)
        if name in _BOUNDS:
            yield column[1:] - column[0] + np.uint64(total)
            total += int(column[-1]) - int(column[0])
        elif name == "member_extension" and part.index.extensions != extensions:
            yield np.array([numbers.get(extension, 0) for extension in part.index.extensions], "<u2")[column]
        else:
            yield column


def count_parts(parts: Sequence[Part]) -> dict[str, int]:
    """How many entries each column of the joint index has."""
    shards = sum(part.stop - part.start for part in parts)
    samples = sum(_length(part.samples) for part in parts)
    members = sum(_length(part.members) for part in parts)
    counts = {"keys": sum(_length(part.key_bytes) for part in parts), "shard_bounds": shards + 1}
    counts |= {"sample_bounds": samples + 1, "key_bounds": samples + 1, "sample_class": samples}
    return {name: counts.get(name, members) for name in COLUMNS}


class Fingerprint:
    """Hashes what an index says of its samples, but not where they lie or when the shards were written."""

    def __init__(self, shards: Sequence[str], extensions: Sequence[str]) -> None:
        names = [file_name(shard) for shard in shards]
        self._hash = hashlib.blake2b(json.dumps([names, list(extensions)]).encode(), digest_size=8)

    def update(self, name: str, piece: npt.NDArray[Any]) -> None:
        """Takes a piece of a column; columns in the order of COLUMNS."""
        if name in _IN_FINGERPRINT:
            self._hash.update(np.ascontiguousarray(piece).data)

    def digest(self) -> str:
        """16 hex digits."""
        return self._hash.hexdigest()


def _range(bounds: npt.NDArray[np.uint64], start: int, stop: int) -> slice:
    return slice(int(bounds[start]), int(bounds[stop]))


def _length(part: slice) -> int:
    length: int = part.stop - part.start
    return length
