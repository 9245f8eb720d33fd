"""What the arguments of a DataLoader may be: small checks that name the argument, what came and what is allowed."""

from __future__ import annotations

import math
import os
import threading
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from dalikit.callables import loader_draws
from dalikit.datasets.base import declares_images
from dalikit.errors import ArgumentError
from dalikit.options import check_bool

__all__ = [
    "check_callable",
    "check_dataset",
    "check_shuffle",
    "check_timeout",
    "check_torch_arguments",
    "describe",
    "draw_seed",
    "transform_of",
]


def check_torch_arguments(dataset: Any, *, batch_size: Any, num_workers: Any, **arguments: Any) -> DataLoader[Any]:
    """Has torch's DataLoader check its own arguments: what it refuses is refused in its words.

    Returns:
        torch's loader, which is never iterated: its `sampler`, `batch_sampler`, `prefetch_factor`, ... are looked at.

    Raises:
        ArgumentError: it refuses them.
    """
    if not isinstance(num_workers, int | np.integer) or isinstance(num_workers, bool):
        raise ArgumentError(f"num_workers={num_workers!r}: must be a whole number, at least 0")
    if isinstance(batch_size, np.integer):
        batch_size = int(batch_size)  # torch takes Python's alone
    try:
        return DataLoader(dataset, batch_size=batch_size, num_workers=int(num_workers), **arguments)
    except (ValueError, TypeError) as error:
        raise ArgumentError(str(error)) from None


def check_dataset(dataset: Any) -> Any:
    """A dataset of any kind; one of encoded images must hold at least one."""
    if isinstance(dataset, str | bytes | os.PathLike):  # torch takes a text for a list of its letters
        raise ArgumentError(
            f"dataset is a {type(dataset).__name__}: must be a dataset; "
            "make_dataset(dataset_str=...) opens one that is named by a text"
        )
    iterable = isinstance(dataset, IterableDataset)
    if not iterable and not declares_images(dataset) and not hasattr(dataset, "__getitem__"):
        more = "; one that can only be iterated must be a torch IterableDataset" if hasattr(dataset, "__iter__") else ""
        raise ArgumentError(
            f"dataset={type(dataset).__name__}: must have get_image_data(index), get_target(index) and len() (encoded "
            f"images), or __getitem__(index), or be a torch IterableDataset{more}"
        )
    if declares_images(dataset) and len(dataset) == 0:
        raise ArgumentError(f"dataset={type(dataset).__name__}: must hold at least one sample, it has none")
    return dataset


def check_timeout(timeout: Any) -> float | None:
    """Seconds, or None for as long as it takes."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise ArgumentError(f"timeout={timeout!r}: must be a number of seconds; 0 or less waits as long as it takes")
    return min(float(timeout), threading.TIMEOUT_MAX) if timeout > 0 else None


def transform_of(dataset: Any, transform: Any) -> Any:
    """The transform to be carried out: the loader's own; else the dataset's, if that leaves it to the loader.

    A dataset that gives items by `__getitem__` alone carries its transform out itself.
    """
    return getattr(dataset, "transform", None) if transform is None and declares_images(dataset) else transform


def draw_seed(generator: torch.Generator | None) -> int:
    """A seed from torch's generator. One that was given is left as it is, as the order follows from it."""
    source = None
    if generator is not None:
        source = torch.Generator(device=generator.device)
        source.set_state(generator.get_state())
    device = "cpu" if source is None else source.device
    with loader_draws():
        return int(torch.empty((), dtype=torch.int64, device=device).random_(generator=source).item())


def check_callable(name: str, value: Any) -> Any:
    """A function or None."""
    if value is not None and not callable(value):
        raise ArgumentError(f"{name}={value!r}: must be a function or None")
    return value


def check_shuffle(shuffle: Any) -> bool:
    """True or False; None, which is torch's default, is False."""
    return shuffle is not None and check_bool("shuffle", shuffle)


def describe(dataset: Any) -> dict[str, Any]:
    """What a dataset is, for a checkpoint: its class, length and fingerprint."""
    return {
        "class": type(dataset).__name__,
        "length": _length(dataset),
        "fingerprint": getattr(dataset, "fingerprint", None),
    }


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:  # of webdataset's pipelines, and other iterable datasets
        return None
