"""Columns of a list of images as arrays: what the texts in them mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.datasets.manifest.rows import Block, Values
from dalikit.datasets.paths import join_paths
from dalikit.errors import ArgumentError, DatasetError
from dalikit.storage.remote.address import check_host, redact

__all__ = ["PathColumn", "TargetColumn", "place_of_row", "whole_numbers"]

_FLAGS = re.IGNORECASE | re.ASCII
_WHOLE = re.compile(r"(?:[+-]?[0-9]+\0)*")
_FLOAT = re.compile(r"(?:[+-]?(?:[0-9]+\.?[0-9]*(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?|inf|nan)\0)*", _FLAGS)

_AUTHORITY = re.compile(rb"://[^/\0]*[@:]")
"""Of an address that holds a password, or a port."""

_SLIPS = 0.1
"""With fewer different texts among numbers, they are slips ("NA"), not names of classes."""

_INTEGERS, _FLOATS, _TEXTS = range(3)  # each holds the ones before


def place_of_row(file: str, block: Block, place: int, start: int) -> str:
    """Which row of a file, for messages; `start`: the first row of the block."""
    number = f"row {start + place}" if block.lines is None else f"line {block.lines[place]}"
    return f"Manifest {file!r}, {number}"


class PathColumn:
    """Collects the paths of blocks, and finds those that come again."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._blocks: list[bytes] = []
        self._hashes: list[npt.NDArray[np.int64]] = []
        self._hosts: set[bytes] = set()  # that have a port and no password

    def add(self, block: Block, start: int) -> None:
        """The paths of a block whose first row is `start`.

        Raises:
            DatasetError: a path is empty, holds a null character, or is an address with a password.
        """
        paths = block.paths
        joined = b"" if "" in paths else _encode(paths)
        if joined.count(0) != len(paths):
            wrong = next(place for place, path in enumerate(paths) if not path or "\0" in path or not _encode([path]))
            raise DatasetError(
                f"{place_of_row(self._file, block, wrong, start)}: {redact(paths[wrong])!r} cannot be the path of an "
                "image"
            )
        self._check_hosts(joined, block, start)
        self._blocks.append(joined)
        self._hashes.append(np.fromiter(map(hash, paths), np.int64, len(paths)))

    def _check_hosts(self, joined: bytes, block: Block, start: int) -> None:
        """Refuses addresses with a password, which would stand in keys and pickles, and with malformed hosts."""
        for found in _AUTHORITY.finditer(joined):
            first, slash = joined.rfind(b"\0", 0, found.start()) + 1, joined.find(b"/", found.end())
            last = joined.find(b"\0", found.end())
            host = joined[first : last if slash < 0 else min(slash, last)]
            if host in self._hosts:
                continue
            try:
                check_host(host.decode("utf-8", "surrogateescape"))
            except ArgumentError as error:
                place = joined.count(b"\0", 0, first)
                raise DatasetError(f"{place_of_row(self._file, block, place, start)}: {error}") from None
            self._hosts.add(host)

    def finish(self) -> tuple[bytes, npt.NDArray[np.int64]]:
        """All paths, as `join_paths` joins them; and int64: the rows, sorted, whose path an earlier row has too."""
        block = b"".join(self._blocks)
        hashes = np.concatenate(self._hashes) if self._hashes else np.empty(0, np.int64)
        self._blocks, self._hashes = [], []
        order = np.argsort(hashes, kind="stable")
        equal = hashes[order[1:]] == hashes[order[:-1]]
        if not equal.any():
            return block, np.empty(0, np.int64)
        suspects = np.unique(np.concatenate((order[1:][equal], order[:-1][equal])))
        return block, _repeated(block, suspects)


def _encode(paths: Sequence[str]) -> bytes:
    """b"" if a path has characters that no file name can have (lone surrogates)."""
    try:
        return join_paths(paths)
    except UnicodeEncodeError:
        return b""


def _repeated(block: bytes, suspects: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Of rows with equal hashes those whose very path an earlier row has."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 0)
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    seen: set[bytes] = set()
    found = []
    for row, start, end in zip(suspects.tolist(), starts[suspects].tolist(), ends[suspects].tolist(), strict=True):
        path = block[start:end]
        if path in seen:
            found.append(row)
        seen.add(path)
    return np.array(found, dtype=np.int64)


class TargetColumn:
    """Collects the targets of blocks: whole numbers if all are, else floats if all are, else names of classes."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._texts: list[str] = []  # of a block each, every target ended by a null
        self._kinds: list[int] = []
        self._starts: list[int] = [0]
        self._blocks: list[Block] = []  # without their rows: for places in messages
        self._arrays: list[npt.NDArray[Any]] = []
        self._named = True

    def add(self, block: Block, start: int) -> None:
        """The targets of a block whose first row is `start`.

        Raises:
            DatasetError: a target is empty, holds a null character, or is a whole number beyond 64 bits.
        """
        values = block.targets
        if values is None:
            return
        if isinstance(values, np.ndarray):
            self._arrays.append(_as_array(self._file, values, block, start))
            return
        texts = [text.strip() for text in values]
        if "" in texts:
            raise DatasetError(f"{place_of_row(self._file, block, texts.index(''), start)}: the target is empty")
        self._named = block.named
        for first, stop in pairwise((0, 1, len(texts)) if start == 0 else (0, len(texts))):
            if first < stop:  # the first row by itself: it may be a header
                joined = "\0".join(texts[first:stop]) + "\0"
                if joined.count("\0") != stop - first:
                    wrong = next(place for place, text in enumerate(texts) if "\0" in text)
                    raise DatasetError(
                        f"{place_of_row(self._file, block, wrong, start)}: target {texts[wrong][:50]!r} holds a null "
                        "character"
                    )
                self._texts.append(joined)
                self._kinds.append(_kind(joined))
                self._blocks.append(Block((), lines=None if block.lines is None else block.lines[first:stop]))
                self._starts.append(start + stop)

    def finish(self) -> tuple[npt.NDArray[Any] | None, list[str] | None]:
        """The targets (n,), int64 or float64, or None; and the names of the classes in their order, if they are names.

        Raises:
            DatasetError: a whole number has more than 64 bits; or nearly all targets are numbers, and some are not.
            ArgumentError: the first row is a header of unknown names.
        """
        if self._arrays:
            return np.concatenate(self._arrays), None
        if not self._kinds:
            return None, None
        kind = max(self._kinds)
        if not self._named and len(self._kinds) > 1 and max(self._kinds[1:]) < _TEXTS == kind:
            raise ArgumentError(
                f"Manifest {self._file!r}: the first line looks like a header: its target is {self._texts[0][:-1]!r}, "
                "all others are numbers. Say which columns they are with image= and target="
            )
        if kind == _TEXTS:
            return self._classes()
        if kind == _FLOATS:
            return np.array([float(text) for block in self._texts for text in block[:-1].split("\0")]), None
        blocks = zip(self._texts, self._blocks, self._starts, strict=False)
        return np.concatenate([_integers(self._file, text, block, start) for text, block, start in blocks]), None

    def _classes(self) -> tuple[npt.NDArray[np.int64], list[str]]:
        names: set[str] = set()
        for block in self._texts:
            names.update(block[:-1].split("\0"))
        self._check_names(names)
        classes = sorted(names)
        number = {name: place for place, name in enumerate(classes)}
        parts = []
        for block in self._texts:
            texts = block[:-1].split("\0")
            parts.append(np.fromiter(map(number.__getitem__, texts), np.int64, len(texts)))
        return np.concatenate(parts), classes

    def _check_names(self, names: set[str]) -> None:
        """Refuses numbers with a slip among them, which would make names of classes of them all."""
        others = {name for name in names if not _FLOAT.fullmatch(name + "\0")}
        if len(others) >= _SLIPS * len(names):
            return
        for texts, block, start in zip(self._texts, self._blocks, self._starts, strict=False):
            wrong = next((place for place, text in enumerate(texts[:-1].split("\0")) if text in others), None)
            if wrong is not None:
                target = texts.split("\0")[wrong][:50]
                raise DatasetError(
                    f"{place_of_row(self._file, block, wrong, start)}: target {target!r} is no number, and "
                    f"{len(names) - len(others)} of the {len(names)} different targets are; correct the row, or leave "
                    "it out"
                )


def _kind(joined: str) -> int:
    """What a block of texts is, each ended by a null."""
    if _WHOLE.fullmatch(joined):
        return _INTEGERS
    return _FLOATS if _FLOAT.fullmatch(joined) else _TEXTS


def _integers(file: str, joined: str, block: Block, start: int) -> npt.NDArray[np.int64]:
    texts = joined[:-1].split("\0")
    try:
        return np.fromiter(map(int, texts), np.int64, len(texts))
    except (OverflowError, ValueError):  # ValueError: thousands of digits
        wrong = next(place for place, text in enumerate(texts) if len(text) > 25 or not -(2**63) <= int(text) < 2**63)
        raise DatasetError(
            f"{place_of_row(file, block, wrong, start)}: target {texts[wrong][:50]} has more than 64 bits"
        ) from None


def _as_array(file: str, values: npt.NDArray[np.generic], block: Block, start: int) -> npt.NDArray[Any]:
    """Numbers of any type as int64 or float64."""
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    if values.dtype.kind == "u" and len(values) and values.max() >= 2**63:
        wrong = int(values.argmax())
        raise DatasetError(f"{place_of_row(file, block, wrong, start)}: target {values[wrong]} has more than 64 bits")
    return values.astype(np.int64)


def whole_numbers(
    file: str, name: str, values: Values, block: Block, start: int, *, least: int
) -> npt.NDArray[np.int64]:
    """Offsets or sizes of a block, int64.

    Raises:
        DatasetError: one is no whole number, or below `least`, or has more than 63 bits.
    """
    if isinstance(values, np.ndarray):
        numbers, texts = values, values
    else:
        texts = values  # type: ignore[assignment]
        numbers = np.array([_whole(text) for text in values], dtype=object)
    wrong = (numbers < least) | (numbers >= 2**63)
    if wrong.any():
        place = int(wrong.argmax())
        raise DatasetError(
            f"{place_of_row(file, block, place, start)}: {name} must be a whole number of at least {least}, got "
            f"{str(texts[place])[:50]!r}"
        )
    return numbers.astype(np.int64)


def _whole(text: str) -> int:
    """-1 for what is no whole number."""
    text = text.strip()
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 20 else -1
