"""Small datasets, and a reader on them, one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from encoded_images import encode
from PIL import Image
from torch.utils.data import Dataset

from dalikit.fetch import Request
from dalikit.fetch.reader import Reader, make_reader
from dalikit.fetch.task import ReadTask

__all__ = ["Declared", "Items", "Whole", "pixels_of", "png_of", "read", "reader_of", "request_of"]


def pixels_of(index: int) -> Any:
    """uint8 (5 + index, 7, 3), another for each index."""
    return np.random.default_rng(index).integers(0, 256, (5 + index, 7, 3), dtype=np.uint8)


def png_of(index: int) -> bytes:
    """The same, encoded without loss."""
    return encode(Image.fromarray(pixels_of(index)), "PNG")


class Items(Dataset[Any]):
    """Item i is what a function makes of i."""

    def __init__(self, make: Callable[[Any], Any], count: int = 20) -> None:
        self.make = make
        self.count = count

    def __getitem__(self, index: Any) -> Any:
        return self.make(index)

    def __len__(self) -> int:
        return self.count


class Declared:
    """A dataset that declares encoded images, and lies in no files."""

    target_transform: Any = None

    def get_image_data(self, index: int) -> Any:
        return png_of(index)

    def get_target(self, index: int) -> Any:
        return index * 10

    def __len__(self) -> int:
        return 20


def reader_of(dataset: Any, **options: Any) -> Reader:
    """A reader for a loader with a transform, but where the options say otherwise."""
    workers = {name: options.pop(name) for name in ("worker_id", "num_workers") if name in options}
    return make_reader(
        ReadTask(**{"dataset": dataset, "seed": 5, "collate_fn": None, "transformed": True, **options}), **workers
    )


def request_of(indices: Sequence[Any], *, start: int = 100, **more: Any) -> Request:
    """Those indices, at positions from `start` on."""
    return Request(indices, np.arange(start, start + len(indices)), taken=7, **more)


def read(dataset: Any, indices: Sequence[Any] = (2, 0, 1), **options: Any) -> Any:
    """One batch."""
    return reader_of(dataset, **options).read(request_of(indices))


class Whole(Items):
    """Reads batches at once; single items may not be asked for."""

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError(f"asked for item {index} alone")

    def __getitems__(self, indices: Any) -> Any:
        return self.make(indices)
