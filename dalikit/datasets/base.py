"""What a dataset of encoded images is."""

from __future__ import annotations

import operator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dalikit.storage import Location

__all__ = [
    "Encoded",
    "ImageDataset",
    "KeyedDataset",
    "LocatedDataset",
    "MeasuredDataset",
    "PairedDataset",
    "declares_images",
    "row_of",
]

Encoded = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
"""An image file's bytes; an array is 1-D."""


@runtime_checkable
class ImageDataset(Protocol):
    """Rows 0 to len - 1, each the bytes of an image file and a target. DINOv2's datasets have this form.

    The contract:
    * Deterministic: a row always gives the same bytes and the same target. Everything random belongs to the transform.
    * Thread-safe: `get_image_data` and `get_target` are called by many threads at once, in any order.
    * Picklable, if it is to be used in worker processes that are not forked.
    * The length does not change.
    * The memory that `get_image_data` and `get_batch` give is not copied, but read later on, by other threads: it stays
      as it is. A buffer that they write the next row into will not do; bytes, and views of mapped files, will.
    * `get_image_data` raises for a row that cannot be read (ReadError or another OSError); the loader's `on_error`
      decides what then happens. `get_target` gives the target as it is stored, before `target_transform`.

    `get_batch(indices)`, if there is one, is used instead of both: it gives a list of (bytes, target), one for each
    index, in the same order. It is called by several threads at once, each with the indices of a batch.

    Two attributes are looked at if they are there: `transform` says what is done to the images, `target_transform` is
    a callable for the targets. The loader carries both out; `get_image_data` and `get_target` do not.
    """

    def get_image_data(self, index: int) -> Encoded:
        """The encoded bytes of row `index`."""
        ...

    def get_target(self, index: int) -> Any:
        """The target of row `index`: a number, or whatever `collate_fn` can join."""
        ...

    def __len__(self) -> int:
        """How many rows."""
        ...


@runtime_checkable
class LocatedDataset(Protocol):
    """A dataset that can say where a row's bytes lie. Its bytes are read straight into the memory of their batch.

    Deterministic and thread-safe, as above; touches no file. `get_image_data(i)` gives the bytes at `get_location(i)`.

    Three attributes are looked at if they are there and True or False:
    * `may_be_gzipped` (else False): the bytes at a location may be a gzip file that holds the image's.
    * `remote` (else the first and the last row are looked at): some rows lie in remote storage. Then many threads read,
      one request for rows that lie close together, and worker processes are not forked.
    * `memory_map` (else False): byte ranges of local files (tar shards) are views of the mapped file, not copies, at
      the risk that a file which shrinks meanwhile kills the process (SIGBUS), which nothing in Python can catch. It
      saves the copy, 10 us for 110 kB, where all shards fit into the page cache; where they do not, whoever touches a
      byte first waits for the disk, and all Python threads with it. Files that are read whole are never mapped: to map
      each would take longer than to read it.
    """

    def get_location(self, index: int) -> Location:
        """Where the encoded bytes of row `index` lie."""
        ...


@runtime_checkable
class PairedDataset(Protocol):
    """A LocatedDataset whose targets lie beside the images: both come with one read, which is half the requests where
    they are remote.

    Deterministic and thread-safe, as above. A subclass that gives other bytes, places or targets is not asked.
    """

    def get_pair_location(self, index: int) -> Location:
        """Where image and target of row `index` lie together; the image alone, if that is cheaper. Touches no file."""
        ...

    def split_pair(self, index: int, data: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], Any]:
        """What `get_image_data` and `get_target` would give for row `index`.

        Args:
            index: the row.
            data: uint8 (n,), the bytes at `get_pair_location(index)`.

        Returns:
            A view of the image's bytes, and the target, before `target_transform`.
        """
        ...


@runtime_checkable
class MeasuredDataset(Protocol):
    """A dataset that knows the sizes of its images, from an index say. Their headers then need not be parsed, which
    takes some 4 us an image of the time in which no other Python thread runs.

    Deterministic and thread-safe, as above; touches no file. A subclass that gives other bytes is not asked.
    """

    def image_size(self, index: int) -> tuple[int, int, int] | None:
        """Height and width of the image of row `index` in pixels, as stored; and its EXIF orientation: 1 to 8 as EXIF
        counts, 1 if it has none, 0 if nobody has looked. None: the size is not known.

        An image of another size than this is an error when it is decoded on the CPU; DALI's graph does not look.
        """
        ...


@runtime_checkable
class KeyedDataset(Protocol):
    """A dataset whose rows have names, so that reports can name them and a checkpoint can tell it from another."""

    @property
    def fingerprint(self) -> str:
        """A hash of what is in it: names, order, classes. Equal on every machine that holds a copy; pixels and the
        place of the copy do not enter. It differs as soon as any row would be another one.
        """
        ...

    def get_key(self, index: int) -> str:
        """The name of row `index`: unique, and the same wherever the dataset lies."""
        ...


def declares_images(dataset: Any) -> bool:
    """Whether a dataset's class declares encoded images: is an ImageDataset.

    The class is asked: a wrapper that hands on whatever attribute of another dataset, and has items of its own, would
    else be read around its `__getitem__`.
    """
    return all(hasattr(type(dataset), name) for name in ("get_image_data", "get_target", "__len__"))


def row_of(dataset: Any, index: int) -> int:
    """`index` counted from the start of a dataset; negative ones count from its end, as in a list.

    Raises:
        IndexError: there is no such row.
    """
    count = len(dataset)
    row = operator.index(index)
    if not -count <= row < count:
        raise IndexError(f"index {row} is out of range for {type(dataset).__name__} of {count} samples")
    return row + count if row < 0 else row
