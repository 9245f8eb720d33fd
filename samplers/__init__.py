"""WHICH sample comes next: index streams for training, exact and cheap, on numpy and torch alone.

    EpochSampler             DINOv2's EPOCH: a pass of `size` samples, shared out to the ranks
    DistributedSampler       torch's, with `advance`
    SequentialSampler        0, 1, 2, ... on one rank
    RandomSampler            every sample once a pass at random, on one rank
    InfiniteSampler          DINOv2's INFINITE: epochs without end, shared out to the ranks
    ShardedInfiniteSampler   DINOv2's SHARDED_INFINITE(_NEW): every rank owns a shard and reshuffles it
    KeyedEpochSampler        every sample once a pass; any place at once, nothing stored, whatever the number of ranks
    KeyedInfiniteSampler     such epochs without end

The keyed ones also repeat samples in a row, or draw them by weight; `balanced_weights` makes weights of classes.
Each works as the `sampler=` of a torch DataLoader. Importing this package imports numpy, not torch.
"""

from samplers.epoch import DistributedSampler, EpochSampler, RandomSampler, SequentialSampler
from samplers.infinite import InfiniteSampler, ShardedInfiniteSampler
from samplers.keyed import KeyedEpochSampler, KeyedInfiniteSampler
from samplers.positions import position
from samplers.sampler import EndlessSampler, FiniteSampler, Sampler
from samplers.weights import balanced_weights

__all__ = [
    "DistributedSampler",
    "EndlessSampler",
    "EpochSampler",
    "FiniteSampler",
    "InfiniteSampler",
    "KeyedEpochSampler",
    "KeyedInfiniteSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "ShardedInfiniteSampler",
    "balanced_weights",
    "position",
]
