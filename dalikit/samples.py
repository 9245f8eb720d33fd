"""What a `collate_fn` is handed: the list of samples, which knows the batch that it was made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["SampleList"]


class SampleList(list[tuple[Any, ...]]):
    """A batch's samples, `(image views, target)` each, images not copied: to any collate_fn the list that torch hands
    over. Slices and copies of it are plain lists.

    Args:
        samples: one tuple a sample.
        batch: what the samples' images are parts of: a tensor (B, 3, H, W), or a dict with a tensor (n, B, 3, H, W) for
            each group of views.
        seed: the loader's.
        first_position: global position of the batch's first sample. With the seed it is the key of whatever is drawn
            for the batch as a whole.
    """

    __slots__ = ("batch", "first_position", "seed")

    def __init__(self, samples: Iterable[tuple[Any, ...]], *, batch: Any, seed: int, first_position: int) -> None:
        super().__init__(samples)
        self.batch = batch
        self.seed = seed
        self.first_position = first_position
