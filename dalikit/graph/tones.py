"""Maps of grey levels: solarize, posterize, invert, autocontrast, equalize."""

from __future__ import annotations

from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode

from dalikit.graph.arithmetic import CUT, from_float, uint8
from dalikit.graph.columns import GraphColumns
from dalikit.transforms.operations import Autocontrast, Equalize, Invert, Posterize, Solarize

__all__ = ["autocontrast", "equalize", "invert", "posterize", "solarize"]


def solarize(operation: Solarize, image: DataNode, parameters: DataNode) -> DataNode:
    """Inverts the levels at or above the threshold."""
    return image ^ ((image >= parameters[operation.column]) * uint8(255))


def posterize(operation: Posterize, image: DataNode, parameters: DataNode, columns: GraphColumns) -> DataNode:
    """Keeps the highest bits."""
    return image & fn.cast(parameters[columns.first(operation)], dtype=types.UINT8)


def invert(operation: Invert, image: DataNode, parameters: DataNode) -> DataNode:
    """`255 - value`."""
    del operation, parameters
    return image ^ uint8(255)


def autocontrast(operation: Autocontrast, image: DataNode, parameters: DataNode) -> DataNode:
    """Stretches each channel over all levels; one of a single level stays as it is."""
    del operation, parameters
    darkest = fn.reductions.min(image, axes=[0, 1], keep_dims=True)
    span = fn.reductions.max(image, axes=[0, 1], keep_dims=True) - darkest
    flat = span == 0
    stretched = (image - darkest * (span > 0)) * (255.0 / (span + flat * uint8(255)))
    # A stretched whole level may come out a little below itself, here as in Pillow
    return from_float(stretched + CUT)


def equalize(operation: Equalize, image: DataNode, parameters: DataNode) -> DataNode:
    """Makes each channel's histogram even, to within two levels of Pillow's result.

    Pillow maps a level to the number of darker pixels, DALI to that of pixels no brighter; of the inverted image DALI's
    count is the complement of Pillow's. Pillow's step between levels is a whole number of pixels, DALI's is not: their
    ratio is made up for afterwards.
    """
    del operation, parameters
    even = fn.equalize(image ^ uint8(255)) ^ uint8(255)
    brightest = fn.reductions.max(image, axes=[0, 1], keep_dims=True)
    darker = fn.cast(image < brightest, dtype=types.UINT8)
    darker = fn.reductions.sum(darker, axes=[0, 1], keep_dims=True, dtype=types.FLOAT)
    step = math.floor(darker / 255.0)
    alone = step < 1  # too few pixels for a histogram: Pillow leaves the channel as it is
    scale = darker / (255.0 * (step + alone))
    return from_float(even * scale * (step > 0) + image * alone)
