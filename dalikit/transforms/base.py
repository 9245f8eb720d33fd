"""What every transform is: a frozen description with a way to draw its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from dalikit.transforms.draws import Draws
from dalikit.transforms.operations import Operation
from dalikit.transforms.purposes import Purpose

__all__ = ["Columns", "Drawn", "Sizes", "Transform", "TransformRefusalError"]

Columns = tuple[npt.NDArray[np.int64] | npt.NDArray[np.float64], ...]
"""Drawn parameters: one int64 or float64 array (R,) a column. Kept as float32."""


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

    def of(self, rows: npt.NDArray[np.int64]) -> Sizes:
        """Those of some of the images, in the order given."""
        return Sizes(self.heights[rows], self.widths[rows])


class Drawn(NamedTuple):
    """One number that a transform has drawn, as users get it with `return_parameters=True`."""

    name: str
    """Such as "brightness"."""
    values: npt.NDArray[Any]
    """float32 or bool, (R,) or (R, k)."""
    neutral: float
    """The value that stands for "not done": 1 for a factor, 0 for an angle or a yes-or-no."""


class Transform:
    """One step of what is done to an image. Subclasses are frozen dataclasses: they compare, print and pickle.

    A transform holds no random state. `draw` is a pure function of the words it is given and of the image sizes; the
    words are a pure function of (seed, position, view). Transforms are thread-safe.

    A row is one view of one sample: R = B times the number of views that share the transform.
    """

    purpose: ClassVar[int] = Purpose.NOTHING
    """Number of the class in the random counter."""
    num_blocks: ClassVar[int] = 0
    """How many blocks of four random words every row takes (more can be had from `Draws` for rows that need them)."""

    _num_columns: ClassVar[int] = 0

    @property
    def num_columns(self) -> int:
        """How many columns of the parameter matrix it fills."""
        return self._num_columns

    @property
    def cases(self) -> tuple[tuple[Transform, ...], ...]:
        """For a transform made of others: what is done in each case. Its first column is the number of the case."""
        return ()

    @property
    def orders(self) -> tuple[tuple[int, ...], ...]:
        """For a transform whose cases are the same parts in other orders: for each case the parts' numbers."""
        return ()

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Draws the parameters of a batch.

        Args:
            draws: the random words, R rows.
            sizes: the images' sizes before this step.

        Returns:
            `num_columns` columns, and the sizes after this step (for a transform with cases: as before; the cases' own
            transforms say what becomes of them).

        Raises:
            TransformRefusalError: it cannot be applied to one of the images.
        """
        del draws
        return (), sizes

    def operations(self, column: int) -> tuple[Operation, ...]:
        """The operations that this step comes down to, reading columns from `column` on. Not asked if it has cases."""
        del column
        return ()

    def drawn(self, values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
        """What users are told of the parameters, where the box, the flips and the sizes do not say it already.

        Args:
            values: float32 (R, num_columns): the columns.
        """
        del values
        return ()
