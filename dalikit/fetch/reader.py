"""Reads one whole batch on the calling thread: the user's own, as torch's DataLoader does, or a worker process's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, Subset

from dalikit.callables import ItemSeeder
from dalikit.datasets.base import declares_images
from dalikit.datasets.wrapped import unwrap
from dalikit.errors import ArgumentError, SampleError
from dalikit.fetch.assembly import NO_BYTES, NO_PIXELS, assemble, assemble_images
from dalikit.fetch.batch import ImageBatch, OtherBatch, Request
from dalikit.fetch.declared import DeclaredRows
from dalikit.fetch.iterables import IterableReading
from dalikit.fetch.keeping import keep_item
from dalikit.fetch.pieces import plan_pieces, read_tolerantly
from dalikit.fetch.rows import Rows
from dalikit.fetch.task import ReadTask
from dalikit.fetch.tolerance import as_sample_error, note
from dalikit.storage import Arena
from dalikit.storage.hints import DiskWatch
from dalikit.transforms.purposes import Purpose
from dalikit.workers import Job, WorkerPool

__all__ = ["Reader", "is_iterable", "make_reader"]

Reading = Callable[[Request], ImageBatch | OtherBatch | None]

_REMOTE_THREADS = 8
"""Of one worker process, to read remote objects. They wait for the network, and there are several processes."""


class Reader:
    """Reads batches, one after the other, in one thread at a time. Made by `make_reader`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def read(self, request: Request) -> ImageBatch | OtherBatch | None:
        """The batch that was asked for; without headers (see `add_headers`). None: an iterable dataset is at its end.

        Raises:
            SampleError: a sample cannot be read. It carries its place.
            ArgumentError: the items are not what the loader needs, or the request holds no index.
            Exception: the dataset's or the user's own. A note says which sample it was.
        """
        try:
            return self._reading(request)
        except StopIteration as error:  # would end the user's loop without a word (PEP 479)
            loud = RuntimeError(
                "StopIteration was raised by the dataset, its target_transform, the function of OnCPU or the collation"
            )
            for note in getattr(error, "__notes__", ()):
                loud.add_note(note)
            raise loud from error


def make_reader(task: ReadTask, worker_id: int = 0, num_workers: int = 0) -> Reader:
    """A reader for a dataset of any kind.

    What a dataset's `__getitem__` draws from the global generators follows from (seed, position), and the caller's
    states come back after each batch, unless this is a worker process. Datasets that declare encoded images draw
    nothing, and iterable ones draw from what the generators were seeded with before.

    Args:
        task: what is read, and how.
        worker_id: of the worker process.
        num_workers: how many there are; 0: this is the user's own process.
    """
    if is_iterable(task.dataset):
        return Reader(IterableReading(task, worker_id, num_workers).read)
    # Not before: in a worker, `get_worker_info().dataset` is what the user gave.
    source = unwrap(task.dataset, task.adapt)
    if declares_images(source):
        return Reader(DeclaredReading(replace(task, dataset=source)).read)
    return Reader(ItemReading(task, put_back=num_workers == 0).read)


def is_iterable(dataset: Any) -> bool:
    """Whether the dataset itself says what comes next: torch's IterableDataset, or what has no `__getitem__`."""
    if isinstance(dataset, IterableDataset):
        return True
    return hasattr(dataset, "__iter__") and not hasattr(dataset, "__getitem__") and not declares_images(dataset)


def _rows_of(task: ReadTask, request: Request) -> Rows:
    """The rows of a map-style dataset.

    Raises:
        ArgumentError: there is none.
    """
    indices = request.indices
    if len(indices) == 0:
        raise ArgumentError(
            f"batch_sampler yielded a batch without indices, so there is nothing to read from "
            f"{type(task.dataset).__name__}; leave such batches out"
        )
    # Those of dalikit's samplers as Python's numbers, which a dataset can rely on; others as their sampler gave them.
    plain = indices.tolist() if isinstance(indices, np.ndarray) else indices
    return Rows(task.dataset, plain, request.positions)


class ItemReading:
    """Of map-style datasets: `__getitems__` if there is one, else `__getitem__`, index by index."""

    def __init__(self, task: ReadTask, *, put_back: bool) -> None:
        self._task = task
        self._seeder = ItemSeeder(task.seed, Purpose.ITEM, put_back=put_back)
        self._whole = _reads_whole(task.dataset)

    def read(self, request: Request) -> ImageBatch | OtherBatch:
        """The batch."""
        rows = _rows_of(self._task, request)
        if self._task.tolerant:
            return self._read_tolerantly(request, rows)
        positions = rows.positions.tolist()
        items: list[Any]
        if self._whole and request.batched:
            [items] = self._seeder.read(lambda _: self._items(rows), positions[:1])
            items = [keep_item(self._task, item) for item in items]
        elif self._task.transformed:
            items = self._seeder.read(lambda row: keep_item(self._task, _item(rows, row)), positions)
        else:
            items = self._seeder.read(lambda row: _item(rows, row), positions, lambda: _each_item(rows))
        return assemble(self._task, request, rows, items)

    def _read_tolerantly(self, request: Request, rows: Rows) -> ImageBatch | OtherBatch:
        """The same, where an item that fails is noted. What is read whole and fails is read item by item."""
        positions = rows.positions.tolist()
        errors: dict[int, SampleError] = {}
        items: list[Any] | None = None
        if self._whole and request.batched:
            try:
                [items] = self._seeder.read(lambda _: self._items(rows), positions[:1])
                items = [keep_item(self._task, item) for item in items]
            except Exception as error:
                if as_sample_error(error) is None:
                    raise
        if items is None:
            items = self._seeder.read(lambda row: self._item_or_none(rows, row, errors), positions)
        return assemble(self._task, request, rows, items, errors)

    def _item_or_none(self, rows: Rows, row: int, errors: dict[int, SampleError]) -> Any:
        errors.pop(row, None)  # it may be read twice
        try:
            return keep_item(self._task, _item(rows, row))
        except Exception as error:
            note(error, rows, row, "read", errors)
            return None

    @staticmethod
    def _items(rows: Rows) -> list[Any]:
        try:
            items = rows.dataset.__getitems__(list(rows.indices))
        except Exception as error:
            rows.tell_all(error, "read")
            raise
        return rows.check(items, "__getitems__")


def _item(rows: Rows, row: int) -> Any:
    try:
        return rows.dataset[rows.indices[row]]
    except Exception as error:  # the dataset's own: its type stays
        rows.tell(error, row, "read")
        raise


def _each_item(rows: Rows) -> list[Any]:
    """Every item: a loop without more, as an item may take no longer than the loop."""
    dataset, items = rows.dataset, []
    try:
        for index in rows.indices:
            items.append(dataset[index])  # noqa: PERF401 - their number tells which one failed
    except Exception as error:
        rows.tell(error, len(items), "read")
        raise
    return items


def _reads_whole(dataset: Any) -> bool:
    """Whether the dataset reads the items of a batch at once.

    torch's Subset has a `__getitems__` in any case. If the dataset inside has none, it calls `__getitem__` for each
    index: so can we, and what each item draws then depends on its own position, whatever the batch.
    """
    if not getattr(dataset, "__getitems__", None):
        return False
    methods = ("__getitem__", "__getitems__")
    if isinstance(dataset, Subset) and all(getattr(type(dataset), name) is getattr(Subset, name) for name in methods):
        return _reads_whole(dataset.dataset)
    return True


class DeclaredReading:
    """Of datasets that declare encoded images: `get_batch` if there is one, else straight from files and remote objects
    or by `get_image_data`. Remote ones are read on threads.
    """

    def __init__(self, task: ReadTask) -> None:
        self._task = task
        self._declared = DeclaredRows(task.dataset, task.function, task.limits)
        self._disk = DiskWatch() if self._declared.in_files else None

    def read(self, request: Request) -> ImageBatch:
        """The batch."""
        declared = self._declared
        given = _rows_of(self._task, request)
        rows = declared.rows(given.indices, given.positions)
        count = len(rows.indices)
        data: list[Any] = [NO_PIXELS if self._task.function is not None else NO_BYTES] * count
        targets: list[Any] = [None] * count
        arena = Arena() if declared.in_files else None  # one for all: its memory is taken in large pieces
        pieces = plan_pieces(declared, rows)

        errors: dict[int, SampleError] = {}
        read = pieces.read
        if self._task.tolerant:
            read = functools.partial(read_tolerantly, pieces, declared, rows, errors)

        def read_piece(_: Any, piece: int) -> None:
            for row, image, target in read(piece, arena):
                data[row], targets[row] = image, target

        self._expect(rows)
        if declared.remote and len(pieces) > 1:
            job = Job(len(pieces), read_piece)
            self._pool.submit(job)
            job.wait()
        else:
            for piece in range(len(pieces)):
                read_piece(None, piece)
        declared.transform_targets(rows, targets, without=errors)
        return assemble_images(self._task, request, rows, data, targets, errors=errors)

    def _expect(self, rows: Rows) -> None:
        """Tells the kernel of all rows of a batch, if those of the batch before came from the disk."""
        if self._disk is not None and self._disk.is_cold(len(rows.indices)):
            for row in range(len(rows.indices)):
                self._declared.expect(rows, row)

    @functools.cached_property
    def _pool(self) -> WorkerPool:
        """Made in the process that reads."""
        return WorkerPool(_REMOTE_THREADS, "dalikit-read")
