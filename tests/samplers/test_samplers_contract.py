"""Every sampler under the contract, in every mode that changes its stream."""

from __future__ import annotations

from sampler_contract import EndlessContract, FiniteContract

from samplers import (
    DistributedSampler,
    EpochSampler,
    InfiniteSampler,
    KeyedEpochSampler,
    KeyedInfiniteSampler,
    RandomSampler,
    SequentialSampler,
    ShardedInfiniteSampler,
)
from samplers.keyed import Tail


class TestEpochSamplerInOrder(FiniteContract):
    shuffle = False
    extra = 0  # how much larger a pass is than the dataset

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


class TestDistributedSamplerInOrder(FiniteContract):
    shuffle = False
    padded = True

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> DistributedSampler:
        return DistributedSampler(n, world, rank, self.shuffle, seed, advance=advance)


class TestDistributedSamplerShuffled(TestDistributedSamplerInOrder):
    shuffle = True


class TestSequentialSampler(FiniteContract):
    ranked = False

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> SequentialSampler:
        del world, rank, seed
        return SequentialSampler(n, advance)


class TestRandomSampler(FiniteContract):
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


class TestKeyedEpochSampler(FiniteContract):
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


class TestKeyedEpochSamplerInOrder(FiniteContract):
    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> KeyedEpochSampler:
        return KeyedEpochSampler(sample_count=n, shuffle=False, seed=seed, start=rank, step=world, advance=advance)


class TestKeyedInfiniteSampler(EndlessContract):
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
