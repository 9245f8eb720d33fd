"""What the arguments of a DataLoader may be: small checks that name the argument, what came and what is allowed."""

from __future__ import annotations

import math
import threading
from typing import Any

import torch

from dalikit.errors import ArgumentError
from dalikit.options import check_bool
from samplers import RandomSampler, Sampler, SequentialSampler

__all__ = [
    "check_callable",
    "check_dataset",
    "check_sampler",
    "check_timeout",
    "describe",
    "draw_seed",
    "make_sampler",
    "refuse_workers",
    "transform_of",
]


def refuse_workers(
    num_workers: Any, batch_sampler: Any, persistent_workers: Any, prefetch_factor: Any, context: Any
) -> None:
    """Refuses what needs worker processes, and batch samplers, which are not there yet."""
    if num_workers != 0 or isinstance(num_workers, bool):
        raise ArgumentError(
            f"num_workers={num_workers!r}: must be 0: worker processes are not available yet. Files are read and "
            f"decoded on threads of this process, or on the GPU: give num_workers=0, num_threads={num_workers!r}"
        )
    if batch_sampler is not None:
        raise ArgumentError(f"batch_sampler={batch_sampler!r}: not available yet; give sampler and batch_size")
    given = {"persistent_workers": persistent_workers or None, "prefetch_factor": prefetch_factor}
    for name, value in {**given, "multiprocessing_context": context}.items():
        if value is not None:
            raise ArgumentError(f"{name}={value!r}: needs num_workers > 0, which is not available yet")


def check_dataset(dataset: Any) -> Any:
    """A dataset that has encoded images and targets, and at least one sample."""
    missing = [name for name in ("get_image_data", "get_target", "__len__") if not hasattr(dataset, name)]
    if missing:
        raise ArgumentError(
            f"dataset={type(dataset).__name__}: must have get_image_data(index), get_target(index) and len(); "
            f"it lacks {', '.join(missing)}"
        )
    if len(dataset) == 0:
        raise ArgumentError(f"dataset={type(dataset).__name__}: must hold at least one sample, it has none")
    return dataset


def check_timeout(timeout: Any) -> float | None:
    """Seconds, or None for as long as it takes."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise ArgumentError(f"timeout={timeout!r}: must be a number of seconds; 0 or less waits as long as it takes")
    return min(float(timeout), threading.TIMEOUT_MAX) if timeout > 0 else None


def transform_of(dataset: Any, transform: Any) -> Any:
    """The transform to be carried out: the loader's own, else the dataset's."""
    return getattr(dataset, "transform", None) if transform is None else transform


def draw_seed(generator: torch.Generator | None) -> int:
    """A seed from torch's generator, or from `generator`."""
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator).item())


def make_sampler(dataset: Any, shuffle: bool, seed: int) -> Sampler:
    """The sampler of a loader that was given none."""
    return RandomSampler(len(dataset), seed=seed) if shuffle else SequentialSampler(len(dataset))


def check_callable(name: str, value: Any) -> Any:
    """A function or None."""
    if value is not None and not callable(value):
        raise ArgumentError(f"{name}={value!r}: must be a function or None")
    return value


def check_sampler(sampler: Any, shuffle: Any, dataset: Any) -> None:
    """A sampler of the package `samplers` that is made for this dataset; or None, with `shuffle` or without."""
    if shuffle is not None:  # torch's default
        check_bool("shuffle", shuffle)
    if sampler is None:
        return
    if shuffle:
        raise ArgumentError("shuffle=True: not together with a sampler, which decides the order itself")
    if not isinstance(sampler, Sampler):
        raise ArgumentError(f"sampler={sampler!r}: must be a sampler of the package `samplers`")
    if sampler.sample_count != len(dataset):
        raise ArgumentError(f"sampler: made for {sampler.sample_count} samples, the dataset has {len(dataset)}")


def describe(dataset: Any) -> dict[str, Any]:
    """What a dataset is, for a checkpoint: its class, length and fingerprint."""
    return {
        "class": type(dataset).__name__,
        "length": len(dataset),
        "fingerprint": getattr(dataset, "fingerprint", None),
    }
