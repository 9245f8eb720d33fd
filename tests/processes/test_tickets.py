"""What worker processes are asked for: one pass, or one after the other."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from worker_datasets import requests

from dalikit.errors import ArgumentError
from dalikit.fetch.batch import Request
from dalikit.processes.tickets import Tickets
from dalikit.processes.worker import Ticket


def draw(tickets: Tickets) -> Ticket:
    """The next one, as a worker gets it."""
    ticket = pickle.loads(pickle.dumps(next(tickets)))
    assert isinstance(ticket, Ticket)
    return ticket


def test_one_pass_has_an_end() -> None:
    """As many tickets as requests, numbered; what only the loader needs stays here."""
    tickets = Tickets(2, endless=False)
    assert tickets.begin(requests(3, passes=7), 7) == 0
    drawn = [draw(tickets) for _ in range(3)]
    assert [(ticket.number, ticket.tag, ticket.passes) for ticket in drawn] == [(0, 0, 7), (1, 0, 7), (2, 0, 7)]
    assert [ticket.request.indices.tolist() for ticket in drawn if ticket.request] == [[0, 1], [2, 3], [4, 5]]
    assert [ticket.request.state for ticket in drawn if ticket.request] == [None] * 3
    assert [ticket.request.state for ticket in tickets.out if ticket.request] == [{"number": row} for row in range(3)]
    assert (tickets.awaited, tickets.exhausted) == (3, False)
    with pytest.raises(StopIteration):
        next(tickets)
    assert tickets.exhausted
    assert [tickets.answered().number for _ in range(3)] == [0, 1, 2]
    assert tickets.awaited == 0


def test_a_pass_is_followed_by_tickets_that_want_nothing() -> None:
    """As many as are drawn; they are not waited for."""
    tickets = Tickets(2, endless=True)
    tickets.begin(requests(1), 0)
    assert [draw(tickets).request is None for _ in range(4)] == [False, True, True, True]
    assert (tickets.awaited, len(tickets.out)) == (1, 4)


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("before", [0, 1, 2, 3, 4])
def test_each_pass_begins_with_the_same_worker(before: int, first: int) -> None:
    """Whatever came before it."""
    tickets = Tickets(3, endless=True)
    tickets.begin(requests(before), 0)
    for _ in range(before):
        draw(tickets)
    assert tickets.begin(requests(2), 1, first) == 1
    drawn = [draw(tickets) for _ in range(5)]
    wanted = [ticket.number for ticket in drawn if ticket.request is not None]
    assert wanted[0] % 3 == first
    assert wanted == [wanted[0], wanted[0] + 1]
    assert wanted[0] - before < 3


def test_tickets_of_an_earlier_pass_are_not_waited_for() -> None:
    """Their answers come first, and are dropped."""
    tickets = Tickets(1, endless=True)
    tickets.begin(requests(5), 0)
    draw(tickets), draw(tickets)
    tickets.begin(requests(5), 1)
    draw(tickets)
    assert tickets.awaited == 1
    assert [tickets.answered().tag for _ in range(2)] == [0, 0]
    assert tickets.awaited == 1
    assert tickets.answered().tag == 1
    assert tickets.awaited == 0


def broken(error: Exception) -> Iterator[Request]:
    """One request, then an error."""
    yield from requests(1)
    raise error


@pytest.mark.parametrize("endless", [False, True])
def test_an_error_of_the_requests_waits_for_its_turn(endless: bool) -> None:
    """It is not raised into torch, which would lose an answer."""
    tickets = Tickets(1, endless=endless)
    error = ValueError("of the sampler")
    tickets.begin(broken(error), 0)
    draw(tickets)
    if endless:
        assert draw(tickets).request is None
    else:
        with pytest.raises(StopIteration):
            next(tickets)
    assert tickets.failure is error
    assert (tickets.exhausted, tickets.awaited) == (True, 1)


def test_what_does_not_pickle_is_named() -> None:
    """Torch would print it, and wait for ever."""
    odd: Any = lambda: 0  # noqa: E731
    tickets = Tickets(1, endless=True)
    tickets.begin(iter([Request([odd], np.zeros(1, dtype=np.int64), 1)]), 0)
    assert draw(tickets).request is None
    assert tickets.awaited == 0
    message = r"the batch with indices \[<function.*lambda.*cannot be sent to worker processes.*must yield what pickles"
    assert isinstance(tickets.failure, ArgumentError)
    with pytest.raises(ArgumentError, match=message):
        raise tickets.failure
