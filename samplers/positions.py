"""One number for a place in a pass: what all that is random about a sample follows from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplers.arguments import whole_number

__all__ = ["COUNT_STOP", "EPOCH_STOP", "PLACE_BITS", "position"]

PLACE_BITS = 40
"""A position is `epoch << PLACE_BITS | place`."""

COUNT_STOP = 1 << PLACE_BITS
"""Samples in a dataset and places in a pass stay below it."""

EPOCH_STOP = 1 << (63 - PLACE_BITS)
"""Epochs stay below it."""


def position(epoch: int, places: ArrayLike) -> NDArray[np.int64]:
    """The positions of `places` in pass `epoch`: `epoch << 40 | place`, one 64-bit number each.

    Endless samplers have one pass, epoch 0, in which the place counts on: there a position is the place itself, up
    to 2**63.

    Args:
        epoch: The pass, in [0, 2**23).
        places: Integers, of any shape; in [0, 2**40) for every epoch but 0.

    Returns:
        int64, shaped as `places`. Positions of different (epoch, place) differ, save that places from 2**40 on in
        epoch 0 reach into the numbers of later epochs: no sampler has both.

    Raises:
        TypeError: `places` are not integers, or `epoch` is none.
        ValueError: one of them is out of range.
    """
    epoch = whole_number("epoch", epoch, 0, EPOCH_STOP, "A position holds 23 bits of epoch.")
    given = np.asarray(places)
    if given.dtype.kind not in "iu" and given.size:
        raise TypeError(f"places have dtype {given.dtype}, but must be integers: pass what Sampler.places returns.")
    highest = COUNT_STOP if epoch else 2**63
    if given.size and (given.min() < 0 or given.max() >= highest):
        raise ValueError(
            f"places run from {given.min()} to {given.max()}, but must lie in [0, {highest}) in epoch {epoch}: "
            "pass what Sampler.places returns."
        )
    # An array keeps its shape: numpy makes scalars of 0-d results.
    return np.asarray(given.astype(np.int64) | np.int64(epoch << PLACE_BITS))
