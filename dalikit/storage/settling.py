"""Waits until the next change of a file or folder will show in its time."""

from __future__ import annotations

import time

__all__ = ["wait_until_settled"]


def wait_until_settled(mtime_ns: int) -> bool:
    """Waits, if something was changed so lately that a change right now could have the same time.

    File systems stamp changes with a clock that ticks every few ms, some every 1 or 2 s. Two changes within a tick have
    one time: what is recorded between them would look unchanged for ever.

    Args:
        mtime_ns: when it was last changed, in ns.

    Returns:
        Whether it waited: the time is to be asked for again.
    """
    tick = 20_000_000 if mtime_ns % 1_000_000_000 else 2_000_000_000
    age = time.time_ns() - mtime_ns
    if not 0 <= age < tick:
        return False
    time.sleep((tick - age) / 1e9)
    return True
