"""The factory functions of `dinov2.data.loaders`, argument for argument; what dalikit adds comes after, as keywords."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar, Unpack

from dalikit.dataloader import DataLoader
from dalikit.datasets import create_dataset
from dalikit.errors import ArgumentError
from dalikit.options import OptionArguments, check_integer, check_seed, make_options
from samplers import (
    DistributedSampler,
    EpochSampler,
    InfiniteSampler,
    KeyedEpochSampler,
    KeyedInfiniteSampler,
    Sampler,
    SequentialSampler,
    ShardedInfiniteSampler,
)

__all__ = ["SamplerType", "T", "logger", "make_data_loader", "make_dataset"]

logger = logging.getLogger("dalikit")

T = TypeVar("T")


class SamplerType(Enum):
    """Which sample comes next. The first five, names and values, are DINOv2's."""

    DISTRIBUTED = 0
    """torch's DistributedSampler: finite passes, padded so that all ranks get as many."""
    EPOCH = 1
    """Finite passes of `sampler_size` samples over all ranks."""
    INFINITE = 2
    """Endless: a new permutation of everything each epoch, every rank takes its share of it."""
    SHARDED_INFINITE = 3
    """Endless: every rank keeps one share for ever and reshuffles it, by DINOv2's old shuffle."""
    SHARDED_INFINITE_NEW = 4
    """The same by its new shuffle, a torch.randperm: another order, thirty times cheaper."""
    KEYED_EPOCH = 5
    """Finite passes of `sampler_size` samples over all ranks, each in a new order by itself; nothing is stored."""
    KEYED_INFINITE = 6
    """Endless: every sample once an epoch, over all ranks; nothing is stored, and ranks do not drift apart."""


def make_dataset(
    *,
    dataset_str: str,
    transform: Any = None,
    target_transform: Callable[[Any], Any] | None = None,
) -> Any:
    """Opens a dataset by its description.

    Args:
        dataset_str: `Name:key=value:key=value`, such as "ImageFolder:root=/data/train". Values may contain ':' and '='
            (`root=s3://bucket/key?x=1`); one that could be mistaken for a further key goes into double quotes.
        transform: a transform of dalikit.transforms, carried out by the loader.
        target_transform: called with each target.

    Returns:
        The dataset: `get_image_data(index)`, `get_target(index)`, `len`.

    Raises:
        ArgumentError: the description cannot be read; known names and keys are listed.
        DatasetError: the dataset is not there, or holds nothing.
    """
    logger.info('using dataset: "%s"', dataset_str)
    dataset = create_dataset(dataset_str, transform=transform, target_transform=target_transform)
    logger.info("# of dataset samples: %s", f"{len(dataset):,d}")
    return dataset


def make_data_loader(
    *,
    dataset: Any,
    batch_size: int,
    num_workers: int,
    shuffle: bool = True,
    seed: int = 0,
    sampler_type: SamplerType | None = SamplerType.INFINITE,
    sampler_size: int = -1,
    sampler_advance: int = 0,
    drop_last: bool = True,
    persistent_workers: bool = False,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    worker_init_fn: Callable[[int], None] | None = None,
    worker_globals: Any = None,
    worker_packages: Any = None,
    prefetch_factor: int | None = None,
    multiprocessing_context: Any = None,
    timeout: float = -1,
    **options: Unpack[OptionArguments],
) -> DataLoader:
    """A loader with one of DINOv2's samplers.

    Args:
        dataset: of `make_dataset`, or any that DataLoader takes; an iterable one with sampler_type=None.
        batch_size: samples a batch on this rank.
        num_workers: worker processes that read; 0: dalikit's datasets are read by threads, others by your own thread.
        shuffle: whether the sampler shuffles.
        seed: of the sampler and of the augmentation parameters, 0 to 2**63 - 1.
        sampler_type: a SamplerType; None: the whole dataset in order on every rank.
        sampler_size: for EPOCH and KEYED_EPOCH: samples a pass over all ranks; -1: the length of the dataset.
        sampler_advance: start as if this many samples of this rank had been taken. Not with sampler_type=None.
        drop_last: leave out the last batch of a pass if it is short.
        persistent_workers: whether worker processes stay from one pass to the next.
        collate_fn: makes a batch of the list of its samples.
        worker_init_fn: called with its id in each worker process; see DataLoader, as for the next two.
        worker_globals: put into the globals of each worker's main module.
        worker_packages: imported in each worker.
        prefetch_factor: batches in hand for each worker; None: 2.
        multiprocessing_context: how workers are started: "fork", "forkserver", "spawn"; None: Python's default.
        timeout: seconds to wait for a batch; 0 or less: as long as it takes.
        **options: transform, encoded, device, dtype, channels_last, executor, resize, num_threads, prefetch_batches,
            rank, world_size, on_error, max_errors, quarantine, truncated, max_pixels, max_encoded_bytes, exclude,
            return_parameters.

    Raises:
        ArgumentError: an argument is out of range or of no use to the sampler.
        DeviceError: the device is not there.
    """
    resolved = make_options(options)
    check_seed(seed)
    check_integer("batch_size", batch_size, 1)
    try:
        sampler = _make_sampler(
            dataset=dataset,
            sampler_type=sampler_type,
            shuffle=shuffle,
            seed=seed,
            size=sampler_size,
            advance=sampler_advance,
            rank=resolved.rank or 0,
            world_size=resolved.world_size or 1,
        )
    except ArgumentError:
        raise
    except (TypeError, ValueError) as error:  # of the package samplers, which knows nothing of dalikit's errors
        raise ArgumentError(str(error)) from error
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate_fn,
        drop_last=drop_last,
        timeout=timeout,
        worker_init_fn=worker_init_fn,
        worker_globals=worker_globals,
        worker_packages=worker_packages,
        persistent_workers=persistent_workers,
        prefetch_factor=prefetch_factor,
        multiprocessing_context=multiprocessing_context,
        seed=seed,
        **options,
    )
    _log(loader)
    return loader


def _make_sampler(
    *,
    dataset: Any,
    sampler_type: Any,
    shuffle: bool,
    seed: int,
    size: int,
    advance: int,
    rank: int,
    world_size: int,
) -> Sampler | None:
    if sampler_type is not None and not isinstance(sampler_type, SamplerType):
        names = ", ".join(kind.name for kind in SamplerType)
        raise ArgumentError(f"sampler_type={sampler_type!r}: must be SamplerType.X with X one of {names}, or None")
    check_integer("sampler_size", size, -1)
    check_integer("sampler_advance", advance, 0)
    if size == 0 or (size > 0 and sampler_type not in (SamplerType.EPOCH, SamplerType.KEYED_EPOCH)):
        raise ArgumentError(
            f"sampler_size={size}: only sampler_type=EPOCH and KEYED_EPOCH have one, of at least 1; give -1"
        )
    if _is_iterable(dataset) and sampler_type is not None:
        raise ArgumentError(f"sampler_type={sampler_type.name}: an iterable dataset has an order of its own; give None")
    if sampler_type is None:
        return _sequential(dataset, shuffle=shuffle, advance=advance)
    count = len(dataset)
    if sampler_type is SamplerType.DISTRIBUTED:
        return DistributedSampler(
            count, num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed, drop_last=False, advance=advance
        )
    shared: dict[str, Any] = {
        "sample_count": count,
        "shuffle": shuffle,
        "seed": seed,
        "start": rank,
        "step": world_size,
        "advance": advance,
    }
    if sampler_type is SamplerType.EPOCH:
        return EpochSampler(size=size if size > 0 else count, **shared)
    if sampler_type is SamplerType.KEYED_EPOCH:
        return KeyedEpochSampler(size=size if size > 0 else count, **shared)
    if sampler_type is SamplerType.INFINITE:
        return InfiniteSampler(**shared)
    if sampler_type is SamplerType.KEYED_INFINITE:
        return KeyedInfiniteSampler(**shared)
    new = sampler_type is SamplerType.SHARDED_INFINITE_NEW
    return ShardedInfiniteSampler(**shared, use_new_shuffle_tensor_slice=new)


def _sequential(dataset: Any, *, shuffle: bool, advance: int) -> Sampler | None:
    """The sampler of sampler_type=None; of an iterable dataset there is none."""
    if advance:
        raise ArgumentError(f"sampler_advance={advance}: sampler_type=None has no use for it; give 0")
    if _is_iterable(dataset):
        return None
    if shuffle:
        warnings.warn(
            "sampler_type=None goes through the dataset in order on every rank, as DINOv2's does; "
            "shuffle=True has no effect",
            stacklevel=4,
        )
    return SequentialSampler(len(dataset))


def _is_iterable(dataset: Any) -> bool:
    data = sys.modules.get("torch.utils.data")
    return data is not None and isinstance(dataset, data.IterableDataset)


def _log(loader: DataLoader) -> None:
    options, sampler = loader.options, loader.sampler
    logger.info("sampler: %r", sampler)
    logger.info("rank %s of %s", options.rank, options.world_size)
    try:
        logger.info("# of batches: %s", f"{len(loader):,d}")
    except TypeError:
        logger.info("infinite data loader")
    logger.info(
        "device: %s, executor: %s, CPU threads: %s, dtype: %s",
        options.torch_device,
        options.executor,
        options.num_threads,
        options.dtype,
    )
