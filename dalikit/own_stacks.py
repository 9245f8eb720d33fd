"""Where this process's threads are, in Python: for the report of a timeout."""

from __future__ import annotations

import sys
import threading
import traceback

__all__ = ["own_stacks"]

_IDLE = "_serve"
"""The function of a WorkerPool's threads: one that is in none beneath it waits for a job (a SimpleQueue's `get` is C,
and has no frame of its own)."""


def own_stacks(prefix: str = "dalikit-", *, idle: bool = True) -> str:
    """The Python stacks of this process's threads whose names begin so, the calls last made last.

    Args:
        prefix: of the threads' names.
        idle: also those of a WorkerPool that wait for work, of which there may be dozens.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate() if thread.name.startswith(prefix)}
    parts = []
    frames = sys._current_frames()
    try:
        for ident, name in names.items():
            if ident in frames and (idle or frames[ident].f_code.co_name != _IDLE):
                parts.append(f"thread {name}:\n{''.join(traceback.format_stack(frames[ident])).rstrip()}")
    finally:
        del frames  # the caller's own frame is among them: a cycle that would keep its loader alive
    return "\n".join(parts)
