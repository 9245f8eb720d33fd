"""ADE20K (150 classes) in DINOv3's layout."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from typing import Any

from dalikit.datasets.dino.listed import DenseDataset, check_relative, read_lines, root_prefix
from dalikit.datasets.dino.splits import find_split

__all__ = ["ADE20K", "ADE20KSplit"]


class ADE20KSplit(Enum):
    """A part of ADE20K, as DINOv3 names it."""

    TRAIN = "train"
    VAL = "val"

    @property
    def dirname(self) -> str:
        """The folder of its files, in `images` and in `annotations`."""
        return {ADE20KSplit.TRAIN: "training", ADE20KSplit.VAL: "validation"}[self]


class ADE20K(DenseDataset):
    """ADE20K, scene parsing with 150 classes: DINOv3's layout, arguments and files.

        root/ADE20K_object150_train.txt                     one file a line: training/ADE_train_00000001.jpg
        root/images/training/ADE_train_00000001.jpg
        root/annotations/training/ADE_train_00000001.png    the class of each pixel, 1 to 150; 0: none of them

    Rows are the lines, sorted. A target is the bytes of the mask's file; `target_transform` gets them, and by default
    makes uint8 (H, W) of them. The transform of the image is not done to the mask.

    Args:
        split: `ADE20K.Split.TRAIN` or VAL, DINOv3's own, or its name as text, in any case.
        root: the folder, or its address: "s3://bucket/ade20k".
        transform: what is done to an image; carried out by the loader.
        target_transform: a callable for the bytes of the mask's file. None:
            `dalikit.datasets.dino.listed.decode_dense`.

    Raises:
        ArgumentError: an argument is not of the kind wanted.
        DatasetNotFoundError: `root` or the list is not there.
        DatasetError: the list cannot be read, is empty, or names a file that is not below the root.
    """

    Split = ADE20KSplit

    def __init__(
        self,
        split: ADE20KSplit | str,
        root: str | os.PathLike[str],
        *,
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        prefix = root_prefix(root)
        uri = f"{prefix}ADE20K_object150_{find_split(ADE20KSplit, split).value}.txt"
        names = [check_relative(uri, name) for name in read_lines(uri)]
        images = [f"images/{name}" for name in names]
        masks = [f"annotations/{os.path.splitext(name)[0]}.png" for name in names]
        super().__init__(prefix, images, masks, transform, target_transform)
