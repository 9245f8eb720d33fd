"""Fetching in this process: threads that read a batch's samples, ahead of time and in order."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.errors import SampleError
from dalikit.fetch.batch import ImageBatch, Request, show_indices
from dalikit.fetch.declared import DeclaredRows
from dalikit.fetch.headers import NO_HEADER, HeaderReader, HeaderRules
from dalikit.fetch.hinting import Hinting
from dalikit.fetch.on_cpu import HostFunction
from dalikit.fetch.pieces import Pieces, plan_pieces, read_tolerantly
from dalikit.fetch.rows import Rows
from dalikit.own_stacks import own_stacks
from dalikit.storage import ArenaPool
from dalikit.workers import Job, WorkerPool

__all__ = ["PendingBatch", "ThreadFetcher"]

_RULES = HeaderRules()
_SHOWN_PLACES = 8
"""How many of the samples at hand the report of a timeout names."""


class PendingBatch:
    """A batch that is being read."""

    def __init__(self, batch: ImageBatch, job: Job, declared: DeclaredRows, rows: Rows, pieces: Pieces) -> None:
        self._batch = batch
        self._job = job
        self._declared = declared
        self._rows = rows
        self._pieces = pieces

    @property
    def done(self) -> bool:
        """Whether `result` would return at once."""
        return self._job.done

    def result(self) -> ImageBatch:
        """Waits for the batch, and applies `target_transform`: to be called once.

        Raises:
            ReadError: the bytes of a sample cannot be read.
            DecodeError: the header of an image is not one that can be decoded.
            JobCancelledError: it was cancelled.
        """
        self._job.wait()
        batch = self._batch
        self._declared.transform_targets(self._rows, batch.targets, without=batch.errors)
        return batch

    def cancel(self) -> None:
        """Reads no further sample of it. From any thread, at any moment."""
        self._job.cancel()

    def describe(self) -> str:
        """Which samples are being read, and where the threads are that do so. From any thread."""
        indices = self._batch.indices
        rows = [row for piece in self._job.rows_at_hand for row in self._pieces.rows_of(piece)]
        whole = f"the batch with indices {show_indices(indices)}"
        if self._job.done:
            return f"stage=target_transform: {whole}\n{own_stacks('dalikit-engine')}"
        if self._declared.whole:
            return f"stage=read, on a thread, by get_batch: {whole}\n{own_stacks('dalikit-read', idle=False)}"
        at_hand = show_indices([indices[row] for row in rows])
        files = "".join(f"\n  {place}" for place in self._rows.places(rows[:_SHOWN_PLACES], "read"))
        stacks = own_stacks("dalikit-read", idle=False)
        return f"stage=read, on threads: at hand are the indices {at_hand} of {whole}{files}\n{stacks}"


class ThreadFetcher:
    """Reads the samples of batches on a few threads.

    Bytes of local files go by `preadv` into one arena a batch; those of remote objects come in spans, one request for
    several rows that lie close together. Other datasets are asked for `get_image_data`, or, if they have a `get_batch`,
    for a whole batch on one thread. Headers are parsed on the same threads. A user's function runs there too, and its
    batches come decoded. If local files are read from the disk, and not from the page cache, the kernel is told of each
    batch as soon as it is asked for. `target_transform` runs on the thread that calls
    `PendingBatch.result`, one sample after the other, so it need not be thread-safe.

    Args:
        dataset: with `get_image_data(index)`, `get_target(index)`, `len`, and, for bytes in files,
            `get_location(index)`, or `get_batch(indices)`; thread-safe.
        num_threads: how many threads read. They wait for storage most of the time.
        rules: how headers are read.
        function: a user's function that has the images before all else; None: there is none.
        tolerant: note bad samples in `ImageBatch.errors`, instead of raising the first one's error.
        max_idle_arenas: how many arenas to keep for later batches.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        num_threads: int,
        rules: HeaderRules = _RULES,
        function: HostFunction | None = None,
        tolerant: bool = False,
        max_idle_arenas: int = 4,
    ) -> None:
        self._dataset = dataset
        self._function = function
        self._tolerant = tolerant
        self._declared = DeclaredRows(dataset, function, rules.limits)
        self._headers = HeaderReader(dataset, rules)
        self._arenas = ArenaPool(max_idle=max_idle_arenas) if self._declared.in_files else None
        self._hinting = Hinting(self._declared) if self._declared.in_files else None
        self._pool = WorkerPool(num_threads, "dalikit-read")

    def submit(self, request: Request) -> PendingBatch:
        """Starts to read a batch. Returns at once.

        Raises:
            ArgumentError: an index is no whole number.
        """
        rows = self._declared.rows(request.indices, request.positions)
        batch, pieces = self._empty_batch(request, rows), plan_pieces(self._declared, rows)
        read = partial(read_tolerantly, pieces, self._declared, rows, batch.errors) if self._tolerant else pieces.read

        def read_piece(_: Any, piece: int) -> None:
            for row, data, target in read(piece, batch.arena):
                batch.data[row], batch.targets[row] = data, target
                try:
                    batch.headers[row] = self._headers.read(batch, row)
                except SampleError as error:
                    if not self._tolerant:
                        raise
                    batch.errors[row] = error

        if self._hinting is not None:
            self._hinting.hint(rows)
        job = Job(len(pieces), read_piece)
        self._pool.submit(job)
        return PendingBatch(batch, job, self._declared, rows, pieces)

    def _empty_batch(self, request: Request, rows: Rows) -> ImageBatch:
        """Memory for a batch."""
        count = len(rows.indices)
        return ImageBatch(
            dataset=self._dataset,
            indices=rows.indices,
            positions=request.positions,
            data=[_NO_BYTES] * count,
            headers=[NO_HEADER] * count,
            targets=[None] * count,
            arena=self._arenas.acquire() if self._arenas is not None else None,
            decoded=self._function is not None,
            batched=request.batched,
            taken=request.taken,
            state=request.state,
        )

    def recycle(self, batch: ImageBatch) -> None:
        """Takes back the arena of a batch whose bytes nobody reads any more."""
        if batch.arena is not None and self._arenas is not None:
            arena, batch.arena = batch.arena, None
            batch.data, batch.headers, batch.owner = [], [], None
            self._arenas.release(arena)

    def stop(self) -> None:
        """Tells the threads to end, and does not wait. From any thread, at any moment."""
        self._pool.stop()
        if self._hinting is not None:
            self._hinting.stop()

    def close(self) -> None:
        """Ends the threads. May be called again."""
        self._pool.close()
        if self._hinting is not None:
            self._hinting.close()


_NO_BYTES: npt.NDArray[np.uint8] = np.empty(0, dtype=np.uint8)
