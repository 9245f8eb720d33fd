"""ImageNet-22k in DINOv2's layout: one tar a class."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.datasets.dino.entries import (
    INTEGER,
    TEXT,
    Stamp,
    Table,
    check_classes,
    check_names,
    chunks,
    map_table,
    write_table,
)
from dalikit.datasets.dino.imagenet22k_blocks import ClassBlocks, find_class_tars, read_blocks
from dalikit.datasets.dino.tabled import TabledDataset
from dalikit.datasets.listing import open_root
from dalikit.errors import DatasetError, EmptyDatasetError
from dalikit.progress import progress_bar
from dalikit.storage import Location
from dalikit.storage.remote.address import redact

__all__ = ["ImageNet22k"]

_HEADER = 512
"""Bytes of a tar header: POSIX.1-1988, ustar."""

_ENTRIES, _CLASS_IDS = "entries.npy", "class-ids.npy"


class ImageNet22k(TabledDataset):
    """ImageNet-22k: DINOv2's layout, arguments and files.

        root/n00004475.tar                one tar a class, its images in it
        root/blocks/n00004475.log         what `tar --list --block-number` says of it; only `dump_extra` needs it
        extra/entries.npy                 one row an image; made by `dump_extra`
        extra/class-ids.npy               one text a class

    docs/imagenet.md describes the files field by field; DINOv2's own are read as they are. Where theirs have offsets of
    32 bits, so that no tar may exceed 4 GiB, those that `dump_extra` makes have 64.

    A row's bytes go from behind its header to the next one's: up to 511 null bytes follow the image. Some images are
    gzipped: they are inflated wherever they are (DINOv2 expects them in 26 rows of one edition).

    Args:
        root: the folder of the tars, or its address: "s3://bucket/imagenet22k".
        extra: the folder of the tables.
        transform: what is done to an image; carried out by the loader.
        target_transform: a callable for the target.
        mmap_cache_size: DINOv2's: how many tars it keeps mapped. Accepted and without effect: files are read, not
            mapped.

    Attributes:
        root: as it was given, with `~` expanded.
        extra: the same.

    Raises:
        ArgumentError: an argument is not of the kind wanted.
        DatasetNotFoundError: `root` is not there. That the tables are not there is said at the first use.
        DatasetError: a table cannot be used.
    """

    may_be_gzipped = True
    fields = {  # noqa: RUF012
        "class_index": INTEGER,
        "class_id": TEXT,
        "start_offset": INTEGER,
        "end_offset": INTEGER,
        "filename": TEXT,
    }

    def __init__(
        self,
        *,
        root: str | os.PathLike[str],
        extra: str | os.PathLike[str],
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
        mmap_cache_size: int = 16,
    ) -> None:
        del mmap_cache_size
        super().__init__(root, extra, transform, target_transform)

    def get_location(self, index: int) -> Location:
        """The tar that row `index` is in, and its bytes there, before they are inflated."""
        row = self._row(index)
        start = self._number("start_offset", row) + _HEADER
        tar = f"{self._prefix}{self._row_text('class_id', row)}.tar"
        return Location(tar, start, self._number("end_offset", row) - start)

    def get_key(self, index: int) -> str:
        """Class and name of row `index`: "n00004475/n00004475_6590.JPEG"."""
        row = self._row(index)
        return f"{self._row_text('class_id', row)}/{self._row_text('filename', row)}"

    def get_target(self, index: int) -> int:
        """The class of row `index`."""
        return self._number("class_index", self._row(index))

    def get_targets(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        """The class of every row, uint32 (n,), read-only: a view of the mapped table."""
        return self._class_indices()

    def get_class_id(self, index: int) -> str:
        """The name of the class of row `index`: "n00004475"."""
        return self._row_text("class_id", self._row(index))

    def get_class_ids(self) -> npt.NDArray[np.str_]:
        """The name of the class of every row, (n,), read-only: a view of the mapped table."""
        return self._open()["class_id"]

    def find_class_id(self, class_index: int) -> str:
        """The name of a class: "n00004475" of 0. Raises IndexError if there is no such class."""
        return self._find_text(_CLASS_IDS, class_index)

    def dump_extra(self, root: str | os.PathLike[str] | None = None, progress: bool | None = None) -> None:
        """Makes the tables in `extra` from the tars and blocks/*.log, and uses them from now on.

        Classes are the tars, by name; rows are in the order of the tars. The logs are made by GNU tar, one each:

            tar --list --block-number --file n00004475.tar > blocks/n00004475.log

        Images and offsets are those of DINOv2's table, without the one image that it leaves out too. Where a member
        has a header before its header (a long name, or what Python's tarfile writes), its row begins at the second.

        Args:
            root: the folder of the tars and logs, if it is not the dataset's; DINOv2 has this argument.
            progress: a progress bar on stderr; None: if that is a terminal.

        Raises:
            DatasetError: there are no tars, a log is missing, is no such log or belongs to another tar, or a table
                cannot be written.
        """
        folder = open_root(self.root if root is None else root)
        class_ids = find_class_tars(folder)
        count, width = 0, 1
        with progress_bar(progress, "reading logs", "classes", 2 * len(class_ids)) as bar:
            for class_id in class_ids:  # first only how much there is: memory stays that of one class
                blocks = read_blocks(folder, class_id)
                count, width = count + len(blocks.names), max(width, *map(len, blocks.names), 1)
                bar.update(1)
            if count == 0:
                raise EmptyDatasetError(f"root {folder!r}: the logs of {len(class_ids)} tars name no image")
            ids = np.array(class_ids)
            dtype = _dtype(ids.itemsize // 4, width)

            def pieces() -> Iterator[Table]:
                for class_index, class_id in enumerate(class_ids):
                    yield _rows(read_blocks(folder, class_id), class_index, class_id, dtype)
                    bar.update(1)

            write_table(self._entries_path, dtype, count, pieces())
        write_table(os.path.join(self.extra, _CLASS_IDS), ids.dtype, len(ids), [ids])
        self._forget()
        self._open()

    @property
    def _entries_path(self) -> str:
        return os.path.join(self.extra, _ENTRIES)

    @property
    def _remedy(self) -> str:
        made = f"ImageNet22k(root={redact(self.root)!r}, extra={self.extra!r})"
        return f"make it once, in Python: from dalikit.datasets import ImageNet22k; {made}.dump_extra()"

    @property
    def _identity(self) -> tuple[str, tuple[str, ...]]:
        return "ImageNet22k", ("class_index", "class_id", "start_offset", "end_offset", "filename")

    def _others(self) -> tuple[Stamp, ...]:
        return (map_table(os.path.join(self.extra, _CLASS_IDS), None, self._remedy)[1],)

    def _check(self, entries: Table) -> None:
        path, ids = self._entries_path, self._text(_CLASS_IDS)
        check_names(os.path.join(self.extra, _CLASS_IDS), ids, "class id")
        for start, piece in chunks(entries):
            _check_numbers(path, piece, start)
            check_classes(path, piece, ids, start)


def _check_numbers(path: str, piece: Table, first_row: int) -> None:
    """Refuses offsets that are those of no member, and negative numbers."""
    starts, ends = piece["start_offset"].astype(np.int64), piece["end_offset"].astype(np.int64)
    # what is beyond 2**63 - 1, the kernel's last offset, is negative now
    bad = (starts < 0) | (ends < _HEADER) | (starts > ends - _HEADER) | (piece["class_index"] < 0)
    if bad.any():
        row = int(bad.argmax())
        raise DatasetError(
            f"file {path!r}: row {first_row + row}: start_offset {piece['start_offset'][row]}, end_offset "
            f"{piece['end_offset'][row]} and class_index {piece['class_index'][row]} are not those of a tar's member; "
            "was the table made with offsets of 32 bits, for a tar over 4 GiB? dump_extra() makes it anew"
        )


def _dtype(id_width: int, name_width: int) -> np.dtype[Any]:
    """Of a row; widths in characters."""
    return np.dtype(
        [
            ("class_index", "<u4"),
            ("class_id", f"<U{id_width}"),
            ("start_offset", "<u8"),
            ("end_offset", "<u8"),
            ("filename", f"<U{name_width}"),
        ]
    )


def _rows(blocks: ClassBlocks, class_index: int, class_id: str, dtype: np.dtype[Any]) -> Table:
    rows = np.empty(len(blocks.names), dtype=dtype)
    rows["class_index"], rows["class_id"], rows["filename"] = class_index, class_id, blocks.names
    rows["start_offset"], rows["end_offset"] = blocks.starts, blocks.ends
    return rows
