"""What is read, and how: all that a reader needs to know, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dalikit.fetch.limits import NO_LIMITS, Limits
from dalikit.fetch.on_cpu import HostFunction

__all__ = ["ReadTask"]


@dataclass(frozen=True, slots=True)
class ReadTask:
    """A loader's part that reads. Pickles if what it holds does."""

    dataset: Any
    seed: int
    """The loader's."""
    collate_fn: Callable[[Any], Any] | None
    """The user's. None: torch's default_collate, or its default_convert where `Request.batched` is False."""
    transformed: bool
    """Whether the loader carries out a transform, so that decoded images are images, and no data."""
    encoded: bool | None = None
    """Whether bytes are images; None: if they begin as an image file does."""
    adapt: Callable[[Any], Any] | None = None
    """What else is seen as a dataset of encoded images (see `unwrap`); None: nothing."""
    function: HostFunction | None = None
    """The user's function of an image, which has it before all else."""
    limits: Limits = NO_LIMITS
    """Of an image."""
    tolerant: bool = False
    """Note bad samples in `ImageBatch.errors`, instead of raising the first one's error."""
    batch_size: int | None = 1
    """Of iterable datasets alone: items a batch; None: an item is a batch."""
    drop_last: bool = False
    """Of iterable datasets alone: whether a last batch of fewer items is left out."""
    rank: int = 0
    """Of iterable datasets alone, as `world_size`: for their positions."""
    world_size: int = 1
    states: Mapping[int, Any] | None = None
    """Of iterable datasets alone: where each worker's dataset is to go on, by worker; what `ImageBatch.state` was."""
