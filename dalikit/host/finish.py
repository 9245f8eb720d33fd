"""How one finished image gets into its row of the batch tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from dalikit.host.operate import Values
from dalikit.host.pixels import Pixels, Scratch
from dalikit.transforms.operations import Output

__all__ = ["Finisher"]

_KEPT_WIDTHS = 64
"""For how many widths a row of scale and shift is kept."""


class Finisher:
    """Writes images as `value * scale + shift` into rows of a batch, in its layout and type, and erases boxes.

    The arithmetic is float32 whatever the type of the batch: half precision is rounded once, at the end.

    Args:
        output: scale and shift, or neither; what is erased.
        channels_last: whether a row's memory is (H, W, 3).
    """

    def __init__(self, output: Output, *, channels_last: bool) -> None:
        self._channels_last = channels_last
        self._output = output
        self._rows: dict[int, tuple[Tensor, Tensor]] = {}  # by width: scale and shift along a row of (W, 3)
        self._scale = torch.tensor(output.scale or (1.0, 1.0, 1.0))
        self._shift = torch.tensor(output.shift or (0.0, 0.0, 0.0))
        if not channels_last:
            self._scale, self._shift = self._scale[:, None, None], self._shift[:, None, None]
        self._values = [torch.tensor(erase.value)[:, None, None] for erase in output.erase]

    def __call__(self, pixels: Pixels, row: Tensor, values: Values, scratch: Scratch) -> None:
        """Writes an image of (3, H, W) into `row`, (3, H, W).

        Args:
            pixels: the image.
            row: uint8 or floating point.
            values: the sample's row of the parameter matrix.
            scratch: the thread's memory.
        """
        if not self._output.floating:
            row.copy_(pixels.levels())
        elif self._channels_last:
            self._finish_channels_last(pixels.levels(), row, scratch)
        elif pixels.in_planes:
            self._finish_planes(pixels.planes(scratch), row, scratch)
        else:
            self._finish_levels(pixels.levels(), row, scratch)
        for erase, value in zip(self._output.erase, self._values, strict=True):
            top, left, height, width = map(int, values[erase.column : erase.column + 4])
            if height:
                row[:, top : top + height, left : left + width] = value

    def _finish_planes(self, planes: Tensor, row: Tensor, scratch: Scratch) -> None:
        if row.dtype is torch.float32:
            torch.mul(planes, self._scale, out=row).add_(self._shift)
        else:
            floats = scratch.buffer(0, planes.numel()).tensor.view(planes.shape)
            row.copy_(torch.mul(planes, self._scale, out=floats).add_(self._shift))

    def _finish_levels(self, levels: Tensor, row: Tensor, scratch: Scratch) -> None:
        # Two copies, uint8 planes first: transposing while converting takes 1.3 times as long.
        planes = scratch.levels(levels.shape).copy_(levels)
        if row.dtype is torch.float32:
            row.copy_(planes).mul_(self._scale).add_(self._shift)
        else:
            floats = scratch.buffer(0, levels.numel()).tensor.view(levels.shape)
            row.copy_(floats.copy_(planes).mul_(self._scale).add_(self._shift))

    def _finish_channels_last(self, image: Tensor, row: Tensor, scratch: Scratch) -> None:
        # As (H, W * 3), so that the innermost loop is long: 6 times as fast as broadcasting over 3 channels.
        height, width = image.shape[1:]
        levels = image.permute(1, 2, 0).reshape(height, width * 3)
        out = row.permute(1, 2, 0).view(height, width * 3)
        found = self._rows.get(width)
        if found is None:
            found = self._scale.repeat(width), self._shift.repeat(width)
            if len(self._rows) >= _KEPT_WIDTHS:
                self._rows.clear()
            self._rows[width] = found
        scale, shift = found
        if row.dtype is torch.float32:
            out.copy_(levels).mul_(scale).add_(shift)
        else:
            floats = scratch.buffer(0, levels.numel()).tensor.view(levels.shape)
            out.copy_(floats.copy_(levels).mul_(scale).add_(shift))
