"""Brightness, contrast, saturation, hue, gray: Pillow's results from DALI's operators.

DALI has operators of these names, but they compute something else: its contrast is centred at a constant, not at the
image's mean, and it turns hue in YIQ, up to 24 degrees from where HSV has it.
"""

from __future__ import annotations

from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode

from dalikit.graph.arithmetic import CUT, CUT_SHIFT, blend, from_float, int16, scaled
from dalikit.graph.columns import FLAGS, HUE_SLOT, SLOTS, GraphColumns
from dalikit.graph.conditions import exchange, where
from dalikit.transforms.operations import Brightness, ColorJitter, Contrast, Grayscale, Hue, Saturation

__all__ = ["brightness", "color_jitter", "contrast", "grayscale", "hue", "saturation"]


def brightness(operation: Brightness, image: DataNode, parameters: DataNode) -> DataNode:
    """Blends with black."""
    factor = parameters[operation.column]
    return fn.brightness_contrast(image, brightness=factor, contrast_center=0.0, brightness_shift=CUT_SHIFT)


def contrast(operation: Contrast, image: DataNode, parameters: DataNode) -> DataNode:
    """Blends with the mean of the gray image."""
    return _brightness_and_contrast(image, 1.0, parameters[operation.column])


def saturation(operation: Saturation, image: DataNode, parameters: DataNode) -> DataNode:
    """Blends with the gray image."""
    factor = parameters[operation.column]
    return blend(image, _gray_rgb(image), factor, 1.0 - factor)


def grayscale(operation: Grayscale, image: DataNode, parameters: DataNode) -> DataNode:
    """Gray in all three channels."""
    del operation, parameters
    return _gray_rgb(image)


def hue(operation: Hue, image: DataNode, parameters: DataNode, columns: GraphColumns) -> DataNode:
    """Turns the hue."""
    return _turn_hue(image, parameters, columns.first(operation))


def color_jitter(operation: ColorJitter, image: DataNode, parameters: DataNode, columns: GraphColumns) -> DataNode:
    """Brightness, contrast, saturation and hue in each sample's order; work only where a sample needs it."""
    first = columns.first(operation)
    flags = fn.cast(parameters[first : first + FLAGS], dtype=types.BOOL)
    hue_column = first + FLAGS + 2 * len(SLOTS)
    for number, kind in enumerate(SLOTS):
        if number == len(SLOTS) // 2:
            image = where(flags[HUE_SLOT], lambda part, row: _turn_hue(part, row, hue_column), image, parameters)
        emit = _Slot(kind, first + FLAGS + 2 * number)
        image = where(flags[number], emit, image, parameters)
    return image


class _Slot:
    """One slot of a ColorJitter: see dalikit.graph.columns.SLOTS."""

    def __init__(self, kind: str, column: int) -> None:
        self._kind = kind
        self._column = column

    def __call__(self, image: DataNode, parameters: DataNode) -> DataNode:
        first, second = parameters[self._column], parameters[self._column + 1]
        if self._kind == "X":
            return _brightness_and_contrast(image, first, second)
        return blend(image, _gray_rgb(image), first, second)


def _gray(image: DataNode) -> DataNode:
    """(H, W, 1). DALI's weights are Pillow's; one value in 2000 differs by a level."""
    return fn.color_space_conversion(image, image_type=types.RGB, output_type=types.GRAY)


def _gray_rgb(image: DataNode) -> DataNode:
    return fn.color_space_conversion(_gray(image), image_type=types.GRAY, output_type=types.RGB)


def _brightness_and_contrast(image: DataNode, bright: DataNode | float, factor: DataNode) -> DataNode:
    """Contrast around the mean gray, times `bright`: clipped, cut to whole levels."""
    mean = fn.cast(fn.reductions.mean(_gray(image)), dtype=types.INT32)  # rounds: the mean has to be a whole level
    if image.device == "cpu":
        center = fn.cast(mean, dtype=types.FLOAT)
        return fn.brightness_contrast(
            image, brightness=bright, contrast=factor, contrast_center=center, brightness_shift=CUT_SHIFT
        )
    # the mean lies on the GPU and cannot be an argument there, so it is added instead
    return from_float(scaled(image, bright * factor, CUT) + mean * (bright * (1.0 - factor)))


def _turn_hue(image: DataNode, parameters: DataNode, column: int) -> DataNode:
    """Turns the hue without finding it.

    Along the hue circle a channel is a trapezoid between the pixel's least and greatest value, m and M, whose slopes
    take a sixth of a turn. A turn by t sixths, up to one, moves along it by t (M - m): down where the channel's right
    neighbour is at least its left one (red: green >= blue), up elsewhere. How far a channel stands within its plateau
    is told by the third value: continued over the plateau, the slope has the value 2 x - median there. So

        x' = clip(2 x - median -+ t (M - m), m, M)

    A third of a turn moves the channels by one place, and so is done by taking other channels; a turn backwards is one
    forwards with green and blue exchanged. Pillow cuts hue and saturation to 8 bits: that is not imitated, but what it
    does on average is (see `columns`).
    """
    channels = fn.cast(parameters[column + 1 : column + 4], dtype=types.INT32)
    red, green, blue = (image[:, :, channels[number]] for number in range(3))
    high, low = math.max(red, green), math.min(red, green)
    greatest, least = math.max(high, blue), math.min(low, blue)
    median = math.max(low, math.min(high, blue))
    # as an image of one channel, because brightness_contrast multiplies and rounds in one step
    chroma = fn.expand_dims(greatest - least, axes=[2], new_axis_names="C")
    shift, less = (_times(chroma, parameters[column + number]) for number in (0, 4))
    ups = (blue > green, red > blue, green > red)
    base, both_ways = median + shift, shift + shift
    turned = [channel * int16(2) - base + up * both_ways for channel, up in zip((red, green, blue), ups, strict=True)]
    turned[1] = turned[1] - (ups[0] & ups[1]) * less  # between magenta and red, beyond which green rises
    red, green, blue = (math.min(math.max(channel, least), greatest) for channel in turned)
    green, blue = exchange(parameters[column + 5] == 1.0, green, blue)
    return fn.cast(fn.stack(red, green, blue, axis=2, axis_name="C"), dtype=types.UINT8)


def _times(plane: DataNode, factor: DataNode) -> DataNode:
    """(H, W, 1) uint8 -> (H, W) int16, rounded."""
    product = fn.brightness_contrast(plane, brightness=factor, contrast_center=0.0, dtype=types.INT16)
    return fn.squeeze(product, axes=[2])
