"""Images in a list of paths and targets."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from dalikit.datasets.manifest.columns import PathColumn, TargetColumn, whole_numbers
from dalikit.datasets.manifest.parquet import read_parquet
from dalikit.datasets.manifest.rows import Block, read_table, read_text
from dalikit.datasets.paths import PathTable, join_paths
from dalikit.datasets.stored import StoredDataset
from dalikit.errors import ArgumentError, DatasetNotFoundError, EmptyDatasetError
from dalikit.storage import Location, check_scheme, is_remote
from dalikit.storage.location import SCHEMES
from dalikit.storage.remote.address import check_host, redact

__all__ = ["KINDS", "Manifest"]

KINDS = {"csv": (".csv",), "tsv": (".tsv", ".tab"), "parquet": (".parquet", ".pq"), "text": ()}
"""Kinds of list, and how their files' names end; any other name is that of a text."""

_REMOTE = re.compile(rb"(?:\A|\0)(?:%s)://" % "|".join(SCHEMES).encode(), re.IGNORECASE)

_TRIED = 8
"""Rows whose files are looked for when no root was given: one that is missing is a bad row, not a wrong folder."""

_Numbers = npt.NDArray[np.int64]


class Manifest(StoredDataset):
    """Images in a list of paths and targets: text, CSV, TSV or Parquet; list and images may be local or remote.

        Manifest("/data/train.csv")                               path,label      header with names that are known
                                                                  cat/1.jpg,cat   index 0, target 0 (classes: cat, dog)
                                                                  dog/1.jpg,dog   index 1, target 1
        Manifest("/lists/train.txt", root="s3://bucket/train")    n01/1.JPEG 0    Caffe's and timm's lists
        make_dataset(dataset_str="Manifest:file=/data/list.parquet:image=url:target=class_id")

    Kinds of list:
    * CSV, TSV: by the rules of Python's csv module. If the first row has a known name for the image (path, file,
      filename, image, ...), or a column's name is given, it is a header; else the columns are path and target.
    * Text: a line is a path, a tab and a target; or a path, a space and a whole number; or, if the first line is
      neither, a path alone. All lines have the form of the first.
    * Parquet (needs pyarrow): columns by name, as in a header. Paths only: images within Parquet are for
      Hugging Face's datasets.

    Targets are whole numbers if all are, else floats if all are; else they are names of classes, which are sorted and
    numbered from 0 on. Text is UTF-8; a path may have other bytes too. A path may come more than once.

    A row costs its path's bytes and 8 more, and 8 more for each of target, offset and size; there are no Python objects
    per row. A million rows of CSV take about a second.

    Args:
        file: the list: a path, with `~` expanded, or an address (s3, gs, az, http, https).
        root: what relative paths are relative to: a folder or an address. None: the folder of the list. Relative paths
            are names of files: below an http(s) address they are percent-encoded.
        image: the name of the column with paths. None: known names are looked for.
        target: the name of the column with targets. None: known names are looked for. "none": there are none: each
            is then (), which is collated to []: torch's collation takes no None.
        offset: the name of a column with each image's first byte in its file; goes with `size`. None: an image is a
            whole file.
        size: the name of a column with its number of bytes; goes with `offset`.
        kind: "csv", "tsv", "parquet" or "text". None: by the end of the file's name; text if it is none of theirs.
        transform: what is done to an image; carried out by the loader (see `__getitem__`).
        target_transform: a callable for the target.

    Attributes:
        file: as it was given, with `~` expanded.
        root: likewise; or the folder of the list.
        remote: whether the root or any path is an address.
        targets: int64 or float64 (n,), read-only; None: there are none.
        classes: names of classes, in their order; None: targets are no names.
        class_to_idx: name to target; empty if there are no names.

    Raises:
        ArgumentError: an argument is not of its form, or which column is which cannot be told.
        DatasetNotFoundError: the list is not there; or, if no root was given, none of the first files is.
        DatasetError: it cannot be read, or a row is broken; the line is named.
        EmptyDatasetError: it has no row.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        image: str | None = None,
        target: str | None = None,
        offset: str | None = None,
        size: str | None = None,
        kind: str | None = None,
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(transform, target_transform)
        self.file = _as_path("file", file)
        self.root = _folder_of(self.file) if root is None else _as_path("root", root)
        self._prefix = self.root if self.root.endswith("/") or not self.root else self.root + "/"
        self._quoted = _is_http(self.root)
        columns = {"image": image, "target": target, "offset": offset, "size": size}
        block, repeats, targets, classes, bounds = _read(self.file, _blocks(self.file, kind, columns))
        self._paths = PathTable(block)
        self.remote = is_remote(self.root) or (b"://" in block and _REMOTE.search(block) is not None)
        self._repeats, self._mark = repeats, _find_mark(block) if len(repeats) else "#"
        self.targets = targets
        self.classes = classes
        self.class_to_idx = {name: number for number, name in enumerate(classes or ())}
        self._offsets, self._sizes = bounds
        for column in (targets, *bounds):
            if column is not None:
                column.flags.writeable = False
        self._fingerprint: str | None = None
        if root is None:
            self._check_root()

    def __len__(self) -> int:
        """How many rows."""
        return len(self._paths)

    def __repr__(self) -> str:
        """The file, and how much is in it."""
        classes = "" if self.classes is None else f", num_classes={len(self.classes)}"
        return f"Manifest(file={redact(self.file)!r}, root={redact(self.root)!r}, num_samples={len(self)}{classes})"

    def get_location(self, index: int) -> Location:
        """The file of row `index`, or where it lies in it."""
        row = self._row(index)
        path = self._paths[row]
        if not path.startswith("/") and not is_remote(path):
            path = self._prefix + (quote(os.fsencode(path)) if self._quoted else path)
        offset = 0 if self._offsets is None else int(self._offsets[row])
        return Location(path, offset, None if self._sizes is None else int(self._sizes[row]))

    def get_target(self, index: int) -> Any:
        """The target of row `index`: an int or a float; () if there are none."""
        row = self._row(index)
        return () if self.targets is None else self.targets[row].item()

    def get_key(self, index: int) -> str:
        """The path of row `index` as it is listed; from the second time on with its row: "cat/001.jpg#17"."""
        row = self._row(index)
        path = self._paths[row]
        place = int(np.searchsorted(self._repeats, row))
        again = place < len(self._repeats) and self._repeats[place] == row
        return f"{path}{self._mark}{row}" if again else path

    def _check_root(self) -> None:
        """Refuses a folder that none of the first files lies in: a list is often elsewhere than its images."""
        paths = [self._paths[row] for row in range(min(_TRIED, len(self)))]
        files = [self._prefix + path for path in paths]
        if is_remote(self.root) or any(path.startswith("/") or is_remote(path) for path in paths):
            return
        if any(map(os.path.exists, files)):
            return
        raise DatasetNotFoundError(
            f"Manifest {redact(self.file)!r}: {files[0]!r} is not there, nor is any of the first {len(files)}. Say "
            f"root= if paths are relative to another folder than the list's, {os.path.abspath(self.root)!r}"
        )

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the paths as they are listed, targets, classes, offsets and sizes."""
        if self._fingerprint is None:
            digest = hashlib.blake2b(b"Manifest", digest_size=8)
            columns = (self.targets, self._offsets, self._sizes)
            told = (
                b"" if each is None else each.dtype.kind.encode() + each.astype(f"<{each.dtype.kind}8").tobytes()
                for each in columns
            )
            for block in (self._paths.block, join_paths(self.classes or ()), *told):
                digest.update(len(block).to_bytes(8, "little"))
                digest.update(block)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def _as_path(name: str, value: Any) -> str:
    """A path, with `~` expanded, or an address."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ArgumentError(f"{name} must be a path or an address, got {value!r}")
    return check_host(path) if is_remote(path) else os.path.expanduser(check_scheme(name, path))


def _folder_of(file: str) -> str:
    """The folder that a file or object lies in; "" is the current one."""
    folder, slash, _ = _without_query(file).rpartition("/")
    return folder or slash


def _without_query(file: str) -> str:
    """What a file's name ends in: in the names of buckets' objects "?" and "#" are letters like others."""
    return re.split(r"[?#]", file, maxsplit=1)[0] if _is_http(file) else file


def _is_http(uri: str) -> bool:
    return uri[:7].lower() == "http://" or uri[:8].lower() == "https://"


def _blocks(file: str, kind: str | None, columns: dict[str, str | None]) -> Iterator[Block]:
    """The rows of a list of any kind."""
    if kind is None:
        ending = _without_query(file).lower()
        kind = next((each for each, ends in KINDS.items() if ends and ending.endswith(ends)), "text")
    if kind not in KINDS:
        raise ArgumentError(f"kind must be one of {', '.join(KINDS)}, or None, got {kind!r}")
    for key, name in columns.items():
        if name is not None and (not isinstance(name, str) or not name):
            raise ArgumentError(f"{key} must be the name of a column, or None, got {name!r}")
    if (columns["offset"] is None) != (columns["size"] is None):
        given, missing = ("offset", "size") if columns["size"] is None else ("size", "offset")
        raise ArgumentError(
            f"{given}={columns[given]!r} without {missing}: give both (where in its file an image begins, and its "
            "number of bytes), or neither if each file is an image"
        )
    if kind == "parquet":
        return read_parquet(file, **columns)
    if kind in ("csv", "tsv"):
        return read_table(file, "," if kind == "csv" else "\t", **columns)
    target = columns["target"]
    named = [key for key, name in columns.items() if name is not None and (key, name.lower()) != ("target", "none")]
    if named:
        raise ArgumentError(
            f"Manifest {redact(file)!r}: a text has no named columns, but {named[0]}={columns[named[0]]!r} was given; "
            "say kind=csv, tsv or parquet if it is that"
        )
    return read_text(file, target=target)


def _read(
    file: str, blocks: Iterator[Block]
) -> tuple[
    bytes,
    _Numbers,
    npt.NDArray[Any] | None,
    list[str] | None,
    tuple[_Numbers | None, _Numbers | None],
]:
    """All rows: paths, rows whose path came before, targets, classes, offsets and sizes."""
    file = redact(file)  # for messages
    paths, targets, start = PathColumn(file), TargetColumn(file), 0
    bounds: tuple[list[_Numbers], list[_Numbers]] = ([], [])
    for block in blocks:
        paths.add(block, start)
        targets.add(block, start)
        for name, values, least, found in zip(
            ("offset", "size"), (block.offsets, block.sizes), (0, 1), bounds, strict=True
        ):
            if values is not None:
                found.append(whole_numbers(file, name, values, block, start, least=least))
        start += len(block.paths)
    if start == 0:
        raise EmptyDatasetError(f"Manifest {file!r} has no rows")
    offsets, sizes = (np.concatenate(found) if found else None for found in bounds)
    return *paths.finish(), *targets.finish(), (offsets, sizes)


def _find_mark(block: bytes) -> str:
    """What stands between a path and its row in a key: no path ends in it and digits, so keys are unique."""
    marks = ("#" * count for count in itertools.count(1))
    return next(mark for mark in marks if not re.search(mark.encode() + rb"[0-9]+\0", block))
