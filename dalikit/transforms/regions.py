"""Which part of an image is needed: where a recipe begins with a crop, its box is all that is to be decoded."""

from __future__ import annotations

from collections.abc import Sequence

from dalikit.transforms.operations import Crop
from dalikit.transforms.recipe import Recipe

__all__ = ["box_inside", "crop_box", "leading_crop"]

Box = tuple[int, int, int, int]
"""Top, left, height, width, in pixels."""


def leading_crop(recipe: Recipe, *, shared: bool = False) -> Crop | None:
    """The crop with which a recipe begins, so that its box alone need be decoded.

    Args:
        recipe: what is done.
        shared: whether a crop that all views share counts too.
    """
    if recipe.decode.adjust_orientation:
        return None
    operations = recipe.shared
    if not operations and recipe.single:
        operations = recipe.groups[0].views[0].operations
    elif not shared:
        return None
    return operations[0] if operations and isinstance(operations[0], Crop) else None


def crop_box(crop: Crop, values: Sequence[float]) -> Box:
    """A crop's box, of a sample's parameters."""
    top, left, height, width = values[crop.column : crop.column + 4]
    return int(top), int(left), int(height), int(width)


def box_inside(crop: Crop, values: Sequence[float], height: int, width: int) -> Box | None:
    """A crop's box, if it is a part of an image of that size; None: it takes all of it, or more."""
    top, left, box_height, box_width = box = crop_box(crop, values)
    inside = top >= 0 and left >= 0 and top + box_height <= height and left + box_width <= width
    whole = (box_height, box_width) == (height, width)
    return box if inside and not whole else None
