"""What DINOv2's own datasets have in common: their rows stand in a table of entries, in a folder of its own."""

from __future__ import annotations

import hashlib
import operator
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dalikit.datasets.dino.entries import Stamp, Table, hash_column, map_table, text_at
from dalikit.datasets.listing import find_root
from dalikit.datasets.stored import StoredDataset
from dalikit.errors import ArgumentError, DatasetError
from dalikit.storage import is_remote
from dalikit.storage.remote.address import redact

__all__ = ["TabledDataset", "no_target"]


def no_target(target: None) -> tuple[()]:
    """The `target_transform` of rows without a target: (), which is collated to []. torch's collation takes no None."""
    del target
    return ()


class TabledDataset(StoredDataset):
    """A dataset whose rows stand in a table of entries, which is mapped and shared by all processes.

    The table need not be there when the dataset is made: `dump_extra` makes it. It is opened and checked at once if it
    is there, else at the first use. Copies in other processes check it again only if the file has changed.
    """

    fields: ClassVar[Mapping[str, str]]
    """Of a row of the table: INTEGER or TEXT."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        extra: str | os.PathLike[str],
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(transform, target_transform)
        self.root = find_root(root)
        self.extra = _check_extra(extra)
        self._prefix = self.root if self.root.endswith("/") else self.root + "/"
        self._columns: Mapping[str, Table] | None = None
        self._texts: dict[str, Table] = {}
        self._checked: tuple[Stamp, ...] = ()  # the files, as they were when they were checked
        self._fingerprint: str | None = None
        if os.path.exists(self._entries_path):
            self._open()

    @property
    def remote(self) -> bool:
        """Whether the images lie in remote storage."""
        return is_remote(self.root)

    @property
    @abstractmethod
    def _entries_path(self) -> str:
        """Of the table."""

    @property
    @abstractmethod
    def _remedy(self) -> str:
        """What to do if the table is not there."""

    @abstractmethod
    def _check(self, entries: Table) -> None:
        """Refuses a table in which any value that a row is read by cannot be."""

    def _others(self) -> tuple[Stamp, ...]:
        """Of further files that `_check` looks at."""
        return ()

    @property
    @abstractmethod
    def _identity(self) -> tuple[str, tuple[str, ...]]:
        """What the fingerprint begins with, and the fields that it is made of."""

    def __getstate__(self) -> dict[str, Any]:
        """Without what is mapped."""
        return {**vars(self), "_columns": None, "_texts": {}}

    def _open(self) -> Mapping[str, Table]:
        """The columns of the table. From any thread; two at once do it twice, with the same result."""
        if self._columns is None:
            entries, stamp = map_table(self._entries_path, self.fields, self._remedy)
            stamps = (stamp, *self._others())
            if self._checked != stamps:
                self._check(entries)
                self._checked = stamps
            self._columns = {name: entries[name] for name in self.fields}
        return self._columns

    def _forget(self) -> None:
        """The table was made anew."""
        self._columns, self._texts, self._checked, self._fingerprint = None, {}, (), None

    def _text(self, name: str) -> Table:
        """The text of every class, from a file of `extra`: an array (classes,)."""
        if name not in self._texts:
            self._texts[name] = map_table(os.path.join(self.extra, name), None, self._remedy)[0]
        return self._texts[name]

    def _find_text(self, name: str, class_index: int) -> str:
        """The text of one class."""
        texts = self._text(name)
        if not 0 <= operator.index(class_index) < len(texts):
            raise IndexError(f"class {class_index} is out of range for {type(self).__name__} of {len(texts)} classes")
        return text_at(os.path.join(self.extra, name), texts, class_index)

    def _row_text(self, name: str, row: int) -> str:
        """A text of a row that is there."""
        column = self._open()[name]
        return str(column[row]) if name == "class_id" else text_at(self._entries_path, column, row)  # that was checked

    def __len__(self) -> int:
        """How many rows. Raises DatasetNotFoundError if there is no table yet."""
        return len(self._open()["class_index"])

    def __repr__(self) -> str:
        """The folders, and how much is in the table."""
        try:
            told = f"num_samples={len(self)}"
        except DatasetError:
            told = "no table of entries"
        return f"{self._described}root={redact(self.root)!r}, extra={self.extra!r}, {told})"

    @property
    def _described(self) -> str:
        """How `repr` begins."""
        return f"{type(self).__name__}("

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the names of the rows, their order and their classes."""
        if self._fingerprint is None:
            columns = self._open()
            begin, names = self._identity
            digest = hashlib.blake2b(begin.encode(), digest_size=8)
            digest.update(len(self).to_bytes(8, "little"))
            for name in names:
                digest.update(hash_column(columns[name]))
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def _number(self, name: str, row: int) -> int:
        """A number of a row that is there."""
        return int(self._open()[name][row])

    def _class_indices(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        """The class of every row: a view of the table."""
        return self._open()["class_index"]


def _check_extra(extra: str | os.PathLike[str]) -> str:
    """The path of the folder of tables, which need not be there yet."""
    path = os.fspath(extra) if isinstance(extra, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path or is_remote(path):
        shown = redact(extra) if isinstance(extra, str) else extra
        raise ArgumentError(f"extra must be the path of a folder on this machine, got {shown!r}")
    return os.path.expanduser(path)
