"""Which datasets are taken for datasets of encoded images without being asked to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from dalikit.datasets.adapters.layouts import PACKAGE, file_endings, layout_of, transforms_of
from dalikit.datasets.adapters.origin import find_class, own_members
from dalikit.datasets.adapters.torchvision import TorchvisionFiles, refusal
from dalikit.errors import ArgumentError

__all__ = ["adapt"]

_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp")
"""Of files that dalikit's decoders give as Pillow's `convert("RGB")` does. Not so: PGM with other levels than 255, and
TIFF with 16 bits, floats or an orientation. Nor a gray PNG with 16 bits, and what is named wrongly."""

_LISTING = ("extra_repr", "find_classes", "make_dataset")
"""Methods that say which files there are, or how the dataset prints; not what an item is."""


def adapt(dataset: Any, *, transform: bool = False, collate_fn: bool = False, batched: bool = True) -> Any:
    """A dataset of encoded images in place of one that gives the same images decoded; else `dataset` itself.

    Those are torchvision's datasets of image files, and only where the batches stay what they were, but for what is
    drawn and within the decoder's tolerance: the methods and the loader are torchvision's own; the files' names are
    those of formats that decode to the same; the transform can be carried out by dalikit as a whole, not partly on the
    CPU, to the same type; and nobody is waiting for PIL images:

    * the dataset's own `transform`, and none of the loader's: with both, the dataset does its own first, as ever;
    * or the loader's alone;
    * or none at all, if items are collated, and by torch: torch cannot collate PIL images, so none are lost;
    * a `collate_fn`, or items that are not batched, beside the dataset's own transform only if that ends in floating
      point, so in tensors.

    The answer depends on the arguments alone.

    Args:
        dataset: anything.
        transform: whether the loader has a transform of its own.
        collate_fn: whether the user gave one.
        batched: whether items are put together to batches (`batch_size=None`: they are not).
    """
    if not _is_certain(dataset):
        return dataset
    own, target_transform = transforms_of(dataset)
    handed_out = collate_fn or not batched
    if own is None:
        if handed_out and not transform:
            return dataset
    elif transform or not _carries_out(own, to_floats=handed_out):
        return dataset
    try:
        return TorchvisionFiles(dataset, own, target_transform)
    except Exception:  # it copies itself by code of its own
        return dataset


def _is_certain(dataset: Any) -> bool:
    """Whether the images that a dataset opens are those that dalikit decodes. Its transforms are not looked at."""
    origin = find_class(dataset, PACKAGE)
    if origin is None:
        return False
    layout, package = layout_of(dataset), sys.modules.get("torchvision")
    if layout is None or package is None or package.get_image_backend() != "PIL":
        return False
    if any(_decides(name, origin, layout.all_attributes) for name in own_members(dataset, origin)):
        return False
    if not vars(dataset).keys() >= set(layout.all_attributes) or refusal(dataset) is not None:
        return False
    try:
        return all(ending.endswith(_ENDINGS) for ending in file_endings(dataset, layout))
    except Exception:  # rows in another form are somebody else's
        return False


def _decides(name: str, origin: type, attributes: tuple[str, ...]) -> bool:
    """Whether a member of a class derived from torchvision's may have a say in what its items are."""
    if name in _LISTING:
        return False
    return name.startswith("__") or name in attributes or hasattr(origin, name)


def _carries_out(transform: Any, *, to_floats: bool) -> bool:
    """Whether dalikit carries out a transform as a whole, to tensors of the same type.

    Args:
        transform: not None.
        to_floats: whether it must end in floating point.
    """
    from dalikit.transforms.base import Transform
    from dalikit.transforms.compiler import compile_recipe
    from dalikit.transforms.torchvision import convertible, from_torchvision

    foreign = not isinstance(transform, Transform)
    if foreign and not convertible(transform):
        return False
    try:
        if foreign and any(getattr(step, "dtype", None) in _HALVES for step in _steps(from_torchvision(transform))):
            return False  # torch gives these; dalikit gives the type that the loader is asked for
        recipe = compile_recipe(transform)
    except ArgumentError:
        return False
    return recipe.function is None and (recipe.floating or not to_floats)


_HALVES = ("float16", "bfloat16")


def _steps(transform: Any) -> Iterator[Any]:
    """A transform and all that are within it."""
    if isinstance(transform, list | tuple):
        for part in transform:
            yield from _steps(part)
    elif is_dataclass(transform):
        yield transform
        for field in fields(transform):
            yield from _steps(getattr(transform, field.name))
