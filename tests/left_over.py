"""What a test has left behind."""

from __future__ import annotations

import psutil

__all__ = ["children"]


def children() -> list[str]:
    """Command lines of the processes that this one has begun, but those that multiprocessing keeps for all."""
    ours = psutil.Process().children(recursive=True)
    lines = [" ".join(child.cmdline()) for child in ours if child.status() != psutil.STATUS_ZOMBIE]
    return [line for line in lines if "resource_tracker" not in line and "forkserver" not in line]
