"""Batches from worker processes: their order, pass after pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from worker_datasets import (
    Images,
    Numbers,
    Pids,
    Share,
    Shared,
    await_no_children,
    children,
    drain,
    requests,
    streamed,
    values,
)

from dalikit.errors import ArgumentError, InternalError, LoaderClosedError
from dalikit.fetch.batch import ImageBatch, OtherBatch, Request
from dalikit.workers import JobCancelledError

EXPECTED = [[2 * row, 2 * row + 1] for row in range(20)]


@pytest.mark.parametrize("num_workers", [1, 2, 3])
@pytest.mark.parametrize("prefetch_factor", [None, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_one_pass(opened: Any, num_workers: int, prefetch_factor: int | None, count: int) -> None:
    """All batches, in order, then the end; and the processes are gone."""
    session = opened(Numbers(), num_workers=num_workers, prefetch_factor=prefetch_factor)
    feed = session.begin(requests(count), 0)
    assert len(children()) == num_workers
    batches = drain(feed)
    assert [batch.value.tolist() for batch in batches if isinstance(batch, OtherBatch)] == EXPECTED[:count]
    assert [batch.taken for batch in batches] == list(range(1, count + 1))
    assert [batch.state for batch in batches] == [{"number": number} for number in range(count)]
    assert children() == []
    assert feed.next() is None


@pytest.mark.parametrize(
    "context",
    ["forkserver", "spawn", torch.multiprocessing.get_context("fork")],
    ids=lambda given: type(given).__name__,
)
def test_other_ways_to_start(opened: Any, context: Any) -> None:
    """The same batches, over two passes."""
    session = opened(Images(), context=context, persistent=True)
    for passes in range(2):
        batches = drain(session.begin(requests(5), passes))
        assert [batch.targets.tolist() for batch in batches if isinstance(batch, ImageBatch)] == EXPECTED[:5]
    assert len(children()) == 2


def test_the_default_way_to_start(opened: Any) -> None:
    """Torch's."""
    assert values(opened(Numbers(), context=None).begin(requests(3), 0)) == EXPECTED[:3]


def test_workers_take_turns(opened: Any) -> None:
    """Batch n is read by worker n modulo their number, whole."""
    batches = values(opened(Pids()).begin(requests(6), 0))
    assert [batch[0][0] for batch in batches] == [0, 1] * 3
    assert all(batch[0] == batch[1] for batch in batches)
    assert len({batch[0][1] for batch in batches}) == 2


def test_requests_are_drawn_no_further_ahead_than_promised(opened: Any) -> None:
    """`prefetch_factor` for each worker; on the thread that begins, then on the one that takes."""
    drawn: list[threading.Thread] = []

    def recorded() -> Iterator[Request]:
        for request in requests(20):
            drawn.append(threading.current_thread())
            yield request

    session = opened(Numbers(), prefetch_factor=3)
    feed = session.begin(recorded(), 0)
    assert drawn == [threading.current_thread()] * 6
    thread = threading.Thread(target=feed.next)
    thread.start()
    thread.join()
    assert drawn[6:] == [thread]


def test_a_pass_after_the_other(opened: Any) -> None:
    """With the same processes, and from the same worker on."""
    session = opened(Pids(), persistent=True, num_workers=3)
    seen = [values(session.begin(requests(count, passes=passes), passes)) for passes, count in enumerate([4, 0, 5, 1])]
    assert [[batch[0][0] for batch in batches] for batches in seen] == [[0, 1, 2, 0], [], [0, 1, 2, 0, 1], [0]]
    assert len({batch[0][1] for batches in seen for batch in batches}) == 3
    assert len(children()) == 3
    session.close()
    assert children() == []


@pytest.mark.parametrize("taken", range(6))
def test_a_pass_that_is_cut_short(opened: Any, taken: int) -> None:
    """Nothing of it is left in the next; its feed says so if it is used."""
    session = opened(Numbers(), persistent=True)
    feed = session.begin(requests(5), 0)
    for _ in range(taken):
        feed.next()
    after = session.begin((request for request in requests(9) if request.indices[0] >= 4), 1)
    assert values(after) == EXPECTED[2:9]
    if taken < 6:
        with pytest.raises(LoaderClosedError, match="the worker processes have gone on to another pass"):
            feed.next()


def test_batches_of_a_pass_that_was_cut_short_are_not_read(opened: Any) -> None:
    """Those that no worker has begun with when it is stopped."""
    value = torch.multiprocessing.get_context("fork").Value("i", 0)
    marks = torch.zeros(1000).share_memory_()  # type: ignore[no-untyped-call]
    session = opened(Shared(value, marks), persistent=True, num_workers=1, prefetch_factor=50)
    with value.get_lock():  # no worker comes past its first row
        feed = session.begin(requests(50), 0)
        feed.stop()
    assert values(session.begin((request for request in requests(60) if request.indices[0] >= 100), 1)) == [
        [2 * row, 2 * row + 1] for row in range(50, 60)
    ]
    assert marks[100:120].sum() == 20
    assert marks[4:100].sum() == 0


def test_one_pass_only(opened: Any) -> None:
    """Unless it is persistent."""
    session = opened(Numbers())
    values(session.begin(requests(1), 0))
    assert session.persistent is False
    with pytest.raises(InternalError, match="serve one pass"):
        session.begin(requests(1), 1)


def test_a_closed_session(opened: Any) -> None:
    """Neither begins nor goes on; closing again does nothing."""
    session = opened(Numbers(), persistent=True)
    feed = session.begin(requests(9), 0)
    feed.next()
    session.close()
    session.close()
    with pytest.raises(JobCancelledError):
        feed.next()
    with pytest.raises(LoaderClosedError, match="the loader was closed; make a new one"):
        session.begin(requests(9), 0)
    assert feed.describe().startswith("stage=read in worker processes, ")


class Gate(Numbers):
    """Row 4 waits until the event is set."""

    def __init__(self) -> None:
        self.event = torch.multiprocessing.get_context("fork").Event()

    def __getitem__(self, index: int) -> Any:
        if index == 4:
            self.event.wait()
        return index


@pytest.mark.parametrize("what", ["feed", "session"])
def test_stop_ends_a_wait(opened: Any, what: str) -> None:
    """Soon, whatever the worker does: a tenth of a second on a machine that is not busy."""
    dataset = Gate()
    session = opened(dataset)
    feed = session.begin(requests(9), 0)
    assert [feed.next().value.tolist() for _ in range(2)] == EXPECTED[:2]
    caught: list[BaseException] = []
    times: list[float] = []

    def wait() -> None:
        try:
            feed.next()
        except BaseException as error:
            times.append(time.monotonic())
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    began = time.monotonic()
    (feed if what == "feed" else session).stop()
    thread.join(10)
    assert isinstance(caught[0], JobCancelledError)
    assert times[0] - began < 1
    dataset.event.set()


def test_an_error_of_the_requests_comes_in_its_turn(opened: Any) -> None:
    """After the batches before it; persistent workers then serve the next pass."""

    def broken() -> Iterator[Request]:
        yield from requests(3)
        raise ValueError("of the sampler")

    session = opened(Numbers(), persistent=True)
    feed = session.begin(broken(), 0)
    assert [feed.next().value.tolist() for _ in range(3)] == EXPECTED[:3]
    with pytest.raises(ValueError, match="of the sampler"):
        feed.next()
    assert feed.next() is None
    assert values(session.begin(requests(2), 1)) == EXPECTED[:2]


def test_indices_that_do_not_pickle(opened: Any) -> None:
    """Are told; torch would wait for ever."""

    def odd() -> Iterator[Request]:
        [first] = requests(1)
        yield first
        yield first._replace(indices=[threading.Lock(), 1])

    feed = opened(Numbers()).begin(odd(), 0)
    assert feed.next().value.tolist() == [0, 1]
    with pytest.raises(ArgumentError, match=r"cannot be sent to worker processes.*the sampler must yield what pickles"):
        feed.next(20)


# Iterable datasets


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # of torch's, on a small machine
@pytest.mark.parametrize("counts", [[5, 5], [1, 9], [9, 1], [0, 4], [4, 0], [0, 0], [7, 0, 3], [2, 3, 11, 1]], ids=str)
@pytest.mark.parametrize(("batch_size", "drop_last"), [(None, False), (1, False), (2, False), (2, True)])
def test_iterable_datasets_as_torch_orders_them(
    opened: Any, counts: list[int], batch_size: int | None, drop_last: bool
) -> None:
    """However uneven the workers' shares are; over two passes with the same processes."""
    workers = len(counts)
    theirs: DataLoader[Any] = DataLoader(
        Share(counts), batch_size, num_workers=workers, drop_last=drop_last, multiprocessing_context="fork"
    )
    expected = [batch if isinstance(batch, int) else batch.tolist() for batch in theirs]
    session = opened(Share(counts), num_workers=workers, batch_size=batch_size, drop_last=drop_last, persistent=True)
    for passes in range(2):
        batches = drain(session.begin(streamed(passes=passes), passes))
        got = [batch.value if batch_size is None else batch.value.tolist() for batch in batches]  # type: ignore[union-attr]
        assert got == expected
        assert [batch.taken for batch in batches] == list(range(1, len(expected) + 1))


def test_an_iterable_pass_that_is_cut_short(opened: Any) -> None:
    """The next begins at the beginning, even if it has the same number."""
    session = opened(Share([5, 5]), batch_size=2, persistent=True)
    feed = session.begin(streamed(), 0)
    assert feed.next().value.tolist() == [0, 1]
    feed.stop()
    assert values(session.begin(streamed(), 0)) == [[0, 1], [100, 101], [2, 3], [102, 103], [4], [104]]


@pytest.mark.parametrize("first_worker", [0, 1, 2])
def test_the_first_worker_of_a_pass(opened: Any, first_worker: int) -> None:
    """Where a pass goes on in its middle it may be any; later passes begin with worker 0."""
    session = opened(Share([3, 3, 3]), num_workers=3, persistent=True)
    first = values(session.begin(streamed(), 0, first_worker=first_worker))
    turns = [(first_worker + place) % 3 for place in range(3)]
    assert first == [[100 * worker + item] for item in range(3) for worker in turns]
    assert values(session.begin(streamed(passes=1), 1)) == [
        [100 * worker + row] for row in range(3) for worker in range(3)
    ]


def test_iterable_datasets_say_where_they_are(opened: Any) -> None:
    """Positions, indices and states are the workers' own."""
    session = opened(Share([2, 1]), batch_size=None, num_workers=2)
    batches = drain(session.begin(streamed(), 0))
    assert [batch.first_position for batch in batches if isinstance(batch, OtherBatch)] == [0, 1, 2]
    await_no_children()
