"""A job's rows are done once each, its error is the lowest row's, and nobody waits for ever."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dalikit.workers import Job, JobCancelledError, WorkerPool

SECONDS = 30.0  # what no wait here comes near, unless it hangs


class RowError(Exception):
    """What a row's work raises here."""


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("test-pool")]


@pytest.fixture
def pool() -> Iterator[Callable[..., WorkerPool]]:
    """Makes pools, and closes them."""
    made: list[WorkerPool] = []

    def make(num_threads: int = 4, **options: Any) -> WorkerPool:
        made.append(WorkerPool(num_threads, "test-pool", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert names() == []


def wait(job: Job) -> BaseException | None:
    """Waits for a job in a thread of its own, so that one that hangs fails here. Gives what it raised."""
    raised: list[BaseException | None] = []

    def work() -> None:
        try:
            job.wait()
            raised.append(None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert raised, "the job's wait hangs"
    return raised[0]


@pytest.mark.parametrize("num_threads", [1, 3, 16])
def test_every_row_is_done_exactly_once(pool: Callable[..., WorkerPool], num_threads: int) -> None:
    done: list[list[int]] = [[] for _ in range(20)]
    workers = pool(num_threads)
    jobs = [Job(500, lambda _, row, rows=rows: rows.append(row)) for rows in done]
    for job in jobs:
        workers.submit(job)
    assert [wait(job) for job in jobs] == [None] * 20
    assert [sorted(rows) for rows in done] == [list(range(500))] * 20


def test_one_thread_takes_rows_and_jobs_in_order(pool: Callable[..., WorkerPool]) -> None:
    done: list[tuple[str, int]] = []
    workers = pool(1)
    jobs = [Job(5, lambda _, row, name=name: done.append((name, row))) for name in "ab"]
    for job in jobs:
        workers.submit(job)
    for job in jobs:
        wait(job)
    assert done == [(name, row) for name in "ab" for row in range(5)]


def test_a_job_without_rows_is_done_at_once() -> None:
    assert wait(Job(0, lambda *_: None)) is None


@settings(max_examples=50)
@given(st.integers(1, 40), st.sets(st.integers(0, 39)), st.integers(1, 6))
def test_the_error_of_the_lowest_row_is_raised_and_all_lower_rows_are_done(
    count: int, bad: set[int], num_threads: int
) -> None:
    done: list[int] = []

    def work(_: Any, row: int) -> None:
        if row in bad:
            raise RowError(row)
        done.append(row)

    job, workers = Job(count, work), WorkerPool(num_threads, "test-pool")
    workers.submit(job)
    raised = wait(job)
    workers.close()
    lowest = min((row for row in bad if row < count), default=None)
    if lowest is None:
        assert raised is None
        assert sorted(done) == list(range(count))
    else:
        assert isinstance(raised, RowError)
        assert raised.args == (lowest,)
        assert set(range(lowest)) <= set(done)
    assert len(done) == len(set(done))


def test_a_lower_row_that_fails_later_wins(pool: Callable[..., WorkerPool]) -> None:
    """Row 0 fails only after row 1 has failed in another thread: row 0's error is raised all the same."""
    second_failed = threading.Event()

    def work(_: Any, row: int) -> None:
        if row == 0:
            assert second_failed.wait(SECONDS)
        if row == 1:
            second_failed.set()
        raise RowError(row)

    job = Job(10, work)
    pool(2).submit(job)
    raised = wait(job)
    assert isinstance(raised, RowError)
    assert raised.args == (0,)


def test_an_error_may_be_raised_more_than_once(pool: Callable[..., WorkerPool]) -> None:
    def work(_: Any, row: int) -> None:
        raise RowError(row)

    job = Job(1, work)
    pool(2).submit(job)
    assert wait(job) is wait(job) is not None


def test_after_an_error_the_pool_works_on(pool: Callable[..., WorkerPool]) -> None:
    workers, done = pool(3), []

    def fail(_: Any, row: int) -> None:
        raise RowError(row)

    bad, good = Job(7, fail), Job(7, lambda _, row: done.append(row))
    workers.submit(bad)
    workers.submit(good)
    assert isinstance(wait(bad), RowError)
    assert wait(good) is None
    assert sorted(done) == list(range(7))


def test_a_cancelled_job_starts_no_further_row_and_ends_the_wait_at_once(pool: Callable[..., WorkerPool]) -> None:
    started, leave, done = threading.Barrier(3), threading.Event(), []

    def work(_: Any, row: int) -> None:
        started.wait(SECONDS)
        assert leave.wait(SECONDS)
        done.append(row)

    job = Job(100, work)
    workers = pool(2)
    workers.submit(job)
    started.wait(SECONDS)  # both threads are within a row
    job.cancel()
    assert isinstance(wait(job), JobCancelledError)
    assert done == []
    leave.set()
    workers.close()
    assert sorted(done) == [0, 1]


def test_a_job_cancelled_before_its_start_does_nothing(pool: Callable[..., WorkerPool]) -> None:
    done: list[int] = []
    job = Job(5, lambda _, row: done.append(row))
    job.cancel()
    assert job.done
    workers = pool(2)
    workers.submit(job)
    workers.close()
    assert isinstance(wait(job), JobCancelledError)
    assert done == []


@settings(max_examples=50)
@given(st.integers(0, 30), st.integers(1, 5), st.integers(0, 30))
def test_wait_returns_whenever_a_job_is_cancelled(count: int, num_threads: int, cancel_at: int) -> None:
    done: list[int] = []
    workers = WorkerPool(num_threads, "test-pool")

    def work(_: Any, row: int) -> None:
        if row == cancel_at:
            job.cancel()
        done.append(row)

    job = Job(count, work)
    workers.submit(job)
    assert isinstance(wait(job), JobCancelledError) == (cancel_at < count)
    workers.close()
    assert len(done) == len(set(done))
    assert set(done) >= set(range(min(count, cancel_at + 1)))


def test_each_thread_makes_its_context_once(pool: Callable[..., WorkerPool]) -> None:
    made: list[int] = []
    seen: list[tuple[int, int]] = []

    def make_context() -> int:
        made.append(threading.get_ident())
        return threading.get_ident()

    workers = pool(3, make_context=make_context)
    jobs = [Job(50, lambda context, _: seen.append((context, threading.get_ident()))) for _ in range(5)]
    for job in jobs:
        workers.submit(job)
    for job in jobs:
        wait(job)
    workers.close()
    assert len(set(made)) == len(made) == 3
    assert all(context == thread for context, thread in seen)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_context_that_cannot_be_made_is_the_jobs_error(pool: Callable[..., WorkerPool], num_threads: int) -> None:
    """Not a wait for ever."""

    def make_context() -> None:
        raise RowError("no decoder")

    workers = pool(num_threads, make_context=make_context)
    for _ in range(2):
        job = Job(3, lambda *_: None)
        workers.submit(job)
        raised = wait(job)
        assert isinstance(raised, RowError)
        assert raised.args == ("no decoder",)


def test_threads_are_daemons_and_bear_the_pools_name(pool: Callable[..., WorkerPool]) -> None:
    pool(2)
    assert sorted(names()) == ["test-pool-0", "test-pool-1"]
    assert all(thread.daemon for thread in threading.enumerate() if thread.name in names())


def test_close_ends_the_threads_after_the_jobs_at_hand(pool: Callable[..., WorkerPool]) -> None:
    done: list[int] = []
    workers = pool(3)
    workers.submit(Job(200, lambda _, row: done.append(row)))
    workers.close()
    assert names() == []
    assert len(done) == 200
    workers.close()


def test_a_forgotten_pool_ends_its_threads_after_the_jobs_at_hand() -> None:
    done: list[int] = []
    workers = WorkerPool(3, "test-pool")
    threads = [thread for thread in threading.enumerate() if thread.name in names()]
    assert len(threads) == 3
    workers.submit(Job(100, lambda _, row: done.append(row)))
    del workers
    gc.collect()
    for thread in threads:
        thread.join(SECONDS)
    assert names() == []
    assert sorted(done) == list(range(100))


def test_an_idle_thread_keeps_no_job_alive(pool: Callable[..., WorkerPool]) -> None:
    job, gone = Job(4, lambda *_: None), threading.Event()
    weakref.finalize(job, gone.set)
    pool(2).submit(job)
    wait(job)
    del job
    assert gone.wait(SECONDS)
