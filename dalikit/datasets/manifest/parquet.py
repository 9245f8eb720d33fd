"""Reads lists of images that are Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.datasets.manifest.rows import Block, Values, choose_columns
from dalikit.errors import ArgumentError, DatasetError
from dalikit.storage import is_remote, read_stream, stat_object
from dalikit.storage.remote.address import redact

__all__ = ["read_parquet"]

_BLOCK = 1 << 16  # rows


def read_parquet(
    file: str, *, image: str | None, target: str | None, offset: str | None, size: str | None
) -> Iterator[Block]:
    """The rows of a Parquet file. Only the columns that are used are read; a remote file is fetched as a whole.

    Args:
        file: path or address.
        image: the image column's name: texts. None: looked for among known names.
        target: the target column's: whole or floating numbers, booleans or texts. None: looked for; "none": none.
        offset: the name of the column with the first byte; None: there is none.
        size: of the column with the number of bytes.

    Raises:
        ArgumentError: pyarrow is not installed, or a column is not there, or which is which cannot be told.
        DatasetError: the file is no Parquet file, a column has another type, or holds a null.
    """
    try:
        arrow, parquet = _load("pyarrow"), _load("pyarrow.parquet")
    except ImportError:
        raise ArgumentError(
            f"Manifest {redact(file)!r} needs the package pyarrow: pip install 'dalikit[parquet]'"
        ) from None
    stat_object(file)  # its errors are dalikit's
    try:
        table = parquet.ParquetFile(BytesIO(b"".join(read_stream(file))) if is_remote(file) else file)
        file = redact(file)  # from here on for messages alone
        schema = table.schema_arrow
        wanted = {"image": image, "target": target, "offset": offset, "size": size}
        columns = choose_columns(file, schema.names, wanted, header=True)
        chosen = (columns.image, columns.target, columns.offset, columns.size)
        _check_types(file, schema, chosen)
        names = [schema.names[number] for number in dict.fromkeys(chosen) if number is not None]
        start = 0
        # no threads: they would be there when workers fork
        for batch in table.iter_batches(batch_size=_BLOCK, columns=names, use_threads=False):
            values = [
                None if number is None else _values(file, batch, schema.names[number], start) for number in chosen
            ]
            if batch.num_rows:
                yield Block(list(values[0] or ()), values[1], values[2], values[3], named=True)
            start += batch.num_rows
    except (arrow.ArrowException, OSError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"Manifest {redact(file)!r} cannot be read as Parquet: {error}") from None


def _load(name: str) -> Any:
    """A module of pyarrow, which only Parquet needs."""
    return import_module(name)


def _check_types(file: str, schema: Any, chosen: tuple[int | None, ...]) -> None:
    """Refuses columns of other types than can be meant."""
    types = _load("pyarrow.types")

    def text(kind: Any) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return bool(types.is_string(kind) or types.is_large_string(kind))

    for place, number in enumerate(chosen):
        if number is None:
            continue
        name, kind = schema.names[number], schema.types[number]
        whole = types.is_integer(kind)
        if place == 0 and not text(kind):
            raise DatasetError(
                f"Manifest {file!r}: image column {name!r} holds {kind}; paths are wanted, as text. Images within "
                "Parquet are read by Hugging Face's datasets"
            )
        if place == 1 and not (whole or types.is_floating(kind) or types.is_boolean(kind) or text(kind)):
            raise DatasetError(f"Manifest {file!r}: target column {name!r} holds {kind}; numbers or texts are wanted")
        if place > 1 and not whole:
            raise DatasetError(f"Manifest {file!r}: column {name!r} holds {kind}; whole numbers are wanted")


def _values(file: str, batch: Any, name: str, start: int) -> Values:
    """A column's values: texts as a list, numbers as an array."""
    column = batch.column(batch.schema.get_field_index(name))
    if column.null_count:
        row = start + column.is_null().to_numpy(zero_copy_only=False).argmax()
        raise DatasetError(f"Manifest {file!r}, row {row}: column {name!r} holds a null")
    types = _load("pyarrow.types")

    if types.is_integer(column.type) or types.is_floating(column.type) or types.is_boolean(column.type):
        array: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return array.astype(np.int64) if array.dtype == np.bool_ else array
    texts: list[str] = column.to_pylist()
    return texts
