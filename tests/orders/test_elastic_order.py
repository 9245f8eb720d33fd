"""One pass after another on changing numbers of ranks: together the ranks take what one rank alone would have taken."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from order_driver import iterate, restore, saved

from dalikit.errors import StateError
from dalikit.orders import SamplerOrder
from samplers import (
    DistributedSampler,
    EpochSampler,
    InfiniteSampler,
    KeyedEpochSampler,
    KeyedInfiniteSampler,
    Sampler,
    ShardedInfiniteSampler,
)

Make = Callable[[int, int, int], Sampler]
"""Of a number of samples, a rank and a number of ranks."""

FINITE: dict[str, Make] = {
    "epoch": lambda n, rank, world: EpochSampler(
        size=n + 3, sample_count=n, shuffle=True, seed=3, start=rank, step=world
    ),
    "distributed": lambda n, rank, world: DistributedSampler(n, num_replicas=world, rank=rank, seed=3),
    "uneven": lambda n, rank, world: KeyedEpochSampler(sample_count=n, seed=3, start=rank, step=world),
    "pad": lambda n, rank, world: KeyedEpochSampler(sample_count=n, seed=3, start=rank, step=world, tail="pad"),
    "in order": lambda n, rank, world: KeyedEpochSampler(sample_count=n, shuffle=False, start=rank, step=world),
}
BOUND: dict[str, Make] = {
    "InfiniteSampler": lambda n, rank, world: InfiniteSampler(
        sample_count=n, shuffle=True, seed=3, start=rank, step=world
    ),
    "ShardedInfiniteSampler": lambda n, rank, world: ShardedInfiniteSampler(
        sample_count=n, shuffle=True, seed=3, start=rank, step=world
    ),
}

LEGS = st.lists(
    st.tuples(st.integers(1, 16), st.integers(1, 7), st.integers(0, 6)),
    min_size=1,
    max_size=4,
)
"""Runs, one after the other: ranks, batch size, and after how many batches it is cut off."""

Taken = list[tuple[int, int]]
"""Index and position."""


def endless(n: int, rank: int, world: int) -> Sampler:
    """The one that has no passes."""
    return KeyedInfiniteSampler(sample_count=n, seed=3, start=rank, step=world)


def leg(make: Make, n: int, world: int, batch_size: int, batches: int, state: str | None) -> tuple[Taken, list[str]]:
    """What the ranks together take in one run, in the order of the places, and the state of each at the cut."""
    shares, states = [], []
    for rank in range(world):
        order = SamplerOrder(make(n, rank, world), own=True, batch_size=batch_size, drop_last=False)
        if state is not None:
            restore(order, state)
        share: Taken = []
        requests = iterate(order)
        for request in itertools.islice(requests, batches):
            share += zip(request.indices.tolist(), request.positions.tolist(), strict=True)  # type: ignore[union-attr]
        shares.append(share)
        states.append(saved(order, under_way=True))
    dealt = itertools.zip_longest(*shares)
    return [sample for round_ in dealt for sample in round_ if sample is not None], states


def uncut(make: Make, n: int, count: int) -> Taken:
    """The first samples of a pass on one rank, without what pads it."""
    sampler = make(n, 0, 1)
    indices, places = sampler.stretch(0, 0, min(count, sampler.size or count))
    return list(zip(indices.tolist(), places.tolist(), strict=True))


@pytest.mark.parametrize("name", FINITE)
@given(n=st.integers(1, 90), legs=LEGS, rank=st.integers(0, 15))
def test_a_pass_on_changing_numbers_of_ranks(name: str, n: int, legs: list[tuple[int, int, int]], rank: int) -> None:
    """None twice, none lost, in order; the states of all ranks are the same; the last run goes to the end."""
    make, state, taken = FINITE[name], None, []
    for number, (world, batch_size, batches) in enumerate(legs):
        if number == len(legs) - 1:
            batches = n + 4
        else:  # cut off before any rank comes to the end
            least = max(0, (make(n, 0, 1).size or 0) - len(taken)) // world
            batches = min(batches, -(-least // batch_size))
        some, states = leg(make, n, world, batch_size, batches, state)
        assert len(set(states)) == 1
        state = states[rank % world]
        taken += some
    whole = uncut(make, n, n + 3)
    assert taken[: len(whole)] == whole
    assert set(taken[len(whole) :]) <= set(whole)  # repeats that pad, at the very end
    assert len(taken) - len(whole) < max(world for world, _, _ in legs)


@given(n=st.integers(1, 40), legs=LEGS)
def test_an_endless_stream_on_changing_numbers_of_ranks(n: int, legs: list[tuple[int, int, int]]) -> None:
    """Over the ends of epochs."""
    taken: Taken = []
    state = None
    for world, batch_size, batches in legs:
        some, states = leg(endless, n, world, batch_size, batches, state)
        taken, state = taken + some, states[-1]
    assert taken == uncut(endless, n, len(taken))


@pytest.mark.parametrize("name", FINITE)
def test_the_pass_after_it_is_whole(name: str) -> None:
    """A pass that was dealt out anew ends; the next one begins at its beginning, for the ranks that there are."""
    make = FINITE[name]
    state = leg(make, 23, 8, 1, 1, None)[1][3]
    passes: list[Taken] = [[], []]
    for rank in range(3):
        order = restore(SamplerOrder(make(23, rank, 3), own=True, batch_size=4, drop_last=False), state)
        fresh = SamplerOrder(make(23, rank, 3), own=True, batch_size=4, drop_last=False)
        list(iterate(fresh))
        for number in range(2):
            for request in iterate(order):
                passes[number] += zip(request.indices, request.positions, strict=True)
        expected = [request.positions.tolist() for request in iterate(fresh)]
        again = restore(SamplerOrder(make(23, rank, 3), own=True, batch_size=4, drop_last=False), state)
        list(iterate(again))
        assert [request.positions.tolist() for request in iterate(again)] == expected
    size = make(23, 0, 3).size or 0
    assert len({position for _, position in passes[0]}) == size - 8
    assert len({position for _, position in passes[1]}) == size


def test_with_drop_last_all_ranks_have_as_many_batches() -> None:
    """The rest of 23 samples from place 8 on: 15 on 4 ranks are 4, 4, 4 and 3, so whole batches of 2 are 1 each."""
    state = leg(FINITE["uneven"], 23, 8, 1, 1, None)[1][0]
    counts = []
    for rank in range(4):
        order = SamplerOrder(FINITE["uneven"](23, rank, 4), own=True, batch_size=2, drop_last=True)
        assert len(order) == 2  # of a whole pass: 23 on 4 ranks are 5 at least
        counts.append(len(list(iterate(restore(order, state)))))
    assert counts == [1, 1, 1, 1]


@pytest.mark.parametrize("name", BOUND)
def test_others_refuse_and_say_what_to_use(name: str) -> None:
    """With both numbers of ranks."""
    state = leg(BOUND[name], 23, 2, 5, 1, None)[1][0]
    order: Any = SamplerOrder(BOUND[name](23, 0, 3), own=False, batch_size=5, drop_last=False)
    with pytest.raises(StateError, match=rf"(?s)world_size in the state:  2.*: 3.*{name} shares.*KEYED_INFINITE"):
        restore(order, state)
