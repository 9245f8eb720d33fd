"""A torch-style sampler or batch sampler, seen as what gives batch after batch; and what can be asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import BatchSampler

__all__ = ["ForeignSource"]

_DEEPEST = 8  # samplers within samplers that are looked at


class ForeignSource:
    """Batches of indices, drawn as torch's DataLoader draws them.

    Args:
        sampler: any iterable of indices. Without effect beside a batch sampler.
        batch_sampler: any iterable of batches, which are iterables of indices; torch's BatchSampler around `sampler`,
            for one. None: the indices of `sampler` come one by one, unbatched.
    """

    def __init__(self, sampler: Any, batch_sampler: Any) -> None:
        self._iterated = sampler if batch_sampler is None else batch_sampler
        self.batched = batch_sampler is not None
        """Whether indices come in batches."""

    def batches(self) -> Iterator[list[Any]]:
        """Iterates anew. What is iterated may draw random numbers now, or only when the first batch is asked for."""
        iterator = iter(self._iterated)
        return map(list, iterator) if self.batched else ([index] for index in iterator)

    def __len__(self) -> int:
        """Batches in a pass. Raises TypeError if it has no length."""
        return len(self._iterated)

    @property
    def base(self) -> Any:
        """What decides the order: the sampler that torch's BatchSampler batches, else what is iterated."""
        plain = type(self._iterated) is BatchSampler
        return self._iterated.sampler if plain else self._iterated

    @property
    def stateful(self) -> Any | None:
        """What has `state_dict` and `load_state_dict`, and goes on at the next index when it is iterated after that."""
        base = self.base
        both = all(callable(getattr(base, name, None)) for name in ("state_dict", "load_state_dict"))
        return base if both else None

    def used_up_by(self, batch: list[Any]) -> bool:
        """Whether the sampler was asked beyond its last index for a batch, so that it may have rewound itself."""
        return type(self._iterated) is BatchSampler and len(batch) < self._iterated.batch_size

    @property
    def generator(self) -> torch.Generator | None:
        """From which it draws, as torch's random samplers have one; None: it has none, so perhaps the global one."""
        found = (getattr(sampler, "generator", None) for sampler in self._chain())
        return next((generator for generator in found if isinstance(generator, torch.Generator)), None)

    @property
    def epoch(self) -> int | None:
        """Of the sampler that has `set_epoch`, as far as it shows it."""
        epoch = getattr(self._with_epochs(), "epoch", None)
        return epoch if isinstance(epoch, int) else None

    def set_epoch(self, epoch: int) -> None:
        """Tells the sampler, if it wants to be told."""
        sampler = self._with_epochs()
        if sampler is not None:
            sampler.set_epoch(epoch)

    def identity(self) -> dict[str, Any]:
        """What a checkpoint says of it, as far as it can be known; JSON-able."""
        batch_size, drop_last = (getattr(self._iterated, name, None) for name in ("batch_size", "drop_last"))
        plain = self.base is not self._iterated or not self.batched
        sampler = self.base if plain else getattr(self._iterated, "sampler", None)
        return {
            "sampler": None if sampler is None else type(sampler).__name__,
            "batch_sampler": type(self._iterated).__name__ if self.batched else None,
            "batch_size": batch_size if self.batched and isinstance(batch_size, int) else None,
            "drop_last": drop_last if self.batched and isinstance(drop_last, bool) else None,
            # Batch samplers of other people often have another length each epoch.
            "length": _length(self.base) if plain else None,
        }

    def __repr__(self) -> str:
        """The class that decides the order."""
        return type(self.base).__name__

    def _with_epochs(self) -> Any | None:
        return next((sampler for sampler in self._chain() if callable(getattr(sampler, "set_epoch", None))), None)

    def _chain(self) -> Iterator[Any]:
        """The samplers, from the outside in."""
        sampler = self._iterated
        for _ in range(_DEEPEST):
            if sampler is None:
                return
            yield sampler
            inner = getattr(sampler, "sampler", None)
            sampler = getattr(sampler, "batch_sampler", None) if inner is None else inner


def _length(sampler: Any) -> int | None:
    try:
        return len(sampler)
    except Exception:  # whatever it raises says that it has none
        return None
