"""The interpreter's exit: no thread of ours is left then, that of a loader that was dropped without `close` either.

A daemon thread that comes back from C++ while the interpreter ends is ended by force there, and the whole process with
it ("terminate called without an active exception"). Threads of a loader that was dropped have been told to end, but
nobody has waited for them.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from typing import Protocol

__all__ = ["close_at_exit", "closed", "come_first_at_exit"]

_SECONDS = 5.0
"""For all threads together that nobody closes any more: some may be stuck in storage, or in a user's function."""

_OURS = "dalikit-"

_LOG = logging.getLogger("dalikit")


class _Closable(Protocol):
    def stop(self) -> None:
        """Tells its threads and processes to end, and does not wait."""

    def close(self) -> None:
        """Ends them, and waits for that."""


_living: weakref.WeakSet[_Closable] = weakref.WeakSet()
_process = 0
"""That has the threads."""


def close_at_exit(owner: _Closable) -> None:
    """Has an owner of threads or processes closed at the interpreter's exit, if it is still there."""
    _living.add(owner)
    come_first_at_exit()


def closed(owner: _Closable) -> None:
    """An owner was closed: there is nothing left to do for it."""
    _living.discard(owner)


def come_first_at_exit() -> None:
    """Has the exit do this before whatever was asked for until now: exit hooks run last in, first out. To be called
    once DALI was imported, which shuts its pipelines down at the exit.
    """
    global _process
    _process = os.getpid()
    atexit.unregister(_end)
    atexit.register(_end)


def _end() -> None:
    if os.getpid() != _process:  # of a fork: it has none of these threads
        return
    owners = tuple(_living)
    for owner in owners:
        owner.stop()
    for owner in owners:
        try:
            owner.close()
        except Exception:  # the others are to be closed all the same
            _LOG.exception("a loader could not be closed")
    deadline = time.monotonic() + _SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith(_OURS) and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
