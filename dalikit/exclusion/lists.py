"""Reads lists of excluded rows: reports of `dalikit check`, files of numbers, and numbers."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError

__all__ = ["REPORT_VERSION", "read_exclusion"]

REPORT_VERSION = 1
"""Of the reports that `dalikit check` writes; raised when older ones can no longer be read."""

_LOG = logging.getLogger("dalikit")

_Rows = npt.NDArray[np.int64]


def read_exclusion(exclude: Any, dataset: Any) -> _Rows:
    """The rows of a dataset that are to be left out.

    Args:
        exclude: a report of `dalikit check` (its lines with "bad": true count); or a text file of row numbers, apart by
            spaces or newlines, a "#" begins a remark; or the numbers: a list, an array or a tensor. Negative ones count
            from the end.
        dataset: has a length. A report must be of this dataset: its length and fingerprint are compared, and of each
            line the name of the row.

    Returns:
        int64 (m,), ascending, each once.

    Raises:
        ArgumentError: it is neither, cannot be read, or was made for another dataset.
    """
    count = len(dataset)
    if not isinstance(exclude, str | os.PathLike):
        return _checked(_from_numbers(exclude), count, "exclude")
    path = os.fspath(exclude)
    lines = _lines(path)
    first = next(lines, (1, ""))
    if first[1].startswith("{"):
        return _from_report(path, first, lines, dataset)
    return _checked(_from_text(path, first, lines), count, f"exclude={path!r}")


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """Number, from 1 on, and text of each line that is not empty."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if text := line.strip():
                    yield number, text
    except UnicodeDecodeError as error:
        raise ArgumentError(f"exclude={path!r}: is no text: {error}") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise ArgumentError(
            f"exclude={path!r}: cannot be read: {reason}; give a report of `dalikit check`, a text file of row "
            "numbers, or the numbers"
        ) from None


def _from_numbers(exclude: Any) -> npt.NDArray[Any]:
    if not isinstance(exclude, Sequence) and not hasattr(exclude, "__array__"):  # tensors have it, and series
        raise ArgumentError(
            f"exclude={exclude!r}: must be a path, or a list or array of row numbers (a set: sorted(exclude))"
        )
    try:
        rows = np.asarray(exclude)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors of a GPU, or with gradients
        raise ArgumentError(f"exclude: must be whole numbers in one dimension: {error}") from None
    if rows.dtype == np.bool_:
        raise ArgumentError("exclude: came truth values; give the numbers of the rows, numpy.flatnonzero(mask)")
    if rows.ndim != 1 or (rows.dtype.kind not in "iu" and rows.size):
        raise ArgumentError(f"exclude: must be whole numbers in one dimension, came {rows.dtype} of shape {rows.shape}")
    return rows


def _from_text(path: str, first: tuple[int, str], lines: Iterator[tuple[int, str]]) -> npt.NDArray[Any]:
    rows: list[int] = []
    for number, text in _chain(first, lines):
        for word in text.partition("#")[0].split():
            try:
                rows.append(int(word))
            except ValueError:
                raise ArgumentError(
                    f"exclude={path!r}, line {number}: {word[:50]!r} is no row number; give a report of `dalikit "
                    "check`, or a text file of whole numbers"
                ) from None
    return np.array(rows, dtype=object)


def _checked(rows: npt.NDArray[Any], count: int, name: str) -> _Rows:
    """Counted from the start, in order, each once."""
    beyond = np.flatnonzero((rows < -count) | (rows >= count))
    if len(beyond):
        raise ArgumentError(
            f"{name}: row {rows[beyond[0]]} is out of range for a dataset of {count} samples; allowed are {-count} to "
            f"{count - 1}"
        )
    numbers = rows.astype(np.int64)
    return np.unique(np.where(numbers < 0, numbers + count, numbers))


# Reports


def _from_report(path: str, first: tuple[int, str], lines: Iterator[tuple[int, str]], dataset: Any) -> _Rows:
    """The bad rows of a report, which must be of this dataset."""
    header = _parse(path, *first)
    _check_header(path, header, dataset)
    rows: list[int] = []
    summary: dict[str, Any] = {}
    of_a_run = header.get("source") == "quarantine"
    for number, text in lines:
        line = _parse_or_pass(path, number, text) if of_a_run else _parse(path, number, text)
        if line.get("kind") == "summary":
            summary = line
        elif line.get("bad") is True:
            rows.append(_row_of(path, number, line, dataset))
    if not summary.get("complete") and not of_a_run:
        how_far = f"{summary['checked']} of {len(dataset)} rows" if "checked" in summary else "nobody knows how far"
        _LOG.warning("exclude=%r: the check was cut short (%s); what it had not seen is not left out", path, how_far)
    return np.unique(np.array(rows, dtype=np.int64))


def _parse(path: str, number: int, text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(
            f"exclude={path!r}, line {number}: is no JSON: {error}; was the report cut off? Delete the line, or check "
            "anew"
        ) from None
    if not isinstance(line, dict):
        raise ArgumentError(f"exclude={path!r}, line {number}: must be a JSON object, came {text[:50]!r}")
    return line


def _parse_or_pass(path: str, number: int, text: str) -> dict[str, Any]:
    """A line of a report that a run writes as it goes on: if it was killed meanwhile, the line is torn."""
    try:
        return _parse(path, number, text)
    except ArgumentError:
        _LOG.warning("exclude=%r, line %d: is torn, and is passed over: %s", path, number, text[:80])
        return {}


def _check_header(path: str, header: dict[str, Any], dataset: Any) -> None:
    """Refuses a report of another dataset, or of another version."""
    if header.get("kind") != "header":
        raise ArgumentError(
            f"exclude={path!r}: its first line is no header of a report of `dalikit check`: {str(header)[:80]}"
        )
    if header.get("version") != REPORT_VERSION:
        raise ArgumentError(
            f"exclude={path!r}: version {header.get('version')!r} of reports; this dalikit reads {REPORT_VERSION}: "
            "check anew"
        )
    mine = {"length": len(dataset), "fingerprint": getattr(dataset, "fingerprint", None)}
    theirs = {name: header.get(name) for name in mine}
    if theirs != mine:
        raise ArgumentError(
            f"exclude={path!r}: the report is of another dataset; check this one\n"
            f"  in the report: {header.get('dataset')} {_show(theirs)}\n"
            f"  here:          {type(dataset).__name__} {_show(mine)}"
        )


def _row_of(path: str, number: int, line: dict[str, Any], dataset: Any) -> int:
    """The row that a line is about, whose name must be the dataset's."""
    row, count = line.get("index"), len(dataset)
    if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < count:
        raise ArgumentError(f"exclude={path!r}, line {number}: index {row!r} is no row of a dataset of {count} samples")
    if "key" in line and line["key"] is not None and hasattr(dataset, "get_key"):
        key = dataset.get_key(row)
        if key != line["key"]:
            raise ArgumentError(
                f"exclude={path!r}, line {number}: row {row} is {line['key']!r} there, and {key!r} in this dataset; "
                "check this dataset anew"
            )
    return row


def _show(identity: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in identity.items())


def _chain(first: tuple[int, str], lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from lines
