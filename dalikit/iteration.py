"""One iteration over a loader: what `iter(loader)` gives."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from dalikit.errors import LoaderClosedError, LoaderTimeoutError
from dalikit.orders import Progress, UserDrawn
from dalikit.stream import StreamEnd

if TYPE_CHECKING:
    from dalikit.dataloader import DataLoader
    from dalikit.pipe import Pipe
    from dalikit.supply import Supply

__all__ = ["BatchIterator"]


class BatchIterator(Iterator[Any]):
    """The batches of a pass. When it is dropped, what works for it ends.

    Args:
        loader: whose pass it is.
    """

    _progress: Progress
    _supply: Supply
    _pipe: Pipe

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._drawn: UserDrawn | None = None
        self.begun = False
        """Whether the pass was entered."""
        self.ended = False
        """Whether there is nothing more to come."""
        if not loader._order.begins_late:
            self._begin()
        if loader.pin_memory and not torch.accelerator.is_available():
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, "
                "then device pinned memory won't be used.",
                stacklevel=3,
            )

    def _begin(self) -> None:
        """Enters the pass and opens what works for it. If that fails, nothing has begun, and it can be tried again."""
        loader = self._loader
        order = loader._order
        mark = order.mark()
        try:
            self._progress = progress = order.begin()
            progress.begun = True
            loader._checkpointer.compare_ranks(loader.seed)
            requests: Iterator[Any] = loader._requests(progress)
            plan = loader._get_plan()
            if order.drawn_by_user and (plan.on_threads or plan.num_workers):  # others advance the batches
                requests = self._drawn = UserDrawn(requests, ahead=plan.ahead)
                self._drawn.top_up()
            self._supply, self._pipe = loader._open(requests, progress)
        except BaseException:
            if mark is not None:
                order.go_back(mark)
            raise
        self.begun = True
        loader._latest = weakref.ref(self)
        loader._loaded = False
        self._finalizer = weakref.finalize(self, _stop, self._pipe, self._drawn)
        self._finalizer.atexit = False  # the supply ends all pipes then

    def __len__(self) -> int:
        """Batches in a pass."""
        return len(self._loader)

    def __next__(self) -> Any:
        if self.ended:
            raise StopIteration
        if not self.begun:
            self._begin()
        if self._drawn is not None:
            self._drawn.top_up()
        try:
            item = self._pipe.take(self._loader._timeout)
        except LoaderTimeoutError:
            raise
        except Exception:  # of what was read on this thread
            self._finish()
            raise
        if isinstance(item, StreamEnd):
            self._end(item)
        if self._drawn is not None:
            self._drawn.took()
        batch = self._loader._delivery(item, self._loader.seed)
        # Not counted up: a batch before it may have failed on the way to the user.
        self._progress.taken, self._progress.state = item.taken, item.state
        self._loader._order.count(self._progress)
        return batch

    def _end(self, end: StreamEnd) -> NoReturn:
        self._finish()
        if end.error is not None:
            raise end.error
        if end.stopped:
            raise LoaderClosedError("the loader was closed during this iteration; iterate over it anew")
        self._loader._order.end_pass(self._progress)
        raise StopIteration

    def _finish(self) -> None:
        """Ends what works for this iteration alone."""
        self.ended = True
        self._finalizer.detach()
        if self._drawn is not None:
            self._drawn.stop()
        self._supply.finish(self._pipe)


def _stop(pipe: Any, drawn: UserDrawn | None) -> None:
    if drawn is not None:
        drawn.stop()
    pipe.stop()
