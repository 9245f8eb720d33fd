"""How grey levels are computed: what of DALI's arithmetic is right and cheap.

Measured on its CPU backend, one thread, in ns for the three values of a pixel: `fn.brightness_contrast` uint8 -> uint8,
int16 or float 1; an operator such as `+` 1; `fn.cast` integer -> uint8, clipping, 1.5; but float -> uint8, by whatever
operator, 7. By way of their bits floats are rounded for 3.

Pillow computes in floating point and cuts off what follows the point. DALI rounds, so half a level goes off before.
"""

from __future__ import annotations

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

__all__ = ["CUT", "CUT_SHIFT", "blend", "from_float", "int16", "scaled", "uint8", "uint16"]

CUT = -0.4999
"""Added to a value that is then rounded, it gives the whole level below. Not -0.5: then a whole level would lie between
two, and devices round such differently."""

CUT_SHIFT = CUT / 255
"""The same as a `brightness_shift` of uint8."""


def uint8(value: int) -> object:
    """A constant that keeps arithmetic with uint8 in uint8."""
    return types.Constant(np.uint8(value))


def int16(value: int) -> object:
    """A constant that keeps arithmetic with int16 in int16."""
    return types.Constant(np.int16(value))


def uint16(value: int) -> object:
    """A constant that keeps arithmetic with uint16 in uint16."""
    return types.Constant(np.uint16(value))


def scaled(image: DataNode, factor: DataNode, shift: float = 0.0) -> DataNode:
    """`image * factor + shift`, float.

    Args:
        image: uint8.
        factor: a scalar, on the CPU, wherever the image is.
        shift: in levels.
    """
    return fn.brightness_contrast(
        image, contrast=factor, contrast_center=0.0, brightness_shift=shift, dtype=types.FLOAT
    )


def from_float(value: DataNode) -> DataNode:
    """Float levels -> uint8, clipped and rounded.

    Args:
        value: below 2**22 in magnitude.
    """
    if value.device == "gpu":
        return fn.cast(value, dtype=types.UINT8)
    # In 1.5 * 2**23 + value the last bit of the mantissa counts ones, so the sum's bits are those of the constant and
    # the rounded value added as integers
    bits = fn.reinterpret(value + 12582912.0, dtype=types.INT32)
    return fn.cast(bits - 0x4B400000, dtype=types.UINT8)


def blend(image: DataNode, other: DataNode, factor: DataNode, rest: DataNode) -> DataNode:
    """`image * factor + other * rest`, clipped, cut to whole levels: Pillow's `Image.blend`.

    Args:
        image: uint8.
        other: uint8, of the same shape.
        factor: a scalar, on the CPU.
        rest: 1 - factor.
    """
    return from_float(scaled(image, factor) + scaled(other, rest, CUT))
