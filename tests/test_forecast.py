"""What a state foretells is what loaders do that go on from it, on any number of ranks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import samplers
from dalikit import DataLoader
from dalikit.errors import StateError
from dalikit.forecast import Batches, Forecast, bound_to_ranks, sampler_of, untold
from dalikit.state import LoaderState
from samplers import (
    DistributedSampler,
    EpochSampler,
    InfiniteSampler,
    KeyedEpochSampler,
    KeyedInfiniteSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    ShardedInfiniteSampler,
)

COUNT = 23
"""Samples: prime, so that no batch size and no number of ranks divides them."""

FINITE: dict[str, Callable[[int, int], Sampler]] = {
    "epoch": lambda rank, ranks: EpochSampler(size=COUNT, sample_count=COUNT, shuffle=True, start=rank, step=ranks),
    "epoch, longer": lambda rank, ranks: EpochSampler(
        size=31, sample_count=COUNT, shuffle=True, start=rank, step=ranks
    ),
    "epoch, in order": lambda rank, ranks: EpochSampler(size=31, sample_count=COUNT, start=rank, step=ranks),
    "distributed": lambda rank, ranks: DistributedSampler(COUNT, num_replicas=ranks, rank=rank, seed=5),
    "distributed, cut": lambda rank, ranks: DistributedSampler(COUNT, num_replicas=ranks, rank=rank, drop_last=True),
    "keyed": lambda rank, ranks: KeyedEpochSampler(sample_count=COUNT, start=rank, step=ranks, seed=3),
    "keyed, repeated": lambda rank, ranks: KeyedEpochSampler(sample_count=COUNT, start=rank, step=ranks, repeats=3),
    "keyed, padded": lambda rank, ranks: KeyedEpochSampler(sample_count=COUNT, start=rank, step=ranks, tail="pad"),
    "keyed, cut": lambda rank, ranks: KeyedEpochSampler(sample_count=COUNT, start=rank, step=ranks, tail="drop"),
    "random": lambda rank, ranks: RandomSampler(COUNT, seed=7),  # noqa: ARG005 - the same on every rank
    "sequential": lambda rank, ranks: SequentialSampler(COUNT),  # noqa: ARG005
}
KEYED_ENDLESS: dict[str, Callable[[int, int], Sampler]] = {
    "keyed": lambda rank, ranks: KeyedInfiniteSampler(sample_count=COUNT, start=rank, step=ranks, seed=3),
    "repeated": lambda rank, ranks: KeyedInfiniteSampler(sample_count=COUNT, start=rank, step=ranks, repeats=2),
}
BOUND: dict[str, Callable[[int, int], Sampler]] = {
    "infinite": lambda rank, ranks: InfiniteSampler(sample_count=COUNT, shuffle=True, start=rank, step=ranks),
    "infinite, in order": lambda rank, ranks: InfiniteSampler(sample_count=COUNT, start=rank, step=ranks),
    "sharded": lambda rank, ranks: ShardedInfiniteSampler(sample_count=COUNT, shuffle=True, start=rank, step=ranks),
    "sharded, in order": lambda rank, ranks: ShardedInfiniteSampler(sample_count=COUNT, start=rank, step=ranks),
    "sharded, new": lambda rank, ranks: ShardedInfiniteSampler(
        sample_count=COUNT, shuffle=True, start=rank, step=ranks, use_new_shuffle_tensor_slice=True
    ),
}
ALL = {
    f"{kind}: {name}": make
    for kind, group in (("finite", FINITE), ("endless", KEYED_ENDLESS), ("bound", BOUND))
    for name, make in group.items()
}


def loader_of(sampler: Sampler, *, batch_size: int = 3, drop_last: bool = False) -> DataLoader:
    """A loader of numbers: each sample is its index."""
    return DataLoader(range(COUNT), sampler=sampler, batch_size=batch_size, drop_last=drop_last, seed=0, device="cpu")


def state_after(sampler: Sampler, batches: int, *, epoch: int = 0, batch_size: int = 3) -> dict[str, Any]:
    """What a loader saves after so many batches of a pass, as JSON gives it back."""
    with loader_of(sampler, batch_size=batch_size) as loader:
        loader.set_epoch(epoch)
        for _ in itertools.islice(loader, batches):
            pass
        state: dict[str, Any] = json.loads(json.dumps(loader.state_dict()))
        return state


def resumed(state: dict[str, Any], sampler: Sampler, **arguments: Any) -> DataLoader:
    """A loader that goes on from a state."""
    loader = loader_of(sampler, **arguments)
    loader.load_state_dict(state)
    return loader


def taken(loader: DataLoader, batches: int | None = None) -> list[list[int]]:
    """The batches of one iteration, of an endless one so many."""
    with loader:
        return [batch.tolist() for batch in itertools.islice(loader, batches)]


def forecast_of(state: dict[str, Any], ranks: int) -> Forecast:
    """A forecast."""
    return Forecast(LoaderState.from_dict(state), ranks)


@settings(max_examples=60)
@given(data=st.data())
def test_what_comes_next_is_what_a_resumed_loader_gives(data: st.DataObject) -> None:
    """Over samplers, cuts, passes, numbers of ranks and ranks; places follow the order of the pass."""
    name = data.draw(st.sampled_from(sorted(ALL)))
    before = data.draw(st.integers(1, 4))
    after = before if name.startswith("bound") else data.draw(st.integers(1, 6))
    rank = data.draw(st.integers(0, after - 1))
    state = state_after(ALL[name](0, before), data.draw(st.integers(0, 9)), epoch=data.draw(st.integers(0, 2)))
    count = data.draw(st.integers(1, 14))
    found = forecast_of(state, after).next(rank, count)
    loader = resumed(state, ALL[name](rank, after))
    expected = list(itertools.chain.from_iterable(taken(loader, 5)))[:count]
    assert found.indices == expected
    assert len(found.places) == len(expected)
    if name.startswith("finite") and "padded" not in name and name != "finite: distributed":
        assert all(place >= state["place"] for place in found.places)


@settings(max_examples=30)
@given(data=st.data())
def test_what_is_left_is_what_all_resumed_loaders_give(data: st.DataObject) -> None:
    """Samples of each rank, repeats and drops, batches in both ways, the last global batch, and what is in none."""
    name = data.draw(st.sampled_from(sorted(FINITE)))
    before, after, size = (data.draw(st.integers(1, most)) for most in (4, 5, 6))
    state = state_after(FINITE[name](0, before), data.draw(st.integers(0, 9)))
    forecast = forecast_of(state, after)
    for drop_last in (False, True):
        runs = [
            taken(resumed(state, FINITE[name](rank, after), batch_size=size, drop_last=drop_last))
            for rank in range(after)
        ]
        batches, counts = forecast.batches(size, drop_last=drop_last), [len(run) for run in runs]
        assert batches is not None
        assert (batches.most, batches.least) == (max(counts), min(counts))
        assert batches.done_earlier == sum(count < max(counts) for count in counts)
        assert batches.last == sum(len(run[max(counts) - 1]) for run in runs if len(run) == max(counts) > 0)
        had = [sum(map(len, run)) for run in runs]
        if not drop_last:
            whole = had
            assert [share.samples for share in forecast.shares for _ in range(share.start, share.stop)] == whole
        assert batches.left_out == sum(whole) - sum(had)
    assert forecast.alike == (name in ("random", "sequential"))
    if not forecast.alike:
        assert forecast.left is not None
        assert forecast.left + forecast.repeated - forecast.dropped == sum(whole)
        assert forecast.repeated * forecast.dropped == 0


def test_ranks_that_are_done_a_step_earlier_are_counted() -> None:
    """9 samples are left for 4 ranks: 3, 2, 2 and 2, in batches of 2."""
    state = {**state_after(FINITE["keyed"](0, 1), 0), "place": COUNT - 9}
    batches = forecast_of(state, 4).batches(2, drop_last=False)
    assert batches == Batches(most=2, least=1, done_earlier=3, last=1, left_out=0)
    assert forecast_of(state_after(KEYED_ENDLESS["keyed"](0, 1), 0), 4).batches(2, drop_last=False) is None


@pytest.mark.parametrize("name", [*KEYED_ENDLESS, *BOUND])
def test_where_an_endless_rank_is(name: str) -> None:
    """Counted through from the beginning: an epoch holds every sample of it as often as the next."""
    make, ranks = {**KEYED_ENDLESS, **BOUND}[name], 2
    state = state_after(make(0, ranks), 11)
    for rank in range(ranks):
        where = forecast_of(state, ranks).where(rank)
        assert where is not None
        assert where.own == name.startswith("sharded")
        sampler, first = make(rank, ranks), 33
        if where.own:
            assert where.epoch * where.size + where.place == first
            epochs = [sampler.indices(number * where.size, (number + 1) * where.size).tolist() for number in range(3)]
            assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
            assert len({*epochs[0]}) == where.size
        else:
            assert where.epoch * where.size + where.place == sampler.places(first, first + 1)[0]
            assert where.size == COUNT * (2 if name == "repeated" else 1)
    assert forecast_of(state_after(FINITE["keyed"](0, 2), 1), 2).where(0) is None


@pytest.mark.parametrize("name", ALL)
def test_a_sampler_is_made_of_its_identity(name: str) -> None:
    """For any rank; the ranks are not the state's."""
    identity = state_after(ALL[name](0, 2), 0)["sampler"]
    made = sampler_of(identity, 1, 3)
    assert repr(made) == repr(ALL[name](1, 3))
    assert type(made).__name__ in samplers.__all__


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "Sampler"}, "must name a sampler of the package samplers, came 'Sampler'"),
        ({"sampler": "position"}, "must name a sampler of the package samplers, came 'position'"),
        ({"sampler": "os.system"}, "must name a sampler of the package samplers"),
        ({"sampler": ["KeyedEpochSampler"]}, "must name a sampler of the package samplers"),
        ({"batch_sampler": "X"}, "must name a sampler of the package samplers"),
        ({"sample_count": 0}, "cannot be KeyedEpochSampler's: sample_count is 0, but must lie in"),
        ({"seed": 1.0}, "cannot be KeyedEpochSampler's: seed is 1.0"),
        ({"shuffle": 1}, "cannot be KeyedEpochSampler's: shuffle is 1"),
        ({"tail": "long"}, "cannot be KeyedEpochSampler's: tail is 'long'"),
        ({"advance": 3}, "has another 'advance'; use the dalikit that made the state"),
        ({"start": 0, "step": 1}, "has another 'start', 'step'; use"),
        ({"new": None}, "has another 'new'; use"),
        ({"weights": "91d2"}, "follows from weights, of which a state holds only a hash; make the sampler with its"),
    ],
    ids=str,
)
def test_an_identity_that_no_sampler_has_is_refused(changes: dict[str, Any], message: str) -> None:
    """Nothing of it is called or looked up but the package's own classes."""
    identity = {**state_after(FINITE["keyed"](0, 2), 0)["sampler"], **changes}
    with pytest.raises(StateError, match=r"state\['sampler'\]: ") as caught:
        sampler_of(identity, 0, 1)
    assert message in str(caught.value)


def test_a_key_that_is_missing_is_refused() -> None:
    """Even where the sampler has a default for it."""
    identity = state_after(FINITE["keyed"](0, 2), 0)["sampler"]
    for key in ("tail", "size", "sample_count"):
        with pytest.raises(StateError, match="KeyedEpochSampler"):
            sampler_of({name: value for name, value in identity.items() if name != key}, 0, 1)


class Stream(torch.utils.data.IterableDataset[int]):
    """An iterable dataset."""

    def __iter__(self) -> Any:
        """Three numbers."""
        return iter(range(3))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda ranks: DataLoader(range(9), sampler=[3, 1], seed=0, **ranks), "a torch-style sampler says itself"),
        (lambda ranks: DataLoader(Stream(), seed=0, **ranks), "an iterable dataset says itself"),
        (lambda ranks: loader_of(BOUND["infinite"](0, ranks["world_size"])), None),
        (lambda ranks: loader_of(BOUND["sharded"](0, ranks["world_size"])), None),
    ],
    ids=["foreign", "iterable", "infinite", "sharded"],
)
def test_the_reason_of_a_refusal_is_that_of_loading(make: Callable[[Any], DataLoader], text: str | None) -> None:
    """The same sentence, for each kind of order."""
    state = make({"world_size": 2, "rank": 0, "device": "cpu"}).state_dict()
    reason, why = bound_to_ranks(state["sampler"]), untold(state["sampler"])
    assert reason is not None
    with pytest.raises(StateError) as caught:
        make({"world_size": 3, "rank": 0, "device": "cpu"}).load_state_dict(state)
    assert reason in str(caught.value)
    if text is not None:
        assert why is not None
        assert text in why
    else:
        assert why is None
        with pytest.raises(StateError, match="world_size=3: the state was made by 2 ranks; ") as caught:
            forecast_of(state, 3)
        assert reason in str(caught.value)


def test_a_class_that_is_not_there_is_told_nothing_of() -> None:
    """Of a newer dalikit, or of nobody."""
    assert untold({"sampler": "BetterSampler"}) == bound_to_ranks({"sampler": "BetterSampler"})
    assert "no sampler 'BetterSampler'; use the one that made the state" in str(untold({"sampler": "BetterSampler"}))


@pytest.mark.parametrize(
    ("sampler", "told"),
    [
        (KeyedEpochSampler(sample_count=2**39, start=0, step=8), None),
        (KeyedInfiniteSampler(sample_count=2**39, start=0, step=8), None),
        (EpochSampler(size=2**39, sample_count=2**39, start=0, step=8), None),
        (SequentialSampler(2**39), None),
        (EpochSampler(size=2**39, sample_count=7, shuffle=True, start=0, step=8), "549,755,813,894 samples would have"),
        (EpochSampler(size=7, sample_count=2**39, shuffle=True, start=0, step=8), "549,755,813,888 samples would have"),
        (RandomSampler(2**39), "549,755,813,888 samples would have to be shuffled for it; load the state"),
        (DistributedSampler(2**39, num_replicas=8, rank=0), "549,755,813,888 samples would have to be shuffled"),
        (InfiniteSampler(sample_count=9, shuffle=True, start=0, step=8), "random numbers would have to be drawn"),
        (ShardedInfiniteSampler(sample_count=9 * 10**7, shuffle=True, start=0, step=8), "one after the other for it"),
    ],
    ids=repr,
)
def test_large_numbers_cost_nothing(sampler: Sampler, told: str | None) -> None:
    """Of orders that would have to be worked out whole only places are told, and why."""
    identity = {key: value for key, value in sampler.identity().items() if key not in ("rank", "world_size")}
    place = 2**38 if sampler.size is None else min(2**38, sampler.size // 2)
    state = LoaderState(
        passes=0,
        place=place,
        epoch=0,
        seed=0,
        world_size=sampler.step,
        sampler=identity,
        dataset={},
        transform="",
        executor="host",
    )
    found = Forecast(state, sampler.step).next(0, 1)
    assert (found.indices is None) == (told is not None)
    assert told is None or told in str(found.reason)
    assert len(found.places) == 1
    assert found.places[0] >= place or not sampler.elastic


def test_of_weighted_samplers_only_places_are_told() -> None:
    """The weights are not in the state."""
    sampler = KeyedEpochSampler(sample_count=COUNT, start=0, step=2, weights=[1.0] * (COUNT - 1) + [5.0])
    found = forecast_of(state_after(sampler, 2), 3).next(1, 4)
    assert found.places == [13, 16, 19, 22]
    assert found.indices is None
    assert "follows from weights" in str(found.reason)


def test_a_place_beyond_the_end_is_refused() -> None:
    """As loading refuses it."""
    state = state_after(FINITE["keyed"](0, 2), 1)
    with pytest.raises(StateError, match=r"state\['place'\]=24: is beyond the end"):
        forecast_of({**state, "place": 24}, 2)
