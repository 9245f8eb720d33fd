"""The engine: one thread that keeps the stages busy, and the queue from which the user takes finished batches.

                       engine thread (one a pass over the data)                         user's thread
    sampler -> indices, positions                                                            |
       |                                                                                     |
    fetcher.submit ----> reading threads: bytes, headers                                     |
       |   <-------------- EncodedBatch                                                      |
    recipe.draw -> parameters                                                                |
       |                                                                                     |
    executor.submit ---> DALI's threads, the GPU, or the host executor's threads             |
       |   <-------------- images                                                            |
    finished queue --------------------------------------------------------------------> next()

At most `window` batches are under way from their reading on to their being taken, which bounds memory whatever stage is
the slow one. Nothing here decides what a batch holds: a slower or faster thread changes when, never what.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from dalikit.errors import LoaderClosedError, LoaderTimeoutError, TransformError
from dalikit.fetch import EncodedBatch, PendingBatch, ThreadFetcher
from dalikit.transforms.base import Sizes, TransformRefusalError
from dalikit.transforms.recipe import Parameters, Recipe

__all__ = ["BatchStream", "Engine", "Executor", "FinishedBatch", "Request"]

_LOG = logging.getLogger("dalikit")

_EXECUTING = 2  # batches given to the executor: one being worked on, one waiting, so that it never runs dry
_JOIN_SECONDS = 10.0  # how long `close` waits for a thread that is stuck in storage or in a user's function


class Executor(Protocol):
    """Turns encoded batches into images; first in, first out. Driven by one thread at a time."""

    name: str
    """"dali" or "host"."""

    def submit(self, batch: EncodedBatch, parameters: Parameters) -> None:
        """Starts a batch; returns at once. The batch's bytes must stay until `result` has given its images."""

    def result(self) -> Any:
        """Waits for the oldest batch: (B, 3, H, W), or a list of (3, H, W) where the sizes differ.

        Raises:
            DecodeError: an image cannot be decoded. The executor is to be closed then.
        """

    def drain(self) -> None:
        """Drops the batches under way, so that the next `submit` starts afresh."""

    def close(self) -> None:
        """Drops what is under way and ends all threads. May be called again."""


class Request(NamedTuple):
    """The samples of one batch, as the sampler gives them."""

    indices: npt.NDArray[np.int64]
    """int64 (B,)."""
    positions: npt.NDArray[np.int64]
    """int64 (B,)."""


@dataclass(frozen=True, slots=True)
class FinishedBatch:
    """What the user's thread takes."""

    request: Request
    images: Any
    targets: Any


class _End(NamedTuple):
    """The last thing in the queue: how the stream ended."""

    error: BaseException | None


class BatchStream:
    """The batches of one pass, in order, worked out ahead by a thread of their own. Made by `Engine.start`."""

    def __init__(self, window: int) -> None:
        self._finished: SimpleQueue[FinishedBatch | _End] = SimpleQueue()
        self._tokens = threading.Semaphore(window)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = False

    def take(self, timeout: float | None = None) -> FinishedBatch | None:
        """The next batch; None at the end.

        Args:
            timeout: seconds to wait at most; None: as long as it takes. A signal (Ctrl-C) interrupts the wait.

        Raises:
            LoaderTimeoutError: no batch came in time; the stream goes on.
            LoaderClosedError: the stream was stopped before its end.
            Exception: what ended the stream, with its own traceback.
        """
        if self._ended:
            return None
        try:
            item = self._finished.get(timeout=timeout)
        except Empty:
            raise LoaderTimeoutError(
                f"no batch came within timeout={timeout} s; is the storage slow, or a transform of the targets? "
                "A longer timeout waits for it"
            ) from None
        if isinstance(item, _End):
            self._ended = True
            if item.error is not None:
                raise item.error
            if self._stop.is_set():
                raise LoaderClosedError("the loader was closed during this iteration; iterate over it anew")
            return None
        self._tokens.release()
        return item

    def stop(self) -> None:
        """Tells the thread to end; does not wait for it."""
        self._stop.set()
        self._tokens.release()

    @property
    def stopping(self) -> bool:
        """Whether the thread was told to end, or has ended."""
        return self._stop.is_set() or self._thread is None or not self._thread.is_alive()

    def join(self) -> None:
        """Waits for the thread's end. Call `stop` first."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return  # a finaliser may run on the very thread that it is to end
        thread.join(_JOIN_SECONDS)
        if thread.is_alive():
            _LOG.warning("a reading thread is still busy after %g s and is left to itself", _JOIN_SECONDS)

    # What follows runs on the stream's own thread.

    def acquire(self, *, block: bool) -> bool:
        """Takes leave for one more batch under way."""
        return self._tokens.acquire(blocking=block) and not self._stop.is_set()

    def stopped(self) -> bool:
        """Whether to end."""
        return self._stop.is_set()

    def put(self, item: FinishedBatch | _End) -> None:
        """Hands over to the user's thread."""
        self._finished.put(item)

    def run_in_thread(self, work: Callable[[], None]) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=work, name="dalikit-engine", daemon=True)
        self._thread.start()


class Engine:
    """Owns the fetcher and the executors, and starts streams.

    An executor belongs to one stream at a time and is kept for the next; two iterations at once get one each.

    Args:
        fetcher: reads.
        make_executor: builds an executor; called on the stream's thread.
        recipe: how parameters are drawn.
        seed: their key.
        collate_targets: a batch's targets, a list, into what the user gets; runs on the stream's thread.
        window: how many batches may be under way, from their reading on to their being taken.
    """

    def __init__(
        self,
        *,
        fetcher: ThreadFetcher,
        make_executor: Callable[[], Executor],
        recipe: Recipe,
        seed: int,
        collate_targets: Callable[[list[Any]], Any],
        window: int,
    ) -> None:
        self._fetcher = fetcher
        self._make_executor = make_executor
        self._recipe = recipe
        self._seed = seed
        self._collate_targets = collate_targets
        self._window = window
        self._lock = threading.Lock()
        self._idle: list[Executor] = []
        self._streams: list[BatchStream] = []
        self._closed = False
        # Exit hooks run last in, first out: an engine that is made after DALI was imported ends before DALI shuts its
        # pipelines down.
        atexit.register(self.close)

    def start(self, requests: Iterator[Request]) -> BatchStream:
        """Starts to work on a stream of batches; `requests` is advanced on the stream's thread."""
        for stream in self._reap():
            stream.join()  # its executor comes back to be used here
        stream = BatchStream(self._window)
        with self._lock:
            self._streams.append(stream)
        stream.run_in_thread(lambda: self._run(stream, requests))
        return stream

    def _reap(self) -> list[BatchStream]:
        """Takes the streams that were told to end off the list."""
        with self._lock:
            ending = [stream for stream in self._streams if stream.stopping]
            self._streams = [stream for stream in self._streams if not stream.stopping]
        return ending

    def close(self) -> None:
        """Ends all streams, then all executors and threads. May be called again."""
        self._closed = True
        atexit.unregister(self.close)
        with self._lock:
            streams, self._streams = self._streams, []
        for stream in streams:
            stream.stop()
        for stream in streams:
            stream.join()
        with self._lock:
            executors, self._idle = self._idle, []
        for executor in executors:
            executor.close()
        self._fetcher.close()

    # What follows runs on a stream's thread.

    def _run(self, stream: BatchStream, requests: Iterator[Request]) -> None:
        work: _StreamWork | None = None
        error: BaseException | None = None
        try:
            work = _StreamWork(self._take_executor(), self._fetcher, self._recipe, self._seed, self._collate_targets)
            work.run(stream, requests)
        except BaseException as caught:  # belongs to the user's thread
            error = caught
        if work is not None:
            work.abandon()
            self._give_back(work.executor, reusable=error is None)
        stream.put(_End(error))
        del work, error  # the traceback refers to this frame: leave no cycle behind

    def _take_executor(self) -> Executor:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._make_executor()

    def _give_back(self, executor: Executor, *, reusable: bool) -> None:
        if reusable and not self._closed:
            try:
                executor.drain()
            except Exception:  # a bad image in a batch that nobody waits for any more
                reusable = False
        if reusable and not self._closed:
            with self._lock:
                self._idle.append(executor)
        else:
            executor.close()


class _StreamWork:
    """The loop of one stream's thread: always the step that is furthest along and can be taken."""

    def __init__(
        self,
        executor: Executor,
        fetcher: ThreadFetcher,
        recipe: Recipe,
        seed: int,
        collate_targets: Callable[[list[Any]], Any],
    ) -> None:
        self.executor = executor
        self._fetcher = fetcher
        self._recipe = recipe
        self._seed = seed
        self._collate_targets = collate_targets
        self._reading: deque[PendingBatch] = deque()
        self._executing: deque[EncodedBatch] = deque()

    def run(self, stream: BatchStream, requests: Iterator[Request]) -> None:
        """Works until the requests end or the stream is told to stop."""
        exhausted = False
        while not stream.stopped():
            idle = not self._reading and not self._executing
            while not exhausted and stream.acquire(block=idle):
                request = next(requests, None)
                if request is None:
                    exhausted = True
                    break
                self._reading.append(self._fetcher.submit(*request))
                idle = False
            if self._reading and len(self._executing) < _EXECUTING:
                try:
                    self._execute(self._reading.popleft().result())
                except Exception:
                    self._deliver_all(stream)  # the batches before the bad one are good, and come first
                    raise
            elif self._executing:
                stream.put(self._collect())
            elif exhausted:
                return

    def _execute(self, batch: EncodedBatch) -> None:
        """Draws a batch's parameters and gives it to the executor."""
        sizes = Sizes(batch.heights(), batch.widths())
        try:
            parameters = self._recipe.draw(self._seed, batch.positions, sizes)
        except TransformRefusalError as error:
            raise TransformError(str(error), batch.place(error.row, "transform")) from None
        self.executor.submit(batch, parameters)
        self._executing.append(batch)

    def _collect(self) -> FinishedBatch:
        """Waits for the oldest batch at the executor."""
        images = self.executor.result()
        batch = self._executing.popleft()
        targets = self._collate_targets(batch.targets)
        self._fetcher.recycle(batch)
        return FinishedBatch(Request(batch.indices, batch.positions), images, targets)

    def _deliver_all(self, stream: BatchStream) -> None:
        while self._executing and not stream.stopped():
            stream.put(self._collect())

    def abandon(self) -> None:
        """Drops what is under way: no thread touches it afterwards."""
        for pending in self._reading:
            pending.cancel()
        self._reading.clear()
        self._executing.clear()
