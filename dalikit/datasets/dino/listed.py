"""What datasets have in common whose images are named in a list, as DINOv3's ADE20K, CocoCaptions and NYU."""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.datasets.listing import find_root
from dalikit.datasets.paths import PathTable, join_paths
from dalikit.datasets.stored import StoredDataset
from dalikit.errors import DatasetError, DecodeError, EmptyDatasetError, ReadError
from dalikit.storage import Arena, Location, is_remote, read, read_stream
from dalikit.storage.remote.address import redact

__all__ = ["DenseDataset", "ListedDataset", "check_relative", "decode_dense", "read_lines", "root_prefix"]


def root_prefix(root: str | os.PathLike[str]) -> str:
    """A root's path or address, ended by a slash. Raises what `find_root` does."""
    path = find_root(root)
    return path if path.endswith("/") else path + "/"


def read_lines(uri: str) -> list[str]:
    """The lines of a text file or object that are not empty, without spaces around them, sorted by code point.

    Raises:
        DatasetNotFoundError: it is not there.
        DatasetError: it cannot be read.
        EmptyDatasetError: there is none.
    """
    text = b"".join(read_stream(uri)).decode("utf-8", "surrogateescape")
    lines = sorted(line for line in map(str.strip, text.split("\n")) if line)
    if not lines:
        raise EmptyDatasetError(f"file {uri!r} names no image")
    return lines


def check_relative(uri: str, path: str) -> str:
    """A path that a list names, if it lies below the root.

    Raises:
        DatasetError: it does not.
    """
    try:
        below = (
            bool(path) and not path.startswith("/") and ".." not in path.split("/") and b"\0" not in os.fsencode(path)
        )
    except UnicodeEncodeError:  # halves of characters
        below = False
    if not below:
        raise DatasetError(f"file {uri!r} names {path!r}; a path below the root is wanted")
    return path


def decode_dense(data: bytes) -> npt.NDArray[Any]:
    """A mask or depth map: the numbers in an image file of one channel.

    Args:
        data: the file. Of one with a palette the numbers are the places in it.

    Returns:
        (H, W), of the file's own type: uint8 for masks, uint16 or int32 for depth in PNG files.

    Raises:
        DecodeError: Pillow cannot decode it, or it has several channels.
    """
    from PIL import Image

    try:
        with Image.open(BytesIO(data)) as image:
            array = np.array(image)
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        raise DecodeError(f"Pillow cannot decode the target: {error}") from error
    if array.ndim != 2:
        raise DecodeError(f"the target has shape {array.shape}; one channel is wanted")
    return array


class ListedDataset(StoredDataset):
    """Images whose paths below a root are known. A row costs its path and 8 bytes more."""

    def __init__(
        self,
        prefix: str,
        images: Sequence[str],
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(transform, target_transform)
        self._prefix = prefix
        self._images = PathTable(join_paths(images))
        self._fingerprint: str | None = None

    @property
    def root(self) -> str:
        """As it was given, with `~` expanded."""
        return self._prefix[:-1] if len(self._prefix) > 1 else self._prefix

    @property
    def remote(self) -> bool:
        """Whether the images lie in remote storage."""
        return is_remote(self._prefix)

    def __len__(self) -> int:
        """How many images."""
        return len(self._images)

    def __repr__(self) -> str:
        """The root, and how much is in it."""
        return f"{type(self).__name__}(root={redact(self.root)!r}, num_samples={len(self)})"

    def get_location(self, index: int) -> Location:
        """The file of row `index`."""
        return Location(self._prefix + self._images[self._row(index)])

    def get_key(self, index: int) -> str:
        """The file of row `index` relative to the root."""
        return self._images[self._row(index)]

    def get_image_relpath(self, index: int) -> str:
        """The same, by DINOv3's name."""
        return self.get_key(index)

    @property
    @abstractmethod
    def _hashed(self) -> tuple[bytes, ...]:
        """What the fingerprint is made of beside the images' paths."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the paths and what belongs to each."""
        if self._fingerprint is None:
            digest = hashlib.blake2b(type(self).__name__.encode(), digest_size=8)
            for block in (self._images.block, *self._hashed):
                digest.update(len(block).to_bytes(8, "little"))
                digest.update(block)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


class DenseDataset(ListedDataset):
    """Images with another image for a target: a mask, or depth.

    Args:
        prefix: the root, ended by a slash.
        images: paths below it.
        targets: of each image the file of its target.
        transform: what is done to an image; carried out by the loader. Targets do not take part in it.
        target_transform: a callable for the bytes of the target's file. None: `decode_dense`.
    """

    def __init__(
        self,
        prefix: str,
        images: Sequence[str],
        targets: Sequence[str],
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(prefix, images, transform, decode_dense if target_transform is None else target_transform)
        self._targets = PathTable(join_paths(targets))

    def get_target_location(self, index: int) -> Location:
        """The file of the target of row `index`."""
        return Location(self._prefix + self._targets[self._row(index)])

    def get_target(self, index: int) -> bytes:
        """The bytes of the target's file, as DINOv3 gives them; `target_transform` makes an array of them.

        Raises:
            IndexError: there is no such row.
            ReadError: it cannot be read.
        """
        location = self.get_target_location(index)
        try:
            return read(location, Arena(chunk_size=1)).tobytes()
        except ReadError as error:
            error.locate(self._place(index, location, "read"))
            raise

    @property
    def _hashed(self) -> tuple[bytes, ...]:
        return (self._targets.block,)
