"""The queue between an engine's thread and the user's: finished batches, leave for further ones, and the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from dalikit.errors import LoaderTimeoutError

__all__ = ["BatchStream", "FinishedBatch", "StreamEnd"]

_LOG = logging.getLogger("dalikit")


@dataclass(frozen=True, slots=True)
class FinishedBatch:
    """What the user's thread takes."""

    images: Any
    targets: Any
    parameters: Any
    """What was drawn, as numpy arrays; None unless it was asked for."""
    first_position: int
    taken: int
    """The request's."""


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The last thing that a stream gives: how it ended."""

    error: BaseException | None = None
    stopped: bool = False
    """It was told to stop before its end."""


class BatchStream:
    """The batches of one pass, in order, worked out ahead by a thread of their own. Made by `Engine.start`.

    `stop` comes from finalisers and signal handlers too, in the middle of anything, so nothing here takes a lock:
    queues are SimpleQueues, which are made for that, and the rest are flags.
    """

    def __init__(self, window: int) -> None:
        self._finished: SimpleQueue[FinishedBatch | StreamEnd] = SimpleQueue()
        self._tokens: SimpleQueue[None] = SimpleQueue()
        for _ in range(window):
            self._tokens.put(None)
        self._stopped = False
        self._cancel: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None

    def take(self, timeout: float | None = None) -> FinishedBatch | StreamEnd:
        """The next batch, or how the stream ended; not to be called after that.

        Args:
            timeout: seconds to wait at most; None: as long as it takes. A signal (Ctrl-C) interrupts the wait.

        Raises:
            LoaderTimeoutError: no batch came in time; the stream goes on.
        """
        try:
            item = self._finished.get(timeout=timeout)
        except Empty:
            raise LoaderTimeoutError(
                f"no batch came within timeout={timeout} s; is the storage slow, or a transform of the targets? "
                "A longer timeout waits for it"
            ) from None
        if isinstance(item, FinishedBatch):
            self._tokens.put(None)
        return item

    def stop(self) -> None:
        """Tells the thread to end, and what it waits for to be dropped; does not wait."""
        self._stopped = True
        self._tokens.put(None)
        if self._cancel is not None:
            self._cancel()

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

    def attach(self, cancel: Callable[[], None]) -> None:
        """Says what is to be called when the stream is told to stop: from any thread, so without locks."""
        self._cancel = cancel
        if self._stopped:
            cancel()

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

    def put(self, item: FinishedBatch | StreamEnd) -> None:
        """Hands over to the user's thread."""
        self._finished.put(item)
