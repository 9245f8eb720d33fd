"""Rank and number of ranks without configuration: process group, torchrun, Open MPI, SLURM, or 0 of 1."""

from __future__ import annotations

import logging
import os

import pytest
import torch.distributed as dist

from dalikit.distributed import local_rank, resolve_rank
from dalikit.errors import ArgumentError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "6",
    "OMPI_COMM_WORLD_LOCAL_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "3",
}
BATCH_SCRIPT = {"SLURM_JOB_ID": "17", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "11"}
INTERACTIVE_SHELL = {**BATCH_SCRIPT, "SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"}
STEP = {
    **BATCH_SCRIPT,
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_NUM_TASKS": "11",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2),3",
}
NO_STEP_COUNT = {name: value for name, value in STEP.items() if name != "SLURM_STEP_NUM_TASKS"}
"""As older versions of SLURM have it."""

CASES = {
    "nothing": ({}, (0, 1), 0),
    "torchrun": (TORCHRUN, (3, 8), 1),
    "Open MPI": (OPEN_MPI, (5, 6), 2),
    "SLURM step": (STEP, (9, 11), 1),
    "SLURM step, old": (NO_STEP_COUNT, (9, 11), 1),
    "SLURM batch script": (BATCH_SCRIPT, (0, 1), 0),
    "SLURM salloc shell": (INTERACTIVE_SHELL, (0, 1), 0),
    "SLURM salloc shell, no count": ({**INTERACTIVE_SHELL, "SLURM_STEP_NUM_TASKS": ""}, (0, 1), 0),
    "SLURM, one task a machine, torchrun": (STEP | TORCHRUN, (3, 8), 1),
    "SLURM daemon of Open MPI": (STEP | OPEN_MPI, (5, 6), 2),
    "SLURM step, rank unset on purpose": ({**STEP, "SLURM_PROCID": ""}, (0, 1), 1),
    "size of one": ({"WORLD_SIZE": "1"}, (0, 1), 0),
    "empty": ({"RANK": "", "WORLD_SIZE": "", "OMPI_COMM_WORLD_RANK": ""}, (0, 1), 0),
}


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name in TORCHRUN or name.startswith(("OMPI_", "SLURM_")):
            monkeypatch.delenv(name)


def launched(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """As if a launcher had set these."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", CASES)
def test_launchers_tell_rank_and_size_and_local_rank(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The innermost launcher counts; SLURM only within a step of tasks."""
    environment, ranks, local = CASES[name]
    launched(monkeypatch, environment)
    assert resolve_rank(None, None) == ranks
    assert local_rank() == local


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "3"}, r"RANK='3', WORLD_SIZE=\(not set\) in the environment: WORLD_SIZE is missing; make the loader"),
        ({"WORLD_SIZE": "4"}, r"RANK=\(not set\), WORLD_SIZE='4' .*: RANK is missing; .* after init_process_group"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, r"RANK='4', WORLD_SIZE='4' .*must be whole numbers, 0 <= RANK < WORLD_SIZE"),
        ({"RANK": "-1", "WORLD_SIZE": "4"}, r"RANK='-1'.*unset both if this is no process of torchrun, or give rank="),
        ({"RANK": "first", "WORLD_SIZE": "4"}, r"RANK='first', WORLD_SIZE='4'"),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, None),
        ({"OMPI_COMM_WORLD_RANK": "0"}, r"OMPI_COMM_WORLD_SIZE is missing; .* no process of Open MPI"),
        ({**STEP, "SLURM_PROCID": "11"}, r"SLURM_PROCID='11', SLURM_STEP_NUM_TASKS='11' .* no process of SLURM"),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "4(x2)"}, r"SLURM_STEP_NUM_TASKS='4\(x2\)' .*whole numbers"),
    ],
)
def test_half_a_launcher_is_an_error(
    environment: dict[str, str], message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variables and their values; but a size of one says enough."""
    launched(monkeypatch, environment)
    if message is None:
        assert resolve_rank(None, None) == (0, 1)
        return
    with pytest.raises(ArgumentError, match=message):
        resolve_rank(None, None)
    assert resolve_rank(0, 1) == (0, 1)


def test_arguments_count_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of them, and in range."""
    launched(monkeypatch, TORCHRUN)
    assert resolve_rank(1, 2) == (1, 2)
    with pytest.raises(ArgumentError, match="rank=1, world_size=None: give both or neither"):
        resolve_rank(1, None)
    with pytest.raises(ArgumentError, match="rank=2, world_size=2: must be 0 <= rank < world_size"):
        resolve_rank(2, 2)


def test_the_process_group_counts_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real group, of one."""
    launched(monkeypatch, {**TORCHRUN, "LOCAL_RANK": ""})
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    try:
        assert resolve_rank(None, None) == (0, 1)
        assert local_rank() == 0
    finally:
        dist.destroy_process_group()
    assert resolve_rank(None, None) == (3, 8)


def test_a_local_rank_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would pick a GPU."""
    launched(monkeypatch, {**TORCHRUN, "LOCAL_RANK": "a"})
    with pytest.raises(ArgumentError, match=r"LOCAL_RANK='a' in the environment: must be a whole number; .*cuda:N"):
        local_rank()


def test_a_line_of_the_log_says_who_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Once for as long as it is the same; not where it was given."""
    caplog.set_level(logging.INFO, logger="dalikit")
    launched(monkeypatch, {**OPEN_MPI, "OMPI_COMM_WORLD_RANK": "4"})
    resolve_rank(None, None)
    resolve_rank(None, None)
    resolve_rank(1, 2)
    monkeypatch.delenv("OMPI_COMM_WORLD_RANK")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    resolve_rank(None, None)
    assert [line.getMessage() for line in caplog.records] == [
        "rank 4 of 6: Open MPI's, from the environment",
        "rank 0 of 1: no process group and no launcher says otherwise",
    ]
