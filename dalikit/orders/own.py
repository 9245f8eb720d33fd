"""The order of a loader that was given no sampler: sequential, or shuffled anew each pass, from the loader's seed."""

from __future__ import annotations

from typing import Any

from dalikit.orders.base import Progress
from dalikit.orders.sampler import SamplerOrder
from samplers import RandomSampler, Sampler, SequentialSampler

__all__ = ["OwnOrder"]


class OwnOrder(SamplerOrder):
    """A SamplerOrder that makes its sampler itself, and anew if the dataset has another length at the next pass.

    Args:
        dataset: has a length.
        shuffle: whether each pass has a new random order.
        seed: the loader's.
        arguments: batch_size, drop_last, generator and persistent: see SamplerOrder.
    """

    def __init__(self, dataset: Any, *, shuffle: bool, seed: int, **arguments: Any) -> None:
        self._dataset = dataset
        self._shuffle = shuffle
        self._own_seed = seed
        super().__init__(self._make(), own=True, **arguments)

    def reseed(self, seed: int) -> None:
        """Takes another seed for the iterations to come: a state brings one along."""
        self._own_seed = seed
        self._replace()

    def begin(self) -> Progress:
        """As SamplerOrder."""
        self._follow_length()
        return super().begin()

    def __len__(self) -> int:
        """As SamplerOrder."""
        self._follow_length()
        return super().__len__()

    def _follow_length(self) -> None:
        if len(self._dataset) != self.sampler.sample_count:
            self._replace()

    def _replace(self) -> None:
        self.sampler = self._make()
        self._seen = self._epoch_set()

    def _make(self) -> Sampler:
        count = len(self._dataset)
        return RandomSampler(count, seed=self._own_seed) if self._shuffle else SequentialSampler(count)
