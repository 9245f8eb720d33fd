"""The queue between an engine's thread and the user's: finished batches, leave for further ones, and the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from dalikit.errors import LoaderTimeoutError
from dalikit.items import Layout
from dalikit.own_stacks import own_stacks

__all__ = ["BatchStream", "FinishedBatch", "StreamEnd", "Wake"]

_LOG = logging.getLogger("dalikit")


@dataclass(frozen=True, slots=True)
class FinishedBatch:
    """What the user's thread takes."""

    images: Any
    targets: Any
    parameters: Any
    """What was drawn, as numpy arrays; None unless it was asked for."""
    first_position: int
    layout: Layout
    """Where in an item the image was."""
    indices: Any
    """The request's, as all that follows."""
    batched: bool
    taken: int
    state: Any


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The last thing that a stream gives: how it ended."""

    error: BaseException | None = None
    stopped: bool = False
    """It was told to stop before its end."""


@dataclass(frozen=True, slots=True)
class Wake:
    """There is something to do for the thread that waits; then it goes on waiting."""


class BatchStream:
    """The batches of one pass, in order, worked out ahead by a thread of their own. Made by `Engine.start`.

    `stop` comes from finalisers and signal handlers too, in the middle of anything, so nothing here takes a lock:
    queues are SimpleQueues, which are made for that, and the rest are flags.
    """

    def __init__(self, window: int) -> None:
        self._finished: SimpleQueue[FinishedBatch | StreamEnd | Wake] = SimpleQueue()
        self._tokens: SimpleQueue[None] = SimpleQueue()
        for _ in range(window):
            self._tokens.put(None)
        self._stopped = False
        self._cancel: Callable[[], None] | None = None
        self._describe: Callable[[], str] | None = None
        self._thread: threading.Thread | None = None

    def take(self, timeout: float | None = None) -> FinishedBatch | StreamEnd:
        """The next batch, or how the stream ended; not to be called after that.

        Args:
            timeout: as of `take_or_wake`.

        Raises:
            LoaderTimeoutError: no batch came in time; the stream goes on.
        """
        item = self.take_or_wake(timeout)
        while isinstance(item, Wake):
            item = self.take_or_wake(timeout)
        return item

    def take_or_wake(self, timeout: float | None = None) -> FinishedBatch | StreamEnd | Wake:
        """The same, for who wants to know of `wake`.

        Args:
            timeout: seconds to wait at most; None: as long as it takes. A signal (Ctrl-C) interrupts the wait.

        Raises:
            LoaderTimeoutError: no batch came in time; the stream goes on.
        """
        try:
            item = self._finished.get(timeout=timeout)
        except Empty:
            raise self._timed_out(timeout) from None
        if isinstance(item, FinishedBatch):
            self._tokens.put(None)
        return item

    def _timed_out(self, timeout: float | None) -> LoaderTimeoutError:
        describe = self._describe
        where = describe() if describe is not None else f"stage=start\n{own_stacks()}"
        return LoaderTimeoutError(
            f"DataLoader timed out after {timeout:g} seconds. Is the storage slow, or a function of yours? A longer "
            f"timeout waits for it; close() ends what can be ended. Waiting at {where}"
        )

    def stop(self) -> None:
        """Tells the thread to end, and what it waits for to be dropped; does not wait."""
        self._stopped = True
        self._tokens.put(None)
        cancel = self._cancel
        if cancel is not None:
            cancel()

    @property
    def ending(self) -> bool:
        """Whether the thread was told to end, or has ended."""
        return self._stopped or (self._thread is not None and not self._thread.is_alive())

    def join(self, timeout: float) -> None:
        """Waits for the thread's end, some seconds at most. Call `stop` first."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(timeout)
        if thread.is_alive():
            _LOG.warning("a loader's thread is still busy and is left to itself")

    def run_in_thread(self, work: Callable[[], None]) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=work, name="dalikit-engine", daemon=True)
        self._thread.start()

    # What follows runs on the stream's own thread.

    def attach(self, cancel: Callable[[], None], describe: Callable[[], str]) -> None:
        """Says what is to be called when the stream is told to stop, and what can say what is being waited for: both
        from any thread, so without locks.
        """
        self._describe = describe
        self._cancel = cancel
        if self._stopped:
            cancel()

    def detach(self) -> None:
        """Nothing is waited for any more: lets go of what waited, which refers to all that works for the stream."""
        self._cancel = self._describe = None

    def stopped(self) -> bool:
        """Whether the stream was told to end."""
        return self._stopped

    def acquire(self, *, block: bool) -> bool:
        """Takes leave for one more batch under way."""
        try:
            self._tokens.get(block=block)
        except Empty:
            return False
        return not self._stopped

    def give_back(self) -> None:
        """Gives leave back: a batch came to nothing."""
        self._tokens.put(None)

    def wake(self) -> None:
        """Has the user's thread, while it waits, see what there is to do."""
        self._finished.put(Wake())

    def put(self, item: FinishedBatch | StreamEnd) -> None:
        """Hands over to the user's thread."""
        self._finished.put(item)
