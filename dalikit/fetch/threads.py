"""Fetching in this process: threads that read a batch's samples, ahead of time and in order."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.codec import Header, read_header
from dalikit.errors import ArgumentError, DecodeError, SampleError
from dalikit.fetch.batch import ImageBatch, Request, show_indices
from dalikit.fetch.on_cpu import HostFunction
from dalikit.own_stacks import own_stacks
from dalikit.storage import Arena, ArenaPool, read_local
from dalikit.workers import Job, WorkerPool

__all__ = ["PendingBatch", "ThreadFetcher"]


class PendingBatch:
    """A batch that is being read."""

    def __init__(self, batch: ImageBatch, job: Job) -> None:
        self._batch = batch
        self._job = job

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
        transform = getattr(batch.dataset, "target_transform", None)
        if transform is not None:
            for row, target in enumerate(batch.targets):
                try:
                    batch.targets[row] = transform(target)
                except Exception as error:
                    _add_place(error, batch, row, "target_transform")
                    raise
        return batch

    def cancel(self) -> None:
        """Reads no further sample of it. From any thread, at any moment."""
        self._job.cancel()

    def describe(self) -> str:
        """Which samples are being read, and where the threads are that do so. From any thread."""
        indices, rows = self._batch.indices, self._job.rows_at_hand
        whole = f"the batch with indices {show_indices(indices)}"
        if self._job.done:
            return f"stage=target_transform: {whole}\n{own_stacks('dalikit-engine')}"
        at_hand = show_indices([indices[row] for row in rows])
        return f"stage=read, on threads: at hand are the indices {at_hand} of {whole}\n{own_stacks('dalikit-read')}"


class ThreadFetcher:
    """Reads the samples of batches on a few threads.

    Bytes of local files go by `preadv` into one arena a batch; other datasets are asked for `get_image_data`. Headers
    are parsed on the same threads. A user's function runs there too, and its batches come decoded. `target_transform`
    runs on the thread that calls `PendingBatch.result`, one sample after the other, so it need not be thread-safe.

    Args:
        dataset: with `get_image_data(index)`, `get_target(index)`, `len`, and, for bytes in files,
            `get_location(index)`; thread-safe.
        num_threads: how many threads read. They wait for storage most of the time.
        adjust_orientation: whether images will be decoded with their EXIF orientation.
        function: a user's function that has the images before all else; None: there is none.
        max_idle_arenas: how many arenas to keep for later batches.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        num_threads: int,
        adjust_orientation: bool = False,
        function: HostFunction | None = None,
        max_idle_arenas: int = 4,
    ) -> None:
        self._dataset = dataset
        self._function = function
        self._adjust_orientation = adjust_orientation
        self._arenas = ArenaPool(max_idle=max_idle_arenas) if _lies_in_files(dataset) else None
        self._pool = WorkerPool(num_threads, "dalikit-read")

    def submit(self, request: Request) -> PendingBatch:
        """Starts to read a batch. Returns at once.

        Raises:
            ArgumentError: an index is no whole number.
        """
        indices = self._whole_numbers(request.indices)
        count = len(indices)
        arena = self._arenas.acquire() if self._arenas is not None else None
        batch = ImageBatch(
            dataset=self._dataset,
            indices=indices,
            positions=request.positions,
            data=[_NO_BYTES] * count,
            headers=[_NO_HEADER] * count,
            targets=[None] * count,
            arena=arena,
            decoded=self._function is not None,
            batched=request.batched,
            taken=request.taken,
            state=request.state,
        )

        def work(_: Any, row: int) -> None:
            self._fetch(batch, row)

        job = Job(count, work)
        self._pool.submit(job)
        return PendingBatch(batch, job)

    def _fetch(self, batch: ImageBatch, row: int) -> None:
        dataset, index, stage = batch.dataset, int(batch.indices[row]), "read"
        try:
            data = self._read(dataset, index, batch.arena)
            if self._function is None:
                header = read_header(data, adjust_orientation=self._adjust_orientation)
            else:
                stage = "transform"
                data = self._function(data, int(batch.positions[row]))
                header = Header(None, data.shape[0], data.shape[1], "")
                stage = "read"
            batch.data[row], batch.headers[row] = data, header
            batch.targets[row] = dataset.get_target(index)
        except SampleError as error:
            error.locate(batch.place(row, "header" if isinstance(error, DecodeError) else "read"))
            raise
        except Exception as error:  # the dataset's or the user's own: its type stays, the place is added
            _add_place(error, batch, row, stage)
            raise

    def _whole_numbers(self, indices: Any) -> npt.NDArray[np.int64]:
        """int64 (B,), of what a torch-style sampler yields too: integers of Python, numpy or torch."""
        if isinstance(indices, np.ndarray) and indices.dtype == np.int64:
            return indices
        numbers = []
        for index in indices:
            try:
                numbers.append(np.int64(operator.index(index)))
            except (TypeError, OverflowError):
                raise ArgumentError(
                    f"dataset {type(self._dataset).__name__} takes whole numbers as indices, came {index!r}: use a "
                    "sampler that yields them"
                ) from None
        return np.array(numbers, dtype=np.int64)

    @staticmethod
    def _read(dataset: Any, index: int, arena: Arena | None) -> npt.NDArray[np.uint8]:
        if arena is not None:
            return read_local(dataset.get_location(index), arena)
        return np.frombuffer(dataset.get_image_data(index), dtype=np.uint8)

    def recycle(self, batch: ImageBatch) -> None:
        """Takes back the arena of a batch whose bytes nobody reads any more."""
        if batch.arena is not None and self._arenas is not None:
            arena, batch.arena = batch.arena, None
            batch.data, batch.headers = [], []
            self._arenas.release(arena)

    def stop(self) -> None:
        """Tells the threads to end, and does not wait. From any thread, at any moment."""
        self._pool.stop()

    def close(self) -> None:
        """Ends the threads. May be called again."""
        self._pool.close()


def _lies_in_files(dataset: Any) -> bool:
    """Whether `get_location` tells where the bytes lie: not if a subclass has a `get_image_data` of its own."""
    for cls in type(dataset).__mro__:
        if "get_location" in vars(cls):
            return True
        if "get_image_data" in vars(cls):
            return False
    return False


def _add_place(error: Exception, batch: ImageBatch, row: int, stage: str) -> None:
    index, position = int(batch.indices[row]), int(batch.positions[row])
    error.add_note(f"in {type(batch.dataset).__name__}: index={index}, position={position}, stage={stage}")


_NO_BYTES: npt.NDArray[np.uint8] = np.empty(0, dtype=np.uint8)
_NO_HEADER = Header(stream=None, height=0, width=0, codec="")
