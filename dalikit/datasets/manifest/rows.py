"""Reads lists of images: text, CSV and TSV, a block of rows at a time."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from dalikit.datasets.listing import EXTENSIONS
from dalikit.errors import ArgumentError, DatasetError
from dalikit.storage import read_stream
from dalikit.storage.remote.address import redact, redact_text

__all__ = ["IMAGE_NAMES", "TARGET_NAMES", "Block", "Columns", "Values", "choose_columns", "read_table", "read_text"]

IMAGE_NAMES = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "img_path",
    "image_file", "image_name", "img_file", "img_name", "photo", "photo_path", "picture", "pic", "fname", "image_url",
    "img_url", "url", "uri",
)  # fmt: skip
"""Column names that are taken for the image's, in any case, the first first."""
TARGET_NAMES = (
    "target", "label", "class", "cls", "category", "class_id", "label_id", "category_id", "class_name", "label_name",
    "category_name", "species", "breed", "y",
)  # fmt: skip
"""Column names that are taken for the target's."""

_BLOCK = 1 << 13  # rows; what they take of memory on the way fits into the cache
_MAX_LINE = 1 << 20  # bytes; what has no line break in so many is no list
_BREAK = re.compile(r"\r\n|\r|\n")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_IMAGE = re.compile(rf"(?:{'|'.join(map(re.escape, EXTENSIONS))})(?:[?#]|\s*\Z)", re.IGNORECASE)
"""Ends the name of an image, whatever follows it in an address."""
_WANTED = "A list is text, CSV, TSV or Parquet; kind= says which if the name does not"
_OTHERS = {
    "a zip file (xlsx, ods, npz)": rb"PK\x03\x04",
    "a gzip file": rb"\x1f\x8b",
    "a Parquet file": rb"PAR1",
    "UTF-16 text": rb"\xff\xfe|\xfe\xff",
    "JSON": rb"(?:\xef\xbb\xbf)?\s*(?:\{\s*[\"}]|\[\s*[\[{\"])",
    "a web page": rb"(?i:\s*<(?:!doctype|html))",
}
"""What else is given for a list, and how it begins."""


Values = Sequence[str] | npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows, column by column. What texts of targets, offsets and sizes mean is not looked at yet."""

    paths: Sequence[str]
    targets: Values | None = None
    offsets: Values | None = None
    sizes: Values | None = None
    lines: Sequence[int] | None = None
    """The line of each row, counted from 1; None: of Parquet, which has none."""
    named: bool = False
    """Whether a header named the columns."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what, counted from 0."""

    image: int
    target: int | None
    offset: int | None = None
    size: int | None = None
    named: bool = False
    """Whether a header said so."""


class _Stream(io.RawIOBase):
    """Pieces of bytes as a file. Refuses what has no lines before it is taken into memory as a single one."""

    def __init__(self, file: str) -> None:
        self._file = redact(file)
        self._pieces = read_stream(file)
        self._rest = memoryview(b"")
        self._line = 0  # bytes since the last line break
        self._begun = False

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fills what it can; 0 at the end."""
        if not self._rest:
            piece = next(self._pieces, b"")
            self._check(piece)
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _check(self, piece: bytes) -> None:
        if not self._begun:
            _refuse_others(self._file, piece)
        self._begun = True
        at = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        first = len(piece) if at < 0 else min(at for at in (piece.find(b"\n"), piece.find(b"\r")) if at >= 0)
        if self._line + first > _MAX_LINE:
            raise DatasetError(
                f"Manifest {self._file!r}: a line has more than {_MAX_LINE} bytes; this is no list of images"
            )
        if b"\0" in piece:
            raise DatasetError(
                f"Manifest {self._file!r}: holds a null byte: it is no text, or UTF-16, where UTF-8 is wanted. "
                f"{_WANTED}"
            )
        self._line = self._line + len(piece) if at < 0 else len(piece) - 1 - at


def _refuse_others(file: str, begin: bytes) -> None:
    """Refuses what is surely no text of paths."""
    for what, pattern in _OTHERS.items():
        if re.match(pattern, begin):
            raise DatasetError(f"Manifest {file!r} is {what}. {_WANTED}")


def _open(file: str, newline: str | None) -> io.TextIOWrapper:
    """The text of a file. What is no UTF-8 is surrogate-escaped: file names may be any bytes."""
    buffered = io.BufferedReader(_Stream(file), 1 << 20)
    return io.TextIOWrapper(buffered, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


# Tables


def read_table(
    file: str, delimiter: str, *, image: str | None, target: str | None, offset: str | None, size: str | None
) -> Iterator[Block]:
    """The rows of a CSV or TSV file, by the rules of Python's csv module: a field with a delimiter, a line break or a
    quote is put into double quotes, and a quote within is doubled. Empty lines are left out.

    Args:
        file: path or address.
        delimiter: "," or a tab.
        image: the image column's name; None: a header is looked for.
        target: the target column's; None: looked for; "none": there is no target.
        offset: the name of the column with the first byte; None: there is none.
        size: of the column with the number of bytes.

    Raises:
        DatasetError: the file cannot be read, or a row is broken. It names the line.
        ArgumentError: a column is not there, or which is which cannot be told.
    """
    wanted = {"image": image, "target": target, "offset": offset, "size": size}
    with _open(file, "") as text:
        file = redact(file)  # from here on for messages alone
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        columns, count, line = None, 0, 0
        while rows := _take(file, reader):
            lines = _number(rows, line, reader.line_num)
            line = reader.line_num
            if not all(rows):
                lines = [number for number, row in zip(lines, rows, strict=True) if row]
                rows = [row for row in rows if row]
            if columns is None and rows:
                count = len(rows[0])
                columns = choose_columns(file, rows[0], wanted)
                if columns.named:
                    del rows[0], lines[0]
                else:
                    _check_first(file, rows, lines, delimiter)
            if rows and columns is not None:
                yield _pick(file, rows, lines, columns, count)


def _take(file: str, reader: Iterator[list[str]]) -> list[list[str]]:
    try:
        return list(itertools.islice(reader, _BLOCK))
    except csv.Error as error:
        line = getattr(reader, "line_num", 0)
        raise DatasetError(
            f"Manifest {file!r}, line {line}: {error}; a quote within a field is doubled, and the field quoted"
        ) from None


def _number(rows: Sequence[list[str]], before: int, last: int) -> list[int]:
    """The line that each row begins in; `before`: the last one of the rows before, `last`: of these."""
    if last - before == len(rows):
        return list(range(before + 1, last + 1))
    numbers = []
    for row in rows:
        numbers.append(before + 1)
        before += 1 + sum(len(_BREAK.findall(field)) for field in row)
    return numbers


def choose_columns(file: str, first: Sequence[str], wanted: dict[str, str | None], *, header: bool = False) -> Columns:
    """Which column holds what, by the names in the first row; `header`: it surely holds names.

    Raises:
        ArgumentError: a column that is asked for is not there, or which is which cannot be told.
    """
    names = [name.strip().lower() for name in first]
    there = redact_text(", ".join(map(repr, first)))
    asked = {
        key: name for key, name in wanted.items() if name is not None and (key, name.lower()) != ("target", "none")
    }
    known = next((names.index(name) for name in IMAGE_NAMES if name in names), None)
    if not asked and known is None and not header:
        return _without_header(file, first, wanted["target"])
    found: dict[str, int | None] = {"image": known, "target": None, "offset": None, "size": None}
    for key, name in asked.items():
        if name not in first and name.lower() not in names:
            raise ArgumentError(f"Manifest {file!r}: {key} column {name!r} is not there; the first row is {there}")
        found[key] = list(first).index(name) if name in first else names.index(name.lower())
        _check_single(file, name, first if name in first else names)
    if known is not None and "image" not in asked:
        _check_single(file, names[known], names)
    if found["image"] is None:
        raise ArgumentError(f"Manifest {file!r}: which column is the image's? Say image=; the first row is {there}")
    if wanted["target"] is None:
        found["target"] = next((names.index(name) for name in TARGET_NAMES if name in names), None)
        if found["target"] is not None:
            _check_single(file, names[found["target"]], names)
        elif len(set(range(len(names))) - set(found.values())) > 0:
            raise ArgumentError(
                f"Manifest {file!r}: which column is the target's? Say target= (none: there is none); the first row is "
                f"{there}"
            )
    return Columns(found["image"], found["target"], found["offset"], found["size"], named=True)


def _check_single(file: str, name: str, names: Sequence[str]) -> None:
    """Refuses a column whose name another one has too."""
    count = list(names).count(name if name in names else name.lower())
    if count > 1:
        raise ArgumentError(
            f"Manifest {file!r}: {count} columns are called {name!r}; which is meant? Rename the others"
        )


def _check_first(file: str, rows: Sequence[list[str]], lines: Sequence[int], delimiter: str) -> None:
    """Refuses a list without known names whose first row is no row of it: a header, or of another delimiter."""
    first = rows[0][0]
    if delimiter == "," and len(rows[0]) == 1 and re.search("[;\t]", first):
        raise DatasetError(
            f"Manifest {file!r}, line {lines[0]}: {redact_text(first)!r} has no comma, but a tab or a semicolon. Say "
            'kind="tsv" if tabs stand between the columns, kind="text" if it is a path; semicolons must become commas'
        )
    if len(rows) > 1 and rows[1] and not _IMAGE.search(first) and _IMAGE.search(rows[1][0]):
        raise DatasetError(
            f"Manifest {file!r}, line {lines[0]}: {_show(rows[0])} looks like a header, as its path is no image's, and "
            f"the next one's is ({redact_text(rows[1][0])!r}). Say which columns they are with image= and target="
        )


def _without_header(file: str, first: Sequence[str], target: str | None) -> Columns:
    if len(first) > 2:
        raise ArgumentError(
            f"Manifest {file!r} has {len(first)} columns, and no known name in its first row: "
            f"{_show(first)}. Name the columns there, and say image= and target="
        )
    return Columns(0, 1 if len(first) == 2 and target is None else None)


def _pick(file: str, rows: Sequence[list[str]], lines: Sequence[int], columns: Columns, count: int) -> Block:
    """The columns of a block. Raises DatasetError if a row has more or fewer fields than the first row."""
    for row, number in zip(rows, lines, strict=True) if set(map(len, rows)) != {count} else ():
        if len(row) != count:
            raise DatasetError(
                f"Manifest {file!r}, line {number}: has {len(row)} fields, the first row {count}: {_show(row)}"
            )
    fields = list(zip(*rows, strict=True))

    def column(number: int | None) -> Sequence[str] | None:
        return None if number is None else fields[number]

    return Block(
        fields[columns.image],
        column(columns.target),
        column(columns.offset),
        column(columns.size),
        lines,
        columns.named,
    )


# Text


def read_text(file: str, *, target: str | None) -> Iterator[Block]:
    """The rows of a plain list: a path a line, or a path and its target. Empty lines are left out.

    What the first line has decides for all of them: a tab stands between path and target; without one, the last of
    several words is the target if it is a whole number (the lists of Caffe and timm); else the line is the path, spaces
    and all. A line that does not go with the first is an error, so that no path is misread.

    Args:
        file: path or address.
        target: "none": each line is a path, whatever is in it; None: as above.

    Raises:
        DatasetError: the file cannot be read, or a line does not go with the first.
    """
    with _open(file, None) as text:
        file = redact(file)
        separator, line = None, 0
        while block := list(itertools.islice(text, _BLOCK)):
            rows = [row.removesuffix("\n") for row in block]
            lines: list[int] = list(range(line + 1, line + len(rows) + 1))
            line += len(rows)
            if not all(rows):
                lines = [number for number, row in zip(lines, rows, strict=True) if row]
                rows = [row for row in rows if row]
            if not rows:
                continue
            if separator is None:
                separator = "" if target is not None else _separator(rows[0])
            yield _split(file, rows, lines, separator) if target is None else Block(rows, None, lines=lines)


def _separator(row: str) -> str:
    """What stands between path and target: a tab, a space, or "": there is no target."""
    if "\t" in row:
        return "\t"
    path, _, last = row.rstrip(" ").rpartition(" ")
    return " " if path and _INTEGER.fullmatch(last) else ""


def _split(file: str, rows: Sequence[str], lines: Sequence[int], separator: str) -> Block:
    """Paths and targets of lines. Raises DatasetError for one that does not go with `separator`."""
    wrong = next((place for place, row in enumerate(rows) if _separator(row) != separator), None)
    if wrong is not None or separator == "\t":
        wrong = next((place for place, row in enumerate(rows) if row.count("\t") > 1), wrong)
    if wrong is not None:
        raise DatasetError(
            f"Manifest {file!r}, line {lines[wrong]}: {redact_text(rows[wrong])!r} is not of the form of the first "
            f"line, which is {_FORMS[separator]}. Put one tab between path and target, or say target=none if there are "
            "only paths"
        )
    if not separator:
        return Block(rows, None, lines=lines)
    pieces = (
        [row.rstrip(" ").rpartition(separator) for row in rows]
        if separator == " "
        else [row.partition("\t") for row in rows]
    )
    return Block([piece[0] for piece in pieces], [piece[2] for piece in pieces], lines=lines)


_FORMS = {"\t": "path, tab, target", " ": "path, space, whole number", "": "a path alone"}


def _show(row: Iterable[str]) -> str:
    text = redact_text(", ".join(map(repr, row)))
    return text if len(text) <= 200 else text[:200] + "..."
