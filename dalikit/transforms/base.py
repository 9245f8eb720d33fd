"""What every transform is: a frozen description with a way to draw its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from dalikit.transforms.draws import Words
from dalikit.transforms.operations import Operation

__all__ = ["Columns", "Sizes", "Transform", "TransformRefusalError"]

Columns = tuple[npt.NDArray[np.int64], ...]
"""Drawn parameters: one int64 array (B,) a column."""


class TransformRefusalError(ValueError):
    """A transform cannot be applied to one image of a batch. The engine adds the place and raises TransformError."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row
        """Which image of the batch."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a batch's images at one step, in pixels."""

    heights: npt.NDArray[np.int64]
    widths: npt.NDArray[np.int64]

    @classmethod
    def full(cls, count: int, height: int, width: int) -> Sizes:
        """`count` images of one size."""
        return cls(np.full(count, height, dtype=np.int64), np.full(count, width, dtype=np.int64))

    def __len__(self) -> int:
        """How many images."""
        return len(self.heights)


class Transform:
    """One step of what is done to an image. Subclasses are frozen dataclasses: they compare, print and pickle.

    A transform holds no random state. `draw` is a pure function of the words it is given and of the image sizes; the
    words are a pure function of (seed, position, view). Transforms are thread-safe.
    """

    purpose: ClassVar[int] = 0
    """Number of the class in the random counter, 1 to 255; 0 for what draws nothing. Never changed or given again: it
    decides what is drawn (a change would be an ORDER change)."""
    num_blocks: ClassVar[int] = 0
    """How many blocks of four random words a sample takes."""
    num_columns: ClassVar[int] = 0
    """How many columns of the parameter matrix it fills."""

    def draw(self, words: Words, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Draws the parameters of a batch.

        Args:
            words: uint32 (B, num_blocks, 4).
            sizes: the images' sizes before this step.

        Returns:
            `num_columns` columns, and the sizes after this step.

        Raises:
            TransformRefusalError: it cannot be applied to one of the images.
        """
        del words
        return (), sizes

    def operations(self, column: int) -> tuple[Operation, ...]:
        """The operations that this step comes down to, reading columns from `column` on."""
        del column
        return ()
