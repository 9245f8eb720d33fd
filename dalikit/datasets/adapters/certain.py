"""Which datasets are taken for datasets of encoded images without being asked to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dalikit.datasets.adapters.torchvision import adapt_torchvision
from dalikit.errors import ArgumentError

__all__ = ["Adaptation", "adapt"]


@dataclass(frozen=True, slots=True)
class Adaptation:
    """`adapt` for a certain loader: the same in its process and in its workers."""

    transform: bool
    """Whether the loader has a transform of its own."""
    collate_fn: bool
    """Whether the user gave one."""

    def __call__(self, dataset: Any) -> Any:
        """The view, or the dataset itself."""
        return adapt(dataset, transform=self.transform, collate_fn=self.collate_fn)


def adapt(dataset: Any, *, transform: bool = False, collate_fn: bool = False) -> Any:
    """A dataset of encoded images in place of one that gives the same images decoded; else `dataset` itself.

    Those are torchvision's datasets of image files, and only where the batches stay what they were, but for what is
    drawn and within the decoder's tolerance: the methods and the loader are torchvision's own; the transform can be
    carried out by dalikit as a whole, not partly on the CPU; and nobody is waiting for PIL images:

    * the dataset's own `transform`, and none of the loader's: with both, the dataset does its own first, as ever;
    * or the loader's alone;
    * or none at all, if there is no `collate_fn`: torch's own cannot collate PIL images, so none are lost;
    * a `collate_fn` beside the dataset's own transform only if that ends in floating point, so in tensors.

    The answer depends on the arguments alone: the same in this process and in workers.

    Args:
        dataset: anything.
        transform: whether the loader has a transform of its own.
        collate_fn: whether the user gave one.
    """
    view = adapt_torchvision(dataset)
    if view is None:
        return dataset
    if view.transform is None:
        return dataset if collate_fn and not transform else view
    if transform:
        return dataset
    gives_floats = _gives_floats(view.transform)
    return dataset if gives_floats is None or (collate_fn and not gives_floats) else view


def _gives_floats(transform: Any) -> bool | None:
    """Whether a transform that dalikit carries out gives floating point; None: dalikit cannot carry it out."""
    from dalikit.transforms.base import Transform
    from dalikit.transforms.compiler import compile_recipe
    from dalikit.transforms.torchvision import convertible

    if not isinstance(transform, Transform) and not convertible(transform):
        return None
    try:
        recipe = compile_recipe(transform)
    except ArgumentError:
        return None
    return recipe.floating if recipe.function is None else None
