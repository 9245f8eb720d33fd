"""Rows with the very bytes of an earlier one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DIGEST_SIZE", "candidates", "digest_of", "pairs"]

DIGEST_SIZE = 16
"""Bytes: no two of 10**12 different images have the same digest (a chance of 10**-15)."""

_CHUNK = 1 << 20  # rows at once, so that what is looked up takes no memory worth a word


def candidates(marks: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The rows whose mark another row has too.

    Args:
        marks: uint64 (n,): equal for equal bytes; 0: not to be looked at.

    Returns:
        int64 (m,), ascending.
    """
    ordered = np.sort(marks)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    repeated = repeated[repeated != 0]
    if repeated.size == 0:
        return np.empty(0, dtype=np.int64)
    del ordered
    found = [
        start + np.flatnonzero(np.isin(marks[start : start + _CHUNK], repeated))
        for start in range(0, len(marks), _CHUNK)
    ]
    return np.concatenate(found)


def digest_of(data: Any) -> bytes:
    """Of encoded bytes: blake2b, DIGEST_SIZE bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest()


def pairs(rows: npt.NDArray[np.int64], digests: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Each row that has an earlier one's digest, and the first that has it.

    Args:
        rows: int64 (m,), ascending.
        digests: uint64 (m, 2), in the same order; all zeros: the row could not be read.

    Returns:
        (row, first), by row.
    """
    order = np.lexsort((rows, digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    begins = np.ones(len(rows), dtype=np.bool_)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    firsts = np.empty(len(rows), dtype=np.int64)
    firsts[order] = rows[order][np.maximum.accumulate(np.where(begins, np.arange(len(rows)), 0))]
    known = (digests != 0).any(axis=1)
    for place in np.flatnonzero(known & (firsts != rows)).tolist():
        yield int(rows[place]), int(firsts[place])
