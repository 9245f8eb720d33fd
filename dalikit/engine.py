"""The engine: one thread that keeps the stages busy, and the queue from which the user takes finished batches.

                       engine thread (one a pass over the data)                         user's thread
    sampler -> indices, positions                                                            |
       |                                                                                     |
    fetcher.submit ----> reading threads: bytes, headers                                     |
       |   <-------------- ImageBatch                                                      |
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
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from dalikit.collate import bundle_images
from dalikit.errors import TransformError
from dalikit.fetch import ImageBatch, PendingBatch, Request, ThreadFetcher
from dalikit.stream import BatchStream, FinishedBatch, StreamEnd
from dalikit.transforms.base import Sizes, TransformRefusalError
from dalikit.transforms.recipe import Parameters, Recipe
from dalikit.transforms.report import report_parameters
from dalikit.workers import JobCancelledError

__all__ = ["Engine", "Executor"]

_EXECUTING = 2  # batches given to the executor: one being worked on, one waiting, so that it never runs dry
_JOIN_SECONDS = 10.0  # how long `close` waits for threads that are stuck in storage, DALI or a user's function


class Executor(Protocol):
    """Turns encoded batches into images; first in, first out. Driven by one thread at a time."""

    name: str
    """"dali" or "host"."""

    def submit(self, batch: ImageBatch, parameters: Parameters) -> None:
        """Starts a batch; returns at once. The batch's bytes must stay until `result` has given its images."""

    def result(self) -> Any:
        """Waits for the oldest batch: for each group of views (n, B, 3, H, W), or n lists of B (3, H, W).

        Raises:
            DecodeError: an image cannot be decoded. The executor is to be closed then.
            JobCancelledError: `cancel` came meanwhile.
        """

    def cancel(self) -> None:
        """Ends a `result` that is being waited for, if that can be done. From any thread, at any moment: no locks."""

    def drain(self) -> None:
        """Drops the batches under way, so that the next `submit` starts afresh."""

    def stop(self) -> None:
        """Tells all threads to end, and does not wait. From any thread, at any moment: no locks."""

    def close(self) -> None:
        """Drops what is under way and ends all threads. May be called again."""


class Engine:
    """Owns the fetcher and the executors, and starts streams.

    An executor belongs to one stream at a time and is kept for the next; two iterations at once get one each.

    Args:
        fetcher: reads.
        make_executor: builds an executor; called on the stream's thread.
        recipe: how parameters are drawn.
        seed: their key.
        collate_targets: a batch's targets, a list, into what the user gets; runs on the stream's thread.
        report: whether finished batches tell what was drawn.
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
        report: bool = False,
        window: int,
    ) -> None:
        self._make_executor = make_executor
        self._fetcher = fetcher
        self._task = _Task(fetcher, recipe, seed, collate_targets, report)
        self._window = window
        self._idle: list[Executor] = []  # lists, here and below: one operation on them is atomic, and no lock is needed
        self._streams: list[BatchStream] = []
        self._closed = False
        self._process = os.getpid()
        # Exit hooks run last in, first out: an engine that is made after DALI was imported ends before DALI shuts its
        # pipelines down. The hook holds no engine alive.
        self._at_exit = _ExitHook(weakref.ref(self))
        atexit.register(self._at_exit)

    @property
    def usable(self) -> bool:
        """Whether streams can be started: not after `stop`, nor in a forked child, which has none of the threads."""
        return not self._closed and self._process == os.getpid()

    def start(self, requests: Iterator[Request]) -> BatchStream:
        """Starts to work on a stream of batches; `requests` is advanced on the stream's thread."""
        for stream in [stream for stream in self._streams if stream.ending]:
            stream.join(_JOIN_SECONDS)  # its executor comes back to be used here
            self._forget(stream)
        stream = BatchStream(self._window)
        self._streams.append(stream)
        stream.run_in_thread(lambda: self._run(stream, requests))
        return stream

    def _forget(self, stream: BatchStream) -> None:
        try:
            self._streams.remove(stream)
        except ValueError:
            return  # another thread was faster

    def stop(self) -> None:
        """Tells all threads to end, and does not wait. From any thread, at any moment: no locks."""
        self._closed = True
        if self._process != os.getpid():
            return
        for stream in tuple(self._streams):
            stream.stop()
        for executor in tuple(self._idle):
            executor.stop()
        self._fetcher.stop()

    def close(self) -> None:
        """Ends all streams, then all executors and threads; waits for them. May be called again."""
        self.stop()
        atexit.unregister(self._at_exit)
        if self._process != os.getpid():
            return
        deadline = time.monotonic() + _JOIN_SECONDS
        while self._streams:
            self._streams.pop().join(max(0.0, deadline - time.monotonic()))
        while self._idle:
            self._idle.pop().close()
        self._fetcher.close()

    # What follows runs on a stream's thread.

    def _run(self, stream: BatchStream, requests: Iterator[Request]) -> None:
        work: _StreamWork | None = None
        error: BaseException | None = None
        try:
            work = _StreamWork(self._take_executor(), self._task)
            stream.attach(work.cancel)
            work.run(stream, requests)
        except JobCancelledError:
            pass
        except StopIteration as caught:  # would end the user's loop without a word (PEP 479)
            error = RuntimeError(
                "StopIteration was raised by the dataset, its target_transform, the function of OnCPU or the collation"
            )
            error.__cause__ = caught
        except BaseException as caught:  # belongs to the user's thread
            error = caught
        if work is not None:
            work.abandon()
            self._give_back(work.executor, reusable=error is None)
        stream.put(StreamEnd(error, stopped=stream.stopped()))
        del work, error  # the traceback refers to this frame: leave no cycle behind

    def _take_executor(self) -> Executor:
        try:
            return self._idle.pop()
        except IndexError:
            return self._make_executor()

    def _give_back(self, executor: Executor, *, reusable: bool) -> None:
        if reusable and not self._closed:
            try:
                executor.drain()
            except Exception:  # a bad image in a batch that nobody waits for any more
                reusable = False
        if reusable and not self._closed:
            self._idle.append(executor)
        else:
            executor.close()


class _ExitHook:
    """Closes an engine at the interpreter's exit, if it is still there."""

    def __init__(self, engine: weakref.ref[Engine]) -> None:
        self._engine = engine

    def __call__(self) -> None:
        engine = self._engine()
        if engine is not None:
            engine.close()


class _Task(NamedTuple):
    """What all streams of an engine do."""

    fetcher: ThreadFetcher
    recipe: Recipe
    seed: int
    collate_targets: Callable[[list[Any]], Any]
    report: bool


class _StreamWork:
    """The loop of one stream's thread: always the step that is furthest along and can be taken."""

    def __init__(self, executor: Executor, task: _Task) -> None:
        self.executor = executor
        self._task = task
        self._reading: deque[PendingBatch] = deque()
        self._executing: deque[tuple[ImageBatch, Parameters]] = deque()
        self._taken: deque[int] = deque()
        """Of each batch that is being read or worked on, in order."""

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
                self._reading.append(self._task.fetcher.submit(np.asarray(request.indices), request.positions))
                self._taken.append(request.taken)
                idle = False
            # `stop` sets its flag and then cancels what it finds: what was begun after that must not be waited for.
            if stream.stopped():
                return
            if self._can_execute():
                self._execute_next(stream)
            elif self._executing:
                stream.put(self._collect())
            elif exhausted:
                return

    def _can_execute(self) -> bool:
        """Whether a batch may go to the executor: one that is read, or the next one if there is nothing else to do."""
        if not self._reading or len(self._executing) >= _EXECUTING:
            return False
        return self._reading[0].done or not self._executing

    def _execute_next(self, stream: BatchStream) -> None:
        try:
            batch = self._reading[0].result()
            self._reading.popleft()
            self._execute(batch)
        except JobCancelledError:
            raise
        except Exception:
            while self._executing and not stream.stopped():
                stream.put(self._collect())  # the batches before the bad one are good, and come first
            raise

    def _execute(self, batch: ImageBatch) -> None:
        """Draws a batch's parameters and gives it to the executor."""
        sizes = Sizes(batch.heights(), batch.widths())
        try:
            parameters = self._task.recipe.draw(self._task.seed, batch.positions, sizes)
        except TransformRefusalError as error:
            raise TransformError(str(error), batch.place(error.row, "transform")) from None
        self.executor.submit(batch, parameters)
        self._executing.append((batch, parameters))

    def _collect(self) -> FinishedBatch:
        """Waits for the oldest batch at the executor."""
        task = self._task
        images = bundle_images(task.recipe, self.executor.result())
        batch, parameters = self._executing.popleft()
        targets = task.collate_targets(batch.targets)
        report = None
        if task.report:
            report = report_parameters(task.recipe, parameters, Sizes(batch.heights(), batch.widths()))
        first_position = int(batch.positions[0])
        task.fetcher.recycle(batch)
        return FinishedBatch(images, targets, report, first_position, self._taken.popleft())

    def cancel(self) -> None:
        """Ends what the thread waits for. From any thread, at any moment: no locks."""
        for pending in tuple(self._reading):
            pending.cancel()
        self.executor.cancel()

    def abandon(self) -> None:
        """Drops what is under way: no thread starts on it afterwards."""
        for pending in self._reading:
            pending.cancel()
        self._reading.clear()
        self._executing.clear()
