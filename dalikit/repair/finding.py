"""Which samples of a batch the transform refuses, and which cannot be decoded."""

from __future__ import annotations

import numpy as np

from dalikit.codec import CpuDecoder, Header, Region, undecodable
from dalikit.errors import DecodeError, InternalError, SampleError, TransformError
from dalikit.fetch import ImageBatch
from dalikit.transforms.base import Sizes, TransformRefusalError
from dalikit.transforms.operations import Crop
from dalikit.transforms.recipe import Parameters, Recipe

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
    crop = leading_crop(recipe, shared=shared)
    decoder = CpuDecoder(adjust_orientation=recipe.decode.adjust_orientation)
    found: dict[int, SampleError] = {}
    for row, header in enumerate(batch.headers):
        box = None if crop is None else _box_inside(crop, header, parameters.matrix[row].tolist())
        error = _try(decoder, header, box)
        if error is not None:
            error.partial = crop is not None
            found[row] = error.locate(batch.place(row, "decode"))
    return found


def leading_crop(recipe: Recipe, *, shared: bool) -> Crop | None:
    """The crop with which a recipe begins, so that its box alone is decoded."""
    if recipe.decode.adjust_orientation:
        return None
    operations = recipe.shared
    if not operations and recipe.single:
        operations = recipe.groups[0].views[0].operations
    elif not shared:
        return None
    return operations[0] if operations and isinstance(operations[0], Crop) else None


def _box_inside(crop: Crop, header: Header, values: list[float]) -> Region | None:
    """The crop's box; None: all of the image, or more."""
    top, left, height, width = map(int, values[crop.column : crop.column + 4])
    inside = top >= 0 and left >= 0 and top + height <= header.height and left + width <= header.width
    whole = (height, width) == (header.height, header.width)
    return (top, left, height, width) if inside and not whole else None


def _try(decoder: CpuDecoder, header: Header, box: Region | None) -> DecodeError | None:
    """The error, if it cannot be decoded."""
    try:
        decoded = decoder.decode(header.stream, box)
    except DecodeError as error:  # of an image whose size was known before
        return error
    return DecodeError(undecodable(header)) if decoded is None else None
