"""Where everything of a recipe lies: which step draws under which purpose, and fills which columns of the matrix.

A family is a row of steps that one or more views share, as eight local crops do: it is drawn in one go, a row a view
and sample, and fills as many columns a view.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError
from dalikit.transforms.base import Drawn, Sizes, Transform, TransformRefusalError
from dalikit.transforms.compose import flatten
from dalikit.transforms.draws import Draws, Slot, draw_slots
from dalikit.transforms.operations import Operation, Select

__all__ = ["Family", "lay_out"]

Matrix = npt.NDArray[np.float32]

_MAX_OF_A_CLASS = 256  # a purpose has 8 bits for it


@dataclass(frozen=True, slots=True)
class _Step:
    transform: Transform
    slot: int | None
    column: int
    cases: tuple[tuple[_Step, ...], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Steps that are drawn together for one or more views. Made by `lay_out`."""

    steps: tuple[_Step, ...]
    slots: tuple[Slot, ...]
    num_columns: int
    """Of one view."""

    def operations(self, start: int) -> tuple[Operation, ...]:
        """What the steps come down to, for a view whose columns begin at `start`."""
        return _operations(self.steps, start)

    def draw(
        self, seed: int, positions: npt.NDArray[np.int64], views: npt.NDArray[np.int64], sizes: Sizes
    ) -> tuple[Matrix, Sizes]:
        """Draws for R rows (views times samples).

        Args:
            seed: the loader's seed.
            positions: int64 (R,).
            views: int64 (R,).
            sizes: R images.

        Returns:
            float32 (R, num_columns), and the sizes after the last step.

        Raises:
            TransformRefusalError: a transform cannot be applied to one of the images.
        """
        matrix = np.zeros((len(positions), self.num_columns), dtype=np.float32)
        draws = draw_slots(seed, positions, views, self.slots)
        nothing = Draws(seed, positions.astype(np.uint64), views.astype(np.uint64), 0)
        for step in self.steps:
            sizes = _draw(step, draws, nothing, sizes, matrix, None)
        return matrix, sizes

    def drawn(self, values: Matrix) -> tuple[Drawn, ...]:
        """What users are told of R rows of parameters."""
        return tuple(item for step in self.steps for item in _drawn(step, values))


def lay_out(transforms: tuple[Transform, ...]) -> Family:
    """Gives every step its purpose in the random counter and its columns in the matrix.

    Raises:
        ArgumentError: too many steps of one class.
    """
    layout = _Layout()
    return Family(layout.steps(transforms), tuple(layout.slots), layout.column)


class _Layout:
    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.column = 0
        self._seen: Counter[int] = Counter()

    def steps(self, transforms: tuple[Transform, ...]) -> tuple[_Step, ...]:
        return tuple(self._step(transform) for transform in transforms)

    def _step(self, transform: Transform) -> _Step:
        slot, column = None, self.column
        if transform.num_blocks:
            seen = self._seen[transform.purpose]
            if seen >= _MAX_OF_A_CLASS:
                raise ArgumentError(f"{type(transform).__name__}: at most {_MAX_OF_A_CLASS} in one transform")
            self._seen[transform.purpose] += 1
            slot = len(self.slots)
            self.slots.append(Slot(transform.purpose | seen << 8, transform.num_blocks))
        self.column += transform.num_columns
        cases = tuple(self.steps(tuple(part for each in case for part in flatten(each))) for case in transform.cases)
        return _Step(transform, slot, column, cases)


def _operations(steps: tuple[_Step, ...], start: int) -> tuple[Operation, ...]:
    found: list[Operation] = []
    for step in steps:
        if step.cases:
            found.append(Select(start + step.column, tuple(_operations(case, start) for case in step.cases)))
        else:
            found.extend(step.transform.operations(start + step.column))
    return tuple(found)


def _draw(
    step: _Step,
    draws: list[Draws],
    nothing: Draws,
    sizes: Sizes,
    matrix: Matrix,
    rows: npt.NDArray[np.int64] | None,
) -> Sizes:
    """Draws one step for some of the rows (None: all) and writes its columns."""
    own = nothing if step.slot is None else draws[step.slot]
    try:
        columns, after = step.transform.draw(own if rows is None else own.of(rows), sizes)
    except TransformRefusalError as error:
        raise TransformRefusalError(error.row if rows is None else int(rows[error.row]), str(error)) from None
    for place, column in enumerate(columns, start=step.column):
        matrix[slice(None) if rows is None else rows, place] = column
    if not step.cases:
        return after
    heights, widths = after.heights.copy(), after.widths.copy()
    for number, case in enumerate(step.cases):
        chosen = np.flatnonzero(columns[0] == number)
        if not case or not len(chosen):
            continue
        inner = after.of(chosen)
        for part in case:
            inner = _draw(part, draws, nothing, inner, matrix, chosen if rows is None else rows[chosen])
        heights[chosen], widths[chosen] = inner.heights, inner.widths
    return Sizes(heights, widths)


def _drawn(step: _Step, values: Matrix) -> list[Drawn]:
    own = values[:, step.column : step.column + step.transform.num_columns]
    found = list(step.transform.drawn(own))
    if step.transform.orders:
        return [*found, *_drawn_in_order(step, values)]
    for number, case in enumerate(step.cases):
        left_out = own[:, 0] != number
        for item in (item for part in case for item in _drawn(part, values)):
            kept = item.values.copy()
            kept[left_out] = item.neutral
            found.append(item._replace(values=kept))
    return found


def _drawn_in_order(step: _Step, values: Matrix) -> list[Drawn]:
    """Of parts that every case has, each in another order: one value a part, from the case that a row has."""
    found: list[Drawn] = []
    for number, (order, parts) in enumerate(zip(step.transform.orders, step.transform.cases, strict=True)):
        places = [place for place, part in zip(order, parts, strict=True) for _ in flatten(part)]
        in_turn = [inner for _, inner in sorted(zip(places, step.cases[number], strict=True), key=itemgetter(0))]
        drawn = [item for inner in in_turn for item in _drawn(inner, values)]
        found = found or [item._replace(values=item.values.copy()) for item in drawn]
        rows = values[:, step.column] == number
        for whole, item in zip(found, drawn, strict=True):
            whole.values[rows] = item.values[rows]
    return found
