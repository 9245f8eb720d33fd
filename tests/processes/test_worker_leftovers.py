"""Nothing is left of worker processes: whoever ends, forgets, forks, or exits."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from left_over import assert_no_more
from worker_datasets import Failing, Images, Numbers, await_no_children, children, drain, open_session, requests, values

from dalikit.errors import LoaderClosedError
from dalikit.processes.session import WorkerFeed, WorkerSession


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Path]]]:
    """The folders of stacks that there are: none at the end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # of scripts

    def look() -> list[Path]:
        return list(tmp_path.glob("dalikit-stacks-*"))

    yield look
    gc.collect()
    deadline = time.monotonic() + 10
    while look() and time.monotonic() < deadline:  # a thread that ends processes removes it last of all
        time.sleep(0.01)
    assert look() == []


def whole(_: WorkerSession, feed: WorkerFeed) -> None:
    """To the end."""
    drain(feed)


def closed(session: WorkerSession, feed: WorkerFeed) -> None:
    """Closed in the middle."""
    feed.next()
    session.close()


def forgotten(_: WorkerSession, feed: WorkerFeed) -> None:
    """Dropped in the middle."""
    feed.next()


def stopped(session: WorkerSession, feed: WorkerFeed) -> None:
    """Stopped, as a finaliser does, then dropped."""
    feed.stop()
    session.stop()


@pytest.mark.parametrize(
    ("end", "persistent"), [(whole, False), (closed, False), (closed, True), (forgotten, True), (stopped, False)]
)
def test_nothing_is_left_after_many_passes(end: Callable[[Any, Any], None], persistent: bool) -> None:
    """Processes, threads, open files and folders after 30 as after 5."""
    early: tuple[int, ...] = ()
    for number in range(30):
        session = open_session(Images(), persistent=persistent)
        end(session, session.begin(requests(6), 0))
        del session
        if number in (4, 29):
            gc.collect()
            await_no_children()
            _await_threads()
            gc.collect()
            early = early or _files_and_threads()
    assert_no_more(_files_and_threads, early)


def _files_and_threads() -> tuple[int, int]:
    return psutil.Process().num_fds(), threading.active_count()


def _await_threads() -> None:
    """Waits for the threads that end processes which were dropped, and for those of their queues."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        names = [thread.name for thread in threading.enumerate()]
        if not any(name.startswith(("dalikit-shutdown", "QueueFeederThread")) for name in names):
            return
        time.sleep(0.01)


def test_many_passes_of_persistent_workers() -> None:
    """Half of them cut short."""
    session = open_session(Images(), persistent=True)
    early: tuple[int, ...] = ()
    try:
        for passes in range(30):
            feed = session.begin(requests(6), passes)
            if passes % 2:
                feed.next()
                feed.stop()
            else:
                drain(feed)
            del feed
            if passes == 4:
                early = _files_and_threads()
        assert_no_more(_files_and_threads, early)
        assert len(children()) == 2
    finally:
        session.close()
    assert children() == []


@pytest.mark.parametrize("how", ["sleep", "ignore_and_sleep"])
def test_a_forgotten_session_with_workers_that_hang(how: str) -> None:
    """Dropping it takes no time; its processes are gone soon after."""
    gc.collect()
    gc.freeze()  # what all tests before have made is not looked through again: that alone can take a second
    try:
        session = open_session(Failing(how, row=1), num_workers=1)
        feed = session.begin(requests(6), 0)
        while "in __getitem__" not in feed.describe():
            pass
        began = time.monotonic()
        del session, feed
        gc.collect()
        assert time.monotonic() - began < 1
    finally:
        gc.unfreeze()
    await_no_children()


def test_a_session_in_a_reference_cycle() -> None:
    """The garbage collector ends its processes."""
    session: Any = open_session(Numbers())
    feed = session.begin(requests(9), 0)
    session.itself = session
    del session, feed
    gc.collect()
    await_no_children()


def test_the_end_of_a_pass_leaves_its_memory() -> None:
    """Batches live longer than their workers."""
    batches: list[Any] = drain(open_session(Images()).begin((r._replace(indices=[900, 901]) for r in requests(20)), 0))
    assert children() == []
    assert [len(data) for batch in batches for data in batch.data] == [967, 968] * 20
    big = drain(open_session(Images()).begin((r._replace(indices=list(range(900, 950))) for r in requests(2)), 0))
    assert all(bytes(data[:4]) == b"\x89PNG" for batch in big for data in batch.data)  # type: ignore[union-attr]


def _in_child(work: Callable[[], Any]) -> str:
    """What a function returns in a forked process, which it must end within ten seconds."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        try:
            os.write(write, str(work()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        text = file.read().decode()
    assert os.waitpid(pid, 0)[1] == 0
    return text


def test_a_forked_process() -> None:
    """Does nothing to its parent's workers, whatever it does with its copy; it is told to make its own."""
    session = open_session(Numbers(), persistent=True)
    kept = {"session": session, "feed": session.begin(requests(4), 0)}
    del session

    def work() -> str:
        words = []
        for attempt in (lambda: kept["feed"].next(), lambda: kept["session"].begin(requests(1), 0)):  # type: ignore[attr-defined]
            try:
                attempt()
            except LoaderClosedError as error:
                words.append(str(error))
        description = kept["feed"].describe()  # type: ignore[attr-defined]
        kept["feed"].stop()  # type: ignore[attr-defined]
        kept["session"].stop()
        kept["session"].close()
        kept.clear()
        gc.collect()
        return "\n".join([*words, description])

    text = _in_child(work)
    assert text.count(f"worker processes belong to process {os.getpid()}, and this is a fork of it") == 2
    assert text.count("make a loader of its own here") == 2
    assert text.endswith("stage=read in worker processes")
    feed, session = kept["feed"], kept["session"]
    assert isinstance(feed, WorkerFeed)
    assert values(feed) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert _in_child(lambda: values(open_session(Numbers()).begin(requests(1), 0))) == "[[0, 1]]"
    session.close()  # type: ignore[union-attr]
    assert children() == []


SCRIPT = """
import signal, sys, threading, time
from worker_datasets import Failing, Numbers, open_session, requests

if __name__ == "__main__":
    session = open_session(Failing(sys.argv[1], row=20), context=sys.argv[2])
    feed = session.begin(requests(1000), 0)
    feed.next()
    {waiting}
    print("running", flush=True)
    {ending}
"""

IN_THREAD = "threading.Thread(target=lambda: [feed.next() for _ in range(999)], daemon=True).start()"


def _script(folder: Path, waiting: str, ending: str) -> Path:
    path = folder / "script.py"
    path.write_text(SCRIPT.format(waiting=waiting, ending=ending))
    return path


def _run(path: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.parametrize(
    ("waiting", "ending", "status", "printed"),
    [
        ("pass", "pass", 0, ""),
        (IN_THREAD, "pass", 0, ""),
        (IN_THREAD, "sys.exit(3)", 3, ""),
        (IN_THREAD, "raise ValueError('mine')", 1, "ValueError: mine\n"),
    ],
    ids=["idle", "waiting in a thread", "exit", "error"],
)
def test_a_script_that_ends_with_work_in_flight(
    tmp_path: Path, waiting: str, ending: str, status: int, printed: str
) -> None:
    """Its exit status and output are its own; no process is left."""
    process = _run(_script(tmp_path, waiting, ending), "sleep", "fork")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (status, "running\n"), errors
    assert errors.endswith(printed) if printed else errors == ""
    assert "Exception ignored" not in errors
    await_no_children()


def test_a_script_with_spawned_workers(tmp_path: Path) -> None:
    """The same."""
    process = _run(_script(tmp_path, IN_THREAD, "pass"), "sleep", "spawn")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "running\n", "")
    await_no_children()


def test_ctrl_c(tmp_path: Path) -> None:
    """One traceback, and an end."""
    process = _run(_script(tmp_path, "pass", "[feed.next() for _ in range(999)]"), "sleep", "fork")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    time.sleep(0.3)  # it may come at any moment; in the middle of a wait most of all
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1
    await_no_children()


@pytest.mark.parametrize("context", ["fork", "forkserver"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_parent_that_is_killed_while_its_workers_read(
    tmp_path: Path, folders: Callable[[], list[Path]], number: signal.Signals, context: str
) -> None:
    """They end soon, though what they read takes for ever."""
    await_sleep = "\n    while 'in sleep' not in feed.describe(): pass"
    process = _run(_script(tmp_path, IN_THREAD + await_sleep, "time.sleep(60)"), "sleep", context)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    workers = children()
    process.send_signal(number)
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    for folder in folders():  # nobody was left to remove it
        shutil.rmtree(folder)


EXIT = """
import atexit, time

def start(seconds):
    from dalikit.processes.torch_processes import _EndingThread, _start
    return _start(_EndingThread(lambda: [time.sleep(seconds), print("done", flush=True)]))

atexit.register(lambda: print("late:", start(0)))  # runs last
start({seconds})
"""


@pytest.mark.parametrize(("seconds", "output"), [(0.3, "done\nlate: False\n"), (1000, "late: False\n")])
def test_the_exit_waits_for_threads_that_end_processes(tmp_path: Path, seconds: float, output: str) -> None:
    """For two seconds at most, and none begins after that; cut off in the middle of freeing a tensor they would abort
    the process.
    """
    path = tmp_path / "script.py"
    path.write_text(EXIT.format(seconds=seconds))
    process = _run(path)
    assert process.communicate(timeout=60) == (output, "")
    assert process.returncode == 0


def test_a_parent_that_is_killed(tmp_path: Path, folders: Callable[[], list[Path]]) -> None:
    """Its idle workers end by themselves: torch's look after their parent every five seconds."""
    process = _run(_script(tmp_path, "pass", "time.sleep(60)"), "sleep", "fork")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    for folder in folders():  # nobody was left to remove it
        shutil.rmtree(folder)
