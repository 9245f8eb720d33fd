"""What goes wrong in worker processes: errors, deaths, hangs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from torch.utils.data import IterableDataset
from worker_datasets import Failing, Numbers, children, drain, requests, streamed, values

from dalikit.errors import DecodeError, LoaderClosedError, LoaderTimeoutError
from dalikit.fetch.batch import OtherBatch, Request
from dalikit.processes.session import WorkerFeed
from dalikit.processes.startup import make_startup
from dalikit.workers import JobCancelledError


def take(feed: WorkerFeed, count: int) -> None:
    """Takes batches that are good."""
    for _ in range(count):
        assert isinstance(feed.next(60), OtherBatch)


# Errors


def test_an_error_comes_in_its_turn(opened: Any) -> None:
    """In torch's words, with the traceback, the sample and the worker; the batches after it can be had."""
    feed = opened(Failing("raise_key_error")).begin(requests(5), 0)
    take(feed, 2)
    with pytest.raises(KeyError) as caught:
        feed.next()
    text = str(caught.value)
    assert text.startswith(
        "Caught KeyError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):"
    )
    for part in ("in raise_key_error", "KeyError: 'mine'", "index=5", "in worker process 0 (pid ", "indices [4, 5]"):
        assert part in text
    rest = drain(feed)
    assert [(batch.taken, batch.value.tolist()) for batch in rest if isinstance(batch, OtherBatch)] == [
        (4, [6, 7]),
        (5, [8, 9]),
    ]


def test_a_samples_error_arrives_as_it_was(opened: Any) -> None:
    """With its place; the traceback in the worker is a note."""
    feed = opened(Failing("raise_sample_error")).begin(requests(4), 0)
    take(feed, 2)
    with pytest.raises(DecodeError, match="cannot be read") as caught:
        feed.next()
    place = caught.value.place
    assert (place.index, place.position, place.key, place.file, place.stage) == (5, 5, "five", "five.jpg", "read")
    [note] = caught.value.__notes__
    assert note.startswith("in worker process 0 (pid ")
    assert "in raise_sample_error" in note
    assert values(feed) == [[6, 7]]


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("raise_local", RuntimeError, "LocalError: of a local class"),
        ("raise_odd_sample_error", RuntimeError, "OddError: odd 1 2 3 [dataset=Failing, index=5"),
        ("stop_iteration", RuntimeError, "StopIteration"),
    ],
)
def test_errors_that_cannot_be_sent_as_they_are(opened: Any, how: str, error: type[Exception], words: str) -> None:
    """Torch sends their traceback; nothing hangs, and no loop ends without a word."""
    feed = opened(Failing(how)).begin(requests(4), 0)
    take(feed, 2)
    with pytest.raises(error) as caught:
        feed.next(60)
    assert str(caught.value).startswith("Caught ")
    assert words in str(caught.value)
    assert values(feed) == [[6, 7]]


class Odd(Numbers):
    """Row 5 cannot be sent."""

    def __getitem__(self, index: int) -> Any:
        return threading.Lock() if index == 5 else index


def test_a_batch_that_cannot_be_sent(opened: Any) -> None:
    """Is told; torch prints it and waits for ever."""
    feed = opened(Odd(), collate_fn=list).begin(requests(4), 0)
    take(feed, 2)
    with pytest.raises(TypeError, match=r"Caught TypeError in DataLoader worker process 0(.|\n)*indices \[4, 5\]"):
        feed.next(60)
    take(feed, 1)


def _refuse() -> None:
    raise OSError("not in this process")


class Refusing:
    """Can be sent, but not received."""

    def __reduce__(self) -> Any:
        return _refuse, ()


class Unwelcome(Numbers):
    """Row 5 cannot be received."""

    def __getitem__(self, index: int) -> Any:
        return Refusing() if index == 5 else index


def test_a_batch_that_cannot_be_received(opened: Any) -> None:
    """Is told, and the next one comes."""
    feed = opened(Unwelcome(), collate_fn=list).begin(requests(4), 0)
    take(feed, 2)
    message = r"what worker process 0 sent for indices \[4, 5\] cannot be unpickled.*OSError: not in this process"
    with pytest.raises(RuntimeError, match=message):
        feed.next(60)
    take(feed, 1)


def test_an_error_of_a_pass_that_was_cut_short(opened: Any) -> None:
    """Is not seen in the next one."""
    session = opened(Failing("raise_key_error"), persistent=True)
    feed = session.begin(requests(9), 0)
    take(feed, 1)
    assert values(session.begin(requests(2), 1)) == [[0, 1], [2, 3]]


# Deaths

DEATHS = [
    ("leave", "exited unexpectedly", "exit status 3"),
    ("die", "exited unexpectedly", "ended by signal SIGKILL"),
    ("crash", "exited unexpectedly", "ended by signal SIGSEGV"),
]


@pytest.mark.parametrize("in_thread", [False, True], ids=["main thread", "other thread"])
@pytest.mark.parametrize(("how", "words", "status"), DEATHS)
def test_a_worker_that_dies(opened: Any, how: str, words: str, status: str, in_thread: bool) -> None:
    """Is found soon, in torch's words, with what it was reading; the others end too."""
    feed = opened(Failing(how)).begin(requests(9), 0)
    caught: list[BaseException] = []

    def run() -> None:
        try:
            drain(feed)
        except BaseException as error:
            caught.append(error)

    began = time.monotonic()
    if in_thread:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()  # torch would raise here, in the main thread, wherever that is
    else:
        run()
    assert time.monotonic() - began < 4
    with pytest.raises(RuntimeError, match=rf"DataLoader worker \(pid.*({words})") as raised:
        raise caught[0]
    text = str(raised.value)
    assert "worker process 0 (pid " in text
    assert f"{status}: reading indices [4, 5]" in text
    assert children() == []
    with pytest.raises(
        LoaderClosedError, match="the worker processes of this pass have ended; iterate over the loader"
    ):
        feed.next()


class Resumable(IterableDataset[int]):
    """0 to 3; goes on where its state says. Is killed where there is a certain file."""

    def __init__(self, kill: Path) -> None:
        self.kill = kill
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        if self.kill.exists():
            self.kill.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        start, self.start = self.start, 0
        yield from range(start, 4)

    def state_dict(self) -> dict[str, int]:
        """Not looked at."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Where to go on."""
        self.start = state["start"]


def test_new_workers_after_a_death_begin_at_the_beginning(opened: Any, tmp_path: Path) -> None:
    """Not where the first pass went on."""
    dataset = Resumable(tmp_path / "kill")
    state = {0: {"dataset": {"start": 2}, "count": 2}}
    session = opened(dataset, persistent=True, num_workers=1, states=state)
    assert values(session.begin(streamed(), 0)) == [[2], [3]]
    assert values(session.begin(streamed(), 1)) == [[0], [1], [2], [3]]
    dataset.kill.touch()
    with pytest.raises(RuntimeError, match="reading the next batch of its iterable dataset"):
        drain(session.begin(streamed(), 2))
    for passes in (3, 4):
        assert values(session.begin(streamed(), passes)) == [[0], [1], [2], [3]]


class Picky(Numbers):
    """Takes no empty batch."""

    def __getitems__(self, indices: list[int]) -> list[int]:
        """The rows."""
        if not indices:
            raise ValueError("nothing to read")
        return indices


def test_an_empty_batch_is_not_of_an_iterable_dataset(opened: Any) -> None:
    """Its message says what it is."""
    empty = Request([], np.empty(0, dtype=np.int64), 1)
    with pytest.raises(Exception, match=r"which was reading indices \[\]"):
        opened(Picky()).begin(iter([empty]), 0).next(60)


def test_after_a_death_the_next_pass_has_new_workers(opened: Any) -> None:
    """If they are persistent."""
    session = opened(Failing("die"), persistent=True)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        drain(session.begin(requests(9), 0))
    assert values(session.begin(requests(2), 1)) == [[0, 1], [2, 3]]


def test_a_worker_that_dies_between_two_passes(opened: Any) -> None:
    """Is found in the next."""
    session = opened(Numbers(), persistent=True)
    drain(session.begin(requests(3), 0))
    process = children()[0]
    process.kill()
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        drain(session.begin(requests(30), 1))
    assert values(session.begin(requests(2), 2)) == [[0, 1], [2, 3]]


# Hangs


@pytest.mark.parametrize("how", ["sleep", "spin", "ignore_and_sleep"])
def test_a_worker_that_hangs(opened: Any, how: str) -> None:
    """The timeout tells where, as often as it is waited for; closing ends it."""
    session = opened(Failing(how))
    feed = session.begin(requests(9), 0)
    take(feed, 2)
    for _ in range(2):
        with pytest.raises(LoaderTimeoutError) as caught:
            feed.next(0.2)
        text = str(caught.value)
        assert text.startswith("DataLoader timed out after 0.2 seconds. Waiting at stage=read in worker processes, ")
        pids = [child.pid for child in children()]
        for part in (
            "4 batches outstanding",
            "the oldest with indices [4, 5] at worker 0 (pid ",
            "reading indices [4, 5]",
        ):
            assert part in text
        assert f" in {how}\n" in text
        assert any(f"(pid {pid})" in text for pid in pids)
    began = time.monotonic()
    session.close()
    assert time.monotonic() - began < 4
    assert children() == []
    with pytest.raises(JobCancelledError):
        feed.next()


def test_a_slow_worker(opened: Any) -> None:
    """A timeout that is not reached changes nothing."""
    feed = opened(Numbers()).begin(requests(4), 0)
    got = [feed.next(30) for _ in range(4)]
    assert [batch.value.tolist() for batch in got if isinstance(batch, OtherBatch)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert feed.next(0.0) is None


def test_more_workers_than_are_shown(opened: Any) -> None:
    """Of many stacks only the first are told."""
    feed = opened(Failing("sleep", row=0), num_workers=6).begin(
        (request._replace(indices=[0]) for request in requests(12)), 0
    )
    with pytest.raises(LoaderTimeoutError) as caught:
        feed.next(1.0)
    text = str(caught.value)
    assert text.count("in sleep") == 4
    assert text.endswith("(2 further workers)")


def test_a_hang_at_the_start(opened: Any) -> None:
    """Before a worker reads anything."""
    feed = opened(Numbers(), make_startup(_hang), num_workers=1).begin(requests(3), 0)
    with pytest.raises(LoaderTimeoutError, match=r"which is starting\.(.|\n)*in _hang"):
        feed.next(0.5)


def _hang(_: int) -> None:
    while True:
        signal.pause()


def test_an_interrupt_while_waiting(opened: Any) -> None:
    """Ctrl-C: the pass is over, as an answer may have been cut in two; persistent workers are started anew."""
    session = opened(Failing("sleep"), persistent=True)
    feed = session.begin(requests(9), 0)
    take(feed, 2)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        feed.next()
    timer.join()
    with pytest.raises(LoaderClosedError, match="worker processes of this pass have ended"):
        feed.next()
    before = {child.pid for child in children()}
    assert values(session.begin(requests(2), 1)) == [[0, 1], [2, 3]]
    assert before.isdisjoint(child.pid for child in children())
    assert len(children()) == 2
