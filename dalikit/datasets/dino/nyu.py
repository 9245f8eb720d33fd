"""NYU Depth v2 in DINOv3's layout."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from typing import Any

from dalikit.datasets.dino.listed import DenseDataset, check_relative, read_lines, root_prefix
from dalikit.datasets.dino.splits import find_split
from dalikit.errors import DatasetError

__all__ = ["NYU", "NYUSplit"]


class NYUSplit(Enum):
    """A part of NYU Depth v2, as DINOv3 names it. VAL and TEST are the same."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"

    @property
    def data_fname(self) -> str:
        """The list of its files."""
        return "nyu_train.txt" if self is NYUSplit.TRAIN else "nyu_test.txt"


class NYU(DenseDataset):
    """NYU Depth v2: DINOv3's layout, arguments and files.

        root/nyu_train.txt, root/nyu_test.txt     image, depth and focal length:
                                                  /bathroom/rgb_00045.jpg /bathroom/sync_depth_00045.png 518.8579

    Rows are the lines, sorted; slashes around the paths do not count. A target is the bytes of the depth map's file;
    `target_transform` gets them, and by default makes an array (H, W) of them, in the file's units (mm in the lists
    that DINOv3 uses). The transform of the image is not done to the depth map.

    Args:
        split: `NYU.Split.TRAIN`, VAL or TEST, DINOv3's own, or its name as text, in any case.
        root: the folder, or its address: "s3://bucket/nyu".
        transform: what is done to an image; carried out by the loader.
        target_transform: a callable for the bytes of the depth map's file. None:
            `dalikit.datasets.dino.listed.decode_dense`.

    Raises:
        ArgumentError: an argument is not of the kind wanted.
        DatasetNotFoundError: `root` or the list is not there.
        DatasetError: the list cannot be read, is empty, a line has not three values, or names a file that is not below
            the root.
    """

    Split = NYUSplit

    def __init__(
        self,
        *,
        split: NYUSplit | str,
        root: str | os.PathLike[str],
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        prefix = root_prefix(root)
        uri = prefix + find_split(NYUSplit, split).data_fname
        images, depths = [], []
        for line in read_lines(uri):
            values = line.split()
            if len(values) != 3:
                raise DatasetError(
                    f"file {uri!r}: line {line[:80]!r} has {len(values)} values; image, depth and focal "
                    "length are wanted"
                )
            images.append(check_relative(uri, values[0].strip("/")))
            depths.append(check_relative(uri, values[1].strip("/")))
        super().__init__(prefix, images, depths, transform, target_transform)
