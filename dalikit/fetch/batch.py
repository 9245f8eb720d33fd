"""What fetching is asked for, and what it makes: batches of images for an executor, or batches of anything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dalikit.codec import Header
from dalikit.errors import Place, SampleError
from dalikit.items import PAIR, Layout
from dalikit.storage import Arena
from dalikit.storage.remote.address import redact

__all__ = ["ImageBatch", "OtherBatch", "Request", "place_of", "show_indices"]

_SHOWN = 8
"""How many indices of a batch a message shows."""


class Request(NamedTuple):
    """The samples of one batch."""

    indices: Sequence[Any] | npt.NDArray[np.int64]
    """B rows of the dataset: int64, or whatever a torch-style sampler yields. Empty for iterable datasets, which say
    themselves what comes next."""
    positions: npt.NDArray[np.int64]
    """int64 (B,): global positions; empty for iterable datasets."""
    taken: int
    """How far into the pass the user is once this batch is theirs, as the loader's order counts."""
    passes: int = 0
    """The pass that the batch belongs to."""
    batched: bool = True
    """False: the one item of this request is what the user gets, not a list of one (torch's batch_size=None)."""
    state: Any = None
    """What the order needs, beside `taken`, to go on after this batch; JSON-able."""

    def show(self) -> str:
        """For messages: "indices [5, 3, 8, ...] (256)"."""
        return f"indices {show_indices(self.indices)}"


@dataclass(slots=True)
class ImageBatch:
    """B images with their targets, in the sampler's order: what executors take.

    The bytes of local files lie in one arena, which goes back to its pool once the batch is decoded.
    """

    dataset: Any
    indices: Sequence[Any] | npt.NDArray[np.int64]
    """B rows of the dataset; int64 (B,) but for torch-style samplers."""
    positions: npt.NDArray[np.int64]
    """int64 (B,)."""
    data: list[npt.NDArray[np.uint8]]
    """B arrays: uint8 (n,), the encoded bytes; or, if `decoded`, uint8 (height, width, 3), RGB, contiguous."""
    headers: list[Header]
    """B; of decoded images only the size is known."""
    targets: Any
    """A list of B, each what an item holds beside its image (see `layout`); or, if `collated`, those as a batch."""
    arena: Arena | None = None
    layout: Layout = PAIR
    """Where in an item the image was."""
    decoded: bool = False
    collated: bool = False
    batched: bool = True
    """The request's."""
    taken: int = 0
    """The request's."""
    state: Any = None
    """The request's; of an iterable dataset its own."""
    owner: Any = None
    """What keeps the memory of `data` alive, if that is not the arena."""
    errors: dict[int, SampleError] = field(default_factory=dict)
    """Rows that cannot be used, and why: only where a bad sample does not end the run. What else the batch holds at
    these rows means nothing."""

    def __len__(self) -> int:
        """B."""
        return len(self.indices)

    def heights(self) -> npt.NDArray[np.int64]:
        """int64 (B,), in pixels."""
        return np.fromiter((header.height for header in self.headers), dtype=np.int64, count=len(self))

    def widths(self) -> npt.NDArray[np.int64]:
        """int64 (B,), in pixels."""
        return np.fromiter((header.width for header in self.headers), dtype=np.int64, count=len(self))

    def place(self, row: int, stage: str) -> Place:
        """Where the sample in a row lies, as far as its dataset can say."""
        return place_of(self.dataset, self.indices[row], int(self.positions[row]), stage)


@dataclass(slots=True)
class OtherBatch:
    """A batch of what is no image, collated: it goes to the user as it is, its tensors to the device."""

    value: Any
    first_position: int = 0
    taken: int = 0
    state: Any = None
    indices: Sequence[Any] | npt.NDArray[np.int64] = ()
    """The request's; of an iterable dataset the counts of its items."""

    def show(self) -> str:
        """For messages."""
        return f"indices {show_indices(self.indices)}"


def place_of(dataset: Any, index: Any, position: int | None, stage: str) -> Place:
    """Where a sample lies, as far as its dataset can say; `index` may be any torch-style sampler's."""
    whole = isinstance(index, int | np.integer)
    location = _asked(dataset, "get_location", index) if whole else None
    key = _asked(dataset, "get_key", index) if whole else None
    return Place(
        dataset=type(dataset).__name__,
        index=int(index) if whole else None,
        position=position,
        key=key if whole else str(index),
        file=redact(location.uri) if location is not None else None,
        offset=location.offset if location is not None and location.offset else None,
        stage=stage,
    )


def _asked(dataset: Any, method: str, index: Any) -> Any:
    """What a dataset says of a row; None: it has no such method, or that fails, as it may for a bad row."""
    try:
        return getattr(dataset, method)(int(index)) if hasattr(dataset, method) else None
    except Exception:
        return None


def show_indices(indices: Sequence[Any] | npt.NDArray[np.int64]) -> str:
    """The first few, and how many."""
    first = [int(index) if isinstance(index, np.integer) else index for index in indices[:_SHOWN]]
    if len(indices) <= _SHOWN:
        return str(first)
    return f"{str(first)[:-1]}, ...] ({len(indices)})"
