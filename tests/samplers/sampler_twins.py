"""The samplers of DINOv2 and torch once more, slowly: one draw and one sample after the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch


def draw(generator: torch.Generator, low: int, high: int) -> int:
    """One whole number in [low, high)."""
    return int(torch.randint(low, high, (1,), generator=generator))


def forward_shuffle(n: int, generator: torch.Generator) -> list[int]:
    """A Fisher-Yates shuffle from the front: n draws."""
    order = list(range(n))
    for i in range(n):
        j = draw(generator, i, n)
        order[i], order[j] = order[j], order[i]
    return order


def inside_out_shuffle(shard: list[int], generator: torch.Generator) -> list[int]:
    """An inside-out Fisher-Yates shuffle: one draw a sample, none for the first."""
    result = [0] * len(shard)
    for i, value in enumerate(shard):
        j = draw(generator, 0, i + 1) if i else 0
        result[i] = result[j]
        result[j] = value
    return result


def infinite(*, sample_count: int, shuffle: bool, seed: int, start: int, step: int) -> Iterator[int]:
    """DINOv2's InfiniteSampler."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = forward_shuffle(sample_count, generator) if shuffle else list(range(sample_count))
        yield from order[start::step]


def sharded_infinite(
    *, sample_count: int, shuffle: bool, seed: int, start: int, step: int, use_new_shuffle_tensor_slice: bool
) -> Iterator[int]:
    """DINOv2's ShardedInfiniteSampler without advance."""
    generator = torch.Generator().manual_seed(seed)
    everything = torch.randperm(sample_count, generator=generator).tolist() if shuffle else list(range(sample_count))
    shard = everything[start::step]
    for k in itertools.count():
        if not shuffle:
            yield from shard
            continue
        kept = shard[: sample_count // step]
        generator.manual_seed(seed + start + (k << 24))
        if use_new_shuffle_tensor_slice:
            yield from (kept[i] for i in torch.randperm(len(kept), generator=generator).tolist())
        else:
            yield from inside_out_shuffle(kept, generator)


def epoch(
    *, size: int, sample_count: int, shuffle: bool, seed: int, start: int, step: int, epoch: int
) -> Iterator[int]:
    """One pass of DINOv2's EpochSampler."""
    tiled = np.tile(np.arange(sample_count), math.ceil(size / sample_count))
    if shuffle:
        rng = np.random.default_rng(seed * epoch if seed != 0 else epoch)
        order = rng.choice(tiled, size, replace=False)
    else:
        order = tiled[:size]
    return iter(order[start::step].tolist())
