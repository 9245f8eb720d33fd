"""Which function emits which operation's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nvidia.dali.data_node import DataNode

from dalikit.graph import colour, filters, tones, warp
from dalikit.graph.columns import GraphColumns
from dalikit.graph.conditions import CarryOut, mixture, select
from dalikit.transforms import operations as op

__all__ = ["operate"]

_PLAIN: dict[type[Any], Callable[[Any, DataNode, DataNode], DataNode]] = {
    op.Autocontrast: tones.autocontrast,
    op.Brightness: colour.brightness,
    op.Contrast: colour.contrast,
    op.Equalize: tones.equalize,
    op.Grayscale: colour.grayscale,
    op.Invert: tones.invert,
    op.Saturation: colour.saturation,
    op.Solarize: tones.solarize,
    op.Warp: warp.warp,
}

_WITH_COLUMNS: dict[type[Any], Callable[[Any, DataNode, DataNode, GraphColumns], DataNode]] = {
    op.ColorJitter: colour.color_jitter,
    op.GaussianBlur: filters.gaussian_blur,
    op.Hue: colour.hue,
    op.Posterize: tones.posterize,
    op.Sharpness: filters.sharpness,
}

_WITH_OTHERS: dict[type[Any], Callable[[Any, DataNode, DataNode, CarryOut], DataNode]] = {
    op.Mixture: mixture,
    op.Select: select,
}


def operate(
    operation: op.Operation, image: DataNode, parameters: DataNode, columns: GraphColumns, carry_out: CarryOut
) -> DataNode:
    """Emits the operators of any operation but Crop, Resize and Flip, which dalikit.graph.build knows.

    Args:
        operation: what is done.
        image: uint8 (H, W, 3), layout HWC, on either device.
        parameters: the vector of a sample's parameters, with those that `columns` adds, on the CPU.
        columns: made from all operations of the graph.
        carry_out: emits the operations within a Select or a Mixture.

    Returns:
        uint8 (H, W, 3), layout HWC, on the image's device.
    """
    kind = type(operation)
    if kind in _PLAIN:
        return _PLAIN[kind](operation, image, parameters)
    if kind in _WITH_COLUMNS:
        return _WITH_COLUMNS[kind](operation, image, parameters, columns)
    return _WITH_OTHERS[kind](operation, image, parameters, carry_out)
