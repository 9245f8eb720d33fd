"""torchvision's datasets of image files, seen as datasets of encoded images."""

from __future__ import annotations

import copy
import hashlib
import os
import sys
from typing import Any

from dalikit.datasets.adapters.adapted import Options
from dalikit.datasets.adapters.origin import check_not_overridden, find_class, overridden
from dalikit.datasets.stored import StoredDataset
from dalikit.errors import ArgumentError
from dalikit.storage import Location

__all__ = ["TorchvisionFiles", "adapt_torchvision", "encode_torchvision"]

_PACKAGE = "torchvision.datasets"

_LOADER_OF = {
    **dict.fromkeys(
        (
            "CLEVRClassification", "DTD", "DatasetFolder", "FGVCAircraft", "Flickr8k", "Flickr30k", "Flowers102",
            "Food101", "INaturalist", "Imagenette", "Omniglot", "Places365", "RenderedSST2", "SBU", "SUN397",
            "StanfordCars",
        ),
        "loader",
    ),
    "LFWPeople": "_loader",
}  # fmt: skip
"""The classes whose `__getitem__` does loader(path), the transforms, and nothing else, as read in torchvision 0.28; and
the attribute that holds the loader. ImageFolder, ImageNet, Country211 and EuroSAT have DatasetFolder's."""

_JOINT = ("Places365",)
"""Those that call `transforms`; the others call `transform` and `target_transform`."""

_LOADERS = ("default_loader", "pil_loader")


class TorchvisionFiles(StoredDataset):
    """The files and targets of a torchvision dataset, read around its loader. Thread-safe; pickles if the dataset does.

    Rows are asked for when they are needed: a dataset whose `samples` are cut shorter is shorter here too.

    Args:
        dataset: one that `encode_torchvision` takes.
        transform: what is done to an image.
        target_transform: a callable for the target.

    Attributes:
        dataset: the dataset.
    """

    def __init__(self, dataset: Any, transform: Any, target_transform: Any) -> None:
        super().__init__(transform, target_transform)
        self.dataset = dataset
        self._rows = copy.copy(dataset)  # whose items are (path, target)
        setattr(self._rows, _LOADER_OF[_reader_of(dataset).__name__], _path_itself)
        self._rows.transform = self._rows.target_transform = self._rows.transforms = None
        root = getattr(dataset, "root", None)
        self._prefix = os.path.join(os.fspath(root), "") if root else ""
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        """How many rows."""
        return len(self._rows)

    def __repr__(self) -> str:
        """What it stands for, and how much is in it."""
        return f"TorchvisionFiles({type(self.dataset).__name__}, num_samples={len(self)})"

    def get_location(self, index: int) -> Location:
        """The file of row `index`."""
        return Location(os.fspath(self._rows[self._row(index)][0]))

    def get_target(self, index: int) -> Any:
        """The target of row `index`, as torchvision has it before `target_transform`: a class, captions, ..."""
        return self._rows[self._row(index)][1]

    def get_key(self, index: int) -> str:
        """The file of row `index` relative to the dataset's root: "cat/001.jpg"; the path, if it lies elsewhere."""
        return self.get_location(index).uri.removeprefix(self._prefix)

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the class's name, and the files' paths relative to the root and the targets, in
        order. Made once, when it is asked for: 2 s for a million rows.
        """
        if self._fingerprint is None:
            digest = hashlib.blake2b(type(self.dataset).__name__.encode(), digest_size=8)
            for row in range(len(self)):
                path, target = self._rows[row]
                name = os.fsencode(os.fspath(path).removeprefix(self._prefix))
                digest.update(b"%b\0%b\0" % (name, repr(target).encode("utf-8", "surrogateescape")))
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def encode_torchvision(dataset: Any, options: Options) -> TorchvisionFiles | None:
    """A torchvision dataset's files; None: it is none of torchvision's.

    Raises:
        ArgumentError: it is one that cannot be read around its loader.
    """
    if find_class(dataset, _PACKAGE) is None:
        return None
    options.refuse_columns(dataset)
    check_not_overridden(dataset, _PACKAGE, "torchvision")
    reason = _refusal(dataset)
    if reason is not None:
        raise ArgumentError(f"as_encoded({type(dataset).__name__}): {reason}")
    transform, target_transform = _transforms_of(dataset)
    return TorchvisionFiles(
        dataset,
        transform if options.transform is None else options.transform,
        target_transform if options.target_transform is None else options.target_transform,
    )


def adapt_torchvision(dataset: Any) -> TorchvisionFiles | None:
    """The same where it is certain that it gives the same images; None: it is not, or it is none of torchvision's.

    Certain means: the methods are torchvision's own, files are opened by its default loader, which decodes by Pillow,
    and no joint `transforms` is set. What the transforms are is not looked at.
    """
    if find_class(dataset, _PACKAGE) is None or overridden(dataset, _PACKAGE):
        return None
    package: Any = sys.modules.get("torchvision")
    if _refusal(dataset) is not None or package is None or package.get_image_backend() != "PIL":
        return None
    return TorchvisionFiles(dataset, *_transforms_of(dataset))


def _reader_of(dataset: Any) -> type:
    """The class whose `__getitem__` it has."""
    return next(cls for cls in type(dataset).__mro__ if "__getitem__" in vars(cls))


def _refusal(dataset: Any) -> str | None:
    """Why a dataset of torchvision's cannot be read around its loader; None: it can be."""
    kind = _reader_of(dataset).__name__
    if kind not in _LOADER_OF:
        return (
            "torchvision opens its images itself, without a loader that could be replaced. Give the dataset itself to "
            "the loader: its items are decoded by torchvision, and transformed by the loader's transform="
        )
    name = _LOADER_OF[kind]
    loader, known = getattr(dataset, name, None), sys.modules[f"{_PACKAGE}.folder"]
    if not any(loader is getattr(known, each) for each in _LOADERS):
        return (
            f"its {name} is {loader!r}, and only torchvision's default_loader and pil_loader are known to decode whole "
            f"image files to RGB. If dalikit is to decode them instead, set dataset.{name} = "
            "torchvision.datasets.folder.default_loader"
        )
    joint = getattr(dataset, "transforms", None)
    if joint is not None and type(joint).__name__ != "StandardTransform":
        return (
            f"its transforms= is {type(joint).__name__}, which gets image and target together; the loader transforms "
            "images. Make the dataset with transform= and target_transform= instead"
        )
    return None


def _transforms_of(dataset: Any) -> tuple[Any, Any]:
    """Its transform and target_transform, as its `__getitem__` applies them."""
    source = dataset.transforms if _reader_of(dataset).__name__ in _JOINT else dataset
    return getattr(source, "transform", None), getattr(source, "target_transform", None)


def _path_itself(path: Any) -> Any:
    """Stands in place of the loader."""
    return path
