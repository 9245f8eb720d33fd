"""Columns that the graph adds to the parameter matrix, so that it need not compute them itself.

A DALI operator costs about 25 us a batch and 1 us a sample however little it does, and a scalar expression is a chain
of them. What follows from an operation's columns alone is therefore computed here, with numpy, for the whole batch:

    matrix [B, P] --extend--> [B, P | columns of Hue 1 | columns of ColorJitter 1 | ...] --> the graph
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from dalikit.transforms.operations import (
    ColorJitter,
    GaussianBlur,
    Hue,
    Mixture,
    Operation,
    Posterize,
    Select,
    Sharpness,
)

__all__ = [
    "FLAGS",
    "HUE_COLUMNS",
    "HUE_SLOT",
    "SLOTS",
    "GraphColumns",
    "walk",
]

_Matrix = npt.NDArray[np.float32]

HUE_COLUMNS = 6
"""A hue turn: what is left of it after whole thirds, in sixths of a turn (-1 to 1); for red, green and blue the number
of the channel that takes their place; by how many sixths less a colour turns that passes red; 1 if the turn is
backwards, in which case green and blue have changed places, so that it is one forwards."""

SLOTS = "XXSXX" + "XXSXX"
"""What a ColorJitter's operators are in the graph's fixed order, the hue between the halves: X brightness or contrast,
S saturation. Every order of the four is found in it from left to right, and hue, the dearest, stands there once."""

HUE_SLOT = len(SLOTS)
FLAGS = len(SLOTS) + 1
"""A ColorJitter's columns: FLAGS times whether a slot is used (the last: hue); for each slot two factors (X: of
brightness and of contrast, one of them 1; S: of the image and of its gray, together 1); HUE_COLUMNS."""

_HALF = len(SLOTS) // 2
_HUE = 3
_SIXTHS = 6.0 / 255.0
_SMOOTHING = np.array([1, 1, 1, 1, 5, 1, 1, 1, 1], np.float32) / 13
"""Pillow's `ImageFilter.SMOOTH`. A column, because a constant is an operator without an input (see conditions.py)."""


def walk(operations: Iterable[Operation]) -> Iterator[Operation]:
    """All operations, those in cases and branches too."""
    for operation in operations:
        yield operation
        inner: tuple[tuple[Operation, ...], ...] = ()
        if isinstance(operation, Select):
            inner = operation.cases
        elif isinstance(operation, Mixture):
            inner = operation.branches
        for nested in inner:
            yield from walk(nested)


class GraphColumns:
    """Which operation has which added columns, and what stands in them.

    Args:
        operations: all that the graph carries out.
        num_columns: P, of the matrix as it is drawn.
    """

    def __init__(self, operations: Iterable[Operation], num_columns: int) -> None:
        self._drawn = num_columns
        self._first: dict[Operation, int] = {}
        self._width = num_columns
        self._fillers: list[tuple[Callable[[_Matrix], _Matrix], int]] = []
        for operation in walk(operations):
            if operation not in self._first and (filler := self._filler(operation)) is not None:
                self._first[operation] = self._width
                self._fillers.append((filler, self._width))
                self._width += filler(np.zeros((1, num_columns), np.float32)).shape[1]

    @property
    def width(self) -> int:
        """How many columns the graph is fed."""
        return self._width

    def first(self, operation: Operation) -> int:
        """The first column that was added for an operation."""
        return self._first[operation]

    def extend(self, matrix: _Matrix) -> _Matrix:
        """The matrix with the added columns, for a batch of any size.

        Args:
            matrix: float32 [B, P], as drawn.
        """
        if self._width == self._drawn:
            return matrix
        extended = np.empty((len(matrix), self._width), np.float32)
        extended[:, : self._drawn] = matrix
        for filler, start in self._fillers:
            values = filler(matrix)
            extended[:, start : start + values.shape[1]] = values
        return extended

    def _filler(self, operation: Operation) -> Callable[[_Matrix], _Matrix] | None:
        """What computes an operation's columns from the drawn ones; None: it needs none."""
        if isinstance(operation, Hue):
            return lambda matrix: _turn(matrix[:, operation.column])
        if isinstance(operation, ColorJitter):
            return lambda matrix: _slots(matrix[:, operation.column : operation.column + 8])
        if isinstance(operation, GaussianBlur):
            return lambda matrix: _weights(matrix[:, operation.column], operation.kernel_size)
        if isinstance(operation, Posterize):
            return lambda matrix: (
                256.0 - 2.0 ** (8.0 - np.clip(matrix[:, operation.column : operation.column + 1], 0, 8))
            )
        if isinstance(operation, Sharpness):
            return lambda matrix: np.broadcast_to(_SMOOTHING, (len(matrix), 9))
        return None


def _turn(part: _Matrix) -> _Matrix:
    """[B, HUE_COLUMNS] of a hue turn by `part` of a full one."""
    steps = np.trunc(part.astype(np.float64) * 255)
    backwards = steps < 0
    turn = np.abs(steps) * _SIXTHS
    thirds = np.round((turn - 0.01) / 2)
    far = thirds != 0
    # Pillow cuts a hue to whole 255ths, half of one too few on average, and then counts modulo 256, not 255: a colour
    # that passes red is turned by one of them less. Which colours do is only followed up to a sixth of a turn;
    # beyond, the mean is allowed for: warm colours are frequent, and they pass red backwards.
    turn += np.where(backwards, np.where(far, 0.2, 0.5), -0.5) * _SIXTHS
    channels = (np.arange(3) - thirds[:, None]) % 3
    channels = np.where(backwards[:, None], -channels % 3, channels)
    return np.column_stack([turn - 2 * thirds, channels, np.where(far, 0, _SIXTHS), backwards]).astype(np.float32)


def _slots(values: _Matrix) -> _Matrix:
    """The columns of a ColorJitter, from its eight drawn ones."""
    order, factors = values[:, :4].astype(np.int64), values[:, 4:]
    rows = np.arange(len(values))
    flags = np.zeros((len(values), FLAGS), np.float32)
    pairs = np.zeros((len(values), len(SLOTS), 2), np.float32)
    place = np.zeros(len(values), np.int64)
    for step in order.T:
        hue, works = step == _HUE, step < _HUE
        flags[hue, HUE_SLOT] = 1
        place = np.where(hue, _HALF, place)
        at = _NEXT[(step == 2).astype(np.int64), place][works]
        row, operation = rows[works], step[works]
        factor = factors[row, operation]
        flags[row, at] = 1
        pairs[row, at, 0] = np.where(operation == 1, 1, factor)
        pairs[row, at, 1] = np.choose(operation, [1, factor, 1 - factor])
        place[works] = at + 1
    return np.concatenate([flags, pairs.reshape(len(values), -1), _turn(factors[:, 3])], axis=1)


def _next_slots() -> npt.NDArray[np.int64]:
    """[kind, place]: the next slot of the kind (0 X, 1 S) at or after a place; -1: none."""
    table = np.full((2, len(SLOTS) + 1), -1, np.int64)
    for row, kind in enumerate("XS"):
        for place in range(len(SLOTS)):
            table[row, place] = SLOTS.find(kind, place)
    return table


_NEXT = _next_slots()


def _weights(sigma: _Matrix, kernel_size: tuple[int, int]) -> _Matrix:
    """The weights of a Gaussian window: those along a row, then those along a column. Each sum to 1."""
    deviation = np.maximum(sigma, np.float32(0.01))[:, None]  # 0 where a sample does not come by here
    parts = []
    for size in kernel_size:
        distance = np.arange(size, dtype=np.float32) - np.float32(size // 2)
        weights = np.exp(-0.5 * np.square(distance / deviation))
        parts.append(weights / weights.sum(axis=1, keepdims=True))
    return np.concatenate(parts, axis=1)
