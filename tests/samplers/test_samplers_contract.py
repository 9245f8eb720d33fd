"""Every sampler under the contract, in every mode that changes its stream."""

from __future__ import annotations

from sampler_contract import EndlessContract, FiniteContract

from samplers import (
    DistributedSampler,
    EpochSampler,
    InfiniteSampler,
    RandomSampler,
    SequentialSampler,
    ShardedInfiniteSampler,
)


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
