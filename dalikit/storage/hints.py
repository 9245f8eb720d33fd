"""Tells the kernel what will be read soon, where it has to come from the disk."""

from __future__ import annotations

import os
import resource

from dalikit.storage.descriptors import Descriptor, RecentFiles
from dalikit.storage.location import Location

__all__ = ["DiskWatch", "will_need"]

_BLOCK = 512  # what the kernel counts in, whatever the file system's blocks are
_COLD = 4096  # bytes a row from the disk, on average, from which on hints pay: a page


def will_need(location: Location, descriptors: RecentFiles[Descriptor]) -> None:
    """Has the kernel begin to read a range of a local file into the page cache, and does not wait for it.

    It waits for what is needed to find the file, if that is not cached either. What cannot be opened is left to
    whoever reads it: that is the one to tell.

    Args:
        location: a local file's; `size` None: to its end.
        descriptors: files that stay open, for ranges. Whole files are closed again; that ends nothing.
    """
    uri, offset, size, _ = location
    try:
        file = Descriptor(uri) if size is None else descriptors.get(uri)
        os.posix_fadvise(file.number, offset, size or 0, os.POSIX_FADV_WILLNEED)
    except (OSError, ValueError):
        return


class DiskWatch:
    """Whether what is read comes from the disk, not from the page cache.

    The kernel counts the blocks that a process has had read (`ru_inblock`), by whichever thread: those that hints
    brought, too, so that they do not end what made them needed. How long reads take would tell less: a thread that
    comes back from one waits for the interpreter, 5 ms if another computes. File systems that do not count (some over
    a network) are never seen as cold.
    """

    def __init__(self) -> None:
        self._blocks = _blocks_read()

    def is_cold(self, num_rows: int) -> bool:
        """Whether since it was last asked the process has read more than a page from the disk for each of `num_rows`.

        Args:
            num_rows: how many rows were read since then, about.
        """
        before, self._blocks = self._blocks, _blocks_read()
        return (self._blocks - before) * _BLOCK > _COLD * num_rows


def _blocks_read() -> int:
    """By this process, since it began. 0.4 us."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_inblock
