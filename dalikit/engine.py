"""The engine: one thread that keeps the stages busy, and the queue from which the user takes finished batches.

                       engine thread (one a pass over the data)                         user's thread
    source.request ----> reading threads, worker processes, or the user's thread             |
       |   <-------------- ImageBatch: bytes, headers, targets                               |
    recipe.draw -> parameters                                                                |
       |                                                                                     |
    executor.submit ---> DALI's threads, the GPU, or the host executor's threads             |
       |   <-------------- images                                                            |
    finished queue --------------------------------------------------------------------> next()

At most `window` batches are under way from their reading on to their being taken, which bounds memory whatever stage is
the slow one. Nothing here decides what a batch holds: a slower or faster thread changes when, never what.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from dalikit.collate import bundle_images
from dalikit.errors import ArgumentError, InternalError, SampleError
from dalikit.fetch import ImageBatch, Pending, Request, Source, show_indices
from dalikit.own_stacks import own_stacks
from dalikit.repair import Mender, draw_or_refuse, find_failed
from dalikit.stream import BatchStream, FinishedBatch, StreamEnd
from dalikit.transforms.base import Sizes
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
    """Owns the executors, and starts streams.

    An executor belongs to one stream at a time and is kept for the next; two iterations at once get one each.

    Args:
        make_executor: (decoded) -> an executor for decoded or for encoded images; called on the stream's thread.
        recipe: how parameters are drawn.
        seed: their key.
        collate_targets: a batch's targets, a list, into what the user gets; runs on the stream's thread.
        report: whether finished batches tell what was drawn.
        mender: of batches with bad samples; None: the first one's error ends the stream.
        window: how many batches may be under way, from their reading on to their being taken.
    """

    def __init__(
        self,
        *,
        make_executor: Callable[[bool], Executor],
        recipe: Recipe,
        seed: int,
        collate_targets: Callable[[list[Any]], Any],
        report: bool = False,
        mender: Mender | None = None,
        window: int,
    ) -> None:
        self._task = _Task(recipe, seed, collate_targets, report, mender)
        self._make_executor = make_executor
        self._window = window
        # Lists, here and below: one operation on them is atomic, and no lock is needed.
        self._idle: dict[bool, list[Executor]] = {False: [], True: []}
        self._streams: list[BatchStream] = []
        self._closed = False

    def start(self, source: Source) -> BatchStream:
        """Starts to work on a stream of batches; `source` is asked on the stream's thread."""
        for stream in [stream for stream in self._streams if stream.ending]:
            stream.join(_JOIN_SECONDS)  # its executor comes back to be used here
            self._forget(stream)
        stream = BatchStream(self._window)
        self._streams.append(stream)
        stream.run_in_thread(lambda: self._run(stream, source))
        return stream

    def _forget(self, stream: BatchStream) -> None:
        try:
            self._streams.remove(stream)
        except ValueError:
            return  # another thread was faster

    def stop(self) -> None:
        """Tells all threads to end, and does not wait. From any thread, at any moment: no locks."""
        self._closed = True
        for stream in tuple(self._streams):
            stream.stop()
        for executor in (*self._idle[False], *self._idle[True]):
            executor.stop()

    def close(self) -> None:
        """Ends all streams, then all executors and threads; waits for them. May be called again."""
        self.stop()
        deadline = time.monotonic() + _JOIN_SECONDS
        while self._streams:
            self._streams.pop().join(max(0.0, deadline - time.monotonic()))
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    # What follows runs on a stream's thread.

    def _run(self, stream: BatchStream, source: Source) -> None:
        work = _StreamWork(source, self._task, self._take_executor, stream.stopped)
        error: BaseException | None = None
        try:
            stream.attach(work.cancel, work.describe)
            work.run(stream)
        except JobCancelledError:
            pass
        except StopIteration as caught:  # would end the user's loop without a word (PEP 479)
            error = RuntimeError(
                "StopIteration was raised by the dataset, its target_transform, the function of OnCPU or the collation"
            )
            error.__cause__ = caught
        except BaseException as caught:  # belongs to the user's thread
            error = caught
        work.abandon()
        if work.executor is not None:
            self._give_back(work.executor, work.decoded, reusable=error is None)
        stream.detach()
        stream.put(StreamEnd(error, stopped=stream.stopped()))
        del work, error  # the traceback refers to this frame: leave no cycle behind

    def _take_executor(self, decoded: bool) -> Executor:
        try:
            return self._idle[decoded].pop()
        except IndexError:
            return self._make_executor(decoded)

    def _give_back(self, executor: Executor, decoded: bool, *, reusable: bool) -> None:
        if reusable and not self._closed:
            try:
                executor.drain()
            except Exception:  # a bad image in a batch that nobody waits for any more
                reusable = False
        if reusable and not self._closed:
            self._idle[decoded].append(executor)
        else:
            executor.close()


class _Task(NamedTuple):
    """What all streams of an engine do."""

    recipe: Recipe
    seed: int
    collate_targets: Callable[[list[Any]], Any]
    report: bool
    mender: Mender | None


class _StreamWork:
    """The loop of one stream's thread: always the step that is furthest along and can be taken."""

    def __init__(
        self,
        source: Source,
        task: _Task,
        take_executor: Callable[[bool], Executor],
        stopped: Callable[[], bool],
    ) -> None:
        self.executor: Executor | None = None
        """Made for the first batch, which tells whether images come decoded."""
        self.decoded = False
        self._source = source
        self._task = task
        self._take_executor = take_executor
        self._stopped = stopped
        self._exhausted = False
        self._reading: deque[Pending] = deque()
        self._rereading: list[Pending] = []
        """What stands in for bad samples, while it is read."""
        self._executing: deque[tuple[ImageBatch, Parameters]] = deque()

    def run(self, stream: BatchStream) -> None:
        """Works until the batches end or the stream is told to stop."""
        while not stream.stopped():
            self._ask(stream)
            # `stop` sets its flag and then cancels what it finds: what was begun after that must not be waited for.
            if stream.stopped():
                return
            if self._can_execute():
                self._execute_next(stream)
            elif self._executing:
                self._hand_over(stream)
            elif self._exhausted:
                return

    def _ask(self, stream: BatchStream) -> None:
        """Asks for as many batches as there is leave for; waits for leave if there is nothing else to do."""
        idle = not self._reading and not self._executing
        while not self._exhausted and stream.acquire(block=idle):
            pending = self._source.request()
            if pending is None:
                self._exhausted = True
                return
            self._reading.append(pending)
            idle = False

    def _can_execute(self) -> bool:
        """Whether a batch may go to the executor: one that is read, or the next one if there is nothing else to do."""
        if not self._reading or len(self._executing) >= _EXECUTING:
            return False
        return self._reading[0].done or not self._executing

    def _execute_next(self, stream: BatchStream) -> None:
        try:
            batch = self._reading[0].result()
            self._reading.popleft()
            if batch is None:
                self._exhausted = True
                self._reading.clear()
                return
            self._execute(batch, stream)
        except JobCancelledError:
            raise
        except Exception:
            while self._executing and not stream.stopped():
                self._hand_over(stream)  # the batches before the bad one are good, and come first
            raise

    def _execute(self, batch: ImageBatch, stream: BatchStream) -> None:
        """Draws a batch's parameters and gives it to the executor; if there are bad samples in it, it is mended."""
        drawn = self._draw(batch)
        if drawn is None:
            self._source.skip()
            stream.give_back()
            return
        batch, parameters = drawn
        if self.executor is None:
            self.executor, self.decoded = self._take_executor(batch.decoded), batch.decoded
        elif self.decoded is not batch.decoded:
            raise _other_kind(batch, self.decoded)
        self.executor.submit(batch, parameters)
        self._executing.append((batch, parameters))

    def _draw(self, batch: ImageBatch) -> tuple[ImageBatch, Parameters] | None:
        """A batch and its parameters; None: nothing is left of it."""
        mended: ImageBatch | None = batch
        while mended is not None:
            if mended.errors:
                mended = self._mend(mended)
                continue
            drawn = draw_or_refuse(self._task.recipe, self._task.seed, mended)
            if isinstance(drawn, Parameters):
                return mended, drawn
            if self._task.mender is None:
                raise drawn[min(drawn)]
            mended.errors = drawn
        return None

    def _mend(self, batch: ImageBatch) -> ImageBatch | None:
        assert self._task.mender is not None
        return self._task.mender.mend(batch, self._reread)

    def _reread(self, request: Request) -> ImageBatch:
        """Further rows, which stand in for bad ones."""
        pending = self._source.read(request)
        self._rereading.append(pending)
        try:
            # `cancel` has seen it, or comes after the stream's flag: so one of the two ends this.
            if self._stopped():
                raise JobCancelledError
            batch = pending.result()
        finally:
            self._rereading.remove(pending)
        assert batch is not None
        return batch

    def _hand_over(self, stream: BatchStream) -> None:
        """Waits for the oldest batch at the executor, for the user; if it has bad samples, it goes there once more."""
        try:
            finished = self._collect()
        except (SampleError, InternalError) as error:  # the latter: DALI could not tell which image it was
            if self._task.mender is None:
                raise
            self._retry(error, stream)
        else:
            stream.put(finished)

    def _retry(self, error: SampleError | InternalError, stream: BatchStream) -> None:
        """Executes the oldest batch again, without its bad samples, and after it those behind it.

        All that is random is in the parameters, so the pixels of the others are what they would have been.
        """
        assert self.executor is not None
        self.executor.drain()
        under_way = list(self._executing)
        self._executing.clear()
        batch, parameters = under_way[0]
        dali = self.executor.name == "dali"
        batch.errors = find_failed(batch, parameters, self._task.recipe, error, shared=dali)
        for batch, _ in under_way:
            self._execute(batch, stream)

    def _collect(self) -> FinishedBatch:
        """Waits for the oldest batch at the executor."""
        assert self.executor is not None
        task = self._task
        images = bundle_images(task.recipe, self.executor.result())
        batch, parameters = self._executing.popleft()
        if task.mender is not None:
            task.mender.done(batch.positions)
        as_they_are = batch.collated or not batch.batched
        targets = batch.targets if as_they_are else task.collate_targets(batch.targets)
        report = None
        if task.report:
            report = report_parameters(task.recipe, parameters, Sizes(batch.heights(), batch.widths()))
        self._source.recycle(batch)
        return FinishedBatch(
            images=images,
            targets=targets,
            parameters=report,
            first_position=int(batch.positions[0]),
            layout=batch.layout,
            indices=batch.indices,
            batched=batch.batched,
            taken=batch.taken,
            state=batch.state,
        )

    def cancel(self) -> None:
        """Ends what the thread waits for. From any thread, at any moment: no locks."""
        for pending in (*self._reading, *self._rereading):
            pending.cancel()
        if self.executor is not None:
            self.executor.cancel()

    def describe(self) -> str:
        """What the thread waits for, for the report of a timeout. From any thread."""
        executing, reading = tuple(self._executing), tuple(self._reading)
        if executing:
            name = self.executor.name if self.executor is not None else ""
            shown = show_indices(executing[0][0].indices)
            return f"stage=transform, executor={name!r}: the batch with indices {shown}\n{own_stacks()}"
        return reading[0].describe() if reading else f"stage=start\n{own_stacks()}"

    def abandon(self) -> None:
        """Drops what is under way: no thread starts on it afterwards."""
        for pending in self._reading:
            pending.cancel()
        self._reading.clear()
        self._executing.clear()


def _other_kind(batch: ImageBatch, decoded: bool) -> ArgumentError:
    kinds = ("encoded bytes", "a decoded image")
    return ArgumentError(
        f"items of differing kinds: {kinds[batch.decoded]} came after {kinds[decoded]}; a dataset must give one kind "
        f"[{batch.place(0, 'transform')}]"
    )
