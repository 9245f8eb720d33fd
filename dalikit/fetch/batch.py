"""A batch of encoded samples: what fetching makes and executors take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.codec import Header
from dalikit.errors import Place
from dalikit.storage import Arena

__all__ = ["EncodedBatch"]


@dataclass(slots=True)
class EncodedBatch:
    """B encoded samples, in the sampler's order.

    The bytes of local files lie in one arena, which goes back to its pool once the batch is decoded.
    """

    dataset: Any
    indices: npt.NDArray[np.int64]
    """int64 (B,)."""
    positions: npt.NDArray[np.int64]
    """int64 (B,)."""
    data: list[npt.NDArray[np.uint8]]
    """B arrays uint8 (n,): the encoded bytes."""
    headers: list[Header]
    targets: list[Any]
    arena: Arena | None

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
        dataset, index = self.dataset, int(self.indices[row])
        location = dataset.get_location(index) if hasattr(dataset, "get_location") else None
        return Place(
            dataset=type(dataset).__name__,
            index=index,
            position=int(self.positions[row]),
            key=dataset.get_key(index) if hasattr(dataset, "get_key") else None,
            file=location.uri if location is not None else None,
            offset=location.offset if location is not None and location.offset else None,
            stage=stage,
        )
