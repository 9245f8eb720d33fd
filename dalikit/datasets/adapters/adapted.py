"""What the adapted datasets whose rows are not plain files have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dalikit.datasets.base import Encoded, row_of
from dalikit.datasets.looking import item_of
from dalikit.errors import ArgumentError, Place

__all__ = ["AdaptedDataset", "Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """What `as_encoded` was given beside the dataset."""

    image: str | None = None
    target: str | None = None
    transform: Any = None
    target_transform: Callable[[Any], Any] | None = None

    def refuse_columns(self, dataset: Any) -> None:
        """Raises ArgumentError if a column was asked for, of a dataset that has none."""
        for name in ("image", "target"):
            if getattr(self, name) is not None:
                raise ArgumentError(
                    f"as_encoded({type(dataset).__name__}): {name}={getattr(self, name)!r}: its items are pairs "
                    "(image, target), without named columns; leave it out"
                )


class AdaptedDataset(ABC):
    """Rows of another package's dataset: encoded bytes and a target. Negative indices count from the end.

    Args:
        dataset: the other package's.
        transform: what is done to an image; carried out by the loader.
        target_transform: a callable for the target.
    """

    def __init__(self, dataset: Any, transform: Any, target_transform: Callable[[Any], Any] | None) -> None:
        self.dataset = dataset
        self.transform = transform
        self.target_transform = target_transform

    @abstractmethod
    def __len__(self) -> int:
        """How many rows."""

    @abstractmethod
    def get_image_data(self, index: int) -> Encoded:
        """The encoded bytes of row `index`. Raises IndexError, or ReadError with the row's place."""

    @abstractmethod
    def get_target(self, index: int) -> Any:
        """The target of row `index`, before `target_transform`. Raises IndexError."""

    @abstractmethod
    def get_key(self, index: int) -> str:
        """The name of row `index`. Raises IndexError."""

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """The image of row `index`, decoded by Pillow, after `transform` if that is a plain callable; and the target
        after `target_transform`. For looking at single rows and for torch's own DataLoader.

        Raises:
            IndexError: there is no such row.
            ReadError: its bytes cannot be read.
            DecodeError: they are no image that Pillow decodes.
        """
        return item_of(self, index, lambda: self._place(self._row(index), "decode"))

    def __repr__(self) -> str:
        """What it stands for, and how much is in it."""
        return f"{type(self).__name__}({type(self.dataset).__name__}, num_samples={len(self)})"

    def _place(self, row: int, stage: str, file: str | None = None) -> Place:
        """Where a row lies."""
        return Place(dataset=type(self).__name__, index=row, key=self.get_key(row), file=file, stage=stage)

    def _row(self, index: int) -> int:
        """`index` counted from the start. Raises IndexError."""
        return row_of(self, index)
