"""Drives an executor by hand: files in, tensors out, without sampler, engine and loader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dalikit.transforms as T
from dalikit.codec import Header
from dalikit.collate import bundle_images
from dalikit.fetch import HeaderRules, ImageBatch, Request, ThreadFetcher
from dalikit.storage import Location
from dalikit.transforms.base import Sizes
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.recipe import Parameters, Recipe

__all__ = ["Files", "MakeExecutor", "Pixels", "decoded_batch", "draw", "read_batch", "run"]

Pixels = npt.NDArray[np.uint8]
"""uint8 (H, W, 3)."""

MakeExecutor = Callable[..., Any]
"""(recipe, **options) -> executor."""


class Files:
    """The smallest dataset: row i is file i, its target is i."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)

    def __len__(self) -> int:
        return len(self._paths)

    def get_location(self, index: int) -> Location:
        return Location(str(self._paths[index]))

    def get_image_data(self, index: int) -> bytes:
        return self._paths[index].read_bytes()

    def get_target(self, index: int) -> int:
        return index


def read_batch(paths: Sequence[Path], positions: Sequence[int] | None = None, *, turn: bool = False) -> ImageBatch:
    """The files as one batch; sample i has position i unless said otherwise."""
    fetcher = ThreadFetcher(Files(paths), num_threads=2, rules=HeaderRules(adjust_orientation=turn))
    try:
        indices = np.arange(len(paths))
        places = indices if positions is None else np.array(positions, dtype=np.int64)
        return fetcher.submit(Request(indices, places, taken=0)).result()
    finally:
        fetcher.close()


def draw(recipe: Recipe, batch: ImageBatch, seed: int = 0) -> Parameters:
    """The batch's parameters."""
    return recipe.draw(seed, batch.positions, Sizes(batch.heights(), batch.widths()))


def decoded_batch(images: Sequence[Pixels], positions: Sequence[int] | None = None) -> ImageBatch:
    """Decoded images, uint8 (H, W, 3) each, as one batch; sample i has position i unless said otherwise."""
    indices = np.arange(len(images))
    return ImageBatch(
        dataset=images,
        indices=indices,
        positions=indices if positions is None else np.array(positions, dtype=np.int64),
        data=list(images),
        headers=[Header(None, image.shape[0], image.shape[1], "") for image in images],
        targets=[None] * len(images),
        decoded=True,
    )


def run(
    make: MakeExecutor,
    transform: T.Transform | None,
    images: Sequence[Path] | ImageBatch,
    positions: Sequence[int] | None = None,
    **options: Any,
) -> tuple[Any, Parameters]:
    """One batch, of files or as it is given, through a fresh executor: its images, and what was drawn."""
    recipe = compile_recipe(transform)
    if isinstance(images, ImageBatch):
        batch = images
    else:
        batch = read_batch(images, positions, turn=recipe.decode.adjust_orientation)
    parameters = draw(recipe, batch)
    executor = make(recipe, **options)
    try:
        executor.submit(batch, parameters)
        return bundle_images(recipe, executor.result()), parameters
    finally:
        executor.close()
