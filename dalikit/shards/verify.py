"""Whether an index is right."""

from __future__ import annotations

from dalikit.errors import DatasetError, DatasetNotFoundError
from dalikit.progress import progress_bar
from dalikit.shards.contents import choose_entries, header_fault, open_ranges
from dalikit.shards.file import read_index
from dalikit.shards.index import ShardIndex
from dalikit.shards.merge import Part
from dalikit.shards.versions import fits
from dalikit.storage import stat_object
from dalikit.storage.information import change_between
from dalikit.storage.remote.address import redact

__all__ = ["NUM_CHECKED", "verify_index"]

NUM_CHECKED = 8
"""Members of each shard whose headers are read, besides the first and the last: an offset that slipped moves all that
follow it."""

_MOST_NAMED = 10  # faults of one shard


def verify_index(index: ShardIndex, *, full: bool = False, progress: bool | None = None) -> list[str]:
    """Holds an index against its shards.

    Args:
        index: of any shards, local or remote.
        full: look at the header of every member, not only at some of each shard.
        progress: a progress bar on stderr; None: if that is a terminal.

    Returns:
        What is wrong, a line each: the index file was altered, a shard is missing or has changed, a member is not where
        the index says. Empty: nothing.
    """
    faults = []
    if index.path is not None:
        try:
            read_index(index.path, digest=True)
        except DatasetError as error:
            faults.append(str(error))
    with progress_bar(progress, "verifying", "shards", len(index.shards)) as bar:
        for number in range(len(index.shards)):
            faults.extend(_verify_shard(Part(index, number, number + 1), full=full))
            bar.update(1)
    return faults


def _verify_shard(part: Part, *, full: bool) -> list[str]:
    """What is wrong with one shard."""
    shard = part.index.shards[part.start]
    shown = redact(shard)
    try:
        now = stat_object(shard)
        if part.index.versions and not fits(part.index.versions[part.start], now):
            then = part.index.versions[part.start]
            return [f"shard {shown!r} {change_between(then, now, 'make the index anew')}"]
        return [f"shard {shown!r}, {fault}" for fault in _wrong_members(part, full=full)]
    except DatasetNotFoundError:
        return [f"shard {shown!r} is missing"]
    except DatasetError as error:
        return [str(error)]


def _wrong_members(part: Part, *, full: bool) -> list[str]:
    """Members that are not where the index says; not all, if there are many."""
    members = part.members
    if members.start == members.stop:
        return []
    numbers = (
        range(members.start, members.stop)
        if full
        else choose_entries(members.start, members.stop, NUM_CHECKED, part.start)
    )
    faults: list[str] = []
    with open_ranges(part.index.shards[part.start]) as ranges:
        for number in numbers:
            offset, size = int(part.index.member_offset[number]), int(part.index.member_size[number])
            fault = header_fault(ranges, offset, size)
            if fault is not None:
                faults.append(fault)
            if len(faults) == _MOST_NAMED:
                break
    return faults
