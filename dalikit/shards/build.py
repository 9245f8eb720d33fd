"""Makes indexes: shard by shard, several at a time, and where it was left off."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError
from dalikit.progress import progress_bar
from dalikit.shards.addresses import check_distinct, plain_address
from dalikit.shards.file import replace_index
from dalikit.shards.index import ShardIndex
from dalikit.shards.merge import Part, merge_in_memory
from dalikit.shards.partial import PartialFolder
from dalikit.shards.places import index_place
from dalikit.shards.versions import index_settled, stat_shards
from dalikit.shards.walker import Walker
from dalikit.storage import ObjectInfo, is_remote

__all__ = ["build_index", "make_index"]

NUM_STREAMS = 8
"""Remote shards read at once: each keeps a few pieces of 8 MiB in memory."""

ALONE_SECONDS = 1.0
"""Before this has passed no processes are started: they take a few tenths of a second to come up."""

HELD_BYTES = 1 << 30
"""What is found of single shards stays in memory up to this; then it goes to a file and is mapped."""


def build_index(
    shards: Sequence[str],
    path: str | os.PathLike[str],
    *,
    progress: bool | None = None,
    num_processes: int | None = None,
    resume: bool = True,
) -> ShardIndex:
    """Walks over all shards and writes their index to a file, whatever is there now.

    Until it is done, what is found of each shard is kept in the folder "<path>.partial"; if it is interrupted, the next
    call goes on from there. Processes that make the same index at once take shards off each other.

    Args:
        shards: paths or addresses, in the order of the index. Remote ones are read once from end to end.
        path: of the index file.
        progress: a progress bar on stderr; None: if that is a terminal.
        num_processes: how many shards to walk over at once. None: as many as there are CPUs (8 of remote ones).
        resume: use what an earlier call left; False: begin again.

    Returns:
        The index, as it is in the file.

    Raises:
        ArgumentError: there are no shards, `num_processes` is less than 1, or `path` is an address.
        DatasetError: a shard is missing or broken, or the file cannot be written.
    """
    if not shards:
        raise ArgumentError("shards must name at least one shard, got none")
    if num_processes is not None and num_processes < 1:
        raise ArgumentError(f"num_processes must be at least 1, got {num_processes}")
    path = index_place(path)
    versions = stat_shards(shards)
    try:
        return make_index(versions, {}, path, progress=progress, num_processes=num_processes, resume=resume)
    except OSError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"index {os.fspath(path)!r} cannot be written: {error.strerror or error}") from error


def make_index(
    versions: Sequence[ObjectInfo],
    known: Mapping[str, Part],
    path: str | os.PathLike[str] | None,
    *,
    progress: bool | None = None,
    num_processes: int | None = None,
    resume: bool = True,
) -> ShardIndex:
    """As `build_index`.

    Args:
        versions: the shards as they are now.
        known: by their plain address, shards that need no walk.
        path: None: the index stays in memory.
        progress: see there.
        num_processes: see there.
        resume: see there.

    Raises:
        ArgumentError: two shards differ in their signatures alone.
        DatasetError: a shard is missing or broken.
        OSError: the file cannot be written.
    """
    check_distinct(version.uri for version in versions)
    missing = [version for version in _unique(versions) if plain_address(version.uri) not in known]
    parts = dict(known)
    with _partial_folder(path, keep=len(missing) > 1) as folder:
        parts |= _gather(missing, folder, num_processes, progress=progress, resume=resume)
        ordered = [parts[plain_address(version.uri)] for version in versions]
        if path is None:
            return merge_in_memory(ordered)
        index = replace_index(path, ordered, [version.uri for version in versions])
        folder.remove()
        return index


def _gather(
    versions: Sequence[ObjectInfo],
    folder: PartialFolder,
    num_processes: int | None,
    *,
    progress: bool | None,
    resume: bool,
) -> dict[str, Part]:
    """The index of every shard, by its plain address."""
    done: dict[str, Part] = {}
    held: dict[str, Part] = {}  # those in memory
    size = 0
    with progress_bar(progress, "indexing", "shards", len(versions)) as bar:
        for version, part in _walk(versions, folder, num_processes, resume=resume):
            held[plain_address(version.uri)] = part
            size += part.num_bytes
            if size > HELD_BYTES:
                joined = folder.join(list(held.values()))
                done |= {address: Part(joined, number, number + 1) for number, address in enumerate(held)}
                held, size = {}, 0
            bar.update(1)
    return done | held


def _unique(versions: Sequence[ObjectInfo]) -> list[ObjectInfo]:
    """Each shard once, also if it is listed more often."""
    return list({plain_address(version.uri): version for version in versions}.values())


@contextmanager
def _partial_folder(path: str | os.PathLike[str] | None, *, keep: bool) -> Iterator[PartialFolder]:
    """Where to keep what is found: beside the index, if that takes long enough to be interrupted."""
    if path is None or not keep:
        with tempfile.TemporaryDirectory(prefix="dalikit-") as folder:
            yield PartialFolder(folder, kept=False)
        return
    beside = Path(f"{os.fspath(path)}.partial")
    beside.mkdir(parents=True, exist_ok=True)
    yield PartialFolder(str(beside), index=os.fspath(path))


def _walk(
    versions: Sequence[ObjectInfo], folder: PartialFolder, num_processes: int | None, *, resume: bool
) -> Iterator[tuple[ObjectInfo, Part]]:
    """The index of every shard, in any order."""
    ours = os.getpid() % max(1, len(versions))  # who else makes this index begins elsewhere
    waiting = [*versions[ours:], *versions[:ours]][::-1]
    remote = any(is_remote(version.uri) for version in versions)
    at_once = num_processes or (NUM_STREAMS if remote else len(os.sched_getaffinity(0)))
    patience = time.monotonic() + (0 if remote else ALONE_SECONDS)
    while waiting and (at_once == 1 or len(waiting) == 1 or time.monotonic() < patience):
        version = waiting.pop()
        yield version, (folder.load(version) if resume else None) or _walk_here(version, folder)
    if waiting:
        yield from _walk_at_once(waiting[::-1], folder, min(at_once, len(waiting)), resume=resume, alone=remote)


def _walk_here(version: ObjectInfo, folder: PartialFolder, stopped: Callable[[], bool] | None = None) -> Part:
    """Walks over a shard in this thread."""
    index = index_settled(version.uri, stopped)
    if folder.kept:
        folder.keep(index)
    return Part(index, 0, 1)


def _walk_there(version: ObjectInfo, folder: PartialFolder, walker: Walker) -> Part:
    """Walks over a shard in another process."""
    walker.index(version.uri, folder.path(version.uri))
    try:
        return folder.load_new(version.uri)
    except DatasetNotFoundError:  # who else makes this index was done at this moment, and has removed the folder
        return folder.load(version) or _walk_here(version, folder)


def _walk_at_once(
    versions: Sequence[ObjectInfo], folder: PartialFolder, at_once: int, *, resume: bool, alone: bool
) -> Iterator[tuple[ObjectInfo, Part]]:
    """Walks over shards on threads, each of which has a process, unless it is to be `alone`."""
    walkers = [Walker() for _ in range(at_once)] if sys.executable and not alone else []
    idle: SimpleQueue[Walker | None] = SimpleQueue()
    stop = threading.Event()
    for slot in range(at_once):
        idle.put(walkers[slot] if walkers else None)

    def walk(version: ObjectInfo) -> tuple[ObjectInfo, Part]:
        part = folder.load(version) if resume else None
        if part is not None:
            return version, part
        walker = idle.get()
        try:
            if walker is None:
                return version, _walk_here(version, folder, stop.is_set)
            return version, _walk_there(version, folder, walker)
        finally:
            idle.put(walker)

    threads = ThreadPoolExecutor(at_once, "dalikit-walk")
    try:
        for done in as_completed(threads.submit(walk, version) for version in versions):
            yield done.result()
    except BaseException:
        stop.set()  # Ctrl-C, or one shard that is broken: nobody waits for the others to be read to their ends
        for busy in walkers:
            busy.kill()
        raise
    finally:
        threads.shutdown(cancel_futures=True)
        for walker in walkers:
            walker.close()
