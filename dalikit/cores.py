"""How many CPU cores this process may use: its affinity, and the quota of its control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["affinity", "cpu_quota"]

_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNTS = Path("/sys/fs/cgroup")


def affinity(pid: int = 0) -> int:
    """Cores that a process may run on; 0: this one. At least 1, and 1 for a process that cannot be asked."""
    try:
        return len(os.sched_getaffinity(pid))
    except OSError:
        return 1


def cpu_quota(*, membership: Path = _MEMBERSHIP, mounts: Path = _MOUNTS) -> float | None:
    """Cores' worth of time that control groups allow this process; None: no limit, or none that can be read.

    A group's limit holds for all that is below it, so it is the lowest on the way up. Version 2 has it in `cpu.max`
    ("max 100000" or "150000 100000": microseconds in each period), version 1 in `cpu.cfs_quota_us` (-1: no limit) and
    `cpu.cfs_period_us` (Linux, Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst).

    Never raises: what is missing or makes no sense is no limit.

    Args:
        membership: the file that names the groups of the process.
        mounts: where the groups are mounted.
    """
    limits = [limit for folder in _folders(membership, mounts) if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def _folders(membership: Path, mounts: Path) -> Iterator[Path]:
    """The folders of the process's groups, each followed by those above it."""
    for line in _text(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            roots = [mounts]
        elif "cpu" in controllers.split(","):
            roots = [mounts / name for name in dict.fromkeys((controllers, "cpu", "cpu,cpuacct"))]
        else:
            continue
        # A container may see the path of the host, and only its own group, mounted as the root: what is not there is
        # passed over. A path may also begin with "..", where the group lies outside the namespace.
        inside = PurePosixPath(*(part for part in PurePosixPath(path).parts if part not in ("/", "..")))
        for root in roots:
            yield from (root / part for part in (inside, *inside.parents))


def _limit(folder: Path) -> float | None:
    """A group's own limit, in cores."""
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or nothing
        return None
    return cores if cores > 0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
