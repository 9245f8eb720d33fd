"""Daemon threads that share the rows of a batch.

`concurrent.futures` would do, but for two things: its threads are joined before any clean-up of ours runs at the
interpreter's exit, so a Ctrl-C would wait for all batches ahead; and it takes one queue operation a sample, where a job
here takes one a batch.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

__all__ = ["Job", "JobCancelledError", "WorkerPool"]

_LOG = logging.getLogger("dalikit")

_JOIN_SECONDS = 5.0  # how long `close` waits for threads that are stuck in storage


class JobCancelledError(Exception):
    """The job that was waited for was cancelled."""


class Job:
    """Rows 0 ... count - 1 of a batch, each done once by whichever thread comes first.

    Rows are claimed in order. After an error no further row is claimed, but all lower ones are finished: `wait` raises
    the error of the lowest row, whatever the number of threads.

    `cancel` may come at any moment from any thread, a signal handler or the garbage collector among them, so it takes
    no lock. The end is told by a SimpleQueue, which is made for that.
    """

    def __init__(self, count: int, work: Callable[[Any, int], None]) -> None:
        self._count = count
        self._work = work
        self._claim = itertools.count().__next__  # atomic under the GIL
        self._lock = threading.Lock()
        self._active = 0
        self._stopped = count == 0
        self._cancelled = False
        self._errors: dict[int, BaseException] = {}
        self._at_hand: dict[int, int] = {}
        self._end: SimpleQueue[None] = SimpleQueue()
        self.done = False
        """Whether `wait` would return at once."""
        if count == 0:
            self._finish()

    def _finish(self) -> None:
        self.done = True
        self._end.put(None)

    def run(self, context: Any) -> None:
        """Takes rows until there are none left. Called by each thread of a pool."""
        thread = threading.get_ident()
        with self._lock:
            self._active += 1
        while not self._stopped:
            row = self._claim()
            if row >= self._count:
                self._stopped = True
                break
            self._at_hand[thread] = row
            try:
                self._work(context, row)
            except BaseException as error:  # handed to whoever waits
                self._errors[row] = error
                self._stopped = True
        self._at_hand.pop(thread, None)
        with self._lock:
            self._active -= 1
            last = self._active == 0
        if last:
            self._finish()

    @property
    def rows_at_hand(self) -> list[int]:
        """Which rows are being worked on. From any thread."""
        return sorted(self._at_hand.copy().values())

    def fail(self, error: BaseException) -> None:
        """Ends the job with an error that is no row's: a thread that cannot work at all."""
        self._errors[-1] = error
        self._stopped = True
        self._finish()

    def cancel(self) -> None:
        """Lets no further row be claimed, and ends `wait` at once; rows at hand go on to their end."""
        self._cancelled = True
        self._stopped = True
        self._finish()

    def wait(self) -> None:
        """Blocks until all rows are done; raises the error of the lowest row that has one.

        Raises:
            JobCancelledError: the job was cancelled; a row may still be at work.
        """
        self._end.get()
        self._end.put(None)  # for whoever waits again
        if self._cancelled:
            raise JobCancelledError
        if self._errors:
            raise self._errors[min(self._errors)]


class WorkerPool:
    """A fixed number of daemon threads that work through jobs, oldest first.

    A pool that is forgotten without `close` ends its threads too, after the jobs at hand.

    Args:
        num_threads: how many.
        name: of the threads, as debuggers and `ps` show them.
        make_context: called once in each thread; what it returns is handed to every row's work (a decoder, a buffer).
    """

    def __init__(self, num_threads: int, name: str, make_context: Callable[[], Any] = lambda: None) -> None:
        self._queues: list[SimpleQueue[Job | None]] = [SimpleQueue() for _ in range(num_threads)]
        self._threads = [
            threading.Thread(target=_serve, args=(queue, make_context), name=f"{name}-{number}", daemon=True)
            for number, queue in enumerate(self._queues)
        ]
        for thread in self._threads:
            thread.start()
        weakref.finalize(self, _end, self._queues).atexit = False

    def submit(self, job: Job) -> None:
        """Puts a job behind the others."""
        for queue in self._queues:
            queue.put(job)

    def stop(self) -> None:
        """Tells the threads to end after the jobs at hand, and does not wait. From any thread, at any moment."""
        _end(self._queues)

    def close(self) -> None:
        """Ends the threads after the jobs at hand; cancel those first. May be called again.

        A thread that is stuck is left to itself after some seconds; it is a daemon.
        """
        self.stop()
        threads, self._threads = self._threads, []
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        stuck = [thread.name for thread in threads if thread.is_alive() and thread is not threading.current_thread()]
        if stuck:
            _LOG.warning("still busy after %g s, left to themselves: %s", _JOIN_SECONDS, ", ".join(stuck))


def _end(queues: list[SimpleQueue[Job | None]]) -> None:
    """Tells threads to end. Called by the garbage collector too, in any thread: SimpleQueue is made for that."""
    for queue in queues:
        queue.put(None)


def _serve(queue: SimpleQueue[Job | None], make_context: Callable[[], Any]) -> None:
    """The life of one thread. It refers to its queue alone, so that a forgotten pool can be collected."""
    failure: BaseException | None = None
    context = None
    try:
        context = make_context()
    except BaseException as error:  # handed to whoever waits
        failure = error
    while (job := queue.get()) is not None:
        if failure is None:
            job.run(context)
        else:
            job.fail(failure)
        del job  # an idle thread keeps no batch alive
