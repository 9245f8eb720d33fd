"""Every sampler under the contract, in every mode that changes its stream."""

from __future__ import annotations

import re

import pytest
from elastic_contract import ElasticContract
from sampler_contract import EndlessContract, FiniteContract

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
from samplers.keyed import Tail


class TestEpochSamplerInOrder(ElasticContract, FiniteContract):
    shuffle = False
    extra = 0  # how much larger a pass is than the dataset
    even = False

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> EpochSampler:
        return EpochSampler(
            size=n + self.extra * (n + 3),
            sample_count=n,
            shuffle=self.shuffle,
            seed=seed,
            start=rank,
            step=world,
            advance=advance,
        )


class TestEpochSamplerShuffled(TestEpochSamplerInOrder):
    shuffle = True


class TestEpochSamplerLargerThanTheDataset(TestEpochSamplerInOrder):
    shuffle = True
    extra = 2


class TestDistributedSamplerInOrder(ElasticContract, FiniteContract):
    shuffle = False
    padded = True

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> DistributedSampler:
        return DistributedSampler(n, world, rank, self.shuffle, seed, advance=advance)


class TestDistributedSamplerShuffled(TestDistributedSamplerInOrder):
    shuffle = True


class TestDistributedSamplerCut(ElasticContract, FiniteContract):
    cut = True

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> DistributedSampler:
        return DistributedSampler(n, world, rank, True, seed, drop_last=True, advance=advance)


class TestSequentialSampler(ElasticContract, FiniteContract):
    ranked = False

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> SequentialSampler:
        del world, rank, seed
        return SequentialSampler(n, advance)


class TestRandomSampler(ElasticContract, FiniteContract):
    ranked = False

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> RandomSampler:
        del world, rank
        return RandomSampler(n, seed, advance)


class TestInfiniteSamplerInOrder(EndlessContract):
    shuffle = False

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> InfiniteSampler:
        return InfiniteSampler(sample_count=n, shuffle=self.shuffle, seed=seed, start=rank, step=world, advance=advance)

    def share(self, n: int, world: int, rank: int) -> int:
        return len(range(rank, n, world))


class TestInfiniteSamplerShuffled(TestInfiniteSamplerInOrder):
    shuffle = True


class TestShardedInfiniteSamplerInOrder(EndlessContract):
    shuffle = False
    new = False

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> ShardedInfiniteSampler:
        return ShardedInfiniteSampler(
            sample_count=n,
            shuffle=self.shuffle,
            seed=seed,
            start=rank,
            step=world,
            advance=advance,
            use_new_shuffle_tensor_slice=self.new,
        )

    def share(self, n: int, world: int, rank: int) -> int:
        return n // world if self.shuffle else len(range(rank, n, world))


class TestShardedInfiniteSamplerOldShuffle(TestShardedInfiniteSamplerInOrder):
    shuffle = True


class TestShardedInfiniteSamplerNewShuffle(TestShardedInfiniteSamplerInOrder):
    shuffle = True
    new = True


class TestKeyedEpochSampler(ElasticContract, FiniteContract):
    tail: Tail = "uneven"
    extra = 0

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> KeyedEpochSampler:
        return KeyedEpochSampler(
            sample_count=n,
            size=n + self.extra * (n + 3),
            seed=seed,
            start=rank,
            step=world,
            tail=self.tail,
            advance=advance,
        )


class TestKeyedEpochSamplerPadded(TestKeyedEpochSampler):
    tail = "pad"
    padded = True


class TestKeyedEpochSamplerCut(TestKeyedEpochSampler):
    tail = "drop"
    cut = True


class TestKeyedEpochSamplerLargerThanTheDataset(TestKeyedEpochSampler):
    extra = 2


class TestKeyedEpochSamplerInOrder(ElasticContract, FiniteContract):
    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> KeyedEpochSampler:
        return KeyedEpochSampler(sample_count=n, shuffle=False, seed=seed, start=rank, step=world, advance=advance)


class KeyedEndless(ElasticContract, EndlessContract):
    endless = True

    def first(self, sampler: Sampler, count: int) -> list[int]:
        """Not by iteration, which makes thousands of indices ahead: as many laps, where datasets are tiny."""
        return sampler.indices(0, count).tolist()


class TestKeyedInfiniteSampler(KeyedEndless):
    shuffle = True

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> KeyedInfiniteSampler:
        return KeyedInfiniteSampler(
            sample_count=n, shuffle=self.shuffle, seed=seed, start=rank, step=world, advance=advance
        )

    def share(self, n: int, world: int, rank: int) -> int:
        del rank
        return n // world


class TestKeyedInfiniteSamplerInOrder(TestKeyedInfiniteSampler):
    shuffle = False


def some_weights(n: int) -> list[int]:
    """Not all alike, and none for some samples."""
    return [(7 * index + 1) % 5 for index in range(n)]


class TestKeyedEpochSamplerRepeated(ElasticContract, FiniteContract):
    padded = True

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> KeyedEpochSampler:
        return KeyedEpochSampler(
            sample_count=n, seed=seed, start=rank, step=world, tail="pad", advance=advance, repeats=3
        )


class Weighted:
    """What a sampler's repr cannot hold and what it takes to pickle."""

    pickled_bytes = 41_000

    def test_its_repr_makes_it_again(self) -> None:
        """But for the weights."""
        sampler = self.build(23, 2, 1, 5, 30)  # type: ignore[attr-defined]
        assert re.search(rf"weights=<23 weights, {sampler.identity()['weights']}>\)$", repr(sampler))


class TestKeyedEpochSamplerWeighted(Weighted, ElasticContract, FiniteContract):
    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> KeyedEpochSampler:
        return KeyedEpochSampler(
            sample_count=n,
            size=n + 5,
            seed=seed,
            start=rank,
            step=world,
            advance=advance,
            weights=some_weights(n),
        )


class TestKeyedInfiniteSamplerWeightedAndRepeated(Weighted, KeyedEndless):
    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> KeyedInfiniteSampler:
        return KeyedInfiniteSampler(
            sample_count=n,
            seed=seed,
            start=rank,
            step=world,
            advance=advance,
            repeats=2,
            weights=some_weights(n),
        )

    def share(self, n: int, world: int, rank: int) -> int:
        del rank
        return 2 * n // world


@pytest.mark.parametrize(
    "sampler", [InfiniteSampler(sample_count=9), ShardedInfiniteSampler(sample_count=9, shuffle=True)], ids=repr
)
def test_ranks_that_drift_apart_have_no_rest(sampler: Sampler) -> None:
    """Their samplers are bound to the number of ranks."""
    name = type(sampler).__name__
    with pytest.raises(TypeError, match=f"{name} cannot deal out the rest of a pass: .* Use KeyedInfiniteSampler or"):
        sampler.after(3)
