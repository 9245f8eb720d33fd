"""How grey levels are computed: what of DALI's arithmetic is right and cheap.

Measured on its CPU backend, one thread, in ns for the three values of a pixel: `fn.brightness_contrast` uint8 -> uint8,
int16 or float 1; an operator such as `+` 1; `fn.cast` integer -> uint8, clipping, 1.5; but float -> uint8, by whatever
operator, 7. So sums are formed in int16, as sixteenths of a level, and shifted.

Pillow computes in floating point and cuts off what follows the point. DALI rounds, so half a level goes off before.
"""

from __future__ import annotations

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

__all__ = ["CUT", "CUT_SHIFT", "SIXTEENTHS", "blend", "from_sixteenths", "int16", "uint8", "uint16"]

CUT = -0.4999
"""Added to a value that is then rounded, it gives the whole level below. Not -0.5: then a whole level would lie between
two, and devices round such differently."""

CUT_SHIFT = CUT / 255
"""The same as a `brightness_shift` of uint8."""

SIXTEENTHS = 16.0


def uint8(value: int) -> object:
    """A constant that keeps arithmetic with uint8 in uint8."""
    return types.Constant(np.uint8(value))


def int16(value: int) -> object:
    """A constant that keeps arithmetic with int16 in int16."""
    return types.Constant(np.int16(value))


def uint16(value: int) -> object:
    """A constant that keeps arithmetic with uint16 in uint16."""
    return types.Constant(np.uint16(value))


def from_sixteenths(value: DataNode) -> DataNode:
    """int16 sixteenths of a level -> uint8, clipped, cut to whole levels."""
    return fn.cast(value >> int16(4), dtype=types.UINT8)


def blend(image: DataNode, other: DataNode, factor: DataNode, rest: DataNode) -> DataNode:
    """`image * factor + other * rest`, clipped, cut to whole levels: Pillow's `Image.blend`.

    A thirtieth of the values comes out one level off. Factors above 8 would leave int16: values clip early then.

    Args:
        image: uint8.
        other: uint8, of the same shape.
        factor: a scalar, on the CPU, from 0 to 8.
        rest: 1 - factor.
    """
    scaled = [
        fn.brightness_contrast(part, brightness=SIXTEENTHS, contrast=weight, contrast_center=0.0, dtype=types.INT16)
        for part, weight in ((image, factor), (other, rest))
    ]
    return from_sixteenths(scaled[0] + scaled[1])
