"""What takes the place of an excluded row: a rule from the position alone."""

from __future__ import annotations

import hashlib
import operator
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import IterableDataset

from dalikit.errors import ArgumentError, SampleError
from dalikit.exclusion.lists import read_exclusion
from dalikit.fetch import Request
from dalikit.fetch.batch import place_of, show_indices
from dalikit.fetch.rows import is_sized
from dalikit.transforms.philox import philox4x32
from dalikit.transforms.purposes import Purpose

__all__ = ["ATTEMPTS", "Exclusion", "make_exclusion", "replacements"]

ATTEMPTS = 32  # beyond: with half of all rows excluded one in 4 billion gets so far
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def replacements(seed: int, positions: npt.ArrayLike, attempt: int, count: int) -> npt.NDArray[np.int64]:
    """Which rows stand in for bad ones: uniform over all, whichever they replace.

    The first 64 bits of Philox4x32-10 with key = seed and counter = (attempt, REPLACEMENT << 16, position low, position
    high), modulo the number of rows.

    Args:
        seed: the loader's.
        positions: (R,), global positions, not negative.
        attempt: 0, then 1 for those whose replacement is bad too, and so on.
        count: rows of the dataset.

    Returns:
        int64 (R,).
    """
    words = _words(seed, np.asarray(positions).astype(np.uint64), attempt)
    return (words % np.uint64(count)).astype(np.int64)


class Exclusion:
    """Rows that are left out of all batches; others take their places.

    Args:
        indices: int64 (m,), ascending, each once, from 0 to count - 1.
        count: rows of the dataset.

    Raises:
        ArgumentError: all rows are excluded.
    """

    def __init__(self, indices: npt.NDArray[np.int64], count: int) -> None:
        if len(indices) >= count:
            raise ArgumentError(f"exclude: all {count} rows of the dataset are excluded; nothing is left to load")
        self.indices = indices
        self.count = count

    def __len__(self) -> int:
        """How many rows are excluded."""
        return len(self.indices)

    def __repr__(self) -> str:
        """How many, and of how many."""
        return f"Exclusion({len(self)} of {self.count} rows)"

    @property
    def fingerprint(self) -> str:
        """How many rows, and a hash of them: "12 rows, 91d2a0b3c4e5f607". Stands in checkpoints."""
        digest = hashlib.blake2b(self.indices.astype("<i8").tobytes(), digest_size=8)
        return f"{len(self)} rows, {digest.hexdigest()}"

    def covers(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of some rows are excluded: bool (B,)."""
        places = np.searchsorted(self.indices, indices)
        places[places == len(self.indices)] = 0
        return np.asarray(self.indices[places] == indices)

    def apply(self, request: Request, *, seed: int) -> Request:
        """Puts other rows in the places of excluded ones: any good row of the dataset, by `replacements`.

        For samplers of the package `samplers`, which draw from all rows: the same whatever the batch size, the number
        of ranks, and where a run was cut.

        Args:
            request: with int64 indices.
            seed: the loader's.
        """
        indices = np.asarray(request.indices, dtype=np.int64)
        hit = np.flatnonzero(self.covers(indices))
        if not len(hit):
            return request
        indices = indices.copy()
        for attempt in range(ATTEMPTS):
            indices[hit] = replacements(seed, request.positions[hit], attempt, self.count)
            hit = hit[self.covers(indices[hit])]
            if not len(hit):
                break
        else:
            # Nearly all are excluded: one of those that are left.
            indices[hit] = self.last_resort(seed, request.positions[hit])
        return request._replace(indices=indices)

    def last_resort(self, seed: int, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """What stands in where all of `ATTEMPTS` replacements are excluded: one of those that are left."""
        return self._kept(replacements(seed, positions, ATTEMPTS, self.count - len(self)))

    def apply_within(self, request: Request, *, seed: int, dataset: Any) -> Request:
        """Puts other samples of the same batch in the places of excluded ones.

        For torch-style samplers, of which nobody knows what they draw from. What stands in depends on the batch, so on
        its size and on the number of ranks.

        Args:
            request: with a list of indices.
            seed: the loader's.
            dataset: for messages.

        Raises:
            ArgumentError: an index is no whole number.
            SampleError: every sample of the batch is excluded.
        """
        rows = np.array([self._row(index) for index in request.indices], dtype=np.int64)
        excluded = self.covers(rows)
        hit, good = np.flatnonzero(excluded), np.flatnonzero(~excluded)
        if not len(hit):
            return request
        if not len(good):
            raise SampleError(
                f"every sample of the batch is excluded (indices {show_indices(request.indices)}), and a torch-style "
                "sampler does not say which others could take their place; leave them out of the sampler, or use one "
                "of the package samplers",
                place_of(dataset, request.indices[0], int(request.positions[0]), "exclude"),
            )
        indices = list(request.indices)
        chosen = good[replacements(seed, request.positions[hit], 0, len(good))]
        for place, other in zip(hit.tolist(), chosen.tolist(), strict=True):
            indices[place] = request.indices[other]
        return request._replace(indices=indices)

    def _row(self, index: Any) -> int:
        """An index counted from the start, as datasets do it."""
        try:
            row = operator.index(index)
        except TypeError:
            raise ArgumentError(
                f"exclude: takes a sampler that yields whole numbers, came {index!r}; leave the rows out of the sampler"
            ) from None
        return row + self.count if row < 0 else row

    def _kept(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows with those numbers among the ones that are not excluded."""
        before = self.indices - np.arange(len(self.indices))  # how many are kept before each excluded one
        return numbers + np.searchsorted(before, numbers, side="right")


def make_exclusion(exclude: Any, dataset: Any) -> Exclusion | None:
    """What a loader's `exclude` asks for (see `read_exclusion`). None: nothing is left out.

    Raises:
        ArgumentError: the list cannot be read, is of another dataset, or names every row; or the dataset is iterable or
            has no length.
    """
    if exclude is None:
        return None
    if isinstance(dataset, IterableDataset) or not is_sized(dataset):
        raise ArgumentError(
            f"exclude: names rows, and dataset {type(dataset).__name__} has none that could be asked for: it is "
            "iterable or has no length; leave bad items out of what it gives"
        )
    indices = read_exclusion(exclude, dataset)
    return Exclusion(indices, len(dataset)) if len(indices) else None


def _words(seed: int, positions: npt.NDArray[np.uint64], attempt: int) -> npt.NDArray[np.uint64]:
    """uint64 (R,)."""
    purpose = int(Purpose.REPLACEMENT) << 16
    counter = (np.uint64(attempt), np.uint64(purpose), positions & _LOW, positions >> _HALF)
    words = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32)).astype(np.uint64)
    return np.asarray(words[:, 0] | words[:, 1] << _HALF)
