"""The .npy tables that DINOv2 keeps beside a dataset: mapped, checked before use, written whole or not at all.

A table of entries is a structured array (n,), one row a sample; class ids and names are arrays of text.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dalikit.errors import DatasetError, DatasetNotFoundError, EmptyDatasetError
from dalikit.storage.replacing import replacing

__all__ = [
    "INTEGER",
    "TEXT",
    "Stamp",
    "Table",
    "check_classes",
    "check_names",
    "chunks",
    "hash_column",
    "map_table",
    "text_at",
    "write_table",
]

INTEGER, TEXT = "integer", "text"
"""What a field may hold."""

_KINDS = {INTEGER: "ui", TEXT: "U"}  # numpy's dtype.kind
_CHUNK = 1 << 16  # rows that are checked or hashed at once: a few MB
_LAST_CHARACTER = 0x10FFFF  # Unicode's
_SLASH, _DOT = ord("/"), ord(".")

Table = npt.NDArray[Any]
"""(n,): structured, or a column of one."""


class Stamp(NamedTuple):
    """What tells one version of a file from another."""

    size: int
    mtime_ns: int
    inode: int


def map_table(path: str, fields: Mapping[str, str] | None, remedy: str) -> tuple[Table, Stamp]:
    """Maps a table into memory, read-only. Nothing in it is unpickled; its values are not looked at.

    Args:
        path: of a .npy file.
        fields: names of the fields that a row must have, each INTEGER or TEXT; others are ignored. None: the array
            is not structured, and holds text.
        remedy: what to do if there is no such file.

    Returns:
        The array (n,), n at least 1; and what tells whether the file is still the same later on.

    Raises:
        DatasetNotFoundError: there is no such file.
        EmptyDatasetError: it has no rows.
        DatasetError: it cannot be read, is no .npy file, or not such a table.
    """
    try:
        with open(path, "rb") as file:  # opened once: what is mapped is what was measured
            status = os.fstat(file.fileno())
            array = _map(file, status.st_size)
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"file {path!r} does not exist: {remedy}") from error
    except OSError as error:
        raise DatasetError(f"file {path!r} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # numpy raises nearly anything on a foreign file
        raise DatasetError(f"file {path!r} is no .npy file that can be used: {error}") from error
    _check_dtype(path, array, fields)
    if len(array) == 0:
        raise EmptyDatasetError(f"file {path!r} has no rows")
    return array, Stamp(status.st_size, status.st_mtime_ns, status.st_ino)


def _map(file: IO[bytes], size: int) -> Table:
    """The array in a file of `size` bytes. Raises nearly anything if there is none."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"it has version {version} of the format, 1.0 or 2.0 is wanted")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    if len(shape) != 1 or shape[0] < 0 or dtype.itemsize == 0:
        raise ValueError(f"it holds an array of shape {shape} and dtype {dtype}; a table has one dimension")
    start = file.tell()
    if start + shape[0] * dtype.itemsize != size:
        raise ValueError(f"it has {size} bytes, but its header tells of {start + shape[0] * dtype.itemsize}")
    if shape[0] == 0:
        return np.empty(0, dtype=dtype)
    return np.asarray(np.memmap(file, dtype=dtype, mode="r", offset=start, shape=shape))


def _check_dtype(path: str, array: Table, fields: Mapping[str, str] | None) -> None:
    """Refuses an array that has not these fields."""
    if fields is None:
        if array.dtype.kind != "U":
            raise DatasetError(f"file {path!r} has dtype {array.dtype}; text is wanted")
        return
    missing = [name for name in fields if name not in (array.dtype.names or ())]
    if missing:
        raise DatasetError(
            f"file {path!r} has no field {missing[0]!r}; wanted are {', '.join(fields)}, and it has "
            f"{', '.join(array.dtype.names or ()) or 'none'}"
        )
    for name, kind in fields.items():
        dtype = array.dtype[name]
        if dtype.kind not in _KINDS[kind] or dtype.shape:
            raise DatasetError(f"file {path!r}: field {name!r} has dtype {dtype}; {kind} is wanted")


def chunks(table: Table) -> Iterator[tuple[int, Table]]:
    """A table in pieces of some thousand rows, each with the number of its first."""
    for start in range(0, len(table), _CHUNK):
        yield start, table[start : start + _CHUNK]


def code_points(column: Table) -> npt.NDArray[np.uint32]:
    """uint32 (n, width): the characters of a column of text, null behind its end."""
    width = column.dtype.itemsize // 4
    if width == 0:
        return np.empty((len(column), 0), dtype=np.uint32)
    return np.ascontiguousarray(column, dtype=f"<U{width}").view("<u4").reshape(len(column), width)


def check_names(path: str, column: Table, what: str, first_row: int = 0) -> None:
    """Refuses text that is not the name of one file or folder: a path made with it could lead anywhere.

    Args:
        path: of the table, for messages.
        column: text (n,).
        what: the column's name.
        first_row: number of its first row in the table.

    Raises:
        DatasetError: a row is empty, "." or "..", or holds a slash, a null character or no characters at all.
    """
    codes = code_points(column)
    bad = ((codes == _SLASH) | (codes > _LAST_CHARACTER)).any(axis=1)
    ended = codes == 0
    bad |= (ended[:, :-1] & ~ended[:, 1:]).any(axis=1)  # a null character, and more behind it
    lengths = (~ended).sum(axis=1)
    bad |= (lengths == 0) | ((lengths <= 2) & ((codes == _DOT) | ended).all(axis=1))
    if bad.any():
        row = int(bad.argmax())
        raise DatasetError(
            f"file {path!r}: row {first_row + row}: {what} {str(column[row])!r} cannot be the name of a file or folder"
        )


def check_classes(path: str, piece: Table, ids: Table, first_row: int) -> None:
    """Refuses rows whose class is not one of `ids`, or is called otherwise there.

    Raises:
        DatasetError: with the file and the row.
    """
    beyond = piece["class_index"] >= len(ids)
    if beyond.any():
        row = int(beyond.argmax())
        raise DatasetError(
            f"file {path!r}: row {first_row + row}: class_index {piece['class_index'][row]} is not one of the "
            f"{len(ids)} classes of the file of class ids"
        )
    wrong = ids[piece["class_index"]] != piece["class_id"]
    if wrong.any():
        row = int(wrong.argmax())
        raise DatasetError(
            f"file {path!r}: row {first_row + row}: class_id {str(piece['class_id'][row])!r} is not that of class "
            f"{piece['class_index'][row]} in the file of class ids, {str(ids[piece['class_index'][row]])!r}; the files "
            "belong to different datasets"
        )


def text_at(path: str, column: Table, row: int) -> str:
    """One text of a column that was not checked.

    Raises:
        DatasetError: it is none.
    """
    if code_points(column[row : row + 1]).max(initial=0) > _LAST_CHARACTER:  # numpy would make a text of it
        raise DatasetError(f"file {path!r}: row {row}: text {str(column[row])!r} holds no Unicode")
    return str(column[row])


def hash_column(column: Table) -> bytes:
    """A hash of a column's values, whatever the width that they are stored in. 16 bytes."""
    values, lengths = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    for _, piece in chunks(column):
        if piece.dtype.kind == "U":
            codes = code_points(piece)
            used = codes != 0
            lengths.update(used.sum(axis=1).astype("<u8").tobytes())
            values.update(codes[used].tobytes())
        else:
            values.update(piece.astype("<u8").tobytes())
    values.update(lengths.digest())
    return values.digest()


def write_table(path: str, dtype: np.dtype[Any], count: int, pieces: Iterable[Table]) -> None:
    """Writes a .npy file, at once or not at all, byte for byte as `np.save` would write the array.

    Args:
        path: where; the folder is made if need be.
        dtype: of a row.
        count: how many rows.
        pieces: the rows, in order; only one piece is in memory at a time.

    Raises:
        DatasetError: it cannot be written, or `pieces` has not `count` rows.
    """
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with replacing(path) as file:
            written = _write(file, dtype, count, pieces)
            if written != count:
                raise DatasetError(f"file {path!r}: {written} rows came where {count} were expected; did files change?")
    except OSError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"file {path!r} cannot be written: {error.strerror or error}") from error


def _write(file: IO[bytes], dtype: np.dtype[Any], count: int, pieces: Iterable[Table]) -> int:
    """Header and rows. Returns how many rows there were."""
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, described)
    written = 0
    for piece in pieces:
        file.write(np.ascontiguousarray(piece, dtype=dtype).tobytes())
        written += len(piece)
    return written
