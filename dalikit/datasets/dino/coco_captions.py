"""COCO's captions in DINOv3's layout."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np

from dalikit.datasets.dino.listed import ListedDataset, check_relative, root_prefix
from dalikit.datasets.dino.splits import find_split
from dalikit.datasets.paths import PathTable, join_paths
from dalikit.errors import ArgumentError, DatasetError, EmptyDatasetError
from dalikit.storage import read_stream

__all__ = ["CocoCaptions", "CocoCaptionsSplit"]

_WAYS = ("first", "all")


class CocoCaptionsSplit(Enum):
    """A part of COCO, as DINOv3 names it: training images of 2014, validation images of 2017."""

    TRAIN = "train"
    VAL = "val"

    @property
    def annotations(self) -> str:
        """The file of captions, relative to the root."""
        if self is CocoCaptionsSplit.TRAIN:
            return "annotations_trainval2014/annotations/captions_train2014.json"
        return "annotations_trainval2017/annotations/captions_val2017.json"

    @property
    def dirname(self) -> str:
        """The folder of the images, relative to the root."""
        return "train2014/train2014" if self is CocoCaptionsSplit.TRAIN else "val2017/val2017"


class CocoCaptions(ListedDataset):
    """Images and what they show, in sentences: DINOv3's layout and arguments.

        root/annotations_trainval2014/annotations/captions_train2014.json
        root/train2014/train2014/COCO_train2014_000000000009.jpg
        root/annotations_trainval2017/annotations/captions_val2017.json
        root/val2017/val2017/000000000139.jpg

    Rows are the images, in the order of the file of captions. Two things differ from DINOv3's: for VAL it reads the
    captions of the training images of 2017, none of which lies in `val2017`; and a target there is one of the captions
    by chance, where rows of dalikit's datasets are always the same.

    Args:
        split: `CocoCaptions.Split.TRAIN` or VAL, DINOv3's own, or its name as text, in any case.
        root: the folder, or its address: "s3://bucket/coco".
        transform: what is done to an image; carried out by the loader.
        target_transform: a callable for the target.
        captions: what a target is: "first", the first caption of the image (text, so batches collate); "all", the list
            of them: `target_transform=random.choice` then takes one by chance.

    Raises:
        ArgumentError: an argument is not of the kind wanted.
        DatasetNotFoundError: `root` or the file of captions is not there.
        DatasetError: the file is not of COCO's form, or an image has no caption.
    """

    Split = CocoCaptionsSplit

    def __init__(
        self,
        *,
        split: CocoCaptionsSplit | str,
        root: str | os.PathLike[str],
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
        captions: str = "first",
    ) -> None:
        if captions not in _WAYS:
            raise ArgumentError(f'captions must be "first" or "all", got {captions!r}')
        prefix = root_prefix(root)
        part = find_split(CocoCaptionsSplit, split)
        uri = prefix + part.annotations
        files, texts = _read_captions(uri)
        images = [f"{part.dirname}/{check_relative(uri, name)}" for name in files]
        super().__init__(prefix, images, transform, target_transform)
        self._all = captions == "all"
        self._captions = PathTable(join_paths(text for several in texts for text in several))
        self._bounds = np.cumsum([0, *map(len, texts)], dtype=np.int64)  # (n + 1,): the first caption of each image

    def get_captions(self, index: int) -> list[str]:
        """All captions of row `index`, at least one."""
        start, stop = self._bounds[(row := self._row(index)) : row + 2].tolist()
        return [self._captions[place] for place in range(start, stop)]

    def get_target(self, index: int) -> str | list[str]:
        """The first caption of row `index`, or all of them."""
        return self.get_captions(index) if self._all else self._captions[int(self._bounds[self._row(index)])]

    @property
    def _hashed(self) -> tuple[bytes, ...]:
        return self._captions.block, self._bounds.astype("<i8").tobytes(), b"all" if self._all else b"first"


def _read_captions(uri: str) -> tuple[list[str], list[list[str]]]:
    """The files, and the captions of each."""
    try:
        content = json.loads(b"".join(read_stream(uri)))
        files = {image["id"]: image["file_name"] for image in content["images"]}
        captions: dict[Any, list[str]] = {number: [] for number in files}
        for annotation in content["annotations"]:
            if caption := _as_text(annotation["caption"]):
                captions[annotation["image_id"]].append(caption)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"file {uri!r} is not of COCO's form: {type(error).__name__}: {error}") from error
    if not files:
        raise EmptyDatasetError(f"file {uri!r} names no image")
    for number, name in files.items():
        if not isinstance(name, str):
            raise DatasetError(f"file {uri!r}: image {number!r} has the file name {name!r}")
        if not captions[number]:
            raise DatasetError(f"file {uri!r}: image {number!r}, {name!r}, has no caption")
    return list(files.values()), list(captions.values())


def _as_text(caption: str) -> str:
    """Without what a table of texts cannot hold: null characters, and halves of characters."""
    return caption.replace("\0", " ").encode("utf-8", "replace").decode()
