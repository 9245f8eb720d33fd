"""What was drawn, in words that users know: `return_parameters=True`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.transforms.base import Drawn, Sizes
from dalikit.transforms.operations import Crop, Flip, Operation, Resize, Select, Warp
from dalikit.transforms.recipe import Branch, Parameters, Recipe, View

__all__ = ["report_parameters"]

Numbers = dict[str, Drawn]


def report_parameters(recipe: Recipe, parameters: Parameters, sizes: Sizes) -> Any:
    """What was drawn for a batch.

    Args:
        recipe: the recipe that drew it.
        parameters: the batch's.
        sizes: of the decoded images.

    Returns:
        A dict of arrays whose first axis is the sample (B, ...); of a recipe with several views a dict with such a dict
        for each group, the first axes being view and sample (n, B, ...).

        `crop_box`: float32 (..., 4): top, left, height, width of what the view shows, in pixels of the decoded image
        (of a view that is warped: before the warp). `horizontal_flip`, `vertical_flip`: bool: whether the view is
        mirrored against the image. And for each step that draws more its numbers, float32, such as `brightness`; those
        of a step that was not done have the value that does nothing.
    """
    views = [
        _drawn_of(branch, number, parameters.matrix) for branch in recipe.branches for number in range(branch.num_views)
    ]
    trunk = _drawn_of(recipe.trunk, 0, parameters.matrix) if recipe.trunk is not None else []
    found: dict[str | None, dict[str, npt.NDArray[Any]]] = {}
    for group in recipe.groups:
        numbers = [
            _view_numbers(recipe, view, parameters.matrix, sizes) | _named([*trunk, *drawn])
            for view, drawn in zip(group.views, views, strict=False)
        ]
        del views[: len(group.views)]
        found[group.name] = _stack(numbers)
    if recipe.single:
        return {name: values[0] for name, values in found[None].items()}
    return found


def _drawn_of(branch: Branch, number: int, matrix: npt.NDArray[np.float32]) -> list[Drawn]:
    start = branch.start + number * branch.family.num_columns
    return list(branch.family.drawn(matrix[:, start : start + branch.family.num_columns]))


def _named(drawn: list[Drawn]) -> Numbers:
    """By name; a second one of the same name gets a number."""
    found: Numbers = {}
    for item in drawn:
        name, count = item.name, 1
        while name in found:
            count += 1
            name = f"{item.name}_{count}"
        found[name] = item
    return found


def _stack(views: list[Numbers]) -> dict[str, npt.NDArray[Any]]:
    """One array a name over the views; a view that lacks a step gets the value that does nothing."""
    stacked = {}
    for name in dict.fromkeys(name for view in views for name in view):
        model = next(view[name] for view in views if name in view)
        missing = model._replace(values=np.full_like(model.values, model.neutral))
        stacked[name] = np.stack([view.get(name, missing).values for view in views])
    return stacked


@dataclass(slots=True)
class _Frame:
    """What part of the decoded image some rows show at one step, and how they are turned."""

    box: npt.NDArray[np.float64]
    """(R, 4): top, left, height, width in pixels of the decoded image."""
    size: npt.NDArray[np.float64]
    """(R, 2): height and width of the image at this step."""
    flipped: npt.NDArray[np.bool_]
    """(R, 2): vertically, horizontally."""

    def of(self, rows: npt.NDArray[np.int64]) -> _Frame:
        return _Frame(self.box[rows], self.size[rows], self.flipped[rows])

    def put(self, rows: npt.NDArray[np.int64], part: _Frame) -> None:
        self.box[rows], self.size[rows], self.flipped[rows] = part.box, part.size, part.flipped

    def crop(self, cut: npt.NDArray[np.float64]) -> None:
        """Cuts (R, 4) out of the image as it is at this step."""
        start, length = cut[:, :2], cut[:, 2:]
        # In a mirrored image the distance from one edge is that from the other in the original.
        start = np.where(self.flipped, self.size - start - length, start)
        pixel = self.box[:, 2:] / self.size
        self.box = np.concatenate([self.box[:, :2] + start * pixel, length * pixel], axis=1)
        self.size = length.copy()


def _view_numbers(recipe: Recipe, view: View, matrix: npt.NDArray[np.float32], sizes: Sizes) -> Numbers:
    size = np.stack([sizes.heights, sizes.widths], axis=1).astype(np.float64)
    frame = _Frame(np.concatenate([np.zeros_like(size), size], axis=1), size, np.zeros(size.shape, dtype=bool))
    for operation in (*recipe.shared, *view.operations):
        _follow(operation, frame, matrix.astype(np.float64))
    return _named(
        [
            Drawn("crop_box", frame.box.astype(np.float32), 0.0),
            Drawn("horizontal_flip", frame.flipped[:, 1], 0.0),
            Drawn("vertical_flip", frame.flipped[:, 0], 0.0),
        ]
    )


def _follow(operation: Operation, frame: _Frame, matrix: npt.NDArray[np.float64]) -> None:
    """What an operation does to the frame; colours do nothing."""
    if isinstance(operation, Crop):
        frame.crop(matrix[:, operation.column : operation.column + 4])
    elif isinstance(operation, Resize | Warp):
        frame.size = matrix[:, operation.column : operation.column + 2].copy()
    elif isinstance(operation, Flip):
        frame.flipped[:, int(operation.horizontal)] ^= matrix[:, operation.column] == 1
    elif isinstance(operation, Select):
        for number, case in enumerate(operation.cases):
            rows = np.flatnonzero(matrix[:, operation.column] == number)
            part = frame.of(rows)
            for inner in case:
                _follow(inner, part, matrix[rows])
            frame.put(rows, part)
