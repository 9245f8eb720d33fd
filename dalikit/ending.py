"""The interpreter's exit: no thread of ours is left then, that of a loader that was dropped without `close` either.

A daemon thread that comes back from C++ while the interpreter ends is ended by force there, and the whole process with
it ("terminate called without an active exception"). Threads of a loader that was dropped have been told to end, but
nobody has waited for them.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import Protocol

__all__ = ["end_threads_at_exit", "stop_at_exit"]

_SECONDS = 5.0
"""For all threads together: some may be stuck in storage, or in a function of the user's."""

_OURS = "dalikit-"


class _Stoppable(Protocol):
    def stop(self) -> None:
        """Tells its threads to end, and does not wait."""


_living: weakref.WeakSet[_Stoppable] = weakref.WeakSet()
_process = 0
"""That has the threads."""


def stop_at_exit(owner: _Stoppable) -> None:
    """Has an owner of threads told to end at the interpreter's exit, if it is still there."""
    _living.add(owner)


def end_threads_at_exit() -> None:
    """Has the interpreter's exit wait for our threads: before whatever was asked for until now is done there."""
    global _process
    _process = os.getpid()
    atexit.unregister(_end_threads)
    atexit.register(_end_threads)


def _end_threads() -> None:
    if os.getpid() != _process:  # of a fork: it has none of these threads
        return
    for owner in tuple(_living):
        owner.stop()
    deadline = time.monotonic() + _SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith(_OURS) and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
