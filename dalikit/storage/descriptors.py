"""Files that are read again and again, piece by piece, and so stay open."""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["MAX_OPEN", "OPEN_FLAGS", "Descriptor", "RecentFiles", "default_limit"]

File = TypeVar("File")

MAX_OPEN = 256
"""Of data sets with more shards some are opened anew, which takes 2 us a range."""

OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""Of files that are only read. Without O_NONBLOCK the opening of a pipe waits for one who writes, for ever perhaps;
for files it means nothing."""

_SHARE = 8  # of the descriptors that a process may have: there are loaders for training and validation, and the user


class Descriptor:
    """An open file. It is closed once nobody refers to it: whoever reads by its number holds on to it meanwhile."""

    __slots__ = ("number",)

    def __init__(self, path: str) -> None:
        """Opens it. Raises OSError, or ValueError for a path with a null character."""
        self.number = -1
        self.number = os.open(path, OPEN_FLAGS)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self.number >= 0:
            close(self.number)


class RecentFiles(Generic[File]):
    """The files that were used last, kept open; the one that was not used for the longest time goes first.

    A file stays the one that was opened, even if another has taken its name since: which is the one that an index of
    its members was made from, if that is older. Whoever makes a new index makes new RecentFiles.

    Thread-safe without a lock, each step being one operation of OrderedDict, which is atomic: so a process forked in
    the middle of one goes on with it. It shares the open files, whose reads by `pread` have no common place. Two
    threads may open the same file at once, and one of the two is then closed.

    Args:
        open_file: opens a file by its path; the file closes itself once nobody refers to it.
        limit: how many are kept. None: see `default_limit`.
    """

    def __init__(self, open_file: Callable[[str], File], limit: int | None = None) -> None:
        self._open = open_file
        self._limit = default_limit() if limit is None else limit
        self._files: OrderedDict[str, File] = OrderedDict()

    def __len__(self) -> int:
        """How many are open."""
        return len(self._files)

    def get(self, path: str) -> File:
        """The open file. Raises what `open_file` raises."""
        files = self._files
        file = files.get(path)
        if file is None:
            file = files.setdefault(path, self._open(path))
            while len(files) > self._limit:
                try:
                    files.popitem(last=False)
                except KeyError:  # other threads were faster
                    break
            return file
        try:
            files.move_to_end(path)
        except KeyError:
            return file  # dropped meanwhile; it is open as long as it is held
        return file


def default_limit() -> int:
    """How many files one reader keeps open: an eighth of what the process may (`ulimit -n`), `MAX_OPEN` at most."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_OPEN if allowed == resource.RLIM_INFINITY else max(1, min(MAX_OPEN, allowed // _SHARE))
