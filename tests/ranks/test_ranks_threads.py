"""A process's fair share of the cores: affinity, quotas of control groups, and the ranks on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dalikit.cores import affinity, cpu_quota
from dalikit.distributed import share_of_cores

CORES = len(os.sched_getaffinity(0))


def groups(root: Path, membership: str, limits: dict[str, str]) -> float | None:
    """What is read of control groups in real files."""
    for name, text in limits.items():
        path = root / "mounts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "membership").write_text(membership)
    return cpu_quota(membership=root / "membership", mounts=root / "mounts")


def version_1(folder: str, quota: str) -> dict[str, str]:
    """A group's two files."""
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": "100000\n"}


V1 = "12:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n1:name=systemd:/docker/1\n"

CASES: dict[str, tuple[str, dict[str, str], float | None]] = {
    "its own": ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"}, 1.5),
    "one above": ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "400000 100000\n"}, 4.0),
    "the lowest": ("0::/a/b\n", {"a/b/cpu.max": "800000 100000", "a/cpu.max": "200000 100000"}, 2.0),
    "a container's own root": ("0::/system.slice/docker-1.scope\n", {"cpu.max": "300000 100000\n"}, 3.0),
    "outside the namespace": ("0::/../../a\n", {"a/cpu.max": "50000 100000\n"}, 0.5),
    "no limit": ("0::/a\n", {"a/cpu.max": "max 100000\n"}, None),
    "version 1": (V1, version_1("cpu,cpuacct/docker/1", "250000\n"), 2.5),
    "version 1, a container's own root": (V1, version_1("cpu", "200000\n"), 2.0),
    "version 1, no limit": (V1, version_1("cpu", "-1\n"), None),
    "another controller's": (V1, {"memory/docker/1/cpu.max": "100000 100000\n"}, None),
    "nothing there": ("0::/a\n", {}, None),
    "nonsense": ("what\n0::\n::::\n0::/a\n", {"a/cpu.max": "1 2 3\n", "cpu.max": "100000 0\n"}, None),
    "half of version 1": (V1, {"cpu/cpu.cfs_quota_us": "100000\n"}, None),
}


@pytest.mark.parametrize("name", CASES)
def test_quotas_of_control_groups(name: str, tmp_path: Path) -> None:
    """Version 2 and version 1, seen from the host and from a container; nonsense is no limit."""
    membership, limits, expected = CASES[name]
    assert groups(tmp_path, membership, limits) == expected


def test_no_control_groups_are_no_limit(tmp_path: Path) -> None:
    """Nor is a file that is no text."""
    assert cpu_quota(membership=tmp_path / "none", mounts=tmp_path) is None
    (tmp_path / "membership").write_bytes(b"0::/\xff\n")
    assert cpu_quota(membership=tmp_path / "membership", mounts=tmp_path) is None
    assert cpu_quota() is None or cpu_quota() > 0  # type: ignore[operator]


def test_affinity_of_processes() -> None:
    """One that is not there counts as one core."""
    assert affinity() == CORES
    assert affinity(2**22 + 1) == 1


TWO_MACHINES = {
    "SLURM_STEP_ID": "3",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2),4",
    "SLURM_CPUS_ON_NODE": "64",
    "SLURM_NODEID": "1",
}
LAST_MACHINE = {**TWO_MACHINES, "SLURM_NODEID": "2"}

SHARES: dict[str, tuple[dict[str, str], tuple[int, int, float | None], int]] = {
    "alone": ({}, (64, 64, None), 64),
    "alone, bound": ({}, (8, 64, None), 8),
    "alone, with a quota": ({}, (64, 64, 2.5), 2),
    "a quota of less than a core": ({}, (64, 64, 0.5), 1),
    "torchrun": ({"LOCAL_WORLD_SIZE": "8"}, (64, 64, None), 8),
    "torchrun, in a container": ({"LOCAL_WORLD_SIZE": "8"}, (64, 64, 24.0), 3),
    "torchrun, more ranks than cores": ({"LOCAL_WORLD_SIZE": "8"}, (4, 4, None), 1),
    "torchrun, bound to the half": ({"LOCAL_WORLD_SIZE": "8"}, (32, 64, None), 8),
    "torchrun, no number": ({"LOCAL_WORLD_SIZE": "many"}, (64, 64, None), 64),
    "torchrun, no ranks": ({"LOCAL_WORLD_SIZE": "0"}, (64, 64, None), 64),
    "torchrun, unknown parent": ({"LOCAL_WORLD_SIZE": "8"}, (64, 1, None), 8),
    "Open MPI, bound to its cores": ({"OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, (1, 64, None), 1),
    "Open MPI, bound to the half": ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, (32, 64, None), 16),
    "SLURM, not bound": (TWO_MACHINES, (64, 128, None), 8),
    "SLURM, last machine": (LAST_MACHINE, (64, 128, None), 16),
    "SLURM, bound": (TWO_MACHINES, (2, 128, None), 2),
    "SLURM, cores for each task": (TWO_MACHINES | {"SLURM_CPUS_PER_TASK": "6"}, (64, 128, None), 6),
    "SLURM, fewer than promised": (TWO_MACHINES | {"SLURM_CPUS_PER_TASK": "6"}, (4, 128, None), 4),
    "SLURM, a machine too many": ({**TWO_MACHINES, "SLURM_NODEID": "7"}, (64, 128, None), 64),
    "SLURM, the job's count": (
        {"SLURM_STEP_ID": "0", "SLURM_TASKS_PER_NODE": "4", "SLURM_CPUS_PER_TASK": "none"},
        (16, 16, None),
        4,
    ),
    "SLURM, batch script": ({"SLURM_TASKS_PER_NODE": "8", "SLURM_CPUS_PER_TASK": "2"}, (64, 64, None), 64),
    "SLURM, torchrun with all cores": (
        {**TWO_MACHINES, "SLURM_STEP_TASKS_PER_NODE": "1(x3)", "SLURM_CPUS_PER_TASK": "64", "LOCAL_WORLD_SIZE": "8"},
        (64, 64, None),
        8,
    ),
}


@pytest.mark.parametrize("name", SHARES)
def test_shares_of_the_cores(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own cores, the launcher's, quota: divided among the ranks on this machine, unless they were before."""
    for variable in os.environ:
        if variable.startswith(("OMPI_", "SLURM_", "LOCAL_WORLD_SIZE")):
            monkeypatch.delenv(variable)
    environment, cores, expected = SHARES[name]
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert share_of_cores(*cores) == expected


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_real_process_takes_its_share(ranks: int) -> None:
    """All cores of its parent, then one of them."""
    script = (
        "import os\nfrom dalikit.distributed import default_num_threads\nprint(default_num_threads())\n"
        "os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])\nprint(default_num_threads())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "LOCAL_WORLD_SIZE": str(ranks)},
    )
    quota = cpu_quota()
    all_cores = CORES if quota is None else min(CORES, quota)
    assert result.stdout.split() == [str(max(1, int(all_cores / ranks))), "1"]
