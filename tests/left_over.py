"""What a test has left behind."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence

import psutil

__all__ = ["assert_no_more", "children"]


def assert_no_more(count: Callable[[], Sequence[int]], limits: Sequence[int], *, seconds: float = 20.0) -> None:
    """There is soon no more of anything than there was: what was broken off is closed soon, but not at once.

    Args:
        count: how much there is now, of several kinds.
        limits: how much there may be, in the same order.
        seconds: how long that may take.
    """
    deadline = time.monotonic() + seconds
    while any(now > limit for now, limit in zip(count(), limits, strict=True)):
        assert time.monotonic() < deadline, f"there is still more: {tuple(count())}, it was {tuple(limits)}"
        gc.collect()
        time.sleep(0.02)


def children() -> list[str]:
    """Command lines of the processes that this one has begun, but those that multiprocessing keeps for all."""
    ours = psutil.Process().children(recursive=True)
    lines = [" ".join(child.cmdline()) for child in ours if child.status() != psutil.STATUS_ZOMBIE]
    return [line for line in lines if "resource_tracker" not in line and "forkserver" not in line]
