"""Which order a loader has, by its arguments."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler

from dalikit.errors import ArgumentError
from dalikit.orders.base import Order
from dalikit.orders.foreign import ForeignOrder
from dalikit.orders.iterable import IterableOrder
from dalikit.orders.own import OwnOrder
from dalikit.orders.sampler import SamplerOrder
from samplers import Sampler

__all__ = ["choose_order"]

_LOG = logging.getLogger("dalikit")


def choose_order(
    checked: DataLoader[Any],
    sampler: Any,
    *,
    seed: int,
    generator: torch.Generator | None,
    rank: int,
    world_size: int,
) -> Order:
    """The order of a loader.

    Args:
        checked: torch's loader of the same arguments.
        sampler: what the user gave; None: nothing.
        seed: the loader's.
        generator: likewise.
        rank: of this process.
        world_size: ranks that there are.

    Raises:
        ArgumentError: the sampler is one of the package `samplers` and made for another number of samples.
    """
    dataset: Any = checked.dataset
    batches: dict[str, Any] = {"batch_size": checked.batch_size, "drop_last": checked.drop_last}
    draws: dict[str, Any] = {"generator": generator, "persistent": checked.persistent_workers}
    ranks: dict[str, Any] = {"rank": rank, "world_size": world_size}
    if isinstance(dataset, IterableDataset):
        return IterableOrder(dataset, num_workers=checked.num_workers, **batches, **draws, **ranks)
    if isinstance(sampler, Sampler):
        return SamplerOrder(_check_sampler(sampler, dataset), own=False, **batches, **draws)
    if _is_own(checked, sampler, generator):
        shuffle = isinstance(checked.sampler, RandomSampler)
        if shuffle and world_size > 1:
            _LOG.warning(
                "shuffle=True on %d ranks: each of them takes all samples, as of torch's DataLoader; to share them "
                "out, use make_data_loader with SamplerType.KEYED_EPOCH, or give a sampler",
                world_size,
            )
        return OwnOrder(dataset, shuffle=shuffle, seed=seed, **batches, **draws)
    return ForeignOrder(
        checked.sampler,
        checked.batch_sampler,
        num_workers=checked.num_workers,
        prefetch_factor=checked.prefetch_factor,
        **draws,
        **ranks,
    )


def _is_own(checked: DataLoader[Any], sampler: Any, generator: torch.Generator | None) -> bool:
    """Whether the order is dalikit's own: sequential, or shuffled from the seed and not from a generator."""
    if sampler is not None or (checked.batch_size is None and checked.batch_sampler is not None):
        return False
    if isinstance(checked.sampler, RandomSampler) and generator is not None:
        return False  # torch's order for that generator
    dataset: Any = checked.dataset
    return len(dataset) > 0


def _check_sampler(sampler: Sampler, dataset: Any) -> Sampler:
    if sampler.sample_count != len(dataset):
        raise ArgumentError(f"sampler: made for {sampler.sample_count} samples, the dataset has {len(dataset)}")
    return sampler
