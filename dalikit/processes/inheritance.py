"""Forked worker processes keep for good what they inherit: freeing it may end them.

A pipeline of DALI's that is shut down in a process without its threads is a segmentation fault. Such pipelines are in
reference cycles, so the garbage collector of any forked process may come upon one that its parent had forgotten.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator

__all__ = ["keep_inherited", "pause_collection"]

_lock = threading.Lock()
_enabled: bool | None = None  # while collection is paused, in this process or when it was forked: whether it was on


def _renew_lock() -> None:
    """Nobody lets go of it in a forked process."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


@contextlib.contextmanager
def pause_collection() -> Iterator[None]:
    """For the time in which processes are started: those that are forked begin without garbage collection."""
    global _enabled
    with _lock:
        _enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if _enabled:
                gc.enable()
            _enabled = None


def keep_inherited() -> None:
    """To be called first in a worker process: what it has inherited will never be collected, and collection goes on as
    in its parent. Where processes are not forked there is nothing to do.
    """
    global _enabled
    if _enabled is None:
        return
    gc.freeze()
    if _enabled:
        gc.enable()
    _enabled = None
