"""Which samples of a batch the transform refuses, and which cannot be decoded."""

from __future__ import annotations

import numpy as np

from dalikit.codec import find_undecodable
from dalikit.errors import DecodeError, InternalError, SampleError, TransformError
from dalikit.fetch import ImageBatch
from dalikit.transforms.base import Sizes, TransformRefusalError
from dalikit.transforms.recipe import Parameters, Recipe
from dalikit.transforms.regions import box_inside, leading_crop

__all__ = ["draw_or_refuse", "find_failed"]


def draw_or_refuse(recipe: Recipe, seed: int, batch: ImageBatch) -> Parameters | dict[int, SampleError]:
    """A batch's parameters; or, if there are any, all rows that the transform refuses, and why."""
    sizes = Sizes(batch.heights(), batch.widths())
    refused: dict[int, SampleError] = {}
    rows = np.arange(len(batch))
    while len(rows):
        try:
            drawn = recipe.draw(seed, batch.positions[rows], sizes.of(rows))
        except TransformRefusalError as refusal:
            row = int(rows[refusal.row])
            refused[row] = TransformError(str(refusal), batch.place(row, "transform"))
            rows = np.delete(rows, refusal.row)
        else:
            return refused or drawn
    return refused


def find_failed(
    batch: ImageBatch,
    parameters: Parameters,
    recipe: Recipe,
    error: SampleError | InternalError,
    *,
    shared: bool,
) -> dict[int, SampleError]:
    """Which rows an executor cannot decode: it tells of one at best.

    Each is decoded as the executor does it: as a whole, or, if the recipe begins with a crop, the crop's box alone. So
    a row is bad for its own sake, whichever others are in the batch. Of a box the next crop may meet another: those
    errors are `partial`.

    Args:
        batch: that it has failed on.
        parameters: with which it was submitted.
        recipe: the executor's.
        error: that it has raised. Its row is the bad one if all can be decoded alone.
        shared: whether the executor takes the box of a crop that all views share, too.

    Raises:
        SampleError: `error`, if no row is to blame; and so InternalError.
    """
    found = {} if batch.decoded else _undecodable_rows(batch, parameters, recipe, shared=shared)
    if found:
        return found
    if isinstance(error, InternalError):
        raise error
    if isinstance(error, DecodeError):
        error.partial = True  # nobody knows whether this comes again
    rows = np.flatnonzero(batch.positions == error.place.position)
    if not len(rows):
        raise error
    return {int(rows[0]): error}


def _undecodable_rows(
    batch: ImageBatch, parameters: Parameters, recipe: Recipe, *, shared: bool
) -> dict[int, SampleError]:
    crop, adjust = leading_crop(recipe, shared=shared), recipe.decode.adjust_orientation
    boxes = None
    if crop is not None:
        rows = zip(parameters.matrix.tolist(), batch.headers, strict=True)
        boxes = [box_inside(crop, values, header.height, header.width) for values, header in rows]
    found: dict[int, SampleError] = {}
    for row, error in find_undecodable(batch.headers, boxes, adjust_orientation=adjust):
        error.partial = crop is not None
        found[row] = error.locate(batch.place(row, "decode"))
    return found
