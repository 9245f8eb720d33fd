"""Whether a shard is still the one that was indexed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from dalikit.errors import DatasetError
from dalikit.shards.index import ShardIndex
from dalikit.shards.table import index_shard
from dalikit.storage import ObjectInfo, is_remote, stat_object
from dalikit.storage.remote.address import redact
from dalikit.storage.settling import wait_until_settled

__all__ = ["fits", "index_settled", "stat_shards"]

NUM_THREADS = 16
"""Shards asked for at once: network file systems and object stores answer late, but many at a time."""

_AT_ONCE = 64  # local shards that a thread takes: handing over one costs more than asking for it


def stat_shards(shards: Sequence[str], num_threads: int | None = None) -> list[ObjectInfo]:
    """Size and version of every shard, as it is now.

    Raises:
        DatasetNotFoundError: one is not there.
        DatasetError: one cannot be asked for.
    """
    step = 1 if any(map(is_remote, shards)) else _AT_ONCE
    groups = [shards[start : start + step] for start in range(0, len(shards), step)]
    if len(groups) <= 1:
        return [stat_object(shard) for shard in shards]
    with ThreadPoolExecutor(min(num_threads or NUM_THREADS, len(groups)), "dalikit-stat") as threads:
        return [version for group in threads.map(lambda group: [*map(stat_object, group)], groups) for version in group]


def fits(then: ObjectInfo, now: ObjectInfo) -> bool:
    """Whether a shard is the one that was indexed. If its server gives neither a tag nor a time, nobody can know."""
    if then.size != now.size:
        return False
    if then.etag is not None and now.etag is not None:
        return then.etag == now.etag
    return then.mtime_ns is not None and then.mtime_ns == now.mtime_ns


def index_settled(shard: str, stopped: Callable[[], bool] | None = None) -> ShardIndex:
    """Walks over one shard, and makes sure that it stays the same meanwhile.

    Args:
        shard: path or address.
        stopped: asked while a remote one is waited for: whether to give up.

    Raises:
        DatasetError: as `index_shard`, or it was changed while it was read.
    """
    version = _stat_settled(shard)
    index = index_shard(version, stopped=stopped)
    now = stat_object(shard)
    if now != version:
        raise DatasetError(
            f"shard {redact(shard)!r} was changed while it was indexed: it had {version.size} bytes and now has "
            f"{now.size}. Index it when it is complete"
        )
    return index


def _stat_settled(shard: str) -> ObjectInfo:
    """The version of a shard whose next change will show in its time."""
    version = stat_object(shard)
    if is_remote(shard) or version.mtime_ns is None:
        return version
    return stat_object(shard) if wait_until_settled(version.mtime_ns) else version
