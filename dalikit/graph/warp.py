"""Affine and perspective warps: Pillow's `Image.transform`.

DALI has the same conventions: coordinates count from the corner, pixel centres lie at halves, nothing is antialiased.
It differs at the edges of a bilinear warp: DALI fades into the fill colour over a pixel, Pillow repeats the edge up to
the image's outline and fills beyond. So the image is warped with its edge repeated, and what lies outside is then set.

`warp_perspective` does the affine ones too: it takes any fill colour, and on the CPU a quarter of `warp_affine`'s time.
"""

from __future__ import annotations

from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from dalikit.graph.arithmetic import uint8, uint16
from dalikit.transforms.operations import InterpolationMode, Warp

__all__ = ["warp"]

_WHITE = (255, 255, 255)
_BLACK = (0, 0, 0)


def warp(operation: Warp, image: DataNode, parameters: DataNode) -> DataNode:
    """Takes each pixel from another place."""
    nearest = _Sampler(operation, parameters, types.INTERP_NN)
    if operation.interpolation is InterpolationMode.NEAREST:
        return nearest(image, operation.fill)
    # Pillow cuts off what follows the point, and DALI rounds: so the image is warped in 128ths of a level. In uint16,
    # because for int16 the CPU's warp takes positions in 32nds of a pixel.
    fine = fn.brightness_contrast(image, brightness=128.0, contrast_center=0.0, dtype=types.INT16)
    fine = fn.reinterpret(fine, dtype=types.UINT16)
    inside = _Sampler(operation, parameters, types.INTERP_LINEAR)(fine, None)
    inside = fn.cast(inside >> uint16(7), dtype=types.UINT8)
    black = image ^ image
    outside = nearest(black, _WHITE)  # 255 where the pixel comes from outside
    inside = inside & (outside ^ uint8(255))
    return inside if operation.fill == _BLACK else inside | nearest(black, operation.fill)


class _Sampler:
    """Warps images by a sample's matrix."""

    def __init__(self, operation: Warp, parameters: DataNode, interpolation: types.DALIInterpType) -> None:
        first = operation.column
        self._size = parameters[first : first + 2]
        self._matrix = _matrix(parameters, first + 2, operation.perspective)
        self._interpolation = interpolation

    def __call__(self, image: DataNode, fill: tuple[int, int, int] | None) -> DataNode:
        """Args: image: (H, W, 3); fill: the colour outside, or None: the edge is repeated."""
        return fn.experimental.warp_perspective(
            image,
            matrix=self._matrix,
            size=self._size,
            interp_type=self._interpolation,
            pixel_origin="corner",
            border_mode="replicate" if fill is None else "constant",
            fill_value=[float(value) for value in fill or _BLACK],
        )


def _matrix(parameters: DataNode, first: int, perspective: bool) -> DataNode:
    """3 x 3; made of parameters alone, because no operator without an input may stand within a branch."""
    nothing = parameters[first : first + 1] * 0.0
    given = [parameters[first : first + 8]] if perspective else [parameters[first : first + 6], nothing, nothing]
    return fn.reshape(fn.cat(*given, nothing + 1.0), shape=[3, 3])
