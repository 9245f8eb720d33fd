"""MosaicML's StreamingDataset (MDS shards), whose images come as the bytes that were stored."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Callable
from typing import Any

from dalikit.datasets.adapters.adapted import AdaptedDataset, Options
from dalikit.datasets.adapters.columns import Columns, choose_columns
from dalikit.datasets.adapters.origin import check_not_overridden, find_class
from dalikit.errors import ArgumentError, ReadError

__all__ = ["MosaicImages", "encode_mosaic"]

_PACKAGE = "streaming.base"
_IMAGES = ("jpeg", "png")
"""The encodings that hold image files. Not "pil": those are pixels."""
_BYTES = "bytes"
_PICKLED = "pkl"


class MosaicImages(AdaptedDataset):
    """Samples of a MosaicML StreamingDataset by their number, in the order of its shards; every sample once, whatever
    the rank, the streams' weights and its own shuffling.

    Shards that are there are read by any number of threads at once; one that is not is fetched by the dataset first.

    Args:
        dataset: a `streaming.StreamingDataset` of MDS shards. It is not changed.
        columns: which of its columns are what.
        transform: what is done to an image.
        target_transform: a callable for the target.

    Attributes:
        dataset: the dataset.
    """

    def __init__(
        self, dataset: Any, columns: Columns, transform: Any, target_transform: Callable[[Any], Any] | None
    ) -> None:
        super().__init__(dataset, transform, target_transform)
        self.columns = columns
        self._shards = [_undecoded(shard, columns) for shard in dataset.shards]
        self._begin()

    def __len__(self) -> int:
        """How many samples (the dataset's own len counts those of a rank)."""
        return int(self.dataset.size)

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to the process."""
        return {name: value for name, value in vars(self).items() if name not in ("_fetching", "_last")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def _begin(self) -> None:
        self._fetching = threading.Lock()
        self._last = threading.local()

    def get_image_data(self, index: int) -> bytes:
        """The encoded bytes of sample `index`. Raises IndexError, or ReadError with the sample's place."""
        row = self._row(index)
        data = self._read(row)[self.columns.image]
        if not data:
            raise ReadError(f"column {self.columns.image!r} holds 0 bytes", self._place(row, "read"))
        return bytes(data)

    def get_target(self, index: int) -> Any:
        """The target of sample `index`: the value of the target's column, or a dict of such values."""
        return self.columns.join(self._read(self._row(index)))

    def get_key(self, index: int) -> str:
        """The shard's file and the sample's number in it: "shard.00000.mds/17"."""
        shard, place = self.dataset.spanner[self._row(index)]
        return f"{self._shards[shard].raw_data.basename}/{place}"

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the columns and the shards' files, sizes and numbers of samples."""
        digest = hashlib.blake2b(repr(self.columns).encode(), digest_size=8, person=b"MosaicML")
        for shard in self._shards:
            digest.update(f"{shard.raw_data.basename}\0{shard.raw_data.bytes}\0{shard.samples}\0".encode())
        return digest.hexdigest()

    def _read(self, row: int) -> dict[str, Any]:
        """A sample's columns. A thread that asks for the image and then for the target reads once."""
        if getattr(self._last, "row", None) == row:
            sample: dict[str, Any] = self._last.sample
            return sample
        number, place = self.dataset.spanner[row]
        shard = self._shards[number]
        try:
            try:
                sample = shard.get_item(place)
            except FileNotFoundError:
                with self._fetching:
                    self.dataset.prepare_shard(number)
                sample = shard.get_item(place)
        except (OSError, ValueError, IndexError, RuntimeError) as error:
            raise ReadError(
                f"MosaicML streaming cannot read it: {error}", self._place(row, "read", shard.raw_data.basename)
            ) from error
        self._last.row, self._last.sample = row, sample
        return sample


def encode_mosaic(dataset: Any, options: Options) -> MosaicImages | None:
    """The images of a MosaicML StreamingDataset; None: it is none.

    Raises:
        ArgumentError: its shards are not MDS, differ in their columns, or do not hold one image.
    """
    if find_class(dataset, _PACKAGE, "StreamingDataset") is None:
        return None
    name = type(dataset).__name__
    check_not_overridden(dataset, _PACKAGE, "MosaicML streaming")
    for shard in dataset.shards:
        if find_class(shard, _PACKAGE, "MDSReader") is None:
            raise ArgumentError(f"as_encoded({name}): a shard is read by {type(shard).__name__}; only MDS is known")
    schemas = {(tuple(shard.column_names), tuple(shard.column_encodings)) for shard in dataset.shards}
    if len(schemas) != 1:
        raise ArgumentError(f"as_encoded({name}): its shards have {len(schemas)} different sets of columns")
    [(names, encodings)] = schemas
    kinds = {column: encoding.partition(":")[0] for column, encoding in zip(names, encodings, strict=True)}
    images = [column for column in names if kinds[column] in _IMAGES]
    columns = choose_columns(
        name,
        names,
        images=images or [column for column in names if kinds[column] == _BYTES],
        image=options.image,
        target=options.target,
    )
    _check_kinds(name, columns, kinds)
    return MosaicImages(dataset, columns, options.transform, options.target_transform)


def _check_kinds(name: str, columns: Columns, kinds: dict[str, str]) -> None:
    if kinds[columns.image] not in (*_IMAGES, _BYTES):
        raise ArgumentError(
            f"as_encoded({name}): column {columns.image!r} is stored as {kinds[columns.image]!r}, which is no image "
            f"file; allowed are {', '.join(_IMAGES)} and {_BYTES}"
        )
    pickled = [column for column in columns.targets if kinds[column] == _PICKLED]
    if pickled:
        raise ArgumentError(
            f"as_encoded({name}): column {pickled[0]!r} is pickled, and nothing that is read is unpickled; name "
            "another one with target="
        )


def _undecoded(shard: Any, columns: Columns) -> Any:
    """A shard's reader that decodes the target alone."""
    reader = copy.copy(shard)
    reader.column_encodings = [
        encoding if column in columns.targets else _BYTES
        for column, encoding in zip(shard.column_names, shard.column_encodings, strict=True)
    ]
    return reader
