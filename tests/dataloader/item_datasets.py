"""Datasets of every kind over the same photographs. Importable, so that they reach spawned processes too."""

from __future__ import annotations

import io
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, get_worker_info

__all__ = ["FORMS", "Counting", "Given", "Labelled", "Photographs", "Stream"]

Labelled = namedtuple("Labelled", ["image", "label"])


def _bytes(path: Path) -> Any:
    return path.read_bytes()


def _array_of_bytes(path: Path) -> Any:
    return np.fromfile(path, dtype=np.uint8)


def _tensor_of_bytes(path: Path) -> Any:
    return torch.from_numpy(np.fromfile(path, dtype=np.uint8))


def _pillow(path: Path) -> Any:
    return Image.open(io.BytesIO(path.read_bytes())).convert("RGB")


def _array(path: Path) -> Any:
    return np.asarray(_pillow(path))


def _tensor(path: Path) -> Any:
    return torch.from_numpy(_array(path).copy()).permute(2, 0, 1)


FORMS: dict[str, Callable[[Path], Any]] = {
    "bytes": _bytes,
    "array of bytes": _array_of_bytes,
    "tensor of bytes": _tensor_of_bytes,
    "pillow": _pillow,
    "array": _array,
    "tensor": _tensor,
}
"""What the image of an item may be; the last three are decoded."""


class Photographs(Dataset[Any]):
    """Items (image, row), with the image in one of FORMS."""

    def __init__(self, paths: list[Path], form: str = "bytes", nest: Callable[[Any, int], Any] | None = None) -> None:
        self.paths = paths
        self.form = form
        self.nest = nest

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        image = FORMS[self.form](self.paths[index])
        return (image, index) if self.nest is None else self.nest(image, index)


class Given:
    """Encoded images that lie in no file that the loader knows of; the target of each is its index.

    Args:
        files: paths, or what would be in them.
    """

    def __init__(self, files: Sequence[Path | bytes]) -> None:
        self.files = files

    def __len__(self) -> int:
        """How many."""
        return len(self.files)

    def get_image_data(self, index: int) -> bytes:
        """Its bytes."""
        file = self.files[index]
        return file if isinstance(file, bytes) else file.read_bytes()

    def get_target(self, index: int) -> int:
        """Its number."""
        return index


class Counting(Given):
    """Notes what was read."""

    def __init__(self, files: Sequence[Path | bytes]) -> None:
        super().__init__(files)
        self.read: list[int] = []

    def get_image_data(self, index: int) -> bytes:
        """Its bytes."""
        self.read.append(index)
        return super().get_image_data(index)


class Stream(IterableDataset[Any]):
    """The same, one after the other; each of several workers takes its share."""

    def __init__(self, inner: Photographs) -> None:
        self.inner = inner

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        for index in range(first, len(self.inner), step):
            yield self.inner[index]
