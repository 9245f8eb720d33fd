"""Requests that the user's thread draws and another one takes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import pytest

from dalikit.fetch import Request
from dalikit.orders import UserDrawn
from dalikit.workers import JobCancelledError


def request(number: int) -> Request:
    """One of a kind."""
    return Request([number], np.array([number]), number + 1)


def numbers(drawn: UserDrawn) -> list[int]:
    """What is drawn, to the end."""
    return [one.indices[0] for one in drawn]


class Sampler(Iterator[Request]):
    """Counts what is asked of it, and by which threads."""

    def __init__(self, count: int | None = None, error: BaseException | None = None) -> None:
        self._numbers = itertools.count() if count is None else iter(range(count))
        self._error = error
        self.asked = 0
        self.threads: set[int] = set()

    def __next__(self) -> Request:
        self.asked += 1
        self.threads.add(threading.get_ident())
        for number in self._numbers:
            return request(number)
        if self._error is not None:
            raise self._error
        raise StopIteration


def test_another_thread_gets_what_this_one_draws() -> None:
    """All of it, in order; the sampler runs on this thread alone, however far it may be ahead."""
    for ahead in (1, 3, 100):
        sampler = Sampler(50)
        drawn = UserDrawn(sampler, ahead=ahead)
        arrived: SimpleQueue[int | None] = SimpleQueue()

        def consume(drawn: UserDrawn = drawn, arrived: SimpleQueue[int | None] = arrived) -> None:
            for one in drawn:
                arrived.put(one.indices[0])
            arrived.put(None)

        thread = threading.Thread(target=consume)
        thread.start()
        found = []
        drawn.top_up()
        while (number := arrived.get(timeout=30)) is not None:
            found.append(number)
            drawn.took()
            drawn.top_up()
        thread.join(30)
        assert found == list(range(50))
        assert sampler.threads == {threading.get_ident()}


def test_it_draws_no_further_ahead_than_it_may() -> None:
    """So many are not taken; each that is taken makes room for one."""
    sampler = Sampler()
    drawn = UserDrawn(sampler, ahead=4)
    drawn.top_up()
    drawn.top_up()
    assert sampler.asked == 4
    next(drawn)  # asked for, but not with the user yet
    drawn.top_up()
    assert sampler.asked == 4
    drawn.took()
    drawn.took()
    drawn.top_up()
    assert sampler.asked == 6


def test_the_end_stays_the_end() -> None:
    """And the sampler is not asked again."""
    sampler = Sampler(2)
    drawn = UserDrawn(sampler, ahead=10)
    drawn.top_up()
    drawn.top_up()
    assert sampler.asked == 3
    assert numbers(drawn) == [0, 1]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(drawn)


def test_an_error_comes_after_the_requests_before_it() -> None:
    """On the other thread, as it is; the user's thread goes on."""
    drawn = UserDrawn(Sampler(3, ZeroDivisionError("no more")), ahead=10)
    drawn.top_up()

    def consume() -> list[int]:
        found = [next(drawn).indices[0] for _ in range(3)]
        with pytest.raises(ZeroDivisionError, match="no more"):
            next(drawn)
        with pytest.raises(StopIteration):
            next(drawn)
        return found

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(consume).result(timeout=30) == [0, 1, 2]


def test_an_interrupt_is_raised_where_it_came_too() -> None:
    """Ctrl-C within the sampler: on the user's thread; the other one learns that there will be no more."""
    drawn = UserDrawn(Sampler(1, KeyboardInterrupt()), ahead=10)
    with pytest.raises(KeyboardInterrupt):
        drawn.top_up()
    assert next(drawn).indices == [0]
    with pytest.raises(KeyboardInterrupt):
        next(drawn)


def test_stop_ends_a_wait_from_any_thread() -> None:
    """Whoever waits, and whoever asks later."""
    drawn = UserDrawn(Sampler(), ahead=0)
    waiting = threading.Event()

    def consume() -> int:
        waiting.set()
        for _ in range(2):
            with pytest.raises(JobCancelledError):
                next(drawn)
        return 1

    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(consume)
        assert waiting.wait(30)
        drawn.stop()
        assert end.result(timeout=30) == 1


def test_stop_leaves_what_was_drawn_behind() -> None:
    """Nothing more is drawn or given out."""
    sampler = Sampler()
    drawn = UserDrawn(sampler, ahead=2)
    drawn.top_up()
    drawn.stop()
    drawn.took()
    drawn.top_up()
    assert sampler.asked == 2
    for _ in range(5):
        with pytest.raises(JobCancelledError):
            next(drawn)
