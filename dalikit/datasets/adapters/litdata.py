"""LitData's StreamingDataset, whose images come as the bytes that were stored."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dalikit.datasets.adapters.adapted import AdaptedDataset, Options
from dalikit.datasets.adapters.columns import Columns, choose_columns
from dalikit.datasets.adapters.origin import check_not_overridden, find_class
from dalikit.errors import ArgumentError, ReadError
from dalikit.items import as_encoded, describe_item, is_bytes
from dalikit.signatures import is_encoded_image

__all__ = ["LitDataImages", "encode_litdata"]

_PACKAGE = "litdata.streaming"
_IMAGES = ("jpeg", "image")
"""The data formats that hold image files as they were."""


class LitDataImages(AdaptedDataset):
    """Items of a LitData StreamingDataset by their number, in the order of its chunks; read by LitData itself.

    LitData has one chunk open at a time and is not made for several threads, so items are read one after the other, by
    whichever thread; a random order opens a chunk for nearly each. Better read in an order that stays in a chunk, or
    by worker processes, which have a reader each. Pickles; a forked child opens its own.

    Args:
        dataset: a `litdata.StreamingDataset`. It is not changed.
        options: of `as_encoded`.

    Attributes:
        dataset: the dataset.

    Raises:
        ArgumentError: its items hold no encoded image, or a target that is pickled.
    """

    def __init__(self, dataset: Any, options: Options) -> None:
        super().__init__(dataset, options.transform, options.target_transform)
        self._begin()
        raw = self._reader()
        first = raw[0]
        config = raw.cache._reader.config
        self._length = sum(int(stop) - int(start) for _, start, stop, _ in config.intervals)  # of a subsample fewer
        self._columns = _columns_of(first, options, type(dataset).__name__)
        self._fingerprint = _fingerprint(config)
        self._begin()

    def __len__(self) -> int:
        """How many items: all of them, whatever the rank (LitData's own len counts those of a rank)."""
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open."""
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_raw", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the chunks' names, sizes and numbers of items, and the data formats."""
        return self._fingerprint

    def get_image_data(self, index: int) -> bytes:
        """The encoded bytes of item `index`. Raises IndexError, or ReadError with the item's place."""
        return self._read(index)[0]

    def get_target(self, index: int) -> Any:
        """The target of item `index`, as LitData gives it."""
        return self._read(index)[1]

    def get_batch(self, indices: Sequence[int]) -> list[tuple[bytes, Any]]:
        """The bytes and targets of several items, each read once; a chunk's one after the other."""
        pairs = {index: self._read(index) for index in sorted(set(indices))}
        return [pairs[index] for index in indices]

    def get_key(self, index: int) -> str:
        """The item's number."""
        return str(self._row(index))

    def _read(self, index: int) -> tuple[bytes, Any]:
        """An item's bytes and its target."""
        row = self._row(index)
        if self._process != os.getpid():  # a forked child: the lock may be held for ever, what is open is the parent's
            self._begin()
        try:
            with self._lock:
                parts = _parts_of(self._reader()[row])
        except (OSError, ValueError, RuntimeError) as error:
            raise ReadError(f"LitData cannot read it: {error}", self._place(row, "read")) from error
        data: Any = parts.get(self._columns.image)
        if not is_bytes(data):
            raise ReadError(f"the item holds no encoded image but {describe_item(data)}", self._place(row, "read"))
        return bytes(data), self._columns.join(parts)

    def _begin(self) -> None:
        """Nothing is open."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._raw: Any = None

    def _reader(self) -> Any:
        """LitData's dataset, but with items whose images are bytes."""
        if self._raw is None:
            raw = self._raw = copy.copy(self.dataset)
            raw.cache = raw.shuffler = raw.worker_env = None  # it opens its own
            raw.input_dir, raw.item_loader = copy.copy(raw.input_dir), copy.deepcopy(raw.item_loader)
            stored = dict.fromkeys(_IMAGES, _Stored())
            raw.serializers = {**(raw.serializers or {}), **stored, "pickle": _Refused()}
        return self._raw


def encode_litdata(dataset: Any, options: Options) -> LitDataImages | None:
    """The images of a LitData StreamingDataset; None: it is none.

    Raises:
        ArgumentError: it has a transform, or its items are not such as can be read.
    """
    if find_class(dataset, _PACKAGE, "StreamingDataset") is None:
        return None
    check_not_overridden(dataset, _PACKAGE, "LitData")
    if hasattr(dataset, "transform"):
        raise ArgumentError(
            f"as_encoded({type(dataset).__name__}): it has a transform=, which works on decoded items. Make it "
            "without, and give the loader transform="
        )
    return LitDataImages(dataset, options)


class _Stored:
    """In place of LitData's serializers of images: the bytes as they were stored."""

    def setup(self, metadata: Any) -> None:
        """Nothing to set up."""

    def deserialize(self, data: Any) -> _Picture:
        """The bytes, which may not outlive the chunk that they lie in: a copy."""
        return _Picture(data)


class _Refused:
    """In place of LitData's serializer of arbitrary objects: nothing that is read is unpickled."""

    def setup(self, metadata: Any) -> None:
        """Nothing to set up."""

    def deserialize(self, data: Any) -> _Refused:
        """In the value's place."""
        del data
        return self


class _Picture(bytes):
    """The bytes of a leaf that was stored as an image."""


def _parts_of(item: Any) -> dict[Any, Any]:
    """An item's values by key or place; of an item that is one value that one."""
    if isinstance(item, Mapping):
        return dict(item)
    return dict(enumerate(item if isinstance(item, tuple | list) else (item,)))


def _columns_of(item: Any, options: Options, name: str) -> Columns:
    """What is what in an item."""
    parts = _parts_of(item)
    images = [key for key, value in parts.items() if isinstance(value, _Picture)]
    if not images:  # stored as they were read from their files
        images = [key for key, value in parts.items() if is_bytes(value) and is_encoded_image(as_encoded(value))]
    if isinstance(item, Mapping):
        columns = choose_columns(name, list(parts), images=images, image=options.image, target=options.target)
    else:
        options.refuse_columns(item)
        if len(images) != 1:
            raise ArgumentError(
                f"as_encoded({name}): an item must hold one encoded image (LitData's jpeg or image format, or bytes of "
                f"an image file), the first holds {len(images)}: it is {describe_item(item)}"
            )
        others = tuple(key for key in parts if key != images[0])
        columns = Columns(images[0], others, bare=len(others) == 1)
    if any(isinstance(parts[key], _Refused) for key in columns.targets):
        raise ArgumentError(
            f"as_encoded({name}): its target is a pickled object, and nothing that is read is unpickled; store it as "
            "numbers, text, arrays or tensors, or name another column with target="
        )
    return columns


def _fingerprint(config: Any) -> str:
    chunks = [[chunk["filename"], chunk["chunk_bytes"], chunk["chunk_size"]] for chunk in config._chunks]
    told = json.dumps([config._config["data_format"], chunks, np.array(config.intervals).tolist()])
    return hashlib.blake2b(told.encode(), digest_size=8, person=b"LitData").hexdigest()
