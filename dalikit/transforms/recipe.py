"""A transform, checked as a whole and brought down to operations: what both executors build from.

Compose([RandomResizedCrop(224), RandomHorizontalFlip(), ToTensor(), Normalize(m, s)])
  operations  Crop(column 0..3)  Resize(column 4..5)  Flip(column 6)
  output      value * scale + shift
  parameters  float32 [B, 7], drawn from (seed, position, view)

MultiCrop([Views("global_crops", g, count=2), Views("local_crops", l, count=8)])
  groups      global_crops: 2 views, local_crops: 8 views, each with operations and an output of its own
  parameters  float32 [B, 2 * P(g) + 8 * P(l)]
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.transforms.base import Sizes, TransformRefusalError
from dalikit.transforms.conversion import Decode
from dalikit.transforms.layout import Family
from dalikit.transforms.operations import Operation, Output

__all__ = ["SHARED_VIEW", "Branch", "Group", "Parameters", "Recipe", "View"]

SHARED_VIEW = 0xFFFF
"""The view number under which the steps before a MultiCrop draw."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What was drawn for a batch."""

    matrix: npt.NDArray[np.float32]
    """float32 (B, P): one row a sample; an operation names its columns."""
    sizes: tuple[tuple[Sizes, ...], ...]
    """The sizes of the images that come out: for each group, for each of its views."""


@dataclass(frozen=True, slots=True)
class View:
    """One output image of a sample."""

    operations: tuple[Operation, ...]
    output: Output


@dataclass(frozen=True, slots=True)
class Group:
    """Views that come out as one tensor."""

    name: str | None
    """Its key in the batch; None: the batch's images are this group's only view."""
    views: tuple[View, ...]

    @property
    def floating(self) -> bool:
        """Whether the tensor is floating point: the same for all its views."""
        return self.views[0].output.floating


@dataclass(frozen=True, slots=True)
class Branch:
    """A family and the views that it is drawn for."""

    family: Family
    start: int
    """Its first column in the matrix."""
    first_view: int
    num_views: int

    def rows_of(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Its part of the matrix (B, P) with a row a view and sample: (num_views * B, columns), view-major."""
        width = self.family.num_columns
        block = matrix[:, self.start : self.start + self.num_views * width]
        by_view = np.ascontiguousarray(block.reshape(len(matrix), self.num_views, width).swapaxes(0, 1))
        return by_view.reshape(self.num_views * len(matrix), width)  # not -1: the width may be 0


@dataclass(frozen=True)
class Recipe:
    """A transform as operations. Made by `compile_recipe`; frozen, picklable, thread-safe."""

    decode: Decode
    function: Callable[[Any], Any] | None
    """A user's function that has the image before all else, on the CPU."""
    shared: tuple[Operation, ...]
    """What is done once, before the views part."""
    groups: tuple[Group, ...]
    num_columns: int
    """P, the width of the parameter matrix."""
    description: str
    """The transform's repr without memory addresses. The same text means the same recipe, but for what is not in it: of
    a constant or a callable object what its repr leaves out, of a function in OnCPU its defaults, closure and what it
    calls (its name and bytecode are there, which another version of Python compiles otherwise)."""
    aliases: tuple[tuple[str, str], ...] = ()
    constants: tuple[tuple[str, Any], ...] = ()
    mixing: Any = None
    """A MixUp or CutMix, or a choice between such, that the loader does to the finished batch; or None."""
    trunk: Branch | None = field(repr=False, default=None)
    """What draws for `shared`."""
    branches: tuple[Branch, ...] = field(repr=False, default=())
    """What draws for the views, in their order."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the description: stands in checkpoints."""
        return hashlib.blake2b(self.description.encode(), digest_size=8).hexdigest()

    @property
    def single(self) -> bool:
        """Whether a sample gives one image, so that the batch's images are a tensor and no dict."""
        return self.groups[0].name is None

    @property
    def floating(self) -> bool:
        """Whether any output is floating point."""
        return any(group.floating for group in self.groups)

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
        if self.trunk is not None:
            (sizes,) = _draw_branch(self.trunk, seed, positions, sizes, matrix)
        views = [after for branch in self.branches for after in _draw_branch(branch, seed, positions, sizes, matrix)]
        by_group = []
        for group in self.groups:
            by_group.append(tuple(views[: len(group.views)]))
            del views[: len(group.views)]
        return Parameters(matrix, tuple(by_group))


def _draw_branch(
    branch: Branch, seed: int, positions: npt.NDArray[np.int64], sizes: Sizes, matrix: npt.NDArray[np.float32]
) -> list[Sizes]:
    """Fills the branch's columns, and gives the sizes of each view."""
    batch, count, width = len(positions), branch.num_views, branch.family.num_columns
    rows = np.tile(np.arange(batch), count)  # (V * B,): all samples' first view, then their second
    views = np.repeat(np.arange(branch.first_view, branch.first_view + count), batch)
    try:
        values, after = branch.family.draw(seed, positions[rows], views, sizes.of(rows))
    except TransformRefusalError as error:
        raise TransformRefusalError(error.row % batch, str(error)) from None
    block = matrix[:, branch.start : branch.start + count * width]
    block[:] = values.reshape(count, batch, width).transpose(1, 0, 2).reshape(batch, count * width)
    return [after.of(np.arange(view * batch, (view + 1) * batch)) for view in range(count)]
