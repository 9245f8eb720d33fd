"""What a transform draws on its own, for tests: columns, sizes, and the numbers that users are told."""

from __future__ import annotations

from typing import Any

import numpy as np

import dalikit.transforms as T
from dalikit.transforms.base import Sizes
from dalikit.transforms.layout import lay_out

__all__ = ["draw", "drawn_columns", "sizes_of", "told"]

Matrix = np.ndarray[Any, Any]


def sizes_of(pairs: list[tuple[int, int]]) -> Sizes:
    """From (height, width) pairs."""
    heights, widths = zip(*pairs, strict=True)
    return Sizes(np.array(heights), np.array(widths))


def draw(transform: T.Transform, sizes: Sizes, seed: int = 0) -> tuple[Matrix, Sizes]:
    """float32 (R, num_columns) for the positions 0 to R - 1, and the sizes after it."""
    positions = np.arange(len(sizes))
    return lay_out((transform,)).draw(seed, positions, np.zeros_like(positions), sizes)


def drawn_columns(transform: T.Transform, count: int, seed: int = 0, height: int = 60, width: int = 80) -> Matrix:
    """The columns for `count` images of one size."""
    return draw(transform, Sizes.full(count, height, width), seed)[0]


def told(transform: T.Transform, count: int, seed: int = 0, height: int = 60, width: int = 80) -> dict[str, Matrix]:
    """What users are told of `count` images of one size."""
    values = drawn_columns(transform, count, seed, height, width)
    return {item.name: item.values for item in lay_out((transform,)).drawn(values)}
