"""Carries a row of docs/transforms.md out in every executor and in torchvision, and measures the difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from transform_reference import Files, expected_views
from transform_rows import Row

from dalikit.fetch import HeaderRules, Request, ThreadFetcher
from dalikit.graph import GraphExecutor
from dalikit.host import HostExecutor
from dalikit.transforms.base import Sizes
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.recipe import Recipe

__all__ = ["Make", "Measured", "Views", "carried_out", "executor_makers", "measure", "squares"]


_BATCH = 20
_SIDE = 224
_FLOAT_NOISE = 1e-3
"""Levels; what differs by less is float32's rounding of outputs, and counts as equal."""
_LARGE = 4

Make = Callable[[Recipe], Any]


class Measured(NamedTuple):
    """How far values lie from the reference, in levels of 8 bits."""

    largest: float
    mean: float
    share: float
    """Of the values, that are more than 4 levels away."""


class Views(NamedTuple):
    """One image: what each executor and the reference make of it."""

    image: Image.Image
    expected: list[Tensor]
    """Of each view (3, H, W)."""
    found: dict[str, list[Tensor]]
    """Executor -> the same."""


@dataclass
class _Gap:
    """Collects differences."""

    largest: float = 0.0
    total: float = 0.0
    large: int = 0
    count: int = 0

    def add(self, found: Tensor, wanted: Tensor, scale: Sequence[float] | None) -> None:
        """A view and its reference, both (3, H, W); `scale` is what a level is in the output's units, a channel."""
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise ValueError(f"came {found.dtype} {tuple(found.shape)}, wanted {wanted.dtype} {tuple(wanted.shape)}")
        if scale is None:
            gap = (found.short() - wanted.short()).abs()
        else:
            gap = (found.double() - wanted.double()).abs() / torch.tensor(scale, dtype=torch.float64)[:, None, None]
            gap[gap < _FLOAT_NOISE] = 0
        self.largest = max(self.largest, float(gap.max()))
        self.total += float(gap.sum(dtype=torch.float64))
        self.large += int((gap > _LARGE).sum())
        self.count += gap.numel()

    def measured(self) -> Measured:
        return Measured(self.largest, self.total / self.count, self.large / self.count)


def executor_makers(device: str | None) -> dict[str, Make]:
    """Name -> what makes an executor of a recipe."""

    def dali(device: torch.device) -> Make:
        return lambda recipe: GraphExecutor(recipe, batch_size=_BATCH, num_threads=2, device=device)

    makers: dict[str, Make] = {
        "host": lambda recipe: HostExecutor(recipe, num_threads=2),
        "dali": dali(torch.device("cpu")),
    }
    if device is not None:
        makers[f"dali on {device}"] = dali(torch.device(device, 0))
    return makers


def carried_out(row: Row, paths: Sequence[Path], makers: dict[str, Make], first: int = 0) -> Iterator[Views]:
    """What all make of each file; image i has position first + i, and the seed is 0."""
    recipe = compile_recipe(row.transform)
    executors = {name: make(recipe) for name, make in makers.items()}
    rules = HeaderRules(adjust_orientation=recipe.decode.adjust_orientation)
    fetcher = ThreadFetcher(Files(paths), num_threads=1, rules=rules)
    try:
        with ThreadPoolExecutor(2) as threads:
            for start in range(0, len(paths), _BATCH):
                places = np.arange(start, min(start + _BATCH, len(paths)))
                batch = fetcher.submit(Request(places, places + first, taken=0)).result()
                parameters = recipe.draw(0, batch.positions, Sizes(batch.heights(), batch.widths()))
                for executor in executors.values():
                    executor.submit(batch, parameters)
                wanted = threads.map(_reference(row, recipe), (paths[place] for place in places), parameters.matrix)
                results = {name: _by_image(executor.result()) for name, executor in executors.items()}
                for number, (image, expected) in enumerate(wanted):
                    yield Views(image, expected, {name: result[number] for name, result in results.items()})
    finally:
        fetcher.close()
        for executor in executors.values():
            executor.close()


def measure(row: Row, paths: Sequence[Path], makers: dict[str, Make]) -> dict[str, Measured]:
    """Each executor's difference over all files and views."""
    recipe = compile_recipe(row.transform)
    scales = [view.output.scale for group in recipe.groups for view in group.views]
    gaps = {name: _Gap() for name in makers}
    for views in carried_out(row, paths, makers):
        for name, found in views.found.items():
            for each, wanted, scale in zip(found, views.expected, scales, strict=True):
                gaps[name].add(each.cpu(), wanted, scale)
    return {name: gap.measured() for name, gap in gaps.items()}


def _open_rgb(path: Path) -> Image.Image:
    """As torchvision's and DINOv2's datasets open an image."""
    with Image.open(path) as file:
        return file.convert("RGB")


def squares(paths: Sequence[Path], folder: Path, side: int = _SIDE) -> list[Path]:
    """The middles of the photographs, resized by Pillow, as PNGs."""
    made = []
    for number, path in enumerate(paths):
        made.append(folder / f"{side}_{number:04d}.png")
        image = ImageOps.fit(_open_rgb(path), (side, side), Image.Resampling.BICUBIC)
        image.save(made[-1], compress_level=1, icc_profile=None)  # broken profiles would make libpng complain
    return made


def _reference(row: Row, recipe: Recipe) -> Callable[[Path, Any], tuple[Image.Image, list[Tensor]]]:
    def of(path: Path, values: Any) -> tuple[Image.Image, list[Tensor]]:
        image = _open_rgb(path)
        return image, expected_views(row, recipe, image, values)

    return of


def _by_image(groups: list[Any]) -> list[list[Tensor]]:
    """For each image its views, from what an executor gives: of each group (n, B, 3, H, W), or n lists of B."""
    views = [view for group in groups for view in group]
    return [list(image) for image in zip(*views, strict=True)]
