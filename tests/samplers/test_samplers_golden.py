"""Index for index what DINOv2 and torch yield: against what was recorded from them, and against slow twins."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import sampler_twins
import torch.utils.data
from hypothesis import example, given, settings
from hypothesis import strategies as st

import samplers
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

RECORDED = [json.loads(line) for line in (Path(__file__).parent / "dinov2_streams.jsonl").read_text().splitlines()]
CASES = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("name", ["InfiniteSampler", "ShardedInfiniteSampler", "EpochSampler", "DistributedSampler"])
@pytest.mark.parametrize("shuffle", [False, True], ids=["in_order", "shuffled"])
def test_streams_are_those_that_were_recorded(name: str, shuffle: bool) -> None:
    """Recorded from DINOv2 at commit b8931f7 and torch 2.13.0, up to 40 indices each; never to be edited."""
    lines = [line for line in RECORDED if line["sampler"] == name and line["arguments"]["shuffle"] == shuffle]
    assert len(lines) >= 30
    for line in lines:
        sampler: Any = getattr(samplers, name)(**line["arguments"])
        if line["epoch"]:
            sampler.set_epoch(line["epoch"])
        assert sampler.indices(0, len(line["first"])).tolist() == line["first"], line
        assert list(itertools.islice(sampler, len(line["first"]))) == line["first"], line
        assert line["length"] is None or len(sampler) == line["length"], line


def test_all_recorded_streams_are_there() -> None:
    assert len(RECORDED) == 480


@st.composite
def layouts(draw: st.DrawFn, least: int = 1) -> dict[str, Any]:
    """No fewer samples than ranks, both orders, a seed beyond 32 bits at times."""
    step = draw(st.integers(1, 9))
    return {
        "sample_count": draw(st.integers(max(step, least), 130)),
        "shuffle": draw(st.booleans()),
        "seed": draw(st.integers(0, 99) | st.integers(2**31, 2**63 - 1)),
        "start": draw(st.integers(0, step - 1)),
        "step": step,
    }


@CASES
@given(layouts(), st.integers(0, 500))
def test_infinite_sampler_equals_its_twin(layout: dict[str, Any], advance: int) -> None:
    expected = itertools.islice(sampler_twins.infinite(**layout), advance, advance + 300)
    assert InfiniteSampler(**layout, advance=advance).indices(0, 300).tolist() == list(expected)


@CASES
@given(layouts(), st.booleans(), st.integers(0, 300))
def test_sharded_infinite_sampler_equals_its_twin(layout: dict[str, Any], new: bool, advance: int) -> None:
    layout["use_new_shuffle_tensor_slice"] = new
    expected = itertools.islice(sampler_twins.sharded_infinite(**layout), advance, advance + 200)
    assert ShardedInfiniteSampler(**layout, advance=advance).indices(0, 200).tolist() == list(expected)


@pytest.mark.parametrize("new", [False, True], ids=["old", "new"])
@pytest.mark.parametrize("sample_count", [4, 12, 55, 700])
def test_a_shard_far_on_is_as_the_twin_has_it(sample_count: int, new: bool) -> None:
    """Beyond pass 256, where DINOv2's own seeds begin again, whatever the number of passes ordered at a time."""
    layout = {"sample_count": sample_count, "shuffle": True, "seed": 2**32 - 3, "start": 1, "step": 4}
    layout["use_new_shuffle_tensor_slice"] = new
    share = sample_count // 4
    first = 255 * share - 2 if sample_count < 700 else 20 * share
    expected = list(itertools.islice(sampler_twins.sharded_infinite(**layout), first, first + 3 * share))  # type: ignore[arg-type]
    sampler = ShardedInfiniteSampler(**layout)  # type: ignore[arg-type]
    assert sampler.indices(first, first + 3 * share).tolist() == expected


@CASES
@given(layouts(), st.integers(1, 400), st.integers(0, 50))
@example({"sample_count": 9, "shuffle": True, "seed": 3, "start": 0, "step": 1}, 10, 2)
@example({"sample_count": 3000, "shuffle": True, "seed": 3, "start": 1, "step": 2}, 10_500, 2)
@example({"sample_count": 20_000, "shuffle": True, "seed": 3, "start": 0, "step": 1}, 150, 2)
def test_epoch_sampler_equals_its_twin(layout: dict[str, Any], size: int, epoch: int) -> None:
    """The examples are the least pass beyond the dataset, and where numpy changes its way of choosing.

    (At a population above 10,000, and at a choice of less than a 50th of it.)
    """
    sampler = EpochSampler(**layout, size=size)
    sampler.set_epoch(epoch)
    assert list(sampler) == list(sampler_twins.epoch(**layout, size=size, epoch=epoch))


@CASES
@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 69), st.booleans(), st.booleans(), st.integers(0, 2**40))
def test_distributed_sampler_equals_torchs(
    n: int, world: int, rank: int, shuffle: bool, drop_last: bool, seed: int
) -> None:
    rank %= world
    twin = torch.utils.data.DistributedSampler(range(n), world, rank, shuffle, seed, drop_last)  # type: ignore[arg-type, var-annotated]
    sampler = DistributedSampler(range(n), world, rank, shuffle, seed, drop_last)
    for epoch in (0, 1, 5):
        twin.set_epoch(epoch)
        sampler.set_epoch(epoch)
        assert list(sampler) == list(twin)
    for name in ("num_replicas", "rank", "epoch", "drop_last", "num_samples", "total_size", "shuffle", "seed"):
        assert getattr(sampler, name) == getattr(twin, name), name


def test_distributed_sampler_yields_what_it_always_did() -> None:
    sampler = DistributedSampler(10, num_replicas=3, rank=2, seed=7)
    assert (list(sampler), sampler.places(0, 4).tolist()) == ([3, 7, 8, 0], [2, 5, 8, 1])
    sampler.set_epoch(1)
    assert list(sampler) == [0, 6, 8, 5]


def test_random_sampler_yields_what_it_always_did() -> None:
    sampler = RandomSampler(10, seed=7)
    assert list(sampler) == [8, 7, 6, 1, 9, 2, 3, 5, 4, 0]
    sampler.set_epoch(1)
    assert list(sampler) == [4, 2, 9, 8, 0, 3, 7, 6, 1, 5]
    assert list(RandomSampler(10, seed=2**40 + 1, advance=25)) == [0, 5, 1, 7, 2]


def test_random_sampler_shares_no_epoch_with_the_next_seed() -> None:
    orders = {tuple(RandomSampler(30, seed=seed, advance=30 * epoch)) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400


def test_epoch_samplers_first_epoch_is_the_same_for_all_seeds() -> None:
    """DINOv2's, since the epoch is multiplied into the seed. Kept: it is part of the stream."""

    def order(seed: int, epoch: int) -> list[int]:
        return list(EpochSampler(size=50, sample_count=50, shuffle=True, seed=seed, advance=50 * epoch))

    assert order(1, 0) == order(2, 0)
    assert order(2, 3) == order(3, 2) != order(2, 2)


def test_ranks_of_an_infinite_sampler_drift_apart() -> None:
    """DINOv2's, since the cut is made anew each epoch: 11 samples on 4 ranks are 3, 3, 3 and 2 an epoch."""
    positions = [InfiniteSampler(sample_count=11, start=rank, step=4).positions(6, 7).tolist() for rank in range(4)]
    assert positions == [[22], [23], [24], [36]]


def test_the_place_of_a_shards_sample_is_its_own_count_times_world_size_plus_rank() -> None:
    sampler = ShardedInfiniteSampler(sample_count=11, shuffle=True, start=3, step=4, advance=5)
    assert sampler.places(0, 3).tolist() == sampler.positions(0, 3).tolist() == [23, 27, 31]


def test_a_shard_leaves_out_the_remainder_for_ever() -> None:
    seen = {
        index
        for rank in range(4)
        for index in ShardedInfiniteSampler(sample_count=11, shuffle=True, start=rank, step=4).indices(0, 200).tolist()
    }
    assert len(seen) == 8


def test_an_epoch_smaller_than_the_number_of_ranks_leaves_some_of_them_empty() -> None:
    sampler = EpochSampler(size=2, sample_count=5, shuffle=True, start=3, step=4)
    sampler.set_epoch(7)
    assert (len(sampler), list(sampler), sampler.positions(0, 9).tolist(), sampler.advance) == (0, [], [], 0)
    with pytest.raises(ValueError, match="This rank has 0 samples an epoch"):
        EpochSampler(size=2, sample_count=5, start=3, step=4, advance=1)


KEYED: dict[str, Any] = {"sample_count": 10, "seed": 7, "start": 1, "step": 3}
RESTS: list[tuple[Sampler, int, list[int], list[int]]] = [
    (EpochSampler(size=12, sample_count=10, shuffle=True, seed=7, start=1, step=3), 2, [4, 0], [6, 9]),
    (DistributedSampler(10, 3, 2, seed=7), 1, [7, 3], [7, 0]),
    (DistributedSampler(10, 3, 1, seed=7, drop_last=True), 1, [4], [6]),
    (SequentialSampler(10), 1, [5, 6, 7, 8, 9], [5, 6, 7, 8, 9]),
    (RandomSampler(10, seed=7), 1, [3, 7, 6, 1, 5], [5, 6, 7, 8, 9]),
    (KeyedEpochSampler(**KEYED), 1, [5, 0], [6, 9]),
    (KeyedEpochSampler(**{**KEYED, "start": 2}, tail="pad"), 1, [9, 6], [7, 0]),
    (KeyedEpochSampler(**KEYED, tail="drop"), 1, [5], [6]),
    (KeyedInfiniteSampler(**KEYED), 0, [7, 0, 2, 3, 7], [6, 9, 12, 15, 18]),
]


@pytest.mark.parametrize(("sampler", "epoch", "indices", "places"), RESTS, ids=lambda value: type(value).__name__)
def test_the_rest_of_a_pass_is_what_it_always_was(
    sampler: Sampler, epoch: int, indices: list[int], places: list[int]
) -> None:
    """Of one rank, after five places of an epoch: another one is an ORDER change."""
    got, where = sampler.after(5).stretch(epoch, 0, 5)
    assert (got.tolist(), where.tolist()) == (indices, places)
