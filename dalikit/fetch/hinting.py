"""Tells the kernel of rows that will be read, as long as they have to come from the disk."""

from __future__ import annotations

import functools

from dalikit.fetch.declared import DeclaredRows
from dalikit.fetch.rows import Rows
from dalikit.storage.hints import DiskWatch
from dalikit.workers import Job, WorkerPool

__all__ = ["Hinting"]

_THREADS = 2
"""They wait where a file must first be found on the disk; else a hint takes them 5 us."""


class Hinting:
    """Hints for batches that were asked for and wait to be read.

    The reading threads alone have one row in hand each, and a disk, most of all one behind a network, does many at once
    as fast. Batches are asked for some ahead of the user, so there are enough rows to tell of without looking further
    into the order. Once what is read lies in the page cache, nothing is done but to look whether that is still so, once
    a batch.

    Args:
        declared: the dataset's rows; it lies in files.
    """

    def __init__(self, declared: DeclaredRows) -> None:
        self._declared = declared
        self._disk = DiskWatch()
        self._before = 0  # rows of the batch before

    @functools.cached_property
    def _pool(self) -> WorkerPool:
        return WorkerPool(_THREADS, "dalikit-hint")

    def hint(self, rows: Rows) -> None:
        """Tells of a batch that is about to be asked for, if the disk is at work. Returns at once. On one thread."""
        if not self.is_due(rows):
            return
        self._pool.submit(Job(len(rows.indices), lambda _, row: self._declared.expect(rows, row)))

    def is_due(self, rows: Rows) -> bool:
        """Whether the disk is at work: to be asked once for each batch, in order."""
        cold = self._before > 0 and self._disk.is_cold(self._before)
        self._before = len(rows.indices)
        return cold

    def stop(self) -> None:
        """Tells the threads to end, and does not wait. From any thread, at any moment."""
        if "_pool" in vars(self):
            self._pool.stop()

    def close(self) -> None:
        """Ends the threads. May be called again."""
        if "_pool" in vars(self):
            self._pool.close()
