"""How a transform's parameters are drawn: Philox words of (seed, position, view), turned into numbers.

Counter = (block, purpose << 16 | view, position low, position high), key = seed. Every step of a recipe has a purpose
of its own, made of its class and of how many steps of that class come before it, so that adding a step never shifts
what another one draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dalikit.transforms.philox import philox4x32

__all__ = ["Slot", "draw_words", "integers", "uniform"]

Words = npt.NDArray[np.uint32]

_TWO_POW_MINUS_32 = 2.0**-32


@dataclass(frozen=True, slots=True)
class Slot:
    """What one step draws for every sample: `num_blocks` blocks of four words under a purpose of its own."""

    purpose: int
    """16 bits: class number (low byte) and how many steps of that class come before (high byte)."""
    num_blocks: int
    view: int = 0
    """16 bits: which output image of the sample."""


def draw_words(seed: int, positions: npt.NDArray[np.int64], slots: tuple[Slot, ...]) -> list[Words]:
    """The random words of every slot, in one vectorised pass.

    Args:
        seed: the loader's seed, 0 <= seed < 2**64.
        positions: int64 (B,), global positions.
        slots: what is to be drawn.

    Returns:
        For each slot a uint32 array (B, num_blocks, 4).
    """
    blocks = np.concatenate([np.arange(slot.num_blocks, dtype=np.uint64) for slot in slots] or [np.empty(0, np.uint64)])
    purposes = np.repeat(
        np.array([slot.purpose << 16 | slot.view for slot in slots], dtype=np.uint64),
        [slot.num_blocks for slot in slots],
    )
    position = positions.astype(np.uint64)[:, None]
    counter = (
        blocks[None, :],
        purposes[None, :],
        position & np.uint64(0xFFFFFFFF),
        position >> np.uint64(32),
    )
    words = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    ends = np.cumsum([slot.num_blocks for slot in slots])
    return np.split(words, ends[:-1], axis=1) if slots else []


def uniform(words: Words, low: float = 0.0, high: float = 1.0) -> npt.NDArray[np.float64]:
    """float64 numbers in [low, high), one a word, of the words' shape."""
    return low + (high - low) * (words.astype(np.float64) * _TWO_POW_MINUS_32)


def integers(words: Words, bound: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """int64 numbers in [0, bound), one a word; `bound` (each >= 1) broadcasts against the words.

    Multiply and shift (D. Lemire, "Fast random integer generation in an interval", 2019) without rejection: at image
    sizes its bias is below 2**-16.
    """
    return ((words.astype(np.uint64) * np.asarray(bound, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)
