"""Opens the index of a set of shards, and makes it if there is none that fits."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError
from dalikit.shards.addresses import plain_address
from dalikit.shards.build import make_index
from dalikit.shards.file import ForeignFileError, read_index
from dalikit.shards.foreign import find_foreign_index, read_foreign_index
from dalikit.shards.index import ShardIndex
from dalikit.shards.merge import Part, merge_in_memory
from dalikit.shards.places import default_places, index_place
from dalikit.shards.versions import fits, stat_shards
from dalikit.storage import ObjectInfo, is_remote

__all__ = ["open_index"]

logger = logging.getLogger(__name__)


def open_index(
    shards: Sequence[str],
    *,
    index: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    num_threads: int | None = None,
) -> ShardIndex:
    """Opens the index of tar shards. The first time, and for shards that changed since, they are walked over.

    An index is used only for shards that have the size and the time (of remote ones: the tag) that they had then; so a
    changed shard is never read by an old index. If the file cannot be written, the index stays in memory.

    Args:
        shards: paths or addresses, in the order of the samples; as `expand_shards` gives them.
        index: the index file; if it is not there, it is made, with one warning that says so. None: beside the shards,
            if they lie in one folder that can be written to, else in $DALIKIT_CACHE or ~/.cache/dalikit. Or a DALI or
            energon index (`.idx`), or a folder of them: each entry is checked, nothing is written, and of remote shards
            the sizes of images stay unknown.
        progress: a progress bar on stderr while shards are walked over; None: if that is a terminal.
        num_threads: shards that are asked for or walked over at once. None: 16, and as many as there are CPUs (8 of
            remote ones).

    Raises:
        ArgumentError: there are no shards, two differ in their signatures alone, or `index` is an address or a file of
            another kind.
        DatasetNotFoundError: a shard is missing.
        DatasetError: a shard is broken, compressed or no tar archive.
    """
    if not shards or isinstance(shards, str):
        raise ArgumentError(f"shards must be a list of at least one path or address, got {shards!r}")
    if num_threads is not None and num_threads < 1:
        raise ArgumentError(f"num_threads must be at least 1, got {num_threads}")
    uris = [shard if is_remote(shard) else os.path.abspath(shard) for shard in shards]
    given = None if index is None else index_place(index)
    versions = stat_shards(uris, num_threads)
    if given is not None and (given.is_dir() or given.name.endswith(".idx")):
        return _open_foreign(given, uris)
    places = default_places(uris) if given is None else [given]
    known: dict[str, Part] = {}
    for place in places:
        found = _load(place, given=index is not None)
        if found is None:
            continue
        if _is_of(found, versions):
            logger.info("index %r: %d samples in %d shards", str(place), len(found), len(uris))
            return replace(found, shards=tuple(uris))
        known = known or _unchanged(found, versions)
    _announce(versions, known)
    return _make(versions, known, places, progress, num_threads, given=index is not None)


def _open_foreign(place: Path, shards: Sequence[str]) -> ShardIndex:
    """What the indexes of other programs say, once it is checked."""
    if not place.is_dir() and len(shards) != 1:
        raise ArgumentError(
            f"index {str(place)!r} is of one shard; of {len(shards)} shards name the folder of their indexes"
        )
    paths = [find_foreign_index(place, shard) if place.is_dir() else place for shard in shards]
    return merge_in_memory(
        [Part(read_foreign_index(path, shard), 0, 1) for path, shard in zip(paths, shards, strict=True)]
    )


def _load(place: Path, *, given: bool) -> ShardIndex | None:
    """The index in a file; None if there is none that can be used."""
    try:
        return read_index(place)
    except DatasetNotFoundError:
        return None
    except ForeignFileError as error:
        if given:
            raise ArgumentError(f"index must be the path of an index, or of one to be made: {error}") from None
        logger.warning("%s; it is replaced", error)
    except DatasetError as error:
        logger.warning("%s", error)
    return None


def _is_of(index: ShardIndex, versions: Sequence[ObjectInfo]) -> bool:
    """Whether an index is of these shards, in this order, as they are now."""
    return len(index.versions) == len(versions) and all(
        plain_address(shard) == plain_address(now.uri) and fits(then, now)
        for shard, then, now in zip(index.shards, index.versions, versions, strict=True)
    )


def _unchanged(index: ShardIndex, versions: Sequence[ObjectInfo]) -> dict[str, Part]:
    """The shards that an index knows as they are now."""
    numbers = {plain_address(shard): number for number, shard in enumerate(index.shards)}
    known = {}
    for now in versions:
        address = plain_address(now.uri)
        number = numbers.get(address)
        if number is not None and fits(index.versions[number], now):
            known[address] = Part(index, number, number + 1)
    return known


def _announce(versions: Sequence[ObjectInfo], known: Iterable[str]) -> None:
    """Says what is about to be done."""
    missing = {plain_address(version.uri): version for version in versions}
    for address in known:
        missing.pop(address, None)
    logger.info("indexing %d of %d shards", len(missing), len(versions))
    remote = [version.size for version in missing.values() if is_remote(version.uri)]
    if remote:
        logger.warning(
            "%d remote shards are not indexed yet: each is read once from end to end, %.1f GB in all",
            len(remote),
            sum(remote) / 1e9,
        )
    nameless = sum(version.etag is None and version.mtime_ns is None for version in missing.values())
    if nameless:
        logger.warning(
            "the server of %d shards gives neither a tag nor a time, by which a changed shard would show: they are "
            "indexed anew every time",
            nameless,
        )


def _make(
    versions: Sequence[ObjectInfo],
    known: dict[str, Part],
    places: Sequence[Path],
    progress: bool | None,
    num_threads: int | None,
    *,
    given: bool,
) -> ShardIndex:
    """Makes the index in the first place that can be written to. `given`: the user has named it."""
    reason: OSError | None = None
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(place.parent, os.W_OK):
                raise PermissionError(13, "the folder cannot be written to")
            is_new = not place.exists()
            index = make_index(versions, known, place, progress=progress, num_processes=num_threads)
        except OSError as error:
            if isinstance(error, DatasetError):
                raise
            reason = error
        else:
            if given and is_new:  # a slip in its name would else not show
                logger.warning("made index %r: %d shards, %d samples", str(place), len(versions), len(index))
            else:
                logger.info("wrote index %r: %d samples in %d shards", str(place), len(index), len(versions))
            return index
    cause = reason.strerror or reason if reason else "no place"
    logger.warning(
        "index %r cannot be written: %s. It stays in memory, and is made anew every time; name a place by "
        "`index=` or $DALIKIT_CACHE",
        str(places[-1]),
        cause,
    )
    return make_index(versions, known, None, progress=progress, num_processes=num_threads)
