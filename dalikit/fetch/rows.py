"""Which samples a batch's rows are, in the words of errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError, SampleError
from dalikit.fetch.batch import place_of, show_indices

__all__ = ["Rows", "is_sized", "plain_index"]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a batch while it is read."""

    dataset: Any
    indices: Sequence[Any] | npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    worker: int | None = None
    """Of an iterable dataset in worker processes: whose; its indices count what this worker has read."""

    def tell(self, error: Exception, row: int, stage: str) -> None:
        """Adds to an error which sample was being worked on, and at what; its type and its own words stay."""
        index, position = self.indices[row], int(self.positions[row])
        if isinstance(error, SampleError):
            error.locate(place_of(self.dataset, index, position, stage))
        else:
            size = (
                f" of {len(self.dataset)} samples" if isinstance(error, IndexError) and is_sized(self.dataset) else ""
            )
            shown = plain_index(index)
            error.add_note(f"in {self._name()}{size}: index={shown!r}, position={position}{self._by()}, stage={stage}")

    def places(self, rows: Sequence[int], stage: str) -> list[str]:
        """Where samples lie, as far as their dataset can say, for a report that must not fail."""
        shown = []
        for row in rows:
            try:
                shown.append(str(place_of(self.dataset, self.indices[row], int(self.positions[row]), stage)))
            except Exception:  # the dataset's own
                continue
        return shown

    def tell_all(self, error: Exception, stage: str) -> None:
        """The same for what concerns the whole batch."""
        error.add_note(f"in {self._name()}: indices={show_indices(self.indices)}{self._by()}, stage={stage}")

    def check(self, items: Any, method: str) -> list[Any]:
        """What a method of the dataset gave for all rows, as a list.

        Raises:
            ArgumentError: it is no list, or of another length.
        """
        listed = None if isinstance(items, Mapping | str | bytes) else list(items)
        if listed is None or len(listed) != len(self.indices):
            came = f"a {type(items).__name__}" if listed is None else f"{len(listed)}"
            error = ArgumentError(
                f"{method} of {self._name()} was asked for {len(self.indices)} items and gave {came}: it must return a "
                "list of one item for each index, in the same order"
            )
            self.tell_all(error, "read")
            raise error
        return listed

    def _name(self) -> str:
        return type(self.dataset).__name__

    def _by(self) -> str:
        return "" if self.worker is None else f", worker={self.worker}"


def plain_index(index: Any) -> Any:
    """numpy's whole numbers as Python's, which a dataset can rely on; anything else as it is."""
    return int(index) if isinstance(index, np.integer) else index


def is_sized(dataset: Any) -> bool:
    """Whether a dataset has a length, and not only a method for it, as torch's iterable ones may."""
    try:
        return len(dataset) >= 0
    except (TypeError, NotImplementedError):
        return False
