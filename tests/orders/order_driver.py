"""Drives an order as a loader does: draws ahead, moves its progress on with every batch, keeps its state as text."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np

from dalikit.fetch import Request
from dalikit.orders import Order, OrderState, Progress
from dalikit.state import LoaderState, check_state

AnyOrder = TypeVar("AnyOrder", bound=Order)
Batch = Any
"""Indices as plain objects."""


def iterate(order: Order, *, ahead: int = 0) -> Iterator[Request]:
    """One iteration, with so many batches drawn ahead of the one that is given."""
    progress = order.begin()
    return _taken(order, progress, order.requests(progress), ahead)


def _taken(order: Order, progress: Progress, requests: Iterator[Request], ahead: int) -> Iterator[Request]:
    drawn: deque[Request] = deque()
    while True:
        drawn.extend(itertools.islice(requests, ahead + 1 - len(drawn)))
        if not drawn:
            order.end_pass(progress)
            return
        request = drawn.popleft()
        progress.taken, progress.state = request.taken, request.state
        order.count(progress)
        yield request


def indices(request: Request) -> Batch:
    """As plain objects; of an unbatched request the one index."""
    found = [int(index) if isinstance(index, np.integer) else index for index in request.indices]
    return found if request.batched else found[0]


def batches(order: Order, *, ahead: int = 0) -> list[Batch]:
    """One whole iteration."""
    return [indices(request) for request in iterate(order, ahead=ahead)]


def flat(batches: list[Any]) -> list[Any]:
    """All indices, one after the other."""
    return list(itertools.chain.from_iterable(batches))


def run(order: Order, count: int, *, ahead: int = 0) -> tuple[list[Any], list[str]]:
    """Batches with their positions, over as many passes as that takes, and the state before any and after each."""
    found: list[Any] = []
    states = [saved(order, under_way=False)]
    while len(found) < count:
        for request in iterate(order, ahead=ahead):
            found.append((indices(request), request.positions.tolist()))
            states.append(saved(order, under_way=True))
            if len(found) == count:
                break
    return found, states


def saved(order: Order, *, under_way: bool) -> str:
    """The state, as a loader writes it."""
    return json.dumps(whole(order.state(under_way=under_way)).to_dict())


def restore(order: AnyOrder, state: str) -> AnyOrder:
    """Loads what `saved` gave, as a loader does."""
    theirs = LoaderState.from_dict(json.loads(state))
    check_state(
        theirs, whole(order.fresh_state()), size=order.size, adopt=frozenset(), bound_to_ranks=order.bound_to_ranks
    )
    order.load(theirs.order)
    return order


def whole(state: OrderState) -> LoaderState:
    """With the fields that are not the order's."""
    return LoaderState.of_order(state, seed=0, dataset={}, transform="", executor="host")
