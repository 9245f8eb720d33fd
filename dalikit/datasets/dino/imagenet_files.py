"""ImageNet-1k's folders and labels, as its table of entries is made from them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dalikit.datasets.listing import Listing, find_classes, list_folder, open_root
from dalikit.datasets.paths import split_paths
from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError, EmptyDatasetError
from dalikit.storage import is_remote

if TYPE_CHECKING:
    from dalikit.datasets.dino.imagenet import ImageNetSplit

__all__ = ["ClassFiles", "Labels", "find_files", "list_test_files", "read_labels"]

Labels = Mapping[str, str]
"""Class folder to class name."""

_MAX_NUMBER = np.iinfo(np.uint32).max


class ClassFiles:
    """The files of a split with classes.

    Args:
        split: which.
        listing: of the split's folder.
    """

    def __init__(self, split: ImageNetSplit, listing: Listing) -> None:
        self.classes = listing.classes
        self._split = split
        self._listing = listing

    def __len__(self) -> int:
        """How many."""
        return sum(self._listing.counts)

    def numbers(self) -> Iterator[npt.NDArray[np.uint32]]:
        """Of each class the numbers in the names of its files, uint32, in their order.

        Raises:
            DatasetError: a file is not named as ImageNet's are.
        """
        start, paths = 0, self._listing.paths
        for count in self._listing.counts:
            stop = _after_nulls(paths, start, count)
            names = split_paths(paths[start:stop])
            yield np.array([_number(self._split, f"{self._split.value}/{name}") for name in names], dtype=np.uint32)
            start = stop


def read_labels(root: str) -> Labels:
    """Class folder to class name, from root/labels.txt: comma-separated values, one class a line.

    Raises:
        DatasetNotFoundError: there is no such file.
        DatasetError: it cannot be read, a line has not two values, or a class has two lines.
    """
    _refuse_remote(root)
    path = os.path.join(root, "labels.txt")
    labels: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                if len(row) != 2:
                    raise DatasetError(
                        f"file {path!r}: line {number} has {len(row)} values; wanted are two: n01440764,tench"
                    )
                if row[0] in labels:
                    raise DatasetError(f"file {path!r}: line {number}: class {row[0]!r} has a line already")
                labels[row[0]] = row[1]
    except FileNotFoundError as error:
        raise DatasetNotFoundError(
            f"file {path!r} does not exist: it names the classes, one a line: n01440764,tench"
        ) from error
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"file {path!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return labels


def find_files(root: str, split: ImageNetSplit, labels: Labels, *, progress: bool | None = None) -> ClassFiles:
    """The files of a split, in torchvision's order.

    Raises:
        DatasetError: the folder cannot be listed, holds no images, or a class folder is not in `labels`.
    """
    folder = open_root(os.path.join(root, split.get_dirname()))
    classes = find_classes(folder)
    unknown = [name for name in classes if name not in labels]
    if unknown:
        raise DatasetError(
            f"folder {os.path.join(folder, unknown[0])!r} ({len(unknown)} in all) is of a class that is not in "
            "labels.txt: add it there, or remove the folder"
        )
    return ClassFiles(split, list_folder(folder, classes, progress=progress))


def list_test_files(root: str, split: ImageNetSplit) -> npt.NDArray[np.uint32]:
    """The numbers in the names of the test images, uint32 (n,), ascending.

    Raises:
        DatasetError: the folder cannot be listed, holds no images, or a file is not named as ImageNet's are.
    """
    _refuse_remote(root)
    folder = open_root(os.path.join(root, split.get_dirname()))
    names = [name for name in os.listdir(folder) if name.upper().endswith(".JPEG")]
    if not names:
        raise EmptyDatasetError(f"folder {folder!r} has no images: {split.get_image_relpath(1)!r} is wanted")
    return np.sort(np.array([_number(split, f"{split.value}/{name}") for name in names], dtype=np.uint32))


def _number(split: ImageNetSplit, path: str) -> int:
    """The number in a file's name. `path` is relative to the root."""
    digits = path.rpartition("_")[2].partition(".")[0]
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else -1
    class_id = path.split("/")[1] if path.count("/") > 1 else None
    wanted = split.get_image_relpath(max(number, 0), class_id)
    if path != wanted or not 0 <= number <= _MAX_NUMBER:
        raise DatasetError(
            f"file {path!r} is not named as ImageNet's files are, such as {wanted!r}: rename or remove it, or use "
            "ImageFolder, which takes any names"
        )
    return number


def _after_nulls(block: bytes, start: int, count: int) -> int:
    """The place behind the next `count` null bytes."""
    for _ in range(count):
        start = block.index(b"\0", start) + 1
    return start


def _refuse_remote(root: str) -> None:
    if is_remote(root):
        raise ArgumentError(f"tables are made from folders on this machine, root is {root!r}: make them where it lies")
