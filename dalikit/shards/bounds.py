"""Whether the columns of an index fit together, so that nothing outside of them or of a shard is ever read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dalikit.shards.headers import BLOCK
from dalikit.shards.index import ShardIndex

__all__ = ["check_columns"]

_LARGEST = 1 << 62  # of an offset or a size: sums of three stay within 64 bits
_STEP = 1 << 18  # entries looked at together: what is computed of them stays in the cache


def check_columns(index: ShardIndex) -> None:
    """Checks lengths, bounds and that every member lies in its shard, behind the one before it.

    Raises:
        ValueError: they do not fit together.
    """
    samples, members = len(index.sample_class), len(index.member_offset)
    _bounds("shard_bounds", index.shard_bounds, len(index.shards) + 1, samples)
    _bounds("sample_bounds", index.sample_bounds, samples + 1, members, rising=True)
    _bounds("key_bounds", index.key_bounds, samples + 1, len(index.keys), rising=True)
    for name in ("size", "extension", "height", "width", "orientation"):
        if len(getattr(index, f"member_{name}")) != members:
            raise ValueError(f"member_{name} does not have {members} entries")
    if members and int(index.member_extension.max()) >= len(index.extensions):
        raise ValueError(f"a member has an extension that is not one of {len(index.extensions)}")
    _members(index)


def _bounds(name: str, bounds: npt.NDArray[np.uint64], length: int, last: int, *, rising: bool = False) -> None:
    """Bounds go from 0 to `last` without going back."""
    if len(bounds) != length or bounds[0] != 0 or bounds[-1] != last:
        raise ValueError(f"{name} does not go from 0 to {last} in {length} entries")
    for start in range(0, length - 1, _STEP):
        block = bounds[start : start + _STEP + 1]
        if not (block[1:] > block[:-1] if rising else block[1:] >= block[:-1]).all():
            raise ValueError(f"{name} goes back")


def _members(index: ShardIndex) -> None:
    """Members follow each other within their shard, each with a header before it, and end before their shard does."""
    bounds = index.sample_bounds[index.shard_bounds]  # (S + 1,): the first member of each shard
    filled = np.flatnonzero(bounds[1:] > bounds[:-1])
    firsts = bounds[filled]
    ends_before = np.zeros(1, np.uint64)
    for start in range(0, len(index.member_offset), _STEP):
        offsets, sizes = (column[start : start + _STEP] for column in (index.member_offset, index.member_size))
        if offsets.max() > _LARGEST or sizes.max() > _LARGEST:
            raise ValueError("a member lies further out than any file is long")
        ends = np.concatenate((ends_before, offsets + sizes))
        within = slice(*np.searchsorted(firsts, np.array([start, start + len(offsets)], np.uint64)).tolist())
        ends[firsts[within] - np.uint64(start)] = 0
        if (ends[:-1] + np.uint64(BLOCK) > offsets).any():
            raise ValueError("a member overlaps the one before it")
        ends_before = ends[-1:]
    if index.versions and len(filled):
        lasts = bounds[filled + 1] - np.uint64(1)
        limits = np.array([version.size for version in index.versions], np.uint64)[filled]
        if (index.member_offset[lasts] + index.member_size[lasts] > limits).any():
            raise ValueError("a member ends behind its shard")
