"""torchvision's datasets of image files, seen as datasets of encoded images."""

from __future__ import annotations

import copy
import hashlib
import os
import sys
from typing import Any

from dalikit.datasets.adapters.adapted import Options
from dalikit.datasets.adapters.layouts import LOADERS, PACKAGE, Layout, layout_of, transforms_of
from dalikit.datasets.adapters.origin import check_not_overridden, find_class
from dalikit.datasets.stored import StoredDataset
from dalikit.errors import ArgumentError
from dalikit.storage import Location

__all__ = ["TorchvisionFiles", "encode_torchvision", "refusal"]


class TorchvisionFiles(StoredDataset):
    """The files and targets of a torchvision dataset, read around its loader. Thread-safe; pickles if the dataset does.

    Rows are asked for when they are needed. What the dataset's attributes are is taken when the view is made: a list
    that is changed in place is changed here too, an attribute that is set later is not seen (see `check_unchanged`).

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
        layout = layout_of(dataset)
        assert layout is not None  # else it was refused
        self._layout = layout
        self._rows = copy.copy(dataset)  # whose items are (path, target)
        setattr(self._rows, layout.loader, _path_itself)
        self._rows.transform = self._rows.target_transform = self._rows.transforms = None
        root = getattr(dataset, "root", None)
        self._prefix = os.path.join(os.fsdecode(root), "") if root else ""
        self._fingerprint: str | None = None
        self._made_of = _parts_of(dataset, layout)
        self._made_with = len(getattr(dataset, layout.files))

    def __len__(self) -> int:
        """How many rows."""
        return len(self._rows)

    def __repr__(self) -> str:
        """What it stands for, and how much is in it."""
        return f"TorchvisionFiles({type(self.dataset).__name__}, num_samples={len(self)})"

    def get_location(self, index: int) -> Location:
        """The file of row `index`."""
        return Location(os.fsdecode(self._rows[self._row(index)][0]))

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
                name = os.fsencode(os.fsdecode(path).removeprefix(self._prefix))
                digest.update(b"%b\0%b\0" % (name, repr(target).encode("utf-8", "surrogateescape")))
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    @property
    def change(self) -> str | None:
        """What became of the dataset since the view was made, so that its items are others now; None: nothing. What is
        done within its transforms is not looked for.
        """
        now = _parts_of(self.dataset, self._layout)
        for name, value in self._made_of.items():
            if now[name] is not value:
                return f"{type(self.dataset).__name__}.{name} was set"
        files = self._layout.files
        count = len(now[files])
        if count != self._made_with:
            return f"{type(self.dataset).__name__}.{files} had {self._made_with} rows and was changed to {count}"
        return None

    def check_unchanged(self) -> None:
        """Raises ArgumentError if the dataset's items are others now, where that could not be seen here."""
        change = self.change
        if change is not None:
            raise ArgumentError(
                f"{change} after the loader was made; make a new loader (it reads the dataset as it was)"
            )


def encode_torchvision(dataset: Any, options: Options) -> TorchvisionFiles | None:
    """A torchvision dataset's files; None: it is none of torchvision's.

    Raises:
        ArgumentError: it is one that cannot be read around its loader.
    """
    if find_class(dataset, PACKAGE) is None:
        return None
    options.refuse_columns(dataset)
    check_not_overridden(dataset, PACKAGE, "torchvision")
    reason = refusal(dataset)
    if reason is not None:
        raise ArgumentError(f"as_encoded({type(dataset).__name__}): {reason}")
    transform, target_transform = transforms_of(dataset)
    return TorchvisionFiles(
        dataset,
        transform if options.transform is None else options.transform,
        target_transform if options.target_transform is None else options.target_transform,
    )


def refusal(dataset: Any) -> str | None:
    """Why a dataset of torchvision's cannot be read around its loader; None: it can be."""
    layout = layout_of(dataset)
    if layout is None:
        return (
            "torchvision opens its images itself, without a loader that could be replaced. Give the dataset itself to "
            "the loader: its items are decoded by torchvision, and transformed by the loader's transform="
        )
    computed = layout.computed(dataset)
    if computed:
        return (
            f"its class computes {' and '.join(computed)}, which torchvision keeps as plain attributes; set them in "
            "__init__ instead"
        )
    name = layout.loader
    loader, known = getattr(dataset, name, None), sys.modules[f"{PACKAGE}.folder"]
    if not any(loader is getattr(known, each) for each in LOADERS):
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


def _parts_of(dataset: Any, layout: Layout) -> dict[str, Any]:
    """What an item is made of."""
    transform, target_transform = transforms_of(dataset)
    parts = {name: getattr(dataset, name, None) for name in layout.attributes}
    return {**parts, "transform": transform, "target_transform": target_transform}


def _path_itself(path: Any) -> Any:
    """Stands in place of the loader."""
    return path
