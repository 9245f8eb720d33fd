"""Weights and repeats: every count is as expected, on any number of ranks, and the orders stay as they are."""

from __future__ import annotations

import bisect
import itertools
import json
import math
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from samplers import KeyedEpochSampler, KeyedInfiniteSampler, balanced_weights
from samplers.keyed_permutation import Key, hashed_words
from samplers.weights import SampleWeights, equal_steps

ALPHA = 1e-4
"""A sound draw fails a test of this level once in ten thousand; the seeds are fixed, so a pass is a pass."""
CASES = settings(max_examples=60, deadline=None)
WEIGHTS = [5, 13, 2, 0, 10]
REPEATED = [2, 2, 2, 1, 1, 1, 3, 3, 3, 0, 0, 0, 4, 4, 4]
WEIGHTED = [[1, 1, 4, 0, 4], [2, 0, 1, 4, 1]]
BOTH = [1, 1, 1, 1, 4, 4, 0, 0, 4, 4, 1, 1, 0, 0]
DIGEST = "5eb4464d20a553c7"

proportions = st.lists(st.integers(0, 9), min_size=1, max_size=40).filter(any)
magnitudes = st.lists(
    st.floats(0, 1e6) | st.floats(0, 1.7e308) | st.sampled_from([0.0, 5e-324, 1e-310, 1e308]), min_size=1, max_size=40
).filter(any)


def lap(weights: list[Any], world: int = 1, seed: int = 0, epoch: int = 0, repeats: int = 1) -> NDArray[np.int64]:
    """What all ranks take of a pass, in order of place."""
    taken: dict[int, int] = {}
    for rank in range(world):
        sampler = KeyedEpochSampler(
            sample_count=len(weights), start=rank, step=world, seed=seed, weights=weights, repeats=repeats
        )
        indices, places = sampler.stretch(epoch, 0, 10**6)
        taken |= dict(zip(places.tolist(), indices.tolist(), strict=True))
    return np.array([taken[place] for place in range(len(weights) * repeats)])


# How often


@CASES
@given(proportions, st.integers(1, 6), st.integers(0, 2**63 - 1), st.integers(0, 2**23 - 1))
def test_every_sample_comes_as_often_as_is_expected(weights: list[int], world: int, seed: int, epoch: int) -> None:
    """Rounded down or up, and exactly where that is a whole number: of whole weights nothing is lost by rounding."""
    counts = np.bincount(lap(weights, world, seed, epoch), minlength=len(weights))
    for count, weight in zip(counts.tolist(), weights, strict=True):
        expected = Fraction(len(weights) * weight, sum(weights))
        assert math.floor(expected) <= count <= math.ceil(expected)


@CASES
@given(magnitudes, st.integers(0, 2**63 - 1), st.integers(1, 3))
def test_weights_of_any_magnitude_keep_their_proportions(weights: list[float], seed: int, repeats: int) -> None:
    """As whole numbers that fit, of which those that would vanish are 1; zero stays zero and never comes."""
    numbers = KeyedEpochSampler(sample_count=len(weights), start=0, step=1, weights=weights).weights
    assert numbers is not None
    total = sum(numbers.tolist())
    assert 2**60 - 100 <= total < 2**62
    exact = sum(map(Fraction, weights))
    for number, weight in zip(numbers.tolist(), weights, strict=True):
        assert (number > 0) == (weight > 0)
        assert abs(Fraction(number, total) - Fraction(weight) / exact) < Fraction(1, 2**50)
    counts = np.bincount(lap(weights, 2, seed, 0, repeats), minlength=len(weights))
    for count, number in zip(counts.tolist(), numbers.tolist(), strict=True):
        expected = Fraction(len(weights) * number, total)
        assert math.floor(expected) * repeats <= count <= math.ceil(expected) * repeats


class Placed(SampleWeights):
    """Weights whose offset is given by the key."""

    def offset(self, key: Key) -> int:
        return {0: 0, 1: self.sum - 1, 2: len(self.numbers()) - 1, 3: key[1] % self.sum}[key[0]]


@CASES
@given(proportions | magnitudes, st.integers(0, 3), st.integers(0, 2**62))
def test_a_point_lies_in_the_stretch_of_its_sample(weights: list[float], kind: int, offset: int) -> None:
    """Held against Python's whole numbers, at the least and the greatest offset too."""
    placed, key = Placed(weights, len(weights)), (kind, offset, 0)
    ends = list(itertools.accumulate(placed.numbers().tolist()))
    points = [(slot * placed.sum + placed.offset(key)) // len(weights) for slot in range(len(weights))]
    got = placed.at(np.arange(len(weights)), [(3, 7, 0), key], np.ones(len(weights), dtype=np.int64))
    assert got.tolist() == [bisect.bisect_right(ends, point) for point in points]
    assert all(weights[sample] > 0 for sample in got.tolist())


@CASES
@given(st.integers(2**31 - 2**20, 2**31 - 1), st.integers(2**60, 2**62 - 1), st.data())
def test_points_of_the_largest_datasets_do_not_overflow(count: int, length: int, data: st.DataObject) -> None:
    """Two thousand million samples, whose weights nobody needs to hold for that."""
    slots = np.array([0, 1, count // 2, count - 2, count - 1])
    offsets = [data.draw(st.integers(0, length - 1)), length - 1]
    which = np.array([0, 1, 0, 1, 1])
    wanted = [(int(x) * length + offsets[k]) // count for x, k in zip(slots, which, strict=True)]
    assert equal_steps(slots, count, length, offsets, which).tolist() == wanted
    assert wanted[-1] < length


def test_equal_weights_are_a_permutation() -> None:
    """Each sample once a lap, as without weights, in the same order."""
    plain = KeyedEpochSampler(sample_count=1000, start=0, step=1, seed=4)
    weighted = KeyedEpochSampler(sample_count=1000, start=0, step=1, seed=4, weights=np.full(1000, 0.3))
    assert list(weighted) == list(plain)


# At random


def test_what_stands_at_a_place_follows_the_weights() -> None:
    """Over seeds: chi-square of the first and of a later place."""
    orders = np.stack([lap(WEIGHTS, seed=seed) for seed in range(1000)])
    expected = np.array([5, 13, 2, 10]) / 30 * len(orders)
    for place in (0, 3):
        counts = np.bincount(orders[:, place], minlength=5)
        assert counts[3] == 0
        assert stats.chisquare(counts[[0, 1, 2, 4]], expected).pvalue > ALPHA


def test_offsets_are_uniform_and_unrelated() -> None:
    """Over seeds, epochs and laps; and they have nothing in common with the words of the permutation."""
    weights = SampleWeights(WEIGHTS, 5)
    keys: dict[str, Callable[[int], Key]] = {
        "seed": lambda number: (number, 0, 0),
        "epoch": lambda number: (1, number, 0),
        "lap": lambda number: (1, 1, number),
    }
    for name, key in keys.items():
        offsets = np.array([weights.offset(key(number)) / weights.sum for number in range(2000)])
        assert stats.kstest(offsets, "uniform").pvalue > ALPHA, name
        assert stats.chisquare(np.histogram(offsets, 50, (0, 1))[0]).pvalue > ALPHA, name
        assert stats.pearsonr(offsets[1:], offsets[:-1]).pvalue > ALPHA, name
        words = np.array([int(hashed_words(key(number), 1)[0]) / 2**64 for number in range(2000)])
        assert stats.pearsonr(offsets, words).pvalue > ALPHA, name


def test_counts_average_to_what_is_expected() -> None:
    """Over epochs a sample that is expected 5 / 6 times is left out of every sixth."""
    orders = np.stack([lap(WEIGHTS, epoch=epoch) for epoch in range(900)])
    often = np.array([(orders == sample).sum(1) for sample in range(5)])
    for sample, weight in enumerate(WEIGHTS):
        expected = weight / 6
        more = int((often[sample] > expected).sum())
        assert stats.binomtest(more, len(orders), expected % 1).pvalue > ALPHA, sample


# Orders


def test_the_orders_are_these() -> None:
    """Golden: another order for a seed is an ORDER change."""
    assert list(KeyedEpochSampler(sample_count=5, start=0, step=1, repeats=3)) == REPEATED
    sampler = KeyedEpochSampler(sample_count=5, start=0, step=1, weights=WEIGHTS)
    assert [sampler.stretch(epoch, 0, 5)[0].tolist() for epoch in (0, 7)] == WEIGHTED
    endless = KeyedInfiniteSampler(sample_count=5, start=0, step=1, weights=WEIGHTS, repeats=2)
    assert endless.indices(0, 14).tolist() == BOTH
    assert sampler.identity()["weights"] == DIGEST


def test_without_shuffle_samples_come_in_order_of_index() -> None:
    """Each lap; the seed has a say in the rounding of weights alone."""
    plain = KeyedEpochSampler(sample_count=3, size=10, shuffle=False, start=0, step=1, repeats=2)
    assert list(plain) == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1]
    seen = set()
    for seed in range(20):
        options: dict[str, Any] = {
            "sample_count": 5,
            "size": 10,
            "start": 0,
            "step": 1,
            "seed": seed,
            "weights": WEIGHTS,
        }
        order, shuffled = (list(KeyedEpochSampler(**options, shuffle=shuffle)) for shuffle in (False, True))
        assert order[:5] == sorted(shuffled[:5])
        assert order[5:] == sorted(shuffled[5:])
        seen.add(tuple(order))
    assert len(seen) > 5


@pytest.mark.parametrize("weights", [None, [3, 0, 1, 9, 2, 2, 1]])
def test_repeats_stand_at_neighbouring_places(weights: list[int] | None) -> None:
    """So neighbouring ranks get them; they are the order without repeats, each so often."""
    options: dict[str, Any] = {"sample_count": 7, "start": 0, "step": 1, "seed": 3, "weights": weights}
    for epoch in range(3):
        once, _ = KeyedEpochSampler(**options).stretch(epoch, 0, 7)
        thrice, places = KeyedEpochSampler(**options, repeats=3).stretch(epoch, 0, 50)
        assert thrice.tolist() == np.repeat(once, 3).tolist()
        assert places.tolist() == list(range(21))
        part, _ = KeyedEpochSampler(**options, repeats=3, size=7).stretch(epoch, 0, 50)
        assert part.tolist() == thrice[:7].tolist()
    ranks = [KeyedEpochSampler(**{**options, "start": rank, "step": 3}, repeats=3).indices(0, 7) for rank in range(3)]
    assert np.array_equal(ranks[0], ranks[1])
    assert np.array_equal(ranks[0], ranks[2])


@CASES
@given(st.integers(1, 30), st.integers(1, 4), st.booleans(), st.integers(0, 2**40))
def test_epochs_without_end_are_the_passes(count: int, repeats: int, weighted: bool, seed: int) -> None:
    """One after the other."""
    options: dict[str, Any] = {"sample_count": count, "start": 0, "step": 1, "seed": seed, "repeats": repeats}
    options["weights"] = np.arange(1, count + 1) if weighted else None
    passes, endless = KeyedEpochSampler(**options), KeyedInfiniteSampler(**options)
    size = count * repeats
    assert passes.size == size
    assert endless.indices(0, 3 * size).tolist() == [
        index for epoch in range(3) for index in passes.stretch(epoch, 0, size)[0].tolist()
    ]


# What a sampler is


def test_an_identity_holds_options_only_where_they_are_given() -> None:
    """So that states from before there were any load; weights are told apart by a hash, whatever their scale."""
    plain: dict[str, Any] = {"sample_count": 5, "start": 0, "step": 1}
    assert not {"repeats", "weights"} & set(KeyedEpochSampler(**plain, repeats=1, weights=None).identity())
    assert "repeats" not in repr(KeyedEpochSampler(**plain))
    for kind in (KeyedEpochSampler, KeyedInfiniteSampler):
        sampler = kind(**plain, repeats=3, weights=WEIGHTS)
        assert json.loads(json.dumps(sampler.identity())) == sampler.identity()
        assert (sampler.identity()["repeats"], sampler.identity()["weights"]) == (3, DIGEST)
        assert sampler.repeats == 3
        assert kind(**plain, weights=[4 * weight for weight in WEIGHTS]).identity()["weights"] == DIGEST
        assert kind(**plain, weights=WEIGHTS[::-1]).identity()["weights"] != DIGEST
        assert kind(**plain).weights is None


def test_a_million_weights_are_not_printed_and_pickle_once() -> None:
    """Eight bytes each, before and after use."""
    sampler = KeyedInfiniteSampler(sample_count=10**6, start=0, step=1, weights=np.arange(10**6))
    expected = sampler.indices(10**9, 10**9 + 300)
    assert len(repr(sampler)) < 200
    assert "weights=<1,000,000 weights, " in repr(sampler)
    data = pickle.dumps(sampler)
    assert 8 * 10**6 < len(data) < 8 * 10**6 + 1000
    assert np.array_equal(pickle.loads(data).indices(10**9, 10**9 + 300), expected)


def test_weights_that_were_given_or_got_are_the_callers_own() -> None:
    """To change them changes nothing."""
    weights = np.array(WEIGHTS, dtype=np.float64)
    sampler = KeyedEpochSampler(sample_count=5, start=0, step=1, weights=weights)
    weights[:] = 1
    got = sampler.weights
    assert got is not None
    assert (got / got.sum() * 30).tolist() == pytest.approx(WEIGHTS)
    got[:] = 1
    assert list(sampler) == WEIGHTED[0]


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"repeats": 0}, ValueError, r"repeats is 0, .* \[1, 366503875926\)\. A sample comes so often in a row, and 3"),
    ({"repeats": 2**40 // 3 + 1}, ValueError, "3 samples that often must be fewer than 1099511627776"),
    ({"repeats": 1.5}, TypeError, r"repeats is 1\.5 \(float\), but must be a whole number"),
    ({"weights": [1, 2]}, ValueError, r"weights have shape \(2,\), but must be \(3,\)\. Pass one for each sample"),
    ({"weights": [[1, 2, 3]]}, ValueError, r"weights have shape \(1, 3\)"),
    ({"weights": 1.0}, ValueError, r"weights have shape \(\), but must be \(3,\)"),
    ({"weights": [1, math.nan, 2]}, ValueError, r"weights\[1\] is nan, but must be finite and 0 or more\. Give 0 to"),
    ({"weights": [1, 2, math.inf]}, ValueError, r"weights\[2\] is inf, but must be finite"),
    ({"weights": [-0.5, 2, 1]}, ValueError, r"weights\[0\] is -0\.5, but must be finite and 0 or more"),
    ({"weights": [0, 0, 0]}, ValueError, "weights are all 0, but one at least must be more. Give 1 to every sample"),
    ({"weights": ["1", "2", "3"]}, TypeError, "weights have dtype <U1, but must be real numbers. Pass one for each"),
    ({"weights": [1, None, 2]}, TypeError, "weights have dtype object, but must be real numbers"),
    ({"weights": [1j, 1, 1]}, TypeError, "weights have dtype complex128"),
    (
        {"weights": np.broadcast_to(1.0, 2**31), "sample_count": 2**31},
        ValueError,
        "weights are 2147483648, but must be fewer than 2147483648. Draw from parts of the dataset, or without",
    ),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED)
@pytest.mark.parametrize("kind", [KeyedEpochSampler, KeyedInfiniteSampler])
def test_what_cannot_be_meant_is_refused(
    kind: Callable[..., Any], arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """By both samplers alike."""
    with pytest.raises(error, match=message):
        kind(**{"sample_count": 3, "start": 0, "step": 1, **arguments})


def test_the_longest_lap_is_taken() -> None:
    """Just below 2**40 places."""
    sampler = KeyedEpochSampler(sample_count=3, start=0, step=1, repeats=(2**40 - 1) // 3)
    assert sampler.size == 2**40 - 1
    assert len(set(sampler.indices(sampler.size - 5, sampler.size).tolist())) == 1
    assert KeyedEpochSampler(sample_count=2**40 - 1, start=0, step=1, weights=None).size == 2**40 - 1


# Balanced classes


@pytest.mark.parametrize(("power", "shares"), [(0, [9, 4, 1]), (0.5, [3, 2, 1]), (1, [1, 1, 1])])
@pytest.mark.parametrize("names", [[0, 1, 2], [-7, 5, 10**12], ["a", "bb", "c"]], ids=str)
def test_a_class_gets_its_share(power: float, shares: list[int], names: list[Any]) -> None:
    """Nine, four and one of three classes, mixed, of whatever name."""
    which = np.random.default_rng(0).permutation([0] * 9 + [1] * 4 + [2])
    targets = [names[number] for number in which]
    for classes in (targets, np.array(targets), np.array(targets, dtype=object)):
        weights = balanced_weights(classes, power)
        assert weights.dtype == np.float64
        assert weights.sum() == pytest.approx(14)
        got = np.bincount(which, weights)
        assert got / got.sum() == pytest.approx(np.array(shares) / sum(shares))
        assert all(len(set(weights[which == number])) == 1 for number in range(3))
    assert power != 1 or balanced_weights(targets).tolist() == weights.tolist()


@CASES
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 2**40))
def test_classes_that_lie_together_come_as_often_as_each_other(sizes: list[int], seed: int) -> None:
    """Rounded down or up; of such a dataset as a folder for each class is. Thirds are no binary numbers: so nearly."""
    targets = np.repeat(np.arange(len(sizes)), sizes)
    counts = np.bincount(targets[lap(balanced_weights(targets).tolist(), 2, seed)], minlength=len(sizes))
    expected = len(targets) / len(sizes)
    assert math.floor(expected - 1e-9) <= counts.min() <= counts.max() <= math.ceil(expected + 1e-9)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1, 2]],), ValueError, r"targets have shape \(1, 2\), but must be \(n,\)\. Pass the class of each sample"),
        (([],), ValueError, r"targets have shape \(0,\)"),
        ((3,), ValueError, r"targets have shape \(\)"),
        (([0.5, 1.0],), TypeError, "targets are float64, but must be whole numbers or texts. Pass the class of each"),
        ((np.array(["a", None]),), TypeError, "targets hold NoneType, str, but must be whole numbers or texts"),
        (([1, 2], 1.5), ValueError, r"power is 1\.5, but must lie in \[0, 1\]\. Pass 1 for equal classes, 0\.5 for"),
        (([1, 2], math.nan), ValueError, "power is nan"),
    ],
)
def test_classes_that_are_none_are_refused(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    """In words that say what came."""
    with pytest.raises(error, match=message):
        balanced_weights(*arguments)
