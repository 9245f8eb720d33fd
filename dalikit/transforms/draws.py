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

__all__ = ["Draws", "Slot", "Words", "draw_slots", "integers", "uniform"]

Words = npt.NDArray[np.uint32]

_TWO_POW_MINUS_32 = 2.0**-32
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Slot:
    """What one step draws for every sample, under a purpose of its own."""

    purpose: int
    """16 bits: class number (low byte) and how many steps of that class come before (high byte)."""
    num_blocks: int
    """How many blocks of four words every sample needs; they are drawn together with those of the other slots."""


class Draws:
    """The random words of one step, a row a sample (and view): block `k` of a row is a pure function of what it is for.

    Args:
        seed: the loader's seed.
        positions: uint64 (R,), global positions.
        views: uint64 (R,), number of the output image.
        purpose: of the step.
        ready: uint32 (R, blocks, 4), the first blocks.
    """

    __slots__ = ("_positions", "_purpose", "_ready", "_seed", "_views")

    def __init__(
        self,
        seed: int,
        positions: npt.NDArray[np.uint64],
        views: npt.NDArray[np.uint64],
        purpose: int,
        ready: Words | None = None,
    ) -> None:
        self._seed = seed
        self._positions = positions
        self._views = views
        self._purpose = purpose
        self._ready = np.empty((len(positions), 0, 4), dtype=np.uint32) if ready is None else ready

    def __len__(self) -> int:
        """How many rows."""
        return len(self._positions)

    def words(self, block: int = 0) -> Words:
        """uint32 (R, 4): one block of every row."""
        if block < self._ready.shape[1]:
            return self._ready[:, block]
        return self.blocks(block, block + 1)[:, 0]

    def blocks(self, start: int, stop: int) -> Words:
        """uint32 (R, stop - start, 4): several blocks of every row."""
        if stop <= self._ready.shape[1]:
            return self._ready[:, start:stop]
        low = np.uint64(self._purpose << 16) | self._views
        return _philox(self._seed, np.arange(start, stop, dtype=np.uint64), low[:, None], self._positions[:, None])

    def of(self, rows: npt.NDArray[np.int64]) -> Draws:
        """The same for some of the rows, in the order given."""
        return Draws(self._seed, self._positions[rows], self._views[rows], self._purpose, self._ready[rows])


def draw_slots(
    seed: int, positions: npt.NDArray[np.int64], views: npt.NDArray[np.int64], slots: tuple[Slot, ...]
) -> list[Draws]:
    """The random words of every slot, in one vectorised pass.

    Args:
        seed: the loader's seed, 0 <= seed < 2**64.
        positions: int64 (R,), global positions.
        views: int64 (R,), number of the output image, 0 <= view < 2**16.
        slots: what is to be drawn.
    """
    rows, row_views = positions.astype(np.uint64), views.astype(np.uint64)
    if not slots:
        return []
    # (1, all blocks of all slots)
    blocks = np.concatenate([np.arange(slot.num_blocks, dtype=np.uint64) for slot in slots])[None]
    purposes = np.repeat(
        np.array([slot.purpose << 16 for slot in slots], dtype=np.uint64), [slot.num_blocks for slot in slots]
    )[None]
    words = _philox(seed, blocks, purposes | row_views[:, None], rows[:, None])
    stops = np.cumsum([slot.num_blocks for slot in slots]).tolist()
    return [
        Draws(seed, rows, row_views, slot.purpose, words[:, stop - slot.num_blocks : stop])
        for slot, stop in zip(slots, stops, strict=True)
    ]


def _philox(seed: int, block: npt.ArrayLike, low: npt.ArrayLike, position: npt.NDArray[np.uint64]) -> Words:
    return philox4x32((block, low, position & _LOW, position >> _HALF), (seed & 0xFFFFFFFF, seed >> 32))


def uniform(words: Words, low: float = 0.0, high: float = 1.0) -> npt.NDArray[np.float64]:
    """float64 numbers in [low, high), one a word, of the words' shape."""
    return low + (high - low) * (words.astype(np.float64) * _TWO_POW_MINUS_32)


def integers(words: Words, bound: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """int64 numbers in [0, bound), one a word; `bound` (each >= 1) broadcasts against the words.

    Multiply and shift (D. Lemire, "Fast random integer generation in an interval", 2019) without rejection: at image
    sizes its bias is below 2**-16.
    """
    return ((words.astype(np.uint64) * np.asarray(bound, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)
