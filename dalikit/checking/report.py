"""The report: JSON Lines, written as it goes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from collections import Counter
from typing import Any, Self, TextIO

import numpy as np

import dalikit
from dalikit.checking.findings import Finding
from dalikit.checking.summary import Summary
from dalikit.errors import ArgumentError
from dalikit.exclusion import REPORT_VERSION
from dalikit.fetch.batch import place_of

__all__ = ["ReportWriter"]

_PART = ".part"
_STREAMS = {"/dev/stdout": "/dev/fd/1", "/dev/stderr": "/dev/fd/2"}
_DESCRIPTOR = re.compile(r"(?:/dev|/proc/self)/fd/([0-9]{1,9})")


class ReportWriter:
    """Writes a report, and counts what is in it.

    The first line says what was checked, each further one what was found at a row, the last one sums up:

        {"kind": "header", "version": 1, "dataset": "ImageFolder", "length": 1281167, "fingerprint": "91d2...", ...}
        {"kind": "corrupt", "bad": true, "index": 7, "key": "cat/008.jpg", "error": "truncated JPEG: ...", ...}
        {"kind": "summary", "complete": true, "checked": 1281167, ...}

    Lines come by index; those that are only found by comparing rows ("damaged", "duplicate") come behind the others.
    While it is being written the file is called `path` + ".part"; what is in there is not lost if the process dies.
    With the last line of a complete check it gets its name; that of one that was cut short keeps ".part", so that no
    complete report is lost. A link stays one: the file that it leads to is replaced. Pipes, terminals and other devices
    are written to as they are.

    Args:
        path: of the report; None: it is only counted. "/dev/stdout": standard output.
        dataset: what is checked.
        description: of the dataset, as the user gave it. What may be secret in it is left out.
        bad: kinds whose lines say "bad": true.

    Raises:
        ArgumentError: the file cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, dataset: Any, *, bad: frozenset[str], description: str | None = None
    ) -> None:
        self.path = None if path is None else os.fspath(path)
        self._part = None if self.path is None else _part_of(self.path)
        self.written = self.path if self._part is None else self._part
        """Where what was written is: `path` once that is complete."""
        self._dataset = dataset
        self._bad = bad
        self.counts: Counter[str] = Counter()
        """Findings of each kind."""
        self.summary: Summary | None = None
        """What stands in the last line, once that is written."""
        self._bad_rows = np.zeros(-(-len(dataset) // 8), dtype=np.uint8)  # a bit for each
        self._identity = {"dataset": type(dataset).__name__, "fingerprint": getattr(dataset, "fingerprint", None)}
        self._file = None if self.path is None else _open(self.path, self._part)
        text = None if description is None else _redacted(description)
        self._write(
            {"kind": "header", "version": REPORT_VERSION, "dalikit": dalikit.__version__}
            | self._identity
            | {"dataset_string": text, "length": len(dataset), "bad": sorted(bad)}
        )
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def num_bad(self) -> int:
        """Rows with at least one finding that is bad."""
        return int(np.bitwise_count(self._bad_rows).sum())

    def add(self, finding: Finding) -> None:
        """Writes a line."""
        self.counts[finding.kind] += 1
        bad = finding.kind in self._bad
        if bad:
            self._bad_rows[finding.index // 8] |= 1 << finding.index % 8
        if self._file is None:
            return
        line: dict[str, Any] = {"kind": finding.kind, "bad": bad, **self._identity, "index": finding.index}
        with contextlib.suppress(Exception):  # a dataset that cannot name its rows has no names
            place = place_of(self._dataset, finding.index, None, finding.stage)
            line |= {"key": place.key, "file": _redacted(place.file), "offset": place.offset}
        self._write({**line, "stage": finding.stage, "error": _redacted(finding.error), **finding.more})

    def flush(self) -> None:
        """Hands what was written to the operating system."""
        if self._file is not None:
            self._file.flush()

    def finish(self, summary: Summary) -> None:
        """Writes the last line, and gives the file its name if the check is complete."""
        self.summary = summary
        self._write({"kind": "summary", **summary.to_dict()})
        if self._file is None or self._part is None:
            self.flush()
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if summary.complete:
            os.replace(self._part, self._part.removesuffix(_PART))
            self.written = self.path

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")


def _part_of(path: str) -> str | None:
    """What the file is called until it is complete. None: it is no regular file, and never replaced."""
    with contextlib.suppress(OSError, ValueError):
        if _descriptor(path) is not None or not stat.S_ISREG(os.stat(path).st_mode):
            return None
    return (os.path.realpath(path) if os.path.islink(path) else path) + _PART


def _descriptor(path: str) -> int | None:
    """The open file that a path stands for."""
    found = _DESCRIPTOR.fullmatch(_STREAMS.get(path, path))
    return None if found is None else int(found[1])


def _open(path: str, part: str | None) -> TextIO:
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if (number := _descriptor(path)) is not None:
            # a copy: opened anew, a file that a shell redirects to is cut off, and written over by what is printed
            return open(os.dup(number), "w", encoding="ascii")
        return open(path if part is None else part, "w", encoding="ascii")
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise ArgumentError(f"report {path!r} cannot be written: {reason}; name another file") from None


def _redacted(text: str | None) -> str | None:
    """Without what may be secret in an address."""
    if text is None or "://" not in text:
        return text
    from dalikit.storage.remote.address import redact

    return redact(text)
