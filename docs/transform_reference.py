"""What a row of docs/transforms.md is held against: torchvision on Pillow, with the same drawn parameters."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transform_rows import Row

from dalikit.bench.torchvision import import_torchvision
from dalikit.transforms.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # the reference is the tests' own
from executor_bench import Files
from pillow_reference import finish, pillow_views, to_tensor

__all__ = ["Files", "expected_views", "v2"]

import_torchvision()
from torchvision.transforms import v2  # noqa: E402


def expected_views(row: Row, recipe: Recipe, image: Image.Image, values: Any) -> list[Tensor]:
    """All views of an image, (3, H, W) each: uint8, or float32 if the row's transform converts.

    Args:
        row: what is done.
        recipe: of its transform.
        image: RGB.
        values: the image's row of the parameter matrix.
    """
    if not row.drawn:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # v2's ToTensor is deprecated
            made = eval(row.code, {**vars(v2), "torch": torch})(image)
        return [to_tensor(made) if isinstance(made, Image.Image) else made.as_subclass(Tensor)]
    levels = pillow_views(image, row.transform, values)
    return [
        finish(level, view.output, values)
        for group, made in zip(recipe.groups, levels, strict=True)
        for view, level in zip(group.views, made, strict=True)
    ]
