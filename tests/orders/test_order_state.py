"""The order's part of a loader's state, and older states without the part that came later."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dalikit.errors import StateError
from dalikit.orders import OrderState, SamplerOrder
from dalikit.state import LoaderState
from samplers import SequentialSampler

OTHERS: dict[str, Any] = {"seed": 3, "dataset": {"length": 9}, "transform": "t", "executor": "host"}


def state_of(extra: dict[str, Any] | None) -> LoaderState:
    """A whole state."""
    order = OrderState(passes=1, place=6, epoch=1, world_size=2, sampler={"seed": 3}, extra=extra)
    return LoaderState.of_order(order, **OTHERS)


@pytest.mark.parametrize("extra", [None, {}, {"deep": [{"a": 1}]}], ids=str)
def test_a_state_goes_there_and_back(extra: dict[str, Any] | None) -> None:
    """Through text, with the order's part as it was."""
    state = state_of(extra)
    back = LoaderState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert back == state
    assert back.order == state.order
    assert back.order.extra == extra
    assert (back.seed, back.version) == (3, 1)


def test_a_state_has_always_the_same_keys() -> None:
    """Nested as one thing at most: a distributed checkpoint takes it apart, and loads what a fresh loader has."""
    order = SamplerOrder(SequentialSampler(9), own=True, batch_size=2, drop_last=False)
    state = LoaderState.of_order(order.state(under_way=False), **OTHERS).to_dict()
    assert list(state) == [
        "passes",
        "place",
        "epoch",
        "seed",
        "world_size",
        "sampler",
        "dataset",
        "transform",
        "executor",
        "version",
        "extra",
        "exclude",
    ]
    assert LoaderState.from_dict(state).extra is None
    assert list(state_of({"deep": [{"a": 1}]}).to_dict()) == list(state)
    without = {name: value for name, value in state.items() if name not in ("extra", "exclude")}
    assert LoaderState.from_dict(without) == LoaderState.from_dict(state)
    assert LoaderState.from_dict({**state, "extra": {"a": 1}}).extra == {"a": 1}


@pytest.mark.parametrize("extra", [1, "text", "5", [1]])
def test_an_extra_that_is_no_dict_is_refused(extra: Any) -> None:
    """Whatever it is."""
    with pytest.raises(StateError, match=r"state\['extra'\]=.*: must be what state_dict\(\) gave, a text or nothing"):
        LoaderState.from_dict({**state_of(None).to_dict(), "extra": extra})
