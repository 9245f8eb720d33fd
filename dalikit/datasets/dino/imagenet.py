"""ImageNet-1k in DINOv2's layout."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.datasets.dino.entries import (
    INTEGER,
    TEXT,
    Stamp,
    Table,
    check_classes,
    check_names,
    chunks,
    map_table,
    write_table,
)
from dalikit.datasets.dino.imagenet_files import Labels, find_files, list_test_files, read_labels
from dalikit.datasets.dino.splits import find_split
from dalikit.datasets.dino.tabled import TabledDataset, no_target
from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError
from dalikit.storage import Location
from dalikit.storage.remote.address import redact

__all__ = ["ImageNet", "ImageNetSplit"]

_NO_CLASS = np.iinfo(np.uint32).max
"""Stands where a test image would have its class."""


class ImageNetSplit(Enum):
    """A part of ImageNet, as DINOv2 names it: `ImageNet.Split.TRAIN`, `ImageNet.Split["TRAIN"]`."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"

    @property
    def length(self) -> int:
        """How many images ILSVRC 2012 has."""
        return {ImageNetSplit.TRAIN: 1_281_167, ImageNetSplit.VAL: 50_000, ImageNetSplit.TEST: 100_000}[self]

    def get_dirname(self, class_id: str | None = None) -> str:
        """The folder of the split, or of one of its classes, relative to the root."""
        return self.value if class_id is None else f"{self.value}/{class_id}"

    def get_image_relpath(self, actual_index: int, class_id: str | None = None) -> str:
        """The file of an image, relative to the root: "train/n01440764/n01440764_10026.JPEG".

        Args:
            actual_index: the number in its name.
            class_id: the name of its class folder; None for test images, which have none.
        """
        name = (
            f"{class_id}_{actual_index}"
            if self is ImageNetSplit.TRAIN
            else f"ILSVRC2012_{self.value}_{actual_index:08d}"
        )
        return f"{self.get_dirname(class_id)}/{name}.JPEG"

    def parse_image_relpath(self, image_relpath: str) -> tuple[str, int]:
        """The class id and the number of an image: what `get_image_relpath` was given.

        Raises:
            ArgumentError: it is the test split, or a name without a number.
        """
        folder, _, name = image_relpath.rpartition("/")
        number = name.partition(".")[0].rpartition("_")[2]
        if self is ImageNetSplit.TEST or not (number.isascii() and number.isdigit()):
            raise ArgumentError(f"split {self.name}: {image_relpath!r} has no class and number")
        return folder.rpartition("/")[2], int(number)


class ImageNet(TabledDataset):
    """ImageNet-1k: DINOv2's layout, arguments and files.

        root/labels.txt                                     n01440764,tench
        root/train/n01440764/n01440764_10026.JPEG
        root/val/n01440764/ILSVRC2012_val_00000293.JPEG
        root/test/ILSVRC2012_test_00000001.JPEG
        extra/entries-TRAIN.npy                             one row an image; made by `dump_extra`
        extra/class-ids-TRAIN.npy, class-names-TRAIN.npy    one text a class

    docs/imagenet.md describes the files field by field; DINOv2's own are read as they are. Parts of ImageNet work too:
    where DINOv2 refuses another number of images than the official one, this warns.

    A row costs no Python object: the table is mapped, and shared by all processes. Its memory is not counted twice.

    Args:
        split: `ImageNet.Split.TRAIN`, VAL or TEST, DINOv2's own, or its name as text, in any case.
        root: the folder of the images, or its address: "s3://bucket/imagenet".
        extra: the folder of the tables.
        transform: what is done to an image; carried out by the loader.
        target_transform: a callable for the target. None in the test split: one that makes () of it, as there is none:
            a batch's targets are then [].

    Attributes:
        root: as it was given, with `~` expanded.
        extra: the same.

    Raises:
        ArgumentError: an argument is not of the kind wanted.
        DatasetNotFoundError: `root` is not there. That the tables are not there is said at the first use.
        DatasetError: a table cannot be used.
    """

    Split = ImageNetSplit
    fields = {"actual_index": INTEGER, "class_index": INTEGER, "class_id": TEXT, "class_name": TEXT}  # noqa: RUF012

    def __init__(
        self,
        *,
        split: ImageNetSplit | str,
        root: str | os.PathLike[str],
        extra: str | os.PathLike[str],
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self._split = find_split(ImageNetSplit, split)
        if self._split is ImageNetSplit.TEST and target_transform is None:
            target_transform = no_target
        super().__init__(root, extra, transform, target_transform)

    @property
    def split(self) -> ImageNetSplit:
        """Which part it is."""
        return self._split

    def get_location(self, index: int) -> Location:
        """The file of row `index`."""
        return Location(self._prefix + self.get_key(index))

    def get_key(self, index: int) -> str:
        """The file of row `index` relative to the root: "train/n01440764/n01440764_10026.JPEG"."""
        row = self._row(index)
        class_id = None if self._split is ImageNetSplit.TEST else self._row_text("class_id", row)
        return self._split.get_image_relpath(self._number("actual_index", row), class_id)

    def get_target(self, index: int) -> int | None:
        """The class of row `index`; None in the test split, whose classes are not published (an item has ())."""
        row = self._row(index)
        return None if self._split is ImageNetSplit.TEST else self._number("class_index", row)

    def get_targets(self) -> npt.NDArray[np.unsignedinteger[Any]] | None:
        """The class of every row, uint32 (n,), read-only: a view of the mapped table. None in the test split."""
        return None if self._split is ImageNetSplit.TEST else self._class_indices()

    def get_class_id(self, index: int) -> str | None:
        """The class folder of row `index`: "n01440764". None in the test split."""
        row = self._row(index)
        return None if self._split is ImageNetSplit.TEST else self._row_text("class_id", row)

    def get_class_ids(self) -> npt.NDArray[np.str_] | None:
        """The class folder of every row, (n,), read-only: a view of the mapped table. None in the test split."""
        return None if self._split is ImageNetSplit.TEST else self._open()["class_id"]

    def get_class_name(self, index: int) -> str | None:
        """What is in the image of row `index`: "tench". None in the test split."""
        row = self._row(index)
        return None if self._split is ImageNetSplit.TEST else self._row_text("class_name", row)

    def find_class_id(self, class_index: int) -> str:
        """The folder of a class: "n01440764" of 0.

        Raises:
            ArgumentError: the test split has no classes.
            IndexError: there is no such class.
        """
        self._refuse_test("class ids")
        return self._find_text(self._file("class-ids"), class_index)

    def find_class_name(self, class_index: int) -> str:
        """The name of a class: "tench" of 0. Raises what `find_class_id` does."""
        self._refuse_test("class names")
        return self._find_text(self._file("class-names"), class_index)

    def dump_extra(self, progress: bool | None = None) -> None:
        """Makes the tables in `extra` from labels.txt and the folders, and uses them from now on.

        Rows are in torchvision's order: class folders by name, files by name in each. A class's number is its folder's
        place. The tables are those that DINOv2 makes, byte for byte if all classes of labels.txt have images; where
        its test table always has 100,000 rows, this one has a row for each file that is there.

        Args:
            progress: a progress bar on stderr; None: if that is a terminal.

        Raises:
            DatasetError: `root` is not on this machine; there are no images; labels.txt cannot be read, or a folder is
                not in it; a file is not named as ImageNet's are; or a table cannot be written.
        """
        labels = None if self._split is ImageNetSplit.TEST else read_labels(self.root)
        if labels is None:
            numbers = list_test_files(self.root, self._split)
            dtype = _dtype(0, 0)
            write_table(self._entries_path, dtype, len(numbers), _test_rows(numbers, dtype))
        else:
            self._dump_classes(labels, progress)
        self._forget()
        self._open()

    def _dump_classes(self, labels: Labels, progress: bool | None) -> None:
        """Writes the three tables of a split with classes."""
        files = find_files(self.root, self._split, labels, progress=progress)
        ids, names = np.array(files.classes), np.array([labels[class_id] for class_id in files.classes])
        dtype = _dtype(ids.itemsize // 4, names.itemsize // 4)

        def pieces() -> Iterator[Table]:
            for class_index, numbers in enumerate(files.numbers()):
                piece = np.empty(len(numbers), dtype=dtype)
                piece["actual_index"], piece["class_index"] = numbers, class_index
                piece["class_id"], piece["class_name"] = ids[class_index], names[class_index]
                yield piece

        write_table(self._entries_path, dtype, len(files), pieces())
        for name, texts in (("class-ids", ids), ("class-names", names)):
            write_table(os.path.join(self.extra, self._file(name)), texts.dtype, len(texts), [texts])

    def _file(self, name: str) -> str:
        """The file in `extra` of a table."""
        return f"{name}-{self._split.name}.npy"

    @property
    def _entries_path(self) -> str:
        return os.path.join(self.extra, self._file("entries"))

    @property
    def _remedy(self) -> str:
        made = f"ImageNet(split={self._split.name!r}, root={redact(self.root)!r}, extra={self.extra!r})"
        return f"make it once, in Python: from dalikit.datasets import ImageNet; {made}.dump_extra()"

    @property
    def _described(self) -> str:
        return f"ImageNet(split={self._split.name}, "

    @property
    def _identity(self) -> tuple[str, tuple[str, ...]]:
        if self._split is ImageNetSplit.TEST:
            return "ImageNet TEST", ("actual_index",)
        return f"ImageNet {self._split.name}", ("actual_index", "class_index", "class_id")

    def _others(self) -> tuple[Stamp, ...]:
        if self._split is ImageNetSplit.TEST:
            return ()
        try:
            path = os.path.join(self.extra, self._file("class-ids"))
            return (map_table(path, None, self._remedy)[1],)
        except DatasetNotFoundError:  # rows can be read without it, as DINOv2 does
            return ()

    def _check(self, entries: Table) -> None:
        path = self._entries_path
        others = self._others()
        ids = self._text(self._file("class-ids")) if others else None
        for start, piece in chunks(entries):
            _check_signs(path, piece, start)
            if self._split is not ImageNetSplit.TEST:
                check_names(path, piece["class_id"], "class_id", start)
                if ids is not None:
                    check_classes(path, piece, ids, start)
        if len(entries) != self._split.length:
            warnings.warn(
                f"ImageNet {self._split.name} has {self._split.length} images, but {path!r} has {len(entries)} rows: "
                "it is a part of it",
                stacklevel=5,
            )

    def _refuse_test(self, what: str) -> None:
        """Refuses what the test split has not."""
        if self._split is ImageNetSplit.TEST:
            raise ArgumentError(f"split TEST has no {what}: its classes are not published")


def _check_signs(path: str, piece: Table, first_row: int) -> None:
    """Refuses negative numbers."""
    for name in ("actual_index", "class_index"):
        if piece.dtype[name].kind == "i" and (piece[name] < 0).any():
            row = int((piece[name] < 0).argmax())
            raise DatasetError(f"file {path!r}: row {first_row + row}: {name} {piece[name][row]} is negative")


def _dtype(id_width: int, name_width: int) -> np.dtype[Any]:
    """Of a row; widths in characters."""
    return np.dtype(
        [
            ("actual_index", "<u4"),
            ("class_index", "<u4"),
            ("class_id", f"<U{id_width}"),
            ("class_name", f"<U{name_width}"),
        ]
    )


def _test_rows(numbers: npt.NDArray[np.uint32], dtype: np.dtype[Any]) -> Iterator[Table]:
    rows = np.zeros(len(numbers), dtype=dtype)
    rows["actual_index"], rows["class_index"] = numbers, _NO_CLASS
    yield rows
