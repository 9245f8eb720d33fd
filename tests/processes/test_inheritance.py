"""What forked worker processes inherit is never freed in them."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from worker_datasets import Numbers, children, open_session, requests, values

from dalikit.processes.inheritance import keep_inherited, pause_collection


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    """Collection is on, before and after."""
    assert gc.isenabled()
    yield
    gc.enable()
    assert children() == []


class Fatal:
    """In a cycle; writes down which process frees it."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.itself = self

    def __del__(self) -> None:
        with open(self.log, "a") as file:
            file.write(f"{os.getpid()}\n")


class Collecting(Numbers):
    """Collects; tells its process, whether collection is on, and whether its own garbage is found."""

    def __getitem__(self, index: int) -> Any:
        cycle: list[Any] = []
        cycle.append(cycle)
        del cycle
        return torch.tensor([os.getpid(), gc.isenabled(), gc.collect() > 0])


def test_workers_free_nothing_that_they_inherit(tmp_path: Path) -> None:
    """Garbage of the loader's process is the loader's; a worker's own is collected as ever."""
    log = tmp_path / "log"
    log.touch()
    gc.collect()
    thresholds = gc.get_threshold()
    gc.set_threshold(0)  # the garbage stays until the workers are there
    try:
        Fatal(log)
        batches = values(open_session(Collecting()).begin(requests(4), 0))
        assert log.read_text() == ""
    finally:
        gc.set_threshold(*thresholds)
    assert all(row[0] != os.getpid() and row[1:] == [1, 1] for batch in batches for row in batch)
    gc.collect()
    assert log.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("enabled", [True, False])
def test_processes_start_without_collection(enabled: bool) -> None:
    """Which then is what it was, even if they do not start."""
    if not enabled:
        gc.disable()
    seen = []

    def start() -> None:
        with pause_collection():
            seen.append(gc.isenabled())
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        start()
    assert seen == [False]
    assert gc.isenabled() == enabled
    keep_inherited()  # not in a forked process: does nothing
    assert gc.isenabled() == enabled
    assert gc.get_freeze_count() == 0


def test_a_user_without_collection() -> None:
    """Has workers without it."""
    gc.disable()
    [batch] = values(open_session(Collecting(), num_workers=1).begin(requests(1), 0))
    assert [row[1] for row in batch] == [0, 0]
    assert not gc.isenabled()


def test_two_threads_that_start_processes() -> None:
    """One after the other, so that the first to end does not turn collection on for the second's."""
    inside, go_on = threading.Event(), threading.Event()
    seen: list[bool] = []

    def start() -> None:
        with pause_collection():
            inside.set()
            seen.append(gc.isenabled())
            go_on.wait(20)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert inside.wait(20)
    assert len(seen) == 1
    go_on.set()
    for thread in threads:
        thread.join()
    assert seen == [False, False]
    assert gc.isenabled()
