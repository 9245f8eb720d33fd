"""iBOT's masks: which patches of a crop the student does not see, as blocks.

The blocks are those of DINOv2's MaskingGenerator, which are BEiT's (H. Bao et al., "BEiT: BERT Pre-Training of Image
Transformers", 2021): rectangles of random area and shape, one upon another until enough patches are covered.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Iterator, Sequence
from itertools import chain
from numbers import Real
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError
from dalikit.transforms.draws import Draws, uniform
from dalikit.transforms.purposes import Purpose

__all__ = ["KeyedSource", "MaskingGenerator", "RandomSource"]

_ATTEMPTS = 10  # DINOv2's: how many blocks are tried before a mask is left as it is
_CHUNK = 1024  # blocks of four words drawn at a time: 0.2 ms; a batch's masks take some ten thousand words


class RandomSource(Protocol):
    """Where masks are drawn from: Python's module `random`, a `random.Random`, or a KeyedSource."""

    def uniform(self, a: float, b: float, /) -> float:
        """A number from a to b."""

    def randint(self, a: int, b: int, /) -> int:
        """A whole number from a to b, both included."""


class KeyedSource:
    """Numbers that follow from a key alone: the words of Philox, one after the other.

    Args:
        seed: the loader's, 0 <= seed < 2**64.
        position: global position; of a batch that of its first sample.
        purpose: what is drawn.
    """

    def __init__(self, seed: int, position: int, purpose: int = Purpose.MASKS) -> None:
        draws = Draws(seed, np.array([position], dtype=np.uint64), np.zeros(1, dtype=np.uint64), purpose)
        self._next = chain.from_iterable(_chunks(draws)).__next__

    def uniform(self, a: float, b: float, /) -> float:
        """A number in [a, b)."""
        return a + (b - a) * self._next()

    def randint(self, a: int, b: int, /) -> int:
        """A whole number from a to b, both included."""
        return a + int((b - a + 1) * self._next())


def _chunks(draws: Draws) -> Iterator[list[float]]:
    start = 0
    while True:
        yield uniform(draws.blocks(start, start + _CHUNK)).ravel().tolist()
        start += _CHUNK


class MaskingGenerator:
    """Draws masks of patches, as DINOv2's class of this name. Holds no state.

    With the same state of Python's `random` it draws the very masks that DINOv2's draws.

    Args:
        input_size: patches in a crop: (height, width), or one number for both.
        num_masking_patches: the largest block if `max_num_patches` is None.
        min_num_patches: the smallest block, in patches, before it is rounded. Default 4, as in DINOv2.
        max_num_patches: the largest block, in patches, not necessarily a whole number.
        min_aspect: smallest aspect ratio of a block (height / width). Default 0.3, as in BEiT and DINOv2.
        max_aspect: largest one; None: 1 / min_aspect.

    Raises:
        ArgumentError: an argument is out of range, or neither of the largest blocks is given.
    """

    def __init__(
        self,
        input_size: int | tuple[int, int],
        num_masking_patches: int | None = None,
        min_num_patches: float = 4,
        max_num_patches: float | None = None,
        min_aspect: float = 0.3,
        max_aspect: float | None = None,
    ) -> None:
        self.height, self.width = _check_size(input_size)
        self.num_patches = self.height * self.width
        self.num_masking_patches = num_masking_patches
        self.min_num_patches = _check_positive("min_num_patches", min_num_patches)
        largest = num_masking_patches if max_num_patches is None else max_num_patches
        if largest is None:
            raise ArgumentError("max_num_patches=None: must be given, or num_masking_patches instead of it")
        self.max_num_patches = _check_positive("max_num_patches", largest)
        low = _check_positive("min_aspect", min_aspect)
        high = _check_positive("max_aspect", 1 / low if max_aspect is None else max_aspect)
        if low > high:
            raise ArgumentError(f"min_aspect={min_aspect!r}: must not be above max_aspect={high!r}")
        self.log_aspect_ratio = (math.log(low), math.log(high))
        # A mask is one number, a bit a patch, rows one after the other: drawing it takes no array.
        self._columns = [sum(1 << row * self.width for row in range(height)) for height in range(self.height + 1)]

    def get_shape(self) -> tuple[int, int]:
        """Patches of a crop: (height, width)."""
        return self.height, self.width

    def __repr__(self) -> str:
        """The size, and what blocks may be."""
        aspects = " ~ ".join(f"{math.exp(number):.3f}" for number in self.log_aspect_ratio)
        return (
            f"MaskingGenerator({self.height}, {self.width}, blocks of [{self.min_num_patches:g} ~ "
            f"{self.max_num_patches:g}] patches, aspect ratios {aspects})"
        )

    def __call__(self, num_masking_patches: int = 0, source: RandomSource | None = None) -> npt.NDArray[np.bool_]:
        """Draws one mask.

        Args:
            num_masking_patches: how many patches to cover, at most; fewer are if no further block fits.
            source: where it is drawn from; None: Python's `random`, as in DINOv2.

        Returns:
            bool (height, width), True where masked.
        """
        mask: npt.NDArray[np.bool_] = self.masks([num_masking_patches], random if source is None else source)[0]
        return mask

    def masks(self, nums_masking_patches: Sequence[int], source: RandomSource) -> npt.NDArray[np.bool_]:
        """Draws several masks, one after the other: bool (len(nums_masking_patches), height, width)."""
        size = -(-self.num_patches // 8)
        packed = b"".join(self._draw(number, source).to_bytes(size, "little") for number in nums_masking_patches)
        octets = np.frombuffer(packed, dtype=np.uint8).reshape(len(nums_masking_patches), size)
        bits = np.unpackbits(octets, axis=1, count=self.num_patches, bitorder="little")
        return bits.view(np.bool_).reshape(-1, self.height, self.width)

    def _draw(self, number: int, source: RandomSource) -> int:
        mask, count = 0, 0
        while count < number:
            block = self._draw_block(mask, min(number - count, self.max_num_patches), source)
            if not block:
                break
            mask |= block
            count = mask.bit_count()
        return mask

    def _draw_block(self, mask: int, most: float, source: RandomSource) -> int:
        """A block that covers at least one further patch and at most `most`; 0 if none is found."""
        for _ in range(_ATTEMPTS):
            area = source.uniform(self.min_num_patches, most)
            aspect = math.exp(source.uniform(*self.log_aspect_ratio))
            height = round(math.sqrt(area * aspect))
            width = round(math.sqrt(area / aspect))
            if height < self.height and width < self.width:
                top = source.randint(0, self.height - height)
                left = source.randint(0, self.width - width)
                block = ((1 << width) - 1) * self._columns[height] << top * self.width + left
                if 0 < (block & ~mask).bit_count() <= most:
                    return block
        return 0


def _check_size(value: Any) -> tuple[int, int]:
    sides = value if isinstance(value, tuple | list) else (value, value)
    try:
        height, width = (operator.index(side) for side in sides)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise ArgumentError(f"input_size={value!r}: must be (height, width) in patches, or one number of at least 1")
    return height, width


def _check_positive(name: str, value: Any) -> float:
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if not 0 < number < math.inf:
        raise ArgumentError(f"{name}={value!r}: must be a number above 0")
    return number
