"""The number that torch's DataLoader draws whenever it begins an iteration."""

from __future__ import annotations

import torch

from dalikit.callables import loader_draws

__all__ = ["BaseSeed"]


class BaseSeed:
    """One int64, drawn as torch draws it, so that a generator that is shared with a sampler gives torch's orders.

    dalikit's own randomness does not follow from it.

    Args:
        generator: from which it is drawn; None: torch's global one.
        persistent: worker processes live on: they are seeded once, so it is drawn for the first iteration alone.
    """

    def __init__(self, generator: torch.Generator | None, *, persistent: bool) -> None:
        self.generator = generator
        """From which it is drawn; None: torch's global one."""
        self._persistent = persistent
        self._drawn = False

    @property
    def due(self) -> bool:
        """Whether the next iteration is to draw it."""
        return not (self._persistent and self._drawn)

    def draw(self) -> None:
        """Draws it."""
        with loader_draws():
            torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        self._drawn = True

    def pass_over(self) -> None:
        """An iteration begins that does not draw it."""
        self._drawn = True
