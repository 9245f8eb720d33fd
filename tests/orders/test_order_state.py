"""The order's part of a loader's state, and older states without the part that came later."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dalikit.errors import StateError
from dalikit.orders import OrderState, SamplerOrder
from dalikit.state import LoaderState, check_state
from samplers import KeyedEpochSampler, KeyedInfiniteSampler, SequentialSampler

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


def changed(**values: Any) -> dict[str, Any]:
    """A state with something else in it."""
    return {**state_of(None).to_dict(), **values}


@pytest.mark.parametrize(
    ("state", "match"),
    [
        ("{}", r"must be what state_dict\(\) gave, a dict, came str: json.loads it first"),
        ([], r"must be what state_dict\(\) gave, a dict, came list$"),
        ({}, r"is no loader's state \(its keys: none\); give"),
        (
            {"model": 1, "loader": state_of(None).to_dict()},
            r"\(its keys: 'loader', 'model'\); there is one at \['loader'\]",
        ),
        (changed(version=True), r"state\['version'\]=True: this dalikit reads version 1"),
        (changed(more=1), r"state: has unknown keys 'more'; is it"),
        ({key: value for key, value in changed().items() if key != "place"}, r"state: lacks 'place'; is it"),
        (changed(**{"1": 1}) | {1: 2}, r"state: has unknown keys '1', '<int>'"),
        (changed(world_size=0), r"state\['world_size'\]=0: must be a whole number, at least 1"),
        (changed(place=-1), r"state\['place'\]=-1: must be a whole number, at least 0"),
        (changed(place=1.0), r"state\['place'\]=1\.0: must be"),
        (changed(place=10**5000), r"state: has a number of 16,610 bits"),
        (changed(sampler={"seed": 10**5000}), r"state: has a number of 16,610 bits"),
        (changed(sampler=[1]), r"state\['sampler'\]: must be what state_dict\(\) gave, came \[1\]"),
        (changed(transform=None), r"state\['transform'\]: must be what .*, came None"),
        (changed(dataset=np.zeros(3)), r"state\['dataset'\]: must be what .*, came '<ndarray>'"),
        (changed(dataset=list(range(20_000))), r"state: has more than 1,000 parts, or too deep ones"),
        (changed(exclude=5), r"state\['exclude'\]: must be what .*, came 5"),
    ],
    ids=lambda given: given[:40] if isinstance(given, str) else "state",
)
def test_what_is_no_state_is_refused(state: Any, match: str) -> None:
    """In words of a bounded length."""
    with pytest.raises(StateError, match=match) as caught:
        LoaderState.from_dict(state)
    assert len(str(caught.value)) < 1000


def test_a_deep_state_is_refused() -> None:
    """However deep."""
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"deeper": deep}
    with pytest.raises(StateError, match="too deep"):
        LoaderState.from_dict(changed(dataset=deep))


def test_long_texts_are_told_apart_and_shown_short() -> None:
    """By a hash of all of it."""
    one, other = (LoaderState.from_dict(changed(dataset={"fingerprint": "x" * 10_000 + end})) for end in "ab")
    assert one.dataset != other.dataset
    assert len(str(one.dataset)) < 200


def test_an_epoch_that_is_not_the_pass_is_refused() -> None:
    """Where the epoch follows the pass: no loader makes such a state, and its place would be lost."""
    order = SamplerOrder(KeyedEpochSampler(sample_count=9), own=False, batch_size=2, drop_last=False)
    state = order.fresh_state()
    with pytest.raises(StateError, match=r"state\['epoch'\]=5, state\['passes'\]=0: must be equal with this sampler"):
        order.load(replace(state, epoch=5, place=4))
    order.load(replace(state, epoch=5, passes=5, place=4))
    assert order.begin().taken == 4


def test_the_last_place_of_an_endless_stream() -> None:
    """One further is refused when it is loaded."""
    order = SamplerOrder(
        KeyedInfiniteSampler(sample_count=9, start=0, step=2), own=False, batch_size=2, drop_last=False
    )
    fresh = LoaderState.of_order(order.fresh_state(), **OTHERS)
    for place, match in ((2**61 - 1, None), (2**61, "is beyond the end: a pass has 2,305,843,009,213,693,951 places")):
        state = replace(fresh, place=place)
        if match is None:
            check_state(state, fresh, size=order.size, adopt=frozenset(), bound_to_ranks=None)
            order.load(state.order)
            assert next(order.requests(order.begin())).positions.tolist() == [place, place + 2]
        else:
            with pytest.raises(StateError, match=match):
                check_state(state, fresh, size=order.size, adopt=frozenset(), bound_to_ranks=None)
