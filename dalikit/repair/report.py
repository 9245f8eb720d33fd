"""The file of a report of bad samples: which it is, and how lines come into it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import dalikit
from dalikit.errors import ArgumentError
from dalikit.exclusion import REPORT_VERSION
from dalikit.fetch.rows import is_sized

__all__ = ["ReportFile"]

_LOG = logging.getLogger("dalikit")


class ReportFile:
    """JSON Lines, the first a header, as of a report of `dalikit check`. It is made with the first line.

    A report that is there already, of the same dataset, is added to, and so is an empty file. Under the default name
    anything else is left alone, and the next free name is taken: "...-rank0-2.jsonl".

    Args:
        path: the user's; None: a name of its own for each dataset and rank, in the current folder.
        dataset: what is read.
        rank: of this process.

    Raises:
        ArgumentError: the user's file is of another dataset, or no report.
    """

    def __init__(self, path: str | os.PathLike[str] | None, dataset: Any, rank: int) -> None:
        kind = type(dataset)
        self._identity: dict[str, Any] = {
            "dataset": kind.__name__,
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "fingerprint": getattr(dataset, "fingerprint", None),
            "length": len(dataset) if is_sized(dataset) else None,
        }
        self._free = path is None
        self._stem = self._default_stem(rank)
        self.path = self._next_free() if path is None else Path(path).absolute()
        """Where it is."""
        if path is not None and (reason := self._refuses(self.path)):
            raise ArgumentError(f"quarantine={self.path}: {reason}; give another file, or move that one away")
        self._writable = True
        self._begun = False

    @property
    def length(self) -> int | None:
        """Rows of the dataset; None: nobody knows."""
        length: int | None = self._identity["length"]
        return length

    def add(self, line: dict[str, Any]) -> None:
        """Adds a line, whole, at once. A report that cannot be written ends no run: it is said, once."""
        if not self._writable:
            return
        try:
            if not self._begun:
                self._look_again()
            self._write(line)
            self._begun = True
        except OSError as error:
            self._writable = False
            _LOG.warning("the report of bad samples, %s, cannot be written: %s; they are only logged", self.path, error)

    def _default_stem(self, rank: int) -> str:
        fingerprint = self._identity["fingerprint"]
        which = fingerprint[:8] if isinstance(fingerprint, str) else f"{self.length}-{_hash(self._identity['class'])}"
        return f"dalikit-quarantine-{self._identity['dataset']}-{which}-rank{rank}"

    def _next_free(self) -> Path:
        """The first default name under which there is nothing else."""
        number = 1
        while True:
            path = Path(f"{self._stem}-{number}.jsonl" if number > 1 else f"{self._stem}.jsonl").absolute()
            if not self._refuses(path):
                return path
            number += 1

    def _look_again(self) -> None:
        """Another loader may have begun a report meanwhile."""
        if not (reason := self._refuses(self.path)):
            return
        if not self._free:
            raise OSError(reason)
        self.path = self._next_free()

    def _refuses(self, path: Path) -> str | None:
        """Why a file cannot be added to; None: it can, or there is none."""
        try:
            with open(path, encoding="utf-8") as file:
                first = file.readline()
            if not first:
                return None
            header = json.loads(first)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            return f"cannot be added to: {error}"
        mine = self._header()
        names = ["version", "source", "fingerprint", "length"]
        if mine["fingerprint"] is None:
            names.append("class")
        if isinstance(header, dict) and all(header.get(name) == mine[name] for name in names):
            return None
        return "is there already, and is no report of the bad samples of this dataset"

    def _header(self) -> dict[str, Any]:
        version = {"kind": "header", "version": REPORT_VERSION, "source": "quarantine", "dalikit": dalikit.__version__}
        return version | self._identity

    def _write(self, line: dict[str, Any]) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            lines = [line] if size else [self._header(), line]
            text = "".join(json.dumps(one) + "\n" for one in lines)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                text = "\n" + text  # the last line was torn when its writer was killed
            data = memoryview(text.encode())
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)


def _hash(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
