"""Values of Arrow's binary arrays as views of their memory: Arrow's own scalars are copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BINARY", "BinaryValues"]

BINARY = ("binary", "large_binary")
"""Arrow's types of arrays that are read here, as text."""


class BinaryValues:
    """The values of one binary array. Thread-safe; keeps the array's memory alive.

        validity  1 0 1        a bit a value; none if all are valid     Arrow columnar format 1.4,
        offsets   0 3 3 7      where each begins, and the last ends     "Variable-size Binary Layout"
        data      aaabbbb

    Args:
        array: a pyarrow BinaryArray or LargeBinaryArray; may be a slice of another.
    """

    __slots__ = ("_data", "_offsets", "_start", "_validity", "array")

    def __init__(self, array: Any) -> None:
        self.array = array
        validity, offsets, data = array.buffers()
        kind = np.dtype("<i4") if str(array.type) == "binary" else np.dtype("<i8")
        self._start: int = array.offset
        self._validity = None if validity is None or array.null_count == 0 else memoryview(validity).cast("B")
        self._offsets: npt.NDArray[Any] = np.frombuffer(offsets, dtype=kind) if len(array) else np.empty(0, dtype=kind)
        self._data = memoryview(b"") if data is None else memoryview(data).cast("B")

    def __len__(self) -> int:
        """How many values."""
        return len(self.array)

    def __getitem__(self, place: int) -> memoryview | None:
        """A value, 0 to len - 1 (not checked); None: null."""
        place += self._start
        if self._validity is not None and not self._validity[place >> 3] >> (place & 7) & 1:
            return None
        start, stop = self._offsets[place : place + 2].tolist()
        return self._data[start:stop]
