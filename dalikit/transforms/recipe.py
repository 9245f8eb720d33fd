"""A transform, checked as a whole and brought down to operations: what both executors build from.

Compose([RandomResizedCrop(224), RandomHorizontalFlip(), ToTensor(), Normalize(m, s)])
  operations  Crop(column 0..3)  Resize(column 4..5)  Flip(column 6)
  output      value * scale + shift
  parameters  float32 [B, 7], drawn from (seed, position)
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError
from dalikit.transforms.base import Sizes, Transform
from dalikit.transforms.compose import Compose
from dalikit.transforms.conversion import Decode, Normalize, ToTensor
from dalikit.transforms.draws import Slot, draw_words
from dalikit.transforms.operations import Crop, Operation, Output, Resize

__all__ = ["Parameters", "Recipe", "compile_recipe"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What was drawn for a batch."""

    matrix: npt.NDArray[np.float32]
    """float32 (B, P): one row a sample; an operation names its columns. Whole numbers below 2**24, so exact."""
    sizes: Sizes
    """The sizes of the images that come out."""


@dataclass(frozen=True, slots=True)
class _Step:
    transform: Transform
    slot: int | None
    column: int


@dataclass(frozen=True)
class Recipe:
    """A transform as operations. Made by `compile_recipe`; frozen, picklable, thread-safe."""

    decode: Decode
    operations: tuple[Operation, ...]
    output: Output
    num_columns: int
    """P, the width of the parameter matrix."""
    description: str
    """The transform's repr: the same text means the same recipe."""
    _steps: tuple[_Step, ...] = field(repr=False)
    _slots: tuple[Slot, ...] = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the description: stands in checkpoints."""
        return hashlib.blake2b(self.description.encode(), digest_size=8).hexdigest()

    def draw(self, seed: int, positions: npt.NDArray[np.int64], sizes: Sizes) -> Parameters:
        """Draws the parameters of a batch: a pure function of seed, positions and sizes.

        Args:
            seed: the loader's seed.
            positions: int64 (B,), global positions.
            sizes: of the decoded images.

        Raises:
            TransformRefusalError: a transform cannot be applied to one of the images.
        """
        matrix = np.empty((len(positions), self.num_columns), dtype=np.float32)
        words = draw_words(seed, positions, self._slots)
        nothing = np.empty((len(positions), 0, 4), dtype=np.uint32)
        for step in self._steps:
            step_words = nothing if step.slot is None else words[step.slot]
            columns, sizes = step.transform.draw(step_words, sizes)
            for offset, column in enumerate(columns):
                matrix[:, step.column + offset] = column
        return Parameters(matrix, sizes)


def compile_recipe(transform: Any) -> Recipe:
    """Checks a transform as a whole and brings it down to operations.

    Args:
        transform: a dalikit transform, or None: the decoded image as it is, uint8.

    Raises:
        ArgumentError: it is no dalikit transform, or its steps do not fit together.
    """
    if transform is not None and not isinstance(transform, Transform):
        raise ArgumentError(
            f"transform={transform!r}: must be a transform of dalikit.transforms or None, "
            f"came {type(transform).__module__}.{type(transform).__qualname__}"
        )
    flat = Compose([] if transform is None else [transform]).flat()
    decode, rest = (flat[0], flat[1:]) if flat and isinstance(flat[0], Decode) else (Decode(), flat)
    geometric, tail = _split(rest)
    steps, slots, operations, num_columns = _lay_out(geometric)
    return Recipe(
        decode=decode,
        operations=operations,
        output=_output(tail),
        num_columns=num_columns,
        description=repr(transform),
        _steps=steps,
        _slots=slots,
    )


def _split(steps: tuple[Transform, ...]) -> tuple[list[Transform], list[Transform]]:
    """The steps on uint8 images, and the conversion at the end.

    A flip or an inner crop after ToTensor gives the same values as before it, and is moved there. What would not is
    refused.
    """
    geometric: list[Transform] = []
    tail: list[Transform] = []
    for step in steps:
        if isinstance(step, Decode):
            raise ArgumentError("Decode: must be the first step of the transform")
        if isinstance(step, ToTensor | Normalize):
            tail.append(step)
            continue
        if tail and not all(_moves_pixels_only(operation) for operation in step.operations(0)):
            raise ArgumentError(f"{step!r}: must come before {type(tail[0]).__name__}; it works on uint8 images")
        geometric.append(step)
    return geometric, tail


def _moves_pixels_only(operation: Operation) -> bool:
    if isinstance(operation, Crop):
        return operation.fill is None
    return not isinstance(operation, Resize)


def _lay_out(
    steps: list[Transform],
) -> tuple[tuple[_Step, ...], tuple[Slot, ...], tuple[Operation, ...], int]:
    """Gives every step its purpose in the random counter and its columns in the matrix."""
    laid: list[_Step] = []
    slots: list[Slot] = []
    operations: list[Operation] = []
    seen: Counter[int] = Counter()
    column = 0
    for step in steps:
        slot = None
        if step.num_blocks:
            if seen[step.purpose] > 255:
                raise ArgumentError(f"{type(step).__name__}: at most 256 in one transform")
            slot = len(slots)
            slots.append(Slot(step.purpose | seen[step.purpose] << 8, step.num_blocks))
            seen[step.purpose] += 1
        laid.append(_Step(step, slot, column))
        operations.extend(step.operations(column))
        column += step.num_columns
    return tuple(laid), tuple(slots), tuple(operations), column


def _output(tail: list[Transform]) -> Output:
    """Folds ToTensor and every Normalize into one multiplication and one addition a channel."""
    if not tail:
        return Output()
    if not isinstance(tail[0], ToTensor):
        raise ArgumentError(f"{tail[0]!r}: must come after ToTensor; it works on floating point")
    scale = np.full(3, 1.0 / 255.0)
    shift = np.zeros(3)
    for step in tail[1:]:
        if not isinstance(step, Normalize):
            raise ArgumentError("ToTensor: must stand only once in a transform")
        scale, shift = scale / step.std, (shift - step.mean) / step.std
    return Output(scale=_triple(scale), shift=_triple(shift))


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
