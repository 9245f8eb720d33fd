"""One shard's members, grouped into samples."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.errors import DatasetError
from dalikit.shards.index import COLUMNS, MAX_EXTENSIONS, NO_CLASS, ShardIndex
from dalikit.shards.merge import Part, merge_in_memory
from dalikit.shards.names import is_metadata, split_name
from dalikit.shards.sizes import UNKNOWN, ImageSize, measure
from dalikit.shards.source import Window, open_source
from dalikit.shards.walk import walk_members
from dalikit.storage import ObjectInfo
from dalikit.storage.remote.address import redact

__all__ = ["IMAGE_EXTENSIONS", "ShardTable", "index_shard"]

IMAGE_EXTENSIONS = frozenset({"bmp", "gif", "jfif", "jpe", "jpeg", "jpg", "png", "webp"})
"""Members with one of these, or whose extension ends in a dot and one of these, are looked into for their size."""

_LARGEST_CLASS = 64  # bytes of a "cls" member that may be a number
_CODES = {"<u8": "Q", "<i8": "q", "|u1": "B", "<u2": "H", "<u4": "I"}  # array's, for each type of column
_CLASS, _IMAGE, _OTHER = range(3)


def index_shard(
    version: ObjectInfo, *, sizes: bool = True, stream: bool = False, stopped: Callable[[], bool] | None = None
) -> ShardIndex:
    """Walks over one shard.

    Args:
        version: the shard, as it is now.
        sizes: look into images for their sizes, and into classes for their numbers.
        stream: read a local shard from end to end, as remote ones are.
        stopped: asked while a remote shard is waited for: whether to give up.

    Returns:
        An index of this shard alone, in memory.

    Raises:
        DatasetError: the shard cannot be read or is broken, or its samples are not told apart by their keys.
    """
    shown = redact(version.uri)
    table = ShardTable(shown)
    with Window(open_source(version.uri, stream=stream, stopped=stopped)) as window:
        for name, offset, size in walk_members(shown, window, version.size):
            table.take(name, offset, size, window.read if sizes else None)
    return table.finish(version)


def _member_reader(read: Callable[[int, int], bytes], offset: int, size: int) -> Callable[[int, int], bytes]:
    """Reads within one member."""

    def read_member(place: int, wanted: int) -> bytes:
        return read(offset + place, min(wanted, size - place)) if place < size else b""

    return read_member


class ShardTable:
    """Takes the members of one shard in order, and makes the columns of an index of it.

    Args:
        shard: what messages call it: without what is secret in its address.
    """

    def __init__(self, shard: str) -> None:
        self._shard = shard
        self._extensions: dict[bytes, tuple[int, int]] = {}  # as written -> (number, kind)
        self._numbers: dict[str, int] = {}  # in small letters -> number
        self._columns = {name: array(_CODES[kind]) for name, kind in COLUMNS.items()}
        self._offsets = self._columns["member_offset"]
        self._sizes = self._columns["member_size"]
        self._kinds = self._columns["member_extension"]
        self._heights = self._columns["member_height"]
        self._widths = self._columns["member_width"]
        self._orientations = self._columns["member_orientation"]
        self._keys = bytearray()
        self._hashes = array("q")  # of the keys
        self._key: bytes | None = None
        self._present: set[int] = set()  # the extensions of the sample so far

    def add(self, name: bytes, offset: int, size: int) -> int:
        """Takes one member.

        Returns:
            Whether its content is a class, an image, or of no concern.

        Raises:
            DatasetError: the sample has a member with this extension already, as webdataset refuses it too; or there
                are too many extensions.
        """
        split = split_name(name)
        if split is None or is_metadata(name):
            return _OTHER
        key, written = split
        known = self._extensions.get(written)
        if known is None:
            known = self._new_extension(written)
        number, kind = known
        if key != self._key:
            self._begin(key)
        elif number in self._present:
            raise self._twice(name, offset, number)
        self._present.add(number)
        self._kinds.append(number)
        self._offsets.append(offset)
        self._sizes.append(size)
        self._heights.append(0)
        self._widths.append(0)
        self._orientations.append(0)
        return kind

    def take(self, name: bytes, offset: int, size: int, read: Callable[[int, int], bytes] | None) -> None:
        """As `add`; and `read`s of the content what is of concern: the number of a class, the size of an image."""
        kind = self.add(name, offset, size)
        if read is None:
            return
        if kind == _IMAGE:
            self._set_size(measure(_member_reader(read, offset, size)))
        elif kind == _CLASS and size <= _LARGEST_CLASS:
            self._set_class(read(offset, size))

    def _set_size(self, size: ImageSize) -> None:
        """Says how large the image is that was added last."""
        if size is not UNKNOWN:
            self._heights[-1], self._widths[-1], self._orientations[-1] = size

    def _set_class(self, content: bytes) -> None:
        """Says what the class member holds that was added last. As webdataset reads it: by Python's `int`."""
        try:
            number = int(content)
        except ValueError:
            return
        if NO_CLASS < number < 2**63:
            self._columns["sample_class"][-1] = number

    def finish(self, version: ObjectInfo) -> ShardIndex:
        """The index of the shard.

        Raises:
            DatasetError: a key comes again behind another one.
        """
        columns = self._columns
        columns["shard_bounds"].extend((0, len(columns["sample_class"])))
        columns["sample_bounds"].append(len(self._offsets))
        columns["key_bounds"].append(len(self._keys))
        made: dict[str, Any] = {
            name: np.frombuffer(column, COLUMNS[name]) for name, column in columns.items() if name != "keys"
        }
        index = ShardIndex(
            shards=(version.uri,),
            extensions=tuple(self._numbers),
            keys=np.frombuffer(self._keys, np.uint8),
            fingerprint="",
            versions=(version,),
            **made,
        )
        self._refuse_repeated(index)
        return merge_in_memory([Part(index, 0, 1)])

    def _begin(self, key: bytes) -> None:
        """A new sample."""
        columns = self._columns
        columns["sample_bounds"].append(len(self._offsets))
        columns["sample_class"].append(NO_CLASS)
        columns["key_bounds"].append(len(self._keys))
        self._keys += key
        self._hashes.append(hash(key))
        self._key = key
        self._present = set()

    def _new_extension(self, written: bytes) -> tuple[int, int]:
        """Number and kind of an extension that was not written so before."""
        extension = written.decode("utf-8", "surrogateescape").lower()
        number = self._numbers.setdefault(extension, len(self._numbers))
        if number >= MAX_EXTENSIONS:
            raise DatasetError(
                f"shard {self._shard!r} has more than {MAX_EXTENSIONS} different extensions, {extension!r} among them: "
                "names are split at their first dot, so a key must have none"
            )
        kind = _CLASS if extension == "cls" else _OTHER
        if extension.rpartition(".")[2] in IMAGE_EXTENSIONS:
            kind = _IMAGE
        return self._extensions.setdefault(written, (number, kind))

    def _twice(self, name: bytes, offset: int, number: int) -> DatasetError:
        """A sample has two members with one extension."""
        first = self._columns["sample_bounds"][-1]
        place = first + self._kinds[first:].index(number)
        shown = name.decode("utf-8", "backslashreplace")
        return DatasetError(
            f"shard {self._shard!r}: the member {shown!r} at offset {offset} has the key and extension of the one at "
            f"offset {self._offsets[place]}: a sample has one member of each extension. Repack the shard"
        )

    def _refuse_repeated(self, index: ShardIndex) -> None:
        """Raises DatasetError if a key comes again: its sample would be torn into two."""
        hashes: npt.NDArray[np.int64] = np.frombuffer(self._hashes, np.int64)
        order = np.argsort(hashes, kind="stable")
        alike = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        for place in alike.tolist():
            first, second = sorted(order[place : place + 2].tolist())
            key = index.key(first)
            if key == index.key(second):
                one, other = (self._offsets[int(index.sample_bounds[sample])] for sample in (first, second))
                raise DatasetError(
                    f"shard {self._shard!r}: the key {key!r} of the member at offset {other} was there before, at "
                    f"offset {one}, with other keys between: members of a sample must follow each other. Repack the "
                    "shard sorted by name"
                )
