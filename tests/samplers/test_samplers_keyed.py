"""The keyed permutation is one, looks random, and is the same for any number of ranks."""

from __future__ import annotations

import math
import pickle
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from samplers import KeyedEpochSampler, KeyedInfiniteSampler, Sampler
from samplers.keyed import Tail
from samplers.keyed_permutation import KeyedPermutation

ALPHA = 1e-4
"""A sound permutation fails a test of this level once in ten thousand; the keys are fixed, so a pass is a pass."""
GOLDEN_10 = [5, 0, 3, 4, 6, 2, 9, 1, 7, 8]
GOLDEN_10_LAST = [2, 9, 8, 7, 0, 1, 3, 6, 5, 4]
GOLDEN_HUGE = [460197581819, 301678692477, 782638313236, 776888826487]
CASES = settings(max_examples=40, deadline=None)


def whole(count: int, seed: int, epoch: int = 0) -> NDArray[np.int64]:
    """A whole order."""
    return KeyedPermutation(count, (seed, epoch, 0)).at(np.arange(count))


def many(count: int, seeds: int) -> NDArray[np.int64]:
    """(seeds, count)."""
    return np.stack([whole(count, seed) for seed in range(seeds)])


# A permutation


@pytest.mark.parametrize("count", [*range(1, 70), 255, 256, 257, 1000, 4097, 65_536, 65_537])
def test_every_number_comes_once(count: int) -> None:
    assert np.array_equal(np.sort(whole(count, 3, 1)), np.arange(count))


@CASES
@given(st.integers(1, 2**40), st.integers(0, 2**63 - 1), st.integers(0, 2**23 - 1), st.data())
def test_any_stretch_holds_different_numbers_in_range(count: int, seed: int, epoch: int, data: st.DataObject) -> None:
    """Of the largest datasets too."""
    start = data.draw(st.integers(0, count - 1))
    places = np.arange(start, min(start + 5000, count))
    numbers = KeyedPermutation(count, (seed, epoch, 0)).at(places)
    assert numbers.dtype == np.int64
    assert 0 <= numbers.min() <= numbers.max() < count
    assert len(np.unique(numbers)) == len(places)
    chosen = np.arange(0, len(places), 7)
    assert np.array_equal(KeyedPermutation(count, (seed, epoch, 0)).at(places[chosen]), numbers[chosen])


def test_the_orders_are_these() -> None:
    """Golden: another order for a seed is an ORDER change."""
    assert whole(10, 0).tolist() == GOLDEN_10
    assert whole(10, 2**63 - 1, 2**23 - 1).tolist() == GOLDEN_10_LAST
    huge = KeyedPermutation(2**40, (5, 1, 0)).at(np.array([0, 1, 2**39, 2**40 - 1]))
    assert huge.tolist() == GOLDEN_HUGE


# Random


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_all_orders_come_equally_often(count: int) -> None:
    """Of few numbers."""
    orders = math.factorial(count)
    seen = Counter(map(tuple, many(count, orders * 60).tolist()))
    assert stats.chisquare([*seen.values(), *[0] * (orders - len(seen))]).pvalue > ALPHA


@pytest.mark.parametrize("count", [10, 33, 100])
def test_every_number_comes_to_every_place_equally_often(count: int) -> None:
    """Chi-square over all (place, number)."""
    seeds = 3000
    orders = many(count, seeds)
    counts = np.stack([np.bincount(orders[:, place], minlength=count) for place in range(count)])
    expected = seeds / count
    assert stats.chi2.sf(((counts - expected) ** 2 / expected).sum(), (count - 1) ** 2) > ALPHA


@pytest.mark.parametrize("count", [10, 33, 100, 1000])
def test_neighbours_are_unrelated(count: int) -> None:
    """Their differences, modulo the count, are uniform; so is the number after a certain one."""
    orders = many(count, 2000)
    differences = np.bincount(((orders[:, 1:] - orders[:, :-1]) % count).ravel(), minlength=count)
    assert differences[0] == 0
    assert stats.chisquare(differences[1:]).pvalue > ALPHA
    after = [order[place + 1] for order in orders if (place := int(np.flatnonzero(order == 1)[0])) < count - 1]
    following = np.delete(np.bincount(after, minlength=count), 1)
    assert stats.chisquare(following).pvalue > ALPHA


@pytest.mark.parametrize("count", [10, 33, 100, 1000])
def test_as_many_stay_in_place_as_by_chance(count: int) -> None:
    """Fixed points of a random permutation are Poisson(1)."""
    seeds = 3000
    fixed = np.bincount(np.minimum((many(count, seeds) == np.arange(count)).sum(1), 4), minlength=5)
    expected = [math.exp(-1) / math.factorial(number) for number in range(4)]
    assert stats.chisquare(fixed, np.array([*expected, 1 - sum(expected)]) * seeds).pvalue > ALPHA


def test_seeds_and_epochs_that_are_neighbours_have_unrelated_orders() -> None:
    """Their sums and products say nothing: two orders agree at one place on average."""
    keys = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 3), (3, 2), (1 << 32, 0), (0, 1 << 20)]
    orders = [whole(5000, seed, epoch) for seed, epoch in keys]
    for number, one in enumerate(orders):
        for other in orders[:number]:
            assert (one == other).sum() < 10
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.06


def test_a_stretch_of_a_huge_dataset_is_uniform() -> None:
    """Kolmogorov-Smirnov over a billion rows, of the first places, and of their upper and lower halves apart."""
    count = 10**9 + 7
    numbers = KeyedPermutation(count, (1, 2, 0)).at(np.arange(100_000))
    assert stats.kstest(numbers / count, "uniform").pvalue > ALPHA
    assert stats.chisquare(np.bincount(numbers % 1000, minlength=1000)).pvalue > ALPHA


# Samplers


def epoch_sampler(n: int, world: int, rank: int, tail: Tail = "uneven", seed: int = 7) -> KeyedEpochSampler:
    return KeyedEpochSampler(sample_count=n, start=rank, step=world, tail=tail, seed=seed)


def together(samplers: list[Sampler], epoch: int = 0, count: int | None = None) -> list[int]:
    """What the ranks take, by place; `count` samples each."""
    found = {}
    for sampler in samplers:
        indices, places = sampler.stretch(epoch, 0, 10**6 if count is None else count)
        found |= dict(zip(places.tolist(), indices.tolist(), strict=True))
    assert sorted(found) == list(range(len(found)))
    return [found[place] for place in range(len(found))]


@CASES
@given(st.integers(1, 300), st.integers(1, 17), st.sampled_from(["uneven", "pad", "drop"]), st.integers(0, 3))
def test_the_ranks_share_out_one_order(n: int, world: int, tail: Tail, epoch: int) -> None:
    """Whatever their number; tails differ in the last places alone."""
    order = together([epoch_sampler(n, 1, 0)], epoch)
    assert sorted(order) == list(range(n))
    samplers: list[Sampler] = [epoch_sampler(n, world, rank, tail) for rank in range(world)]
    lengths = {len(sampler) for sampler in samplers if isinstance(sampler, KeyedEpochSampler)}
    assert len(lengths) == 1 or tail == "uneven"
    assert together(samplers, epoch) == order[: n - n % world if tail == "drop" else n]


@CASES
@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 200))
def test_the_endless_stream_does_not_drift(n: int, world: int, count: int) -> None:
    """After k samples each, the first k * world places are gone; each epoch is KeyedEpochSampler's."""
    taken = together(
        [KeyedInfiniteSampler(sample_count=n, start=rank, step=world, seed=7) for rank in range(world)], count=count
    )
    assert len(taken) == count * world
    for epoch in range(-(-len(taken) // n)):
        wanted = together([epoch_sampler(n, 1, 0)], epoch)
        assert taken[epoch * n : (epoch + 1) * n] == wanted[: len(taken) - epoch * n]


@pytest.mark.parametrize("world", [1, 8, 3, 16])
def test_ranks_may_change_in_the_middle(world: int) -> None:
    """8 ranks take 5 each of a pass; whatever number of ranks goes on, the rest of the order is theirs."""
    order = together([epoch_sampler(100, 1, 0)])
    rest = {}
    for rank in range(world):
        advance = max(0, -(-(40 - rank) // world))
        sampler = KeyedEpochSampler(sample_count=100, start=rank, step=world, seed=7, advance=advance)
        rest |= dict(zip(sampler.places(0, 100).tolist(), sampler, strict=True))
    assert [rest[place] for place in range(40, 100)] == order[40:]


def test_four_billion_samples_on_4096_ranks() -> None:
    """Some of the ranks, at the beginning, in the middle and over the end of an epoch: no sample twice."""
    n, world = 4_000_000_007, 4096
    for start in (0, 123_456, n // world - 50):
        parts = [
            KeyedInfiniteSampler(sample_count=n, start=rank, step=world, seed=3).stretch(0, start, start + 100)
            for rank in (0, 1, 2047, 4095)
        ]
        indices, places = (np.concatenate(column) for column in zip(*parts, strict=True))
        for epoch in np.unique(places // n):
            mine = indices[places // n == epoch]
            assert len(np.unique(mine)) == len(mine)
        assert 0 <= indices.min() <= indices.max() < n


def test_nothing_is_stored() -> None:
    """A billion samples pickle in less than a kilobyte, after use too, and the middle is as near as the beginning."""
    sampler = KeyedInfiniteSampler(sample_count=10**9, start=3, step=8, seed=1)
    began = time.perf_counter()
    far = sampler.stretch(0, 10**15, 10**15 + 256)[0]
    assert time.perf_counter() - began < 1
    assert len(pickle.dumps(sampler)) < 1000
    assert np.array_equal(pickle.loads(pickle.dumps(sampler)).stretch(0, 10**15, 10**15 + 256)[0], far)


def test_a_pass_longer_than_the_dataset_goes_over_it_in_laps() -> None:
    """Each in an order of its own."""
    order = list(KeyedEpochSampler(sample_count=50, size=120, start=0, step=1))
    assert sorted(order[:50]) == sorted(order[50:100]) == list(range(50))
    assert order[:50] != order[50:100]
    assert len(set(order[100:])) == 20


@pytest.mark.parametrize("start", [10**14, 2**32 * 4096 - 100, 2**44 + 1])
def test_far_places_have_the_permutation_of_their_epoch(start: int) -> None:
    """Nothing wraps on the way there."""
    count = 10**6 + 3
    indices, places = KeyedInfiniteSampler(sample_count=count, start=0, step=1, seed=9).stretch(0, start, start + 200)
    assert np.array_equal(places, np.arange(start, start + 200))
    for epoch in np.unique(places // count).tolist():
        mine = places // count == epoch
        wanted = KeyedPermutation(count, (9, epoch, 0)).at(places[mine] % count)
        assert np.array_equal(indices[mine], wanted)


@pytest.mark.parametrize("size", [40, 61])
def test_padding_begins_again_at_the_first_place_of_the_pass(size: int) -> None:
    """Not of the dataset: a pass may be shorter or longer than it."""
    whole = list(KeyedEpochSampler(sample_count=50, size=size, start=0, step=1))
    for rank in range(7):
        sampler = KeyedEpochSampler(sample_count=50, size=size, start=rank, step=7, tail="pad")
        wanted = [place % size for place in range(rank, -(-size // 7) * 7, 7)]
        assert sampler.places(0, 100).tolist() == wanted
        assert list(sampler) == [whole[place] for place in wanted]


def test_a_tail_of_another_kind() -> None:
    with pytest.raises(ValueError, match='tail is \'wrap\', but must be "uneven", "pad" or "drop"'):
        KeyedEpochSampler(sample_count=3, tail="wrap")  # type: ignore[arg-type]
