"""Where torchvision's datasets of image files keep what their items are made of."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["LOADERS", "PACKAGE", "Layout", "file_endings", "layout_of", "transforms_of"]

PACKAGE = "torchvision.datasets"

LOADERS = ("default_loader", "pil_loader")
"""The functions of torchvision.datasets.folder that open whole image files as RGB."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The attributes that the `__getitem__` of a class reads."""

    files: str
    """The list with an entry a row, in which the file's name stands."""
    place: int | None = None
    """Where in the entry; None: it is the name."""
    others: tuple[str, ...] = ()
    """What else its items are made of."""
    loader: str = "loader"
    joint: bool = False
    """Whether it calls `transforms`; else `transform` and `target_transform`."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """All but the transforms."""
        return (self.files, *self.others, self.loader, *(("transforms",) if self.joint else ()))

    @property
    def all_attributes(self) -> tuple[str, ...]:
        """With the transforms."""
        return (*self.attributes, "transform", "target_transform")

    def computed(self, dataset: Any) -> list[str]:
        """The attributes that the dataset's class computes: properties, say."""
        return [
            name
            for name in self.all_attributes
            if inspect.isdatadescriptor(inspect.getattr_static(type(dataset), name, None))
        ]


_FILES_AND_LABELS = Layout("_image_files", others=("_labels",))
_SAMPLES = Layout("_samples", 0)

_LAYOUTS = {
    "CLEVRClassification": _FILES_AND_LABELS,
    "DTD": _FILES_AND_LABELS,
    "DatasetFolder": Layout("samples", 0),
    "FGVCAircraft": _FILES_AND_LABELS,
    "Flickr30k": Layout("ids", others=("annotations", "root")),
    "Flickr8k": Layout("ids", others=("annotations",)),
    "Flowers102": _FILES_AND_LABELS,
    "Food101": _FILES_AND_LABELS,
    "INaturalist": Layout("index", 1, others=("root", "all_categories", "target_type", "categories_map")),
    "Imagenette": _SAMPLES,
    "LFWPeople": Layout("data", others=("targets",), loader="_loader"),
    "Omniglot": Layout("_flat_character_images", 0, others=("target_folder", "_characters")),
    "Places365": Layout("imgs", 0, joint=True),
    "RenderedSST2": _SAMPLES,
    "SBU": Layout("photos", others=("root", "captions")),
    "SUN397": _FILES_AND_LABELS,
    "StanfordCars": _SAMPLES,
}
"""The classes whose `__getitem__` does loader(path), the transforms, and nothing else, as read in torchvision 0.28.
ImageFolder, ImageNet, Country211 and EuroSAT have DatasetFolder's."""


def layout_of(dataset: Any) -> Layout | None:
    """Of the class whose `__getitem__` a dataset has; None: it has no loader that could be replaced."""
    owner = next(cls for cls in type(dataset).__mro__ if "__getitem__" in vars(cls))
    return _LAYOUTS.get(owner.__name__)


def transforms_of(dataset: Any) -> tuple[Any, Any]:
    """Its transform and target_transform, as its `__getitem__` applies them."""
    layout = layout_of(dataset)
    source = dataset.transforms if layout is not None and layout.joint else dataset
    return getattr(source, "transform", None), getattr(source, "target_transform", None)


def file_endings(dataset: Any, layout: Layout) -> Iterable[str]:
    """How the names of its files end, in small letters: the last five characters, each once. 0.1 s for a million rows.

    Raises:
        Exception: the rows have another form.
    """
    rows, place = getattr(dataset, layout.files), layout.place
    names = rows if place is None else (row[place] for row in rows)
    return {ending.lower() for ending in {os.fsdecode(name)[-5:] for name in names}}
