"""Millions of file names without a Python object for each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import numpy as np

__all__ = ["PathTable", "join_paths", "split_paths"]

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def join_paths(paths: Iterable[str]) -> bytes:
    """The paths as the file system has them, each ended by a null byte: the one byte that no path can hold."""
    joined = "\0".join(paths)
    return os.fsencode(joined) + b"\0" if joined else b""


def split_paths(block: bytes) -> list[str]:
    """The paths of a block that `join_paths` made."""
    return os.fsdecode(block[:-1]).split("\0") if block else []


class PathTable:
    """The paths in a block that `join_paths` made. Costs the names' own bytes and 8 more a path. Thread-safe.

        block    n01/a.jpg.n01/b.jpg.n02/c.jpg.     "." is the null byte
        bounds  ^         ^         ^         ^     -1, then the place of every null byte

    Rows are 0 to len - 1.
    """

    def __init__(self, block: bytes) -> None:
        self.block = block
        ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 0)
        self._bounds = np.concatenate((np.array([-1], dtype=np.int64), ends))  # int64 (n + 1,)

    def __len__(self) -> int:
        """How many paths."""
        return len(self._bounds) - 1

    def __getitem__(self, row: int) -> str:
        """The path in a row, 0 to len - 1 (not checked), as text; bytes that are no text are surrogate-escaped."""
        before, end = self._bounds[row : row + 2].tolist()
        return self.block[before + 1 : end].decode(_ENCODING, _ERRORS)
