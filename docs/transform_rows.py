"""What docs/transforms.md has rows for: transforms with typical arguments, by kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

import dalikit.transforms as T
from dalikit.graph.columns import walk
from dalikit.transforms import operations as op
from dalikit.transforms.accuracy import accuracy_keys
from dalikit.transforms.base import Columns, Sizes, Transform
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.draws import Draws, uniform

__all__ = ["DINO", "KINDS", "ROWS", "Row", "measured_key", "operation_names"]


@dataclass(frozen=True)
class Row:
    """One transform, measured."""

    kind: str
    label: str
    """As it stands in the table: the code, or a name."""
    transform: Any
    code: str = ""
    """What `transform` was made of; with torchvision's names it makes torchvision's transform."""
    original: bool = False
    """Fed the photographs as they are, not the square ones."""
    drawn: bool = True
    """False: nothing is left to chance, so torchvision's own transform object is the reference."""
    pictured: bool = True
    note: str = ""
    reason: str = ""
    """Why there is nothing to measure; empty: it is measured."""


KINDS = {
    "sizes": "Crops, sizes and flips",
    "output": "Reading and what comes out",
    "colour": "Colour",
    "levels": "Maps of levels",
    "filters": "Filters",
    "warps": "Warps",
    "chance": "Chance and views",
    "policies": "Policies",
    "parts": "Operations inside policies",
    "recipes": "Recipes",
    "batches": "Elsewhere",
}
"""Kind -> heading."""


# Operations that no transform consists of alone


@dataclass(frozen=True)
class _Single(Transform):
    """One operation that reads one column, drawn evenly."""

    kind: Any
    low: float
    high: float

    purpose: ClassVar[int] = 255
    num_blocks: ClassVar[int] = 1
    _num_columns: ClassVar[int] = 1

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        return (uniform(draws.words()[:, 0], self.low, self.high),), sizes

    def operations(self, column: int) -> tuple[op.Operation, ...]:
        return (self.kind(column),)


@dataclass(frozen=True)
class _Mixed(Transform):
    """The image and its two mirror images, weighted; flips are exact, so what differs is the mixture's."""

    purpose: ClassVar[int] = 254
    num_blocks: ClassVar[int] = 1
    _num_columns: ClassVar[int] = 5

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        weights = uniform(draws.words()[:, :3])
        weights /= weights.sum(axis=1, keepdims=True)
        done = np.ones(len(sizes))
        return (*weights.T, done, done), sizes

    def operations(self, column: int) -> tuple[op.Operation, ...]:
        branches = tuple((op.Flip(column + 3 + side, horizontal=bool(side)),) for side in range(2))
        return (op.Mixture(column, branches),)


# The rows

_MEAN_STD = "(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)"
_TO_TENSOR = f"ToTensor(), Normalize({_MEAN_STD})"
_CROPPED = "RandomResizedCrop(224), RandomHorizontalFlip()"

DINO = T.DataAugmentationDINO((0.32, 1.0), (0.05, 0.32), 8)

_TIES = "where two pixels are equally near"
_HUE = "Pillow's hue has 8 bits"
_FLOAT = "float32, to its last bits"


def _row(kind: str, code: str, **more: Any) -> Row:
    transform = eval(code, {**vars(T), "torch": torch})
    return Row(kind, f"`{code}`", transform, code, **more)


def _sizes() -> Iterator[Row]:
    for mode in ("bilinear", "bicubic", "nearest"):
        note = _TIES if mode == "nearest" else ""
        more = {"original": True, "note": note}
        yield _row("sizes", f"RandomResizedCrop(224, interpolation={mode!r})", **more)
        yield _row("sizes", f"Resize(256, interpolation={mode!r})", drawn=False, pictured=False, **more)
        yield _row("sizes", f"Resize((400, 600), interpolation={mode!r})", drawn=False, pictured=False, **more)
    for mode in ("bilinear", "bicubic"):
        code = f"Resize(224, interpolation={mode!r}, antialias=False)"
        note = "beside torch's `interpolate` in float32"
        yield _row("sizes", code, original=True, pictured=mode == "bicubic", note=note)
    yield _row("sizes", "CenterCrop(160)", drawn=False, original=True, pictured=False)
    yield _row("sizes", "CenterCrop((300, 600))", drawn=False, original=True, pictured=False)
    yield _row("sizes", "RandomCrop(128)", pictured=False)
    yield _row("sizes", "RandomCrop(224, padding=28, fill=(124, 116, 104))")
    yield _row("sizes", "RandomHorizontalFlip()", pictured=False)
    yield _row("sizes", "RandomVerticalFlip()", pictured=False)
    yield _row("sizes", "Pad((10, 20, 30, 40), fill=127)", drawn=False)


def _output() -> Iterator[Row]:
    yield _row("output", "Decode()", original=True, note="JPEG as Pillow decodes it")
    yield _row("output", "PILToTensor()", drawn=False, note="images are uint8 tensors from the beginning")
    yield _row("output", "ToImage()", drawn=False, note="images are uint8 tensors from the beginning")
    yield _row("output", "ToTensor()", drawn=False, note=_FLOAT)
    yield _row("output", "Compose([PILToTensor(), ConvertImageDtype(torch.float32)])", drawn=False, note=_FLOAT)
    yield _row("output", "Compose([ToImage(), ToDtype(torch.float32, scale=True)])", drawn=False, note=_FLOAT)
    yield _row("output", f"Compose([ToTensor(), Normalize({_MEAN_STD})])", drawn=False, note=_FLOAT)
    yield _row("output", "RandomErasing(p=1.0)")
    yield _row("output", f"Compose([{_TO_TENSOR}, RandomErasing(p=1.0, value=(0.5, -1.0, 2.0))])", note=_FLOAT)


def _colour() -> Iterator[Row]:
    yield _row("colour", "ColorJitter(brightness=0.4)")
    yield _row("colour", "ColorJitter(contrast=0.4)")
    yield _row("colour", "ColorJitter(saturation=0.4)")
    yield _row("colour", "ColorJitter(hue=0.1)", note=_HUE)
    yield _row("colour", "ColorJitter(hue=0.5)", note=_HUE)
    yield _row("colour", "ColorJitter(0.4, 0.4, 0.2, 0.1)", note="DINO's; hue as above")
    yield _row("colour", "ColorJitter(0.8, 0.8, 0.8, 0.2)", note="SimCLR's; hue as above")
    yield _row("colour", "Grayscale(3)", drawn=False)
    yield _row("colour", "RandomGrayscale(p=1.0)", drawn=False, pictured=False)


def _levels() -> Iterator[Row]:
    yield _row("levels", "RandomSolarize(128, p=1.0)", drawn=False)
    yield _row("levels", "RandomPosterize(3, p=1.0)", drawn=False)
    yield _row("levels", "RandomInvert(p=1.0)", drawn=False)
    yield _row("levels", "RandomAutocontrast(p=1.0)", drawn=False)
    yield _row("levels", "RandomEqualize(p=1.0)", drawn=False, note="Pillow's step between levels is a whole number")


def _filters() -> Iterator[Row]:
    yield _row("filters", "GaussianBlur(9, sigma=(0.1, 2.0))", note="DINO's")
    yield _row("filters", "GaussianBlur(23, sigma=(0.1, 2.0))", note="SimCLR's, at 224 pixels")
    yield _row("filters", "GaussianBlur((5, 9), sigma=1.2)", drawn=False, pictured=False)
    yield _row("filters", "RandomAdjustSharpness(0.0, p=1.0)", drawn=False)
    yield _row("filters", "RandomAdjustSharpness(2.0, p=1.0)", drawn=False)


def _warps() -> Iterator[Row]:
    affine = "RandomAffine(30, (0.1, 0.1), (0.8, 1.2), 10"
    yield _row("warps", f"{affine})", note=_TIES)
    yield _row("warps", f"{affine}, interpolation='bilinear', fill=127)")
    yield _row("warps", "RandomRotation(45)", note=_TIES)
    yield _row("warps", "RandomRotation(45, interpolation='bilinear', expand=True)")
    yield _row("warps", "RandomPerspective(p=1.0)")
    yield _row("warps", "RandomPerspective(p=1.0, interpolation='nearest')", note=_TIES)


def _chance() -> Iterator[Row]:
    blur = "GaussianBlur(9, (0.1, 2.0))"
    yield _row("chance", f"RandomApply([{blur}], p=0.5)")
    yield _row("chance", "RandomChoice([RandomInvert(1.0), RandomCrop(200), Pad(4)])")
    yield _row("chance", "RandomOrder([RandomSolarize(128, p=0.5), RandomHorizontalFlip(), RandomPosterize(4, p=0.5)])")
    yield _row("chance", "MultiCrop([Views('two', RandomCrop(160), count=2), Views('one', CenterCrop(96))])")


def _policies() -> Iterator[Row]:
    note = "nearest warps, as above"
    yield _row("policies", "RandAugment()", note=note)
    yield _row("policies", "RandAugment(interpolation='bilinear')", pictured=False)
    yield _row("policies", "TrivialAugmentWide()", note=note)
    for policy in ("imagenet", "cifar10", "svhn"):
        yield _row("policies", f"AutoAugment({policy!r})", note=note)
    yield _row("policies", "AugMix()")


def _parts() -> Iterator[Row]:
    for kind in (op.Brightness, op.Contrast, op.Saturation):
        yield Row("parts", f"{kind.__name__}, a factor from 0.1 to 1.9", _Single(kind, 0.1, 1.9))
    yield Row("parts", "Hue, from -0.5 to 0.5 of a turn", _Single(op.Hue, -0.5, 0.5), note=_HUE)
    yield Row("parts", "Mixture, of the image and two mirror images", _Mixed())


def _recipes() -> Iterator[Row]:
    def recipe(name: str, code: str, note: str = "") -> Row:
        made = _row("recipes", code)
        return Row("recipes", name, made.transform, code, original=True, note=note)

    crop = "RandomResizedCrop(224, scale=(0.2, 1.0)), RandomHorizontalFlip()"
    jitter, gray, blur = "ColorJitter(0.4, 0.4, 0.4, 0.1)", "RandomGrayscale(0.2)", "GaussianBlur(23, (0.1, 2.0))"
    policy = "RandomResizedCrop(176), RandomHorizontalFlip(), RandAugment()"
    yield recipe("ImageNet, training", f"Compose([{_CROPPED}, {_TO_TENSOR}])")
    yield recipe("ImageNet, evaluation", f"Compose([Resize(256), CenterCrop(224), {_TO_TENSOR}])")
    yield recipe(
        "`make_classification_train_transform()`", "make_classification_train_transform()", "DINOv2's; bicubic"
    )
    yield recipe("`make_classification_eval_transform()`", "make_classification_eval_transform()", "DINOv2's; bicubic")
    yield recipe(
        "ImageNet, training with RandAugment",
        f"Compose([{policy}, {_TO_TENSOR}, RandomErasing(0.1)])",
        "torchvision's references; nearest warps",
    )
    yield recipe(
        "MoCo v2",
        f"Compose([{crop}, RandomApply([{jitter}], p=0.8), {gray}, RandomApply([{blur}], p=0.5), {_TO_TENSOR}])",
    )
    yield recipe(
        "SimCLR",
        f"Compose([RandomResizedCrop(224), RandomHorizontalFlip(), RandomApply([ColorJitter(0.8, 0.8, 0.8, 0.2)], "
        f"p=0.8), {gray}, RandomApply([{blur}], p=0.5), {_TO_TENSOR}])",
    )
    names = ("DINO, first global view", "DINO, second global view", "DINO, a local view")
    views = [view for group in DINO.expand().views for view in group.transform][:3]
    for name, view in zip(names, views, strict=True):
        yield Row("recipes", name, view, original=True, note="bicubic, blur, hue")
    yield Row("recipes", "`DataAugmentationDINO` (0.32, 1.0), (0.05, 0.32), 8: ten views", DINO, original=True)


def _elsewhere() -> Iterator[Row]:
    batch = "done to the finished batch by torch, whatever the executor; `tests/dataloader/test_mixing.py`"
    yield Row("batches", "`MixUp(num_classes=1000)`", T.MixUp(num_classes=1000), reason=batch)
    yield Row("batches", "`CutMix(num_classes=1000)`", T.CutMix(num_classes=1000), reason=batch)
    yield Row("batches", "`OnCPU(function)`", T.OnCPU(str), reason="the function's own result, unchanged")


_MAKERS = (_sizes, _output, _colour, _levels, _filters, _warps, _chance, _policies, _parts, _recipes, _elsewhere)

ROWS: tuple[Row, ...] = tuple(row for rows in _MAKERS for row in rows())
"""All rows, in the order of the page."""


# Which operations a row is about


def operation_names(transform: Any) -> list[str]:
    """The operations that a transform comes down to, in order, under the names that `MEASURED` has for them."""
    recipe = compile_recipe(transform)
    names = [_name(operation) for operation in walk(recipe.shared)]
    for group in recipe.groups:
        for view in group.views:
            names += [_name(operation) for operation in walk(view.operations)]
            names += ["Output"] * view.output.floating + ["Erase"] * len(view.output.erase)
    return [name for name in dict.fromkeys(names) if name != "Select"] or ["Decode"]


def measured_key(row: Row) -> str | None:
    """The operation that a row tells of: its only one. Crops and flips are exact and do not count beside others."""
    names = operation_names(row.transform)
    names = [name for name in names if name not in ("Crop", "Flip")] or names[:1]
    return names[0] if len(names) == 1 else None


def _name(operation: op.Operation) -> str:
    return accuracy_keys(operation)[0]
