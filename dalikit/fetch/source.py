"""Where a stream's batches come from, as the engine's thread sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Protocol

from dalikit.fetch.batch import ImageBatch, Request
from dalikit.fetch.threads import ThreadFetcher
from dalikit.workers import JobCancelledError

__all__ = ["Pending", "PushedSource", "Source", "ThreadSource"]


class Pending(Protocol):
    """A batch that was asked for."""

    @property
    def done(self) -> bool:
        """Whether `result` would return at once."""

    def result(self) -> ImageBatch | None:
        """Waits for the batch: to be called once. None: there is no further batch.

        Raises:
            JobCancelledError: the source was stopped.
        """

    def cancel(self) -> None:
        """Ends a `result` that is being waited for. From any thread, at any moment: no locks."""

    def describe(self) -> str:
        """What it waits for, with the stacks of those that are at work on it. From any thread."""


class Source(Protocol):
    """The batches of one pass, in order. Driven by the engine's thread."""

    def request(self) -> Pending | None:
        """Asks for the next batch, and returns at once. None: there is none."""

    def recycle(self, batch: ImageBatch) -> None:
        """Takes back the memory of a batch whose bytes nobody reads any more."""

    def skip(self) -> None:
        """Is told that a batch came to nothing: nobody will take it."""

    def read(self, request: Request) -> Pending:
        """Reads further rows, beside the batches of the pass: they stand in for bad ones."""


class ThreadSource:
    """Batches that threads of this process read.

    Args:
        fetcher: reads.
        requests: the batches; advanced on the engine's thread.
    """

    def __init__(self, fetcher: ThreadFetcher, requests: Iterator[Request]) -> None:
        self._fetcher = fetcher
        self._requests = requests

    def request(self) -> Pending | None:
        """Starts to read the next batch."""
        request = next(self._requests, None)
        return None if request is None else self._fetcher.submit(request)

    def recycle(self, batch: ImageBatch) -> None:
        """Gives the arena back."""
        self._fetcher.recycle(batch)

    def skip(self) -> None:
        """Nothing: batches are read as they are asked for."""

    def read(self, request: Request) -> Pending:
        """By the same threads."""
        return self._fetcher.submit(request)


class PushedSource:
    """Batches that another thread reads and pushes: the user's, or one that takes them from worker processes.

    Args:
        describe: says what that thread waits for.
        paced: whether it pushes when it is asked to (`wait_until_asked`), not at a pace of its own.
    """

    def __init__(self, describe: Callable[[], str], *, paced: bool) -> None:
        self._describe = describe
        self._paced = paced
        self._ready: SimpleQueue[Any] = SimpleQueue()
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._skipped: SimpleQueue[None] = SimpleQueue()
        self._rereads: SimpleQueue[_Reread] = SimpleQueue()
        self._at_hand: list[_Reread] = []
        """What is being read: an interrupt (Ctrl-C) loses none, the next call of `read_further` reads it again."""
        self._wake: Callable[[], None] = _nobody

    # The engine's side

    def request(self) -> Pending:
        """Asks for one more; whether there is one is known when it has come."""
        if self._paced:
            self._asked.put(True)
        return _Pushed(self._ready, self._describe)

    def recycle(self, batch: ImageBatch) -> None:
        """Lets go of the memory."""
        batch.data, batch.headers, batch.owner = [], [], None

    def skip(self) -> None:
        """Tells the user's thread that it may push one more."""
        self._skipped.put(None)
        self._wake()

    def read(self, request: Request) -> Pending:
        """By the user's thread, when that comes by or is woken up: a dataset need not be thread-safe, and what its
        `__getitem__` draws from the global generators would disturb what the user draws meanwhile.
        """
        pending = _Reread(request, self._describe)
        self._rereads.put(pending)
        self._wake()
        return pending

    def stop(self) -> None:
        """Ends whatever waits on either side. From any thread, at any moment: no locks."""
        self._asked.put(False)
        self._ready.put(_CANCELLED)

    # The other thread's side

    def wait_until_asked(self) -> bool:
        """Waits until one more batch is wanted; False: the source was stopped."""
        return self._asked.get()

    def push(self, item: ImageBatch | BaseException | None) -> None:
        """Hands over the next batch; or the error that came in its place; or None: there is none."""
        self._ready.put(item)

    # The user's side

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Says how the user's thread is told, while it waits for a batch, that there are rows to be read."""
        self._wake = wake

    def take_skipped(self) -> int:
        """How many more batches came to nothing."""
        number = self._skipped.qsize()
        for _ in range(number):
            self._skipped.get()
        return number

    def read_further(self, read: Callable[[Request], ImageBatch]) -> None:
        """Reads the rows that were asked for by `read`; does not wait for any."""
        while self._at_hand or not self._rereads.empty():
            if not self._at_hand:
                self._at_hand.append(self._rereads.get())
            pending = self._at_hand[0]
            if not pending.cancelled:
                try:
                    pending.answer(read(pending.request))
                except Exception as error:  # belongs to the engine
                    pending.answer(error)
            self._at_hand.clear()


class _Reread:
    """Further rows, which the user's thread is asked to read."""

    def __init__(self, request: Request, describe: Callable[[], str]) -> None:
        self.request = request
        self.describe = describe
        self._answer: SimpleQueue[Any] = SimpleQueue()
        self.cancelled = False

    @property
    def done(self) -> bool:
        return not self._answer.empty()

    def answer(self, item: ImageBatch | Exception) -> None:
        self._answer.put(item)

    def result(self) -> ImageBatch | None:
        item = self._answer.get()
        if item is _CANCELLED:
            raise JobCancelledError
        if isinstance(item, Exception):
            raise item
        assert isinstance(item, ImageBatch)
        return item

    def cancel(self) -> None:
        self.cancelled = True
        self._answer.put(_CANCELLED)


class _Pushed:
    """The next batch that is pushed."""

    def __init__(self, ready: SimpleQueue[Any], describe: Callable[[], str]) -> None:
        self._ready = ready
        self.describe = describe

    @property
    def done(self) -> bool:
        return not self._ready.empty()

    def result(self) -> ImageBatch | None:
        item = self._ready.get()
        if item is _CANCELLED:
            self._ready.put(item)  # for whoever waits after this
            raise JobCancelledError
        if isinstance(item, BaseException):
            raise item
        assert item is None or isinstance(item, ImageBatch)
        return item

    def cancel(self) -> None:
        self._ready.put(_CANCELLED)


def _nobody() -> None:
    """Nobody waits yet."""


_CANCELLED = object()
