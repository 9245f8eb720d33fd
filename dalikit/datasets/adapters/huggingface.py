"""Hugging Face's map-style datasets with an image column, seen as datasets of encoded images."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.datasets.adapters.adapted import AdaptedDataset, Options
from dalikit.datasets.adapters.arrow import BINARY, BinaryValues
from dalikit.datasets.adapters.columns import Columns, choose_columns
from dalikit.datasets.adapters.origin import check_not_overridden, find_class
from dalikit.datasets.base import Encoded
from dalikit.errors import ArgumentError, ReadError
from dalikit.storage import Arena, Location, read

__all__ = ["HuggingFaceFiles", "HuggingFaceImages", "encode_huggingface"]

_PACKAGE = "datasets"


class HuggingFaceImages(AdaptedDataset):
    """Rows of a Hugging Face dataset, whose images are bytes in its Arrow tables: views of these, not copies.

    Rows are the dataset's, after select, shuffle and filter, as they were when this was made. Thread-safe. It pickles
    as the dataset does: as file names where that lies in files.

    Args:
        dataset: a `datasets.Dataset`.
        columns: which of its columns are what.
        transform: what is done to an image.
        target_transform: a callable for the target.

    Attributes:
        dataset: the dataset.

    Raises:
        ArgumentError: the image column's values are neither bytes nor a struct of bytes and path.
    """

    def __init__(
        self, dataset: Any, columns: Columns, transform: Any, target_transform: Callable[[Any], Any] | None
    ) -> None:
        super().__init__(dataset, transform, target_transform)
        self.columns = columns
        table, self._indices = dataset.data, _indices_of(dataset)
        chunks = _chunks_of(table.column(columns.image), columns.image, type(dataset).__name__)
        self._bytes = [BinaryValues(chunk[0]) for chunk in chunks]
        self._paths = [chunk[1] for chunk in chunks]
        self._bounds = list(accumulate((len(chunk) for chunk in self._bytes), initial=0))
        self._targets = {name: table.column(name) for name in columns.targets}
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        """How many rows."""
        return self._bounds[-1] if self._indices is None else len(self._indices)

    def __reduce__(self) -> Any:
        """Arrow's columns are made anew from the dataset."""
        return type(self), (self.dataset, self.columns, self.transform, self.target_transform)

    def get_image_data(self, index: int) -> Encoded:
        """The encoded bytes of row `index`: a view of the Arrow table, or what the file holds that the row names.

        Raises:
            IndexError: there is no such row.
            ReadError: the row has neither bytes nor a path, or the file cannot be read.
        """
        row = self._row(index)
        chunk, local = self._find(row)
        data = self._bytes[chunk][local]
        if data is not None and len(data) > 0:
            return data
        path = self._path(chunk, local)
        if not path:
            held = "0 bytes" if data is not None else "neither bytes nor a path"
            raise ReadError(f"column {self.columns.image!r}: the row holds {held}", self._place(row, "read"))
        try:
            return read(Location(path), Arena(chunk_size=1))
        except ReadError as error:
            error.locate(self._place(row, "read", path))
            raise

    def get_target(self, index: int) -> Any:
        """The target of row `index`: the value of the target's column, as it is stored; or a dict of such values."""
        physical = self._physical(self._row(index))
        return self.columns.join({name: column[physical].as_py() for name, column in self._targets.items()})

    def get_key(self, index: int) -> str:
        """The row's number in the dataset's tables, whatever was selected of them, and the image's file name, if there
        is one: "17/cat.jpg".
        """
        row = self._row(index)
        name = (self._path(*self._find(row)) or "").rpartition("/")[2]
        return f"{self._physical(row)}/{name}" if name else str(self._physical(row))

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the columns' names and, in order, the images' sizes in bytes, their files' names
        and the targets, if these are numbers or text; and which rows were selected. Made once, when it is asked for: it
        reads all targets.
        """
        if self._fingerprint is None:
            told = (len(self), self.columns.image, *self.columns.targets)
            digest = hashlib.blake2b("\0".join(map(str, told)).encode(), digest_size=8, person=b"HuggingFace")
            digest.update(_digest(_sizes(chunk.array) for chunk in self._bytes))
            digest.update(_digest(map(_file_names, self._paths)))
            for column in self._targets.values():
                digest.update(_digest(map(_values, column.chunks)))
            if self._indices is not None:
                digest.update(self._indices.astype("<u8").tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    @property
    def all_in_files(self) -> bool:
        """Whether no row holds bytes, and each the path of a file. Known without looking at the rows."""
        return len(self) > 0 and all(
            chunk.array.null_count == len(chunk) and paths is not None and paths.null_count == 0
            for chunk, paths in zip(self._bytes, self._paths, strict=True)
        )

    def _path(self, chunk: int, local: int) -> str | None:
        paths = self._paths[chunk]
        return None if paths is None else paths[local].as_py()

    def _physical(self, row: int) -> int:
        """Its row in the tables."""
        return row if self._indices is None else int(self._indices[row])

    def _find(self, row: int) -> tuple[int, int]:
        """Its chunk, and its place there."""
        physical = self._physical(row)
        chunk = bisect.bisect_right(self._bounds, physical) - 1
        return chunk, physical - self._bounds[chunk]


class HuggingFaceFiles(HuggingFaceImages):
    """The same where no row holds bytes, but each the path of a file: those are read into the memory of their batch."""

    def get_location(self, index: int) -> Location:
        """The file of row `index`."""
        return Location(str(self._path(*self._find(self._row(index)))))


def encode_huggingface(dataset: Any, options: Options) -> HuggingFaceImages | None:
    """The images of a `datasets.Dataset`; None: it is none of that package's.

    Raises:
        ArgumentError: it has no rows, or not one image column, or a transform of its own.
    """
    if find_class(dataset, _PACKAGE, "Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict") is None:
        return None
    _check(dataset)
    features, shown = dataset.features, dataset.format["columns"]
    names = [name for name in features if name in shown]
    columns = choose_columns(
        "datasets.Dataset",
        names,
        images=[name for name in names if find_class(features[name], _PACKAGE, "Image")],
        classes=[name for name in names if find_class(features[name], _PACKAGE, "ClassLabel")],
        image=options.image,
        target=options.target,
    )
    images = HuggingFaceImages(dataset, columns, options.transform, options.target_transform)
    if images.all_in_files:
        return HuggingFaceFiles(dataset, columns, options.transform, options.target_transform)
    return images


def _check(dataset: Any) -> None:
    """Raises ArgumentError for what has no rows that could be read as they are."""
    name = type(dataset).__name__
    if find_class(dataset, _PACKAGE, "DatasetDict", "IterableDatasetDict") is not None:
        raise ArgumentError(
            f"as_encoded({name}): it has splits, {', '.join(map(repr, dataset))}; take one, "
            "as_encoded(dataset['train'])"
        )
    if find_class(dataset, _PACKAGE, "IterableDataset") is not None:
        raise ArgumentError(
            f"as_encoded({name}): a streamed dataset has no rows. Give the loader dataset.decode(False), whose items "
            "hold encoded bytes; or load it with streaming=False"
        )
    check_not_overridden(dataset, _PACKAGE, "datasets")
    if dataset.format["type"] == "custom":
        raise ArgumentError(
            f"as_encoded({name}): it has a transform (set_transform or with_transform) that works on decoded images. "
            "Take dataset.with_format(None), and give the loader transform="
        )


def _indices_of(dataset: Any) -> npt.NDArray[np.integer[Any]] | None:
    """The rows of the tables that the dataset has, in its order; None: all of them."""
    mapping = dataset._indices  # has no public name
    if mapping is None:
        return None
    rows: npt.NDArray[np.integer[Any]] = mapping.column(0).to_numpy()
    return rows


def _chunks_of(column: Any, name: str, dataset: str) -> list[tuple[Any, Any]]:
    """Arrow arrays of the bytes and of the paths of each chunk; None: there are no paths."""
    kind = str(column.type)
    if kind in BINARY:
        return [(chunk, None) for chunk in column.chunks]
    fields = {column.type.field(place).name: place for place in range(column.type.num_fields)}
    if not {"bytes", "path"} <= fields.keys() or str(column.type.field(fields["bytes"]).type) not in BINARY:
        raise ArgumentError(
            f"as_encoded({dataset}): column {name!r} is {kind}; an image column is a struct of bytes and path, or "
            f"binary. dataset.cast_column({name!r}, datasets.Image()) makes one of paths"
        )
    flat = [chunk.flatten() for chunk in column.chunks]  # which minds rows that are null as a whole
    return [(arrays[fields["bytes"]], arrays[fields["path"]]) for arrays in flat]


# For the fingerprint. What is hashed does not depend on how the rows are cut into chunks.


def _digest(pieces: Iterable[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _sizes(values: Any) -> bytes:
    """int64 (n,): bytes of each row, -1 where there are none."""
    pc = _compute()
    sizes: npt.NDArray[np.int64] = pc.fill_null(pc.binary_length(values).cast("int64"), -1).to_numpy()
    return sizes.tobytes()


def _file_names(paths: Any) -> bytes:
    """The files' names without their folders, which are others on each machine."""
    return b"" if paths is None else _text(_compute().replace_substring_regex(paths, "^.*/", ""))


def _values(values: Any) -> bytes:
    """Of numbers int64 or float64 (n,), text as it is; of anything else nothing."""
    kinds: Any = import_module("pyarrow.types")
    kind = values.type
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        return _text(values)
    if not (kinds.is_integer(kind) or kinds.is_boolean(kind) or kinds.is_floating(kind)):
        return b""
    wide = values.cast("float64" if kinds.is_floating(kind) else "int64", safe=False)
    numbers: npt.NDArray[Any] = _compute().fill_null(wide, -1).to_numpy()
    return numbers.tobytes()


def _compute() -> Any:
    """Arrow's functions. The package is there if there is a dataset of it, and slow to import."""
    return import_module("pyarrow.compute")


def _text(values: Any) -> bytes:
    return "".join(f"{value or ''}\0" for value in values.to_pylist()).encode()
