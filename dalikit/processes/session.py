"""Worker processes that read batches: for one pass, or pass after pass."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.context import BaseContext

from torch._utils import ExceptionWrapper

from dalikit.errors import InternalError, LoaderClosedError, LoaderTimeoutError
from dalikit.fetch.batch import ImageBatch, OtherBatch, Request
from dalikit.fetch.task import ReadTask
from dalikit.processes.packing import Unreadable, unpack
from dalikit.processes.serving import Serving
from dalikit.processes.startup import Startup
from dalikit.processes.worker import Answer, Kind, Ticket
from dalikit.workers import JobCancelledError

__all__ = ["WorkerFeed", "WorkerSession"]

_PREFETCH_FACTOR = 2  # torch's
_PHASES = 4  # of closing, at most: the thread that waits leaves, torch asks, SIGTERM, SIGKILL
_EXIT_SECONDS = 1.0

_sessions: weakref.WeakSet[WorkerSession] = weakref.WeakSet()


class WorkerSession:
    """Reads batches in worker processes, a whole batch in each, and gives them in the order in which they were asked
    for.

    Processes start in the first `begin`. They end when their pass is over, when one of them dies, with `close`, or when
    the session is dropped; with `persistent` they stay for further passes. A session belongs to the process that made
    it: its copy in a forked child does nothing.

    Args:
        task: what is read, and how.
        startup: what each process does before.
        num_workers: how many processes, at least 1.
        prefetch_factor: how many batches each has in hand, or finished and waiting; None: 2, as torch.
        context: how processes are started: None (torch's default), the name of a start method, or a context.
        persistent: whether `begin` may be called again.
    """

    def __init__(
        self,
        task: ReadTask,
        startup: Startup,
        *,
        num_workers: int,
        prefetch_factor: int | None = None,
        context: str | BaseContext | None = None,
        persistent: bool = False,
    ) -> None:
        self.persistent = persistent
        self._task = task
        self._startup = startup
        self._num_workers = num_workers
        self._prefetch_factor = _PREFETCH_FACTOR if prefetch_factor is None else prefetch_factor
        self._context = context
        self._owner = os.getpid()
        self._lock = threading.Lock()  # held while an answer is waited for, 0.1 s at most; never by `stop`
        self._held_for_good = False  # the interpreter is at its exit
        self._stopped = False
        self._served = 0  # passes
        self._serving: Serving | None = None
        _sessions.add(self)

    def begin(self, requests: Iterator[Request], passes: int, *, first_worker: int = 0) -> WorkerFeed:
        """Goes over to a pass; batches of an earlier one that were not taken are dropped.

        The first time, and after a worker died, the processes start, on this thread; the first requests are drawn on it
        too.

        Args:
            requests: the batches. Further ones are drawn on the thread that calls `WorkerFeed.next`. For an iterable
                dataset as many as may be needed, the workers say when the pass is over.
            passes: which pass it is: the workers' generators are seeded with it.
            first_worker: which worker gives the first batch. Of iterable datasets, whose next batch may be another
                worker's than the first one's turn when they go on in the middle of a pass.

        Raises:
            ArgumentError: the dataset, or what goes with it, cannot be sent to processes that are started this way.
            LoaderClosedError: the session was stopped, or belongs to another process.
        """
        self._check_owner()
        with self._lock:
            if self._stopped:
                raise LoaderClosedError("the loader was closed; make a new one")
            if self._served and not self.persistent:
                raise InternalError("worker processes that are not persistent serve one pass")
            self._served += 1
            if self._serving is not None and self._serving.broken:
                self._serving.end()
                self._serving = None
            if self._serving is None:
                self._serving = Serving(self._task, self._startup, self._num_workers, endless=self.persistent)
            serving = self._serving
            tag = serving.enter(requests, passes, first_worker)
            if not serving.started:
                serving.start(self._prefetch_factor, self._context)
                self._task = replace(self._task, states=None)  # where this pass goes on; any other begins
        return WorkerFeed(self, serving, tag)

    def stop(self) -> None:
        """Ends whatever waits for a batch, and lets workers begin no further one; does not wait. From any thread, at
        any moment: no locks. The processes end with `close`, or when the session is dropped.
        """
        self._stopped = True
        serving = self._serving
        if serving is not None and self._owner == os.getpid():
            serving.board.retire()

    def close(self, timeout: float = 2.0) -> None:
        """Ends the processes, and waits for that: afterwards there is none, whatever they were doing. May be called
        again.

        Args:
            timeout: seconds that it may take. Workers that are reading have a quarter of it to end by themselves.
        """
        self.stop()
        if self._owner != os.getpid():
            return
        # Whoever waits in `next` leaves soon; should it hang while it takes an answer, it will find an end.
        locked = not self._held_for_good and self._lock.acquire(timeout=timeout / _PHASES)
        try:
            serving, self._serving = self._serving, None
            if serving is not None:
                serving.end(timeout / _PHASES, timeout)
        finally:
            if locked:
                self._lock.release()

    def _hold_for_good(self, timeout: float) -> None:
        """Lets no thread take an answer any more, once those that do so now are done."""
        if self._owner == os.getpid():
            self._held_for_good = self._lock.acquire(timeout=timeout)

    def _check_owner(self) -> None:
        if self._owner != os.getpid():
            raise LoaderClosedError(
                f"the loader's worker processes belong to process {self._owner}, and this is a fork of it, process "
                f"{os.getpid()}: make a loader of its own here"
            )


class WorkerFeed:
    """The batches of one pass, in order. Made by `WorkerSession.begin`. Used by one thread at a time."""

    def __init__(self, session: WorkerSession, serving: Serving, tag: int) -> None:
        self._session = session
        self._serving = serving
        self._tag = tag
        self._stopped = False
        self._finished = False
        self._ended: set[int] = set()  # workers whose iterable dataset is at its end
        self._taken: deque[int] = deque()

    def next(self, timeout: float | None = None) -> ImageBatch | OtherBatch | None:
        """The next batch; None: the pass is over.

        Args:
            timeout: seconds to wait at most, on 0.1 s; None: as long as it takes.

        Raises:
            SampleError: a sample cannot be used. As it was raised in the worker; a note has the traceback.
            Exception: what the dataset or a user's function raised in the worker, with torch's words and the traceback
                in its message; or what the requests raised. The batches after it can be had.
            LoaderTimeoutError: no batch came in time. The pass goes on.
            RuntimeError: a worker died. The pass is over.
            JobCancelledError: this feed or its session was stopped.
            LoaderClosedError: the session has gone on to another pass, its processes have ended, or this is another
                process than that which made it.
        """
        self._session._check_owner()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._session._lock:
                self._check()
                if self._over():
                    self._finish()
                    return None
                received = self._receive()
                batch = None if received is None else self._batch_of(*received)
            if batch is not None:
                return batch
            if deadline is not None and timeout is not None and time.monotonic() >= deadline:
                where = self.describe()
                raise LoaderTimeoutError(f"DataLoader timed out after {timeout:g} seconds. Waiting at {where}")

    def _check(self) -> None:
        if self._stopped or self._session._stopped:
            raise JobCancelledError
        if self._finished:
            return
        if self._tag != self._serving.tickets.tag:
            raise LoaderClosedError("the worker processes have gone on to another pass; iterate over the loader anew")
        if self._serving.broken:
            raise LoaderClosedError("the worker processes of this pass have ended; iterate over the loader anew")

    def _over(self) -> bool:
        tickets = self._serving.tickets
        every_worker = len(self._ended) == self._serving.num_workers
        return self._finished or every_worker or (tickets.exhausted and not tickets.awaited)

    def _finish(self) -> None:
        """The pass is over: its processes end, unless they may serve another."""
        if self._finished:
            return
        self._finished = True
        tickets = self._serving.tickets
        tickets.finish()
        failure, tickets.failure = tickets.failure, None
        if not self._session.persistent:
            self._serving.end()
        if failure is not None:
            raise failure

    def _receive(self) -> tuple[Ticket, Answer] | None:
        try:
            return self._serving.receive()
        except RuntimeError:
            if self._stopped or self._session._stopped:
                raise JobCancelledError from None
            self._serving.end()
            raise

    def _batch_of(self, ticket: Ticket, answer: Answer) -> ImageBatch | OtherBatch | None:
        """The batch of an answer; None: it holds none, or of another pass."""
        request, content = ticket.request, answer.content
        if ticket.tag != self._tag or request is None:
            return None
        worker_id = self._serving.worker_of(ticket)
        if isinstance(content, Unreadable):
            raise _unreadable(worker_id, self._serving.show(request), content.error) from content.error
        if answer.kind is Kind.FAILURE:
            assert isinstance(content, ExceptionWrapper)
            content.reraise()  # type: ignore[no-untyped-call]
        if answer.kind is Kind.SAMPLE_ERROR:
            raise content
        if answer.kind is Kind.SKIPPED:
            raise JobCancelledError  # `stop` came, and its flag is seen a moment later
        self._taken.append(request.taken)
        if answer.kind is Kind.END:
            self._ended.add(worker_id)
            return None
        try:
            batch = unpack(content, self._serving.dataset, request)
        except Exception as error:
            raise _unreadable(worker_id, self._serving.show(request), error) from error
        # Workers of an iterable dataset end at different times: what was taken counts batches, not tickets.
        batch.taken = self._taken.popleft()
        return batch

    def stop(self) -> None:
        """Ends a `next` that is being waited for, and lets workers begin no further batch of this pass. From any
        thread, at any moment: no locks.
        """
        self._stopped = True
        if self._session._owner == os.getpid():
            self._serving.board.retire(self._tag)

    def describe(self) -> str:
        """Which batches are outstanding, which worker has the oldest, and the stacks of the workers. From any thread;
        takes up to 0.5 s.
        """
        if self._session._owner != os.getpid() or not self._serving.started:
            return "stage=read in worker processes"
        text = self._serving.describe()
        stacks = self._serving.stacks()
        return f"{text}.\n{stacks}" if stacks else f"{text}."


def _unreadable(worker_id: int, wanted: str, error: Exception) -> RuntimeError:
    return RuntimeError(
        f"what worker process {worker_id} sent for {wanted} cannot be unpickled in the loader's process: "
        f"{type(error).__name__}: {error}"
    )


@atexit.register
def _hold_sessions() -> None:
    """A daemon thread of the user's that waits for batches is cut off once the interpreter ends: in a lock that is
    nothing, in C++ that makes or frees a tensor it aborts the process.
    """
    deadline = time.monotonic() + _EXIT_SECONDS
    for session in list(_sessions):
        session._hold_for_good(max(0.0, deadline - time.monotonic()))
