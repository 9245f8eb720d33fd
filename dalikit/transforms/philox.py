"""Philox4x32-10, the counter-based generator of all of dalikit's randomness, in numpy.

A counter-based generator has no state: word k of sample p is a pure function of (seed, p, k). That is what lets a
resumed run, another batch size, or a single sample replayed offline draw the same augmentation parameters.

Source: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11; the
multipliers, Weyl constants and known-answer vectors are those of Random123.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["philox4x32"]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(
    counter: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike, npt.ArrayLike], key: tuple[int, int]
) -> npt.NDArray[np.uint32]:
    """The four 32-bit words that Philox4x32-10 makes of each counter.

    Args:
        counter: four arrays of 32-bit words, lowest first, that broadcast to one shape.
        key: two 32-bit words, lowest first.

    Returns:
        uint32 array of the counters' broadcast shape with one more axis of length 4.
    """
    # Not broadcast at first: what is the same for a whole axis is multiplied once.
    c0, c1, c2, c3 = (np.asarray(word, dtype=np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0 = c0 * _MULTIPLIERS[0]
        product1 = c2 * _MULTIPLIERS[1]
        c0 = (product1 >> _HALF) ^ (c1 ^ np.uint64(k0))
        c1 = product1 & _LOW
        c2 = (product0 >> _HALF) ^ (c3 ^ np.uint64(k1))
        c3 = product0 & _LOW
        k0 = (k0 + _WEYL[0]) & 0xFFFFFFFF
        k1 = (k1 + _WEYL[1]) & 0xFFFFFFFF
    out = np.empty((*np.broadcast_shapes(c0.shape, c1.shape, c2.shape, c3.shape), 4), dtype=np.uint32)
    for column, word in enumerate((c0, c1, c2, c3)):
        out[..., column] = word
    return out
