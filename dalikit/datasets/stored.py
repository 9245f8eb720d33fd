"""What datasets of files and objects have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from dalikit.datasets.base import row_of
from dalikit.datasets.looking import item_of
from dalikit.errors import Place, ReadError
from dalikit.storage import Arena, Location, inflate, read
from dalikit.storage.remote.address import redact

__all__ = ["StoredDataset"]


class StoredDataset(ABC):
    """A map-style dataset whose rows are byte ranges of files or remote objects. Subclasses say where they lie and what
    they mean.

    All of it is thread-safe and deterministic, and it pickles. Negative indices count from the end, as in a list.

    Args:
        transform: what is done to an image. A dalikit or torchvision transform is carried out by the loader.
        target_transform: a callable for the target.
    """

    may_be_gzipped = False
    """Whether a row's bytes may be a gzip file that holds the image's: then they are inflated once they are read."""

    memory_map = False
    """Whether ranges of local files are mapped, not read: no copy, but a mapped file that is cut short while it is used
    kills the process (SIGBUS), and nothing in Python can catch that."""

    def __init__(self, transform: Any = None, target_transform: Callable[[Any], Any] | None = None) -> None:
        self.transform = transform
        self.target_transform = target_transform

    @abstractmethod
    def __len__(self) -> int:
        """How many rows."""

    @abstractmethod
    def get_location(self, index: int) -> Location:
        """Where the encoded bytes of row `index` lie (before they are inflated). Touches no file. Raises IndexError."""

    @abstractmethod
    def get_target(self, index: int) -> Any:
        """The target of row `index`, before `target_transform`. Raises IndexError."""

    @abstractmethod
    def get_key(self, index: int) -> str:
        """The name of row `index`. Raises IndexError."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of names, order and classes."""

    def get_image_data(self, index: int) -> bytes:
        """The encoded bytes of row `index`. Raises IndexError, or ReadError with the row's place."""
        location = self.get_location(index)
        try:
            data = read(location, Arena(chunk_size=1))
            return (inflate(data) if self.may_be_gzipped else data).tobytes()
        except ReadError as error:
            error.locate(self._place(index, location, "read"))
            raise

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """The image and the target of row `index`, decoded by Pillow, as DINOv2's datasets give them.

        This is for looking at single rows and for torch's own DataLoader. dalikit's loader takes the encoded bytes.

        Returns:
            The image as PIL RGB, after `transform` if that is a plain callable (dalikit's transforms are not: they
            describe what a loader does to whole batches); the target after `target_transform`.

        Raises:
            IndexError: there is no such row.
            ReadError: its bytes cannot be read.
            DecodeError: they are no image that Pillow decodes.
        """
        return item_of(self, index, lambda: self._place(index, self.get_location(index), "decode"))

    def _place(self, index: int, location: Location, stage: str) -> Place:
        """Where row `index` lies."""
        return Place(
            dataset=type(self).__name__,
            index=self._row(index),
            key=self.get_key(index),
            file=redact(location.uri),
            offset=location.offset or None,
            stage=stage,
        )

    def _row(self, index: int) -> int:
        """`index` counted from the start. Raises IndexError."""
        return row_of(self, index)
