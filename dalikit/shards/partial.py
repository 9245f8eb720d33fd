"""What an unfinished index has so far: one small index file for each shard."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress

from dalikit.errors import DatasetError, DatasetNotFoundError, InternalError
from dalikit.shards.addresses import plain_address
from dalikit.shards.file import read_index, write_index
from dalikit.shards.index import ShardIndex
from dalikit.shards.merge import Part
from dalikit.shards.versions import fits
from dalikit.storage import ObjectInfo

__all__ = ["PartialFolder", "keep_index"]

_ATTEMPTS = 5

_OURS = re.compile(r"(joined-)?[0-9a-f]{32}\.index(\.\d+\.[0-9a-f]+\.tmp)?")


class PartialFolder:
    """A folder of such files. Several processes that make the same index may share it.

    Args:
        folder: where it is.
        kept: whether an interrupted build finds it again; else what this process finds itself need not be written.
        index: the file that will hold everything. If another process puts it there first, what is looked for is there.
    """

    def __init__(self, folder: str, *, kept: bool = True, index: str | None = None) -> None:
        self.kept = kept
        self._folder = folder
        self._index = index
        self._seen = _identity(index)
        self._elsewhere: dict[str, Part] = {}

    def path(self, shard: str) -> str:
        """The file for a shard."""
        name = hashlib.blake2b(os.fsencode(plain_address(shard)), digest_size=16).hexdigest()
        return os.path.join(self._folder, f"{name}.index")

    def keep(self, index: ShardIndex) -> None:
        """Writes the index of one shard for whoever goes on from here.

        Raises:
            OSError: it cannot be written.
        """
        keep_index(index, self.path(index.shards[0]))

    def load(self, version: ObjectInfo) -> Part | None:
        """What is known of a shard, if it is as it was then and every byte of the file is as it was written."""
        part: Part | None
        try:
            part = self.load_new(version.uri)
        except DatasetError:
            self._look_elsewhere()
            part = self._elsewhere.get(plain_address(version.uri))
        if part is None or not fits(part.index.versions[part.start], version):
            return None
        return part

    def load_new(self, shard: str) -> Part:
        """What was written just now.

        Raises:
            DatasetError: it is not there, or not whole.
        """
        return Part(read_index(self.path(shard), shards=[shard], digest=True, mapped=False), 0, 1)

    def join(self, parts: Sequence[Part]) -> ShardIndex:
        """Writes parts to one file, and maps it: so that they take no memory."""
        shards = [part.index.shards[shard] for part in parts for shard in range(part.start, part.stop)]
        for left in range(_ATTEMPTS)[::-1]:
            path = os.path.join(self._folder, f"joined-{secrets.token_hex(16)}.index")
            _write(path, parts)
            try:
                return read_index(path, shards=shards)
            except DatasetNotFoundError:  # another process has removed it
                if not left:
                    raise
            finally:
                with suppress(OSError):
                    os.unlink(path)  # the map stays
        raise InternalError("unreachable")

    def remove(self) -> None:
        """Removes all such files, and the folder, unless something else is in it."""
        try:
            for name in os.listdir(self._folder):
                if _OURS.fullmatch(name):
                    os.unlink(os.path.join(self._folder, name))
            os.rmdir(self._folder)
        except OSError:
            pass  # another process removes it too, or still writes to it

    def _look_elsewhere(self) -> None:
        """Looks whether another process has made the index meanwhile."""
        identity = _identity(self._index)
        if self._index is None or identity == self._seen:
            return
        self._seen = identity
        try:
            index = read_index(self._index)
        except DatasetError:
            return
        numbered = enumerate(index.shards)
        self._elsewhere = {plain_address(shard): Part(index, number, number + 1) for number, shard in numbered}


def keep_index(index: ShardIndex, path: str) -> None:
    """Writes the index of one shard. It need not outlast a loss of power: its digest tells.

    Raises:
        OSError: it cannot be written.
    """
    _write(path, [Part(index, 0, 1)])


def _write(path: str, parts: Sequence[Part]) -> None:
    """Another process that makes the same index, and is done, may remove the folder at any moment: then it is made
    again.
    """
    for left in range(_ATTEMPTS)[::-1]:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_index(path, parts, sync=False)
            return
        except FileNotFoundError:
            if not left:
                raise


def _identity(path: str | None) -> tuple[int, int, int] | None:
    """What tells a file from the one that was there before."""
    try:
        status = os.stat(path or "")
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
