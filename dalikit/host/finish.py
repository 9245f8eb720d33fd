"""How one finished uint8 image gets into its row of the batch tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from dalikit.transforms.operations import Output

__all__ = ["Finisher", "Scratch"]


class Scratch:
    """Buffers of one thread, for images of one size."""

    def __init__(self) -> None:
        self._levels = torch.empty(0, dtype=torch.uint8)
        self._values = torch.empty(0)

    def levels(self, shape: torch.Size) -> Tensor:
        """A uint8 buffer of this shape."""
        if self._levels.shape != shape:
            self._levels = torch.empty(shape, dtype=torch.uint8)
        return self._levels

    def values(self, shape: torch.Size) -> Tensor:
        """A float32 buffer of this shape."""
        if self._values.shape != shape:
            self._values = torch.empty(shape)
        return self._values


class Finisher:
    """Writes uint8 images as `value * scale + shift` into rows of a batch, in its layout and type.

    The arithmetic is float32 whatever the type of the batch: half precision is rounded once, at the end.

    Args:
        output: scale and shift, or neither.
        channels_last: whether a row's memory is (H, W, 3).
    """

    def __init__(self, output: Output, *, channels_last: bool) -> None:
        self._channels_last = channels_last
        self._floating = output.floating
        self._rows: dict[int, tuple[Tensor, Tensor]] = {}  # by width: scale and shift along a row of (W, 3)
        self._scale = torch.tensor(output.scale or (1.0, 1.0, 1.0))
        self._shift = torch.tensor(output.shift or (0.0, 0.0, 0.0))
        if not channels_last:
            self._scale, self._shift = self._scale[:, None, None], self._shift[:, None, None]

    def __call__(self, image: Tensor, row: Tensor, scratch: Scratch) -> None:
        """Writes `image`, uint8 (3, H, W), into `row`, (3, H, W)."""
        if not self._floating:
            row.copy_(image)
        elif self._channels_last:
            self._finish_channels_last(image, row, scratch)
        else:
            self._finish_planar(image, row, scratch)

    def _finish_planar(self, image: Tensor, row: Tensor, scratch: Scratch) -> None:
        # Two copies, uint8 planes first: transposing while converting takes 1.3 times as long.
        levels = scratch.levels(image.shape)
        levels.copy_(image)
        if row.dtype is torch.float32:
            row.copy_(levels).mul_(self._scale).add_(self._shift)
        else:
            row.copy_(scratch.values(image.shape).copy_(levels).mul_(self._scale).add_(self._shift))

    def _finish_channels_last(self, image: Tensor, row: Tensor, scratch: Scratch) -> None:
        # As (H, W * 3), so that the innermost loop is long: 6 times as fast as broadcasting over 3 channels.
        height, width = image.shape[1:]
        levels = image.permute(1, 2, 0).reshape(height, width * 3)
        out = row.permute(1, 2, 0).view(height, width * 3)
        if width not in self._rows:
            self._rows[width] = self._scale.repeat(width), self._shift.repeat(width)
        scale, shift = self._rows[width]
        if row.dtype is torch.float32:
            out.copy_(levels).mul_(scale).add_(shift)
        else:
            out.copy_(scratch.values(levels.shape).copy_(levels).mul_(scale).add_(shift))
