"""Worker processes on torch's own machinery: how they are started, listened to, and ended.

All that is used of torch's DataLoader beyond its public face is used here.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._C import _remove_worker_pids
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from dalikit.processes.inheritance import pause_collection
from dalikit.processes.packing import Sealed
from dalikit.processes.worker import Answer, WorkerDataset

__all__ = ["WorkerProcesses", "start_workers"]

_POLL_SECONDS = 0.1
"""After so long without an answer torch looks whether all workers live, and the loader whether it should stop."""
_TIMED_OUT = "DataLoader timed out after"
_LOOK_SECONDS = 0.002
_EXIT_SECONDS = 2.0


def start_workers(
    dataset: WorkerDataset, tickets: Iterator[Sealed], *, num_workers: int, prefetch_factor: int, context: Any
) -> WorkerProcesses:
    """Starts the processes, and hands out the first `num_workers * prefetch_factor` tickets, all on this thread.

    Args:
        dataset: what each runs.
        tickets: sealed; one more is drawn for each answer that is taken, on the thread that takes it.
        num_workers: at least 1.
        prefetch_factor: how many tickets a worker has in hand.
        context: None, the name of a start method, or a multiprocessing context.
    """
    loader = _Loader(
        dataset,  # type: ignore[arg-type]
        batch_size=None,
        sampler=tickets,
        num_workers=num_workers,
        prefetch_factor=prefetch_factor,
        collate_fn=_as_it_is,
        worker_init_fn=dataset.start,
        multiprocessing_context=context,
        timeout=_POLL_SECONDS,
        generator=torch.Generator(),  # torch draws a seed from it: not from the user's
    )
    with pause_collection():
        return WorkerProcesses(loader)


def _as_it_is(answer: Any) -> Any:
    """The collate_fn: a worker gives whole batches."""
    return answer


class _Loader(DataLoader[Any]):
    """Torch's, which says nothing of the number of workers: whoever makes the loader that the user sees has done so."""

    def check_worker_number_rationality(self) -> None:
        """Nothing."""


class WorkerProcesses(_MultiProcessingDataLoaderIter):
    """Torch's iterator, which can also be asked for a short time only, and whose processes end in any case.

    Torch asks its workers to end, and waits for each for up to five seconds. Here they have half a second for all,
    then they are made to. A copy in a forked process does nothing to them.

    Args:
        loader: with a `timeout`.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._owner = os.getpid()
        self._ending = threading.Lock()
        self._ended = False
        self._workers: list[Any] = []
        self._workers_status = [True] * loader.num_workers  # torch asks for it if a process cannot be started
        try:
            super().__init__(loader)
        except BaseException:
            self.end()
            raise

    @property
    def pids(self) -> list[int]:
        """Of each worker."""
        return [worker.pid for worker in self._workers]

    def exit_codes(self) -> list[int | None]:
        """Of each worker: None while it lives, minus the signal if one has ended it."""
        return [worker.exitcode for worker in self._workers]

    def poll(self) -> Answer | None:
        """The next answer; None: there was none for a while, and all workers live.

        Raises:
            RuntimeError: torch's: a worker has died.
        """
        try:
            answer = next(self)
        except RuntimeError as error:
            if str(error).startswith(_TIMED_OUT):
                return None
            raise
        assert isinstance(answer, Answer)
        return answer

    def end(self, grace: float = 0.5, force: float = 0.5) -> None:
        """Ends the processes and waits for that. May be called again.

        Args:
            grace: seconds in which they may end by themselves. Then SIGTERM comes.
            force: seconds after which SIGKILL follows, and in which that works.
        """
        if self._owner != os.getpid():
            return
        with self._ending:
            if self._ended:
                return
            self._leave_torchs_watch()
            # Torch's own shutdown, on a thread: it waits long, and for ever if a worker was killed holding a lock.
            asking = _EndingThread(super()._shutdown_workers)
            started = _start(asking)
            ended = self._wait(grace if started else 0.0)
            for number in (signal.SIGTERM, signal.SIGKILL):
                if not ended:
                    self._send(number)
                    ended = self._wait(force)
            if started:
                asking.join(force)
            self._ended = True

    def _reset(self, loader: Any, first_iter: bool = False) -> None:
        """Torch calls it last of all when it starts, and it draws the first tickets: which is code that takes a
        RuntimeError of a worker that has died by then for one of its own.
        """
        self._leave_torchs_watch()
        super()._reset(loader, first_iter)

    def _leave_torchs_watch(self) -> None:
        """Torch's handler of SIGCHLD raises a RuntimeError in the main thread when a worker dies, in the middle of
        whatever that does: of the user's training, or of code that takes it for another RuntimeError. `poll` finds the
        dead by itself, and soon.
        """
        if getattr(self, "_worker_pids_set", False):
            _remove_worker_pids(id(self))
            self._worker_pids_set = False

    def _wait(self, seconds: float) -> bool:
        """Whether all have ended, after so many seconds at most."""
        deadline = time.monotonic() + seconds
        while any(worker.is_alive() for worker in self._workers):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def _send(self, number: int) -> None:
        for worker in self._workers:
            if worker.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, number)

    def _shutdown_workers(self) -> None:
        """Torch calls it at the end of its tickets."""
        self.end()

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # When the interpreter ends, multiprocessing ends them, and a new thread would never begin.
        # Else whoever drops the last reference, the garbage collector perhaps, is not to wait.
        if not finalizing() and not self._ended and self._owner == os.getpid():
            _start(_EndingThread(self.end))


class _EndingThread(threading.Thread):
    """Ends processes; the last to hold them, perhaps, and with them tensors in shared memory.

    A daemon thread is cut off in the middle of whatever it does once the interpreter ends. In the middle of freeing a
    tensor, which is C++ that must not be unwound, that aborts the process. So these are waited for before.
    """

    def __init__(self, target: Callable[[], None]) -> None:
        super().__init__(target=target, name="dalikit-shutdown", daemon=True)


class _Exit:
    """Waits for the threads at the interpreter's exit. It is registered after torch and multiprocessing have
    registered theirs, so it runs before; after it no further thread begins.
    """

    def __init__(self) -> None:
        self.has_come = False
        atexit.register(self._wait)

    def _wait(self) -> None:
        self.has_come = True
        deadline = time.monotonic() + _EXIT_SECONDS
        for thread in threading.enumerate():
            if isinstance(thread, _EndingThread):
                with contextlib.suppress(RuntimeError):  # it is just being started by another thread
                    thread.join(max(0.0, deadline - time.monotonic()))


_exit = _Exit()


def _start(thread: threading.Thread) -> bool:
    """Starts a thread, if that is still possible: at the interpreter's exit it is not."""
    if _exit.has_come:
        return False
    try:
        thread.start()
    except RuntimeError:
        return False
    return True
