"""Reads iterable datasets, which say themselves what comes next: torch's IterableDataset, WebDataset's pipelines."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.errors import StateError
from dalikit.fetch.assembly import assemble
from dalikit.fetch.batch import ImageBatch, OtherBatch, Request
from dalikit.fetch.keeping import keep_item
from dalikit.fetch.rows import Rows
from dalikit.fetch.task import ReadTask

__all__ = ["IterableReading"]

_PLACE_BITS = 40
"""A position is pass << 40 | place, the samplers' too (`samplers.position`), which fetching does not know."""


class IterableReading:
    """One iterator over the dataset a pass, made at the pass's first read.

    Item number `count` of worker `w` has the place `(count * num_workers + w) * world_size + rank`: no two items have
    the same, whatever the workers' speed.

    The state that batches carry: {"worker": id, "count": items that this worker has given in this pass, "ended":
    whether they were the last, "dataset": of the iterator or the dataset, whichever has a `state_dict`}; None if
    neither has.

    Args:
        task: what is read, and how.
        worker_id: of the worker process.
        num_workers: how many there are; 0: this is the user's own process.
    """

    def __init__(self, task: ReadTask, worker_id: int, num_workers: int) -> None:
        self._task = task
        self._worker = worker_id
        self._num_workers = num_workers
        self._states = dict(task.states or {})
        self._passes: int | None = None
        self._iterator: Iterator[Any] = iter(())
        self._count = 0
        """Items of the pass that were given."""
        self._ended = False

    def read(self, request: Request) -> ImageBatch | OtherBatch | None:
        """The next batch of the request's pass; None: there is none, now and whenever this pass is asked for again."""
        if request.passes != self._passes:
            self._begin(request.passes)
        if self._ended:
            return None
        size = self._task.batch_size
        items = self._take(1 if size is None else size)
        if not items or (self._task.drop_last and size is not None and len(items) < size):
            self._iterator = iter(())  # what it holds may be large
            return None
        rows = self._rows(len(items))
        self._count += len(items)
        full = request._replace(batched=size is not None, state=self._state())
        return assemble(self._task, full, rows, items)

    def _begin(self, passes: int) -> None:
        """Iterates anew; the first time from where a state says."""
        self._count, self._ended = 0, False
        try:
            self._iterator = iter(self._task.dataset)
            if self._states.get(self._worker) is not None:
                self._resume(self._states[self._worker])
        except Exception as error:
            self._rows(1).tell(error, 0, "read")
            raise
        self._states.clear()  # of this pass alone
        self._passes = passes

    def _resume(self, state: Any) -> None:
        dataset = self._task.dataset
        self._count, self._ended = state["count"], state.get("ended", False)
        if self._ended:
            return
        if hasattr(self._iterator, "load_state_dict"):
            self._iterator.load_state_dict(state["dataset"])
        elif hasattr(dataset, "load_state_dict"):
            dataset.load_state_dict(state["dataset"])
            self._iterator = iter(dataset)
        else:
            raise StateError(
                f"the state says where {type(dataset).__name__} is to go on, but neither it nor its iterator has a "
                "load_state_dict: is it another dataset?"
            )

    def _take(self, size: int) -> list[Any]:
        """Up to `size` items; fewer, and none from then on, at the end."""
        items: list[Any] = []
        while len(items) < size:
            try:
                items.append(keep_item(self._task, next(self._iterator)))
            except StopIteration:
                self._ended = True
                break
            except Exception as error:
                row = len(items)
                self._rows(row + 1).tell(error, row, "read")
                raise
        return items

    def _rows(self, size: int) -> Rows:
        """The next `size` items of this worker."""
        counts = np.arange(self._count, self._count + size, dtype=np.int64)
        worker = self._worker if self._num_workers else None
        return Rows(self._task.dataset, counts, self._positions(counts), worker)

    def _positions(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        task = self._task
        places = (counts * max(self._num_workers, 1) + self._worker) * task.world_size + task.rank
        return places | np.int64((self._passes or 0) << _PLACE_BITS)

    def _state(self) -> dict[str, Any] | None:
        for owner in (self._iterator, self._task.dataset):
            if hasattr(owner, "state_dict"):
                # A copy: reading goes on before it is looked at.
                inner = copy.deepcopy(owner.state_dict())
                # After a short batch the dataset has left its loop, and may stand at its beginning again.
                return {"worker": self._worker, "count": self._count, "ended": self._ended, "dataset": inner}
        return None
