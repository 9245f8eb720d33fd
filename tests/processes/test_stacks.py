"""Where threads and processes are in their code."""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from dalikit.own_stacks import own_stacks
from dalikit.processes.stacks import STACK_SIGNAL, StackFolder, answer_with_stacks, worker_stacks
from dalikit.workers import Job, WorkerPool

FORK = multiprocessing.get_context("fork")


def wait_here(gate: threading.Event) -> None:
    """A line of a stack."""
    gate.wait()


def test_stacks_of_idle_threads_are_left_out() -> None:
    """Of dozens of reading threads, those that read are of interest."""
    gate, at_work = threading.Event(), threading.Event()

    def work(_: Any, row: int) -> None:
        del row
        at_work.set()
        wait_here(gate)

    pool, job = WorkerPool(3, "dalikit-idle"), Job(1, work)
    pool.submit(job)
    try:
        assert at_work.wait(10)
        while own_stacks("dalikit-idle", idle=False).count("thread dalikit-idle") > 1:
            pass  # the others have been told of the job too, and see that nothing is left
        assert own_stacks("dalikit-idle").count("thread dalikit-idle") == 3
        assert "in wait_here" in own_stacks("dalikit-idle", idle=False)
    finally:
        gate.set()
        pool.close()


def test_own_stacks() -> None:
    """Of the loader's threads alone."""
    gate = threading.Event()
    threads = [threading.Thread(target=wait_here, args=(gate,), name=name) for name in ("dalikit-one", "other")]
    for thread in threads:
        thread.start()
    try:
        text = own_stacks()
        assert text.startswith("thread dalikit-one:\n")
        assert "in wait_here" in text
        assert "other" not in text
        assert "in wait_here" in own_stacks("other")
        assert own_stacks("nobody-") == ""
    finally:
        gate.set()
        for thread in threads:
            thread.join()


def answer_and_wait(path: Path, ready: Connection) -> None:
    """A worker process."""
    file = answer_with_stacks(path)
    assert file is not None
    wait_for_ever(ready)


def wait_for_ever(ready: Connection) -> None:
    """What it hangs in."""
    ready.send(True)
    while True:
        pass


@pytest.fixture
def folder() -> Any:
    """For the answers."""
    made = StackFolder()
    yield made
    made.remove()


def test_stacks_of_a_worker(folder: StackFolder) -> None:
    """Even of one that never waits; as often as they are asked for."""
    ready, far = FORK.Pipe()
    process = FORK.Process(target=answer_and_wait, args=(folder.file(3), far), daemon=True)
    process.start()
    try:
        assert ready.recv()
        assert process.pid is not None
        for _ in range(2):
            text = worker_stacks([(3, process.pid, folder.file(3))])
            assert text.startswith(f"worker 3 (pid {process.pid}): \nCurrent thread")
            assert text.count("in wait_for_ever") == 1
    finally:
        process.kill()
        process.join()


def starting(ready: Connection) -> None:
    """A worker process that does not answer yet: the signal would end it."""
    ready.send(True)
    threading.Event().wait()


def test_a_worker_that_cannot_answer(folder: StackFolder) -> None:
    """It is left alone while it starts; when it is gone, that is said."""
    ready, far = FORK.Pipe()
    process = FORK.Process(target=starting, args=(far,), daemon=True)
    process.start()
    assert ready.recv()
    assert process.pid is not None
    asked = [(0, process.pid, folder.file(0))]
    assert worker_stacks(asked) == f"worker 0 (pid {process.pid}): is still starting"
    assert process.is_alive()
    process.kill()
    process.join()
    assert worker_stacks(asked) == f"worker 0 (pid {process.pid}): is gone"
    assert worker_stacks([]) == ""


def test_a_worker_that_does_not_answer(folder: StackFolder) -> None:
    """It takes half a second to say so. (This process says that it answers, but does so in another file.)"""
    folder.file(0).write_bytes(b"\n")
    other = answer_with_stacks(folder.file(1))
    assert other is not None
    try:
        assert worker_stacks([(0, os.getpid(), folder.file(0))]) == f"worker 0 (pid {os.getpid()}): does not answer"
        assert "in test_a_worker_that_does_not_answer" in folder.file(1).read_text()
    finally:
        faulthandler.unregister(STACK_SIGNAL)
        other.close()


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    """There are no answers then; nothing fails."""
    assert answer_with_stacks(tmp_path / "not" / "there") is None


def test_the_folder_goes_with_its_owner() -> None:
    """When it is dropped; not when a forked process drops its copy."""
    folder = StackFolder()
    parent = folder.file(0).parent
    assert parent.is_dir()
    process = FORK.Process(target=folder.remove)
    process.start()
    process.join()
    assert parent.is_dir()
    del folder, process
    gc.collect()
    assert not parent.exists()
