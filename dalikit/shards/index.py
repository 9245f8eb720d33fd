"""What is known of the members of tar shards: columns that lie in a mapped file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.storage import ObjectInfo

__all__ = ["COLUMNS", "MAX_EXTENSIONS", "NO_CLASS", "ShardIndex"]

NO_CLASS = -(2**63)
"""In `ShardIndex.sample_class`: the sample has no whole number as its class."""

MAX_EXTENSIONS = 1 << 16
"""A column of 16-bit numbers says which extension a member has."""

COLUMNS = {
    "shard_bounds": "<u8",
    "sample_bounds": "<u8",
    "sample_class": "<i8",
    "key_bounds": "<u8",
    "keys": "|u1",
    "member_extension": "<u2",
    "member_offset": "<u8",
    "member_size": "<u8",
    "member_height": "<u4",
    "member_width": "<u4",
    "member_orientation": "|u1",
}
"""Name and type of every column, in the order in which they are written and hashed."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardIndex:
    """Samples of tar shards, in the order of the shards and of the members in each.

    A sample is a run of members of one shard that follow each other with the same key: the name up to the first dot
    behind the last slash, as webdataset splits names. What follows that dot, in small letters, is the extension.

        shard_bounds     0 ............. 3 ............. 5        shard 0 has samples 0, 1, 2
        sample_bounds    0   2   4   6                            sample 0 has members 0 and 1
        member_*         jpg cls jpg cls jpg cls ...

    Columns are read-only; those of a large index lie in a mapped file, shared by all processes. With a file it pickles
    as the file's path, and is read again where it is unpickled; without one it pickles its columns.
    """

    shards: tuple[str, ...]
    """Paths or addresses, S."""
    extensions: tuple[str, ...]
    """Every extension that occurs."""
    shard_bounds: npt.NDArray[np.uint64]
    """uint64 (S + 1,): the first sample of each shard."""
    sample_bounds: npt.NDArray[np.uint64]
    """uint64 (N + 1,): the first member of each sample."""
    sample_class: npt.NDArray[np.int64]
    """int64 (N,): the number in the sample's "cls" member, else NO_CLASS."""
    keys: npt.NDArray[np.uint8]
    """uint8: all keys, one behind the other, UTF-8 (what is no UTF-8 is surrogate-escaped when it becomes text)."""
    key_bounds: npt.NDArray[np.uint64]
    """uint64 (N + 1,): where in `keys` each begins."""
    member_extension: npt.NDArray[np.uint16]
    """uint16 (M,): which of `extensions`."""
    member_offset: npt.NDArray[np.uint64]
    """uint64 (M,): the first byte of its content, in its shard."""
    member_size: npt.NDArray[np.uint64]
    """uint64 (M,): bytes."""
    member_height: npt.NDArray[np.uint32]
    """uint32 (M,): in pixels as stored, before any EXIF orientation; 0: no image, or not known."""
    member_width: npt.NDArray[np.uint32]
    """uint32 (M,)."""
    member_orientation: npt.NDArray[np.uint8]
    """uint8 (M,): EXIF's, 1 to 8, where 1 is also that of an image that says nothing; 0: not known."""
    fingerprint: str
    """16 hex digits, hashed from the keys, extensions and sizes in order and the shards' names without their folders:
    equal on every machine that holds a copy."""
    versions: tuple[ObjectInfo, ...] = ()
    """S: size and time (or tag) of each shard as it was indexed; empty: not known."""
    path: str | None = None
    """The file that holds the columns; None: they are in memory."""
    digest: str = ""
    """32 hex digits: the hash of all that the file holds; "" without one."""

    def __len__(self) -> int:
        """How many samples."""
        return len(self.sample_class)

    def key(self, sample: int) -> str:
        """The name of a sample, 0 to len - 1."""
        start, stop = self.key_bounds[sample : sample + 2].tolist()
        return self.keys[start:stop].tobytes().decode("utf-8", "surrogateescape")

    def shard_of(self, sample: int) -> int:
        """Which shard a sample is in."""
        return int(np.searchsorted(self.shard_bounds, np.uint64(sample), side="right")) - 1

    def __reduce__(self) -> tuple[Callable[..., ShardIndex], tuple[Any, ...]]:
        """By its path, if it has a file."""
        if self.path is None:
            return ShardIndex, tuple(getattr(self, field.name) for field in fields(self))
        from dalikit.shards.file import reopen_index

        return reopen_index, (self.path, self.digest, self.shards)
