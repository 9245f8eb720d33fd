"""What random words are drawn for: one number for each, in one table."""

from __future__ import annotations

from enum import IntEnum, unique

__all__ = ["Purpose"]


@unique
class Purpose(IntEnum):
    """Numbers in the key of randomness, 1 to 255, so that no two draw the same words.

    Never changed or given again: they decide what is drawn (a change would be an ORDER change). `NOTHING` is for what
    draws nothing.
    """

    NOTHING = 0
    RANDOM_RESIZED_CROP = 1
    RANDOM_CROP = 2
    RANDOM_HORIZONTAL_FLIP = 3
    RANDOM_VERTICAL_FLIP = 4
    RANDOM_ERASING = 5
    RANDOM_APPLY = 6
    RANDOM_CHOICE = 7
    COLOR_JITTER = 8
    RANDOM_GRAYSCALE = 9
    GAUSSIAN_BLUR = 10
    RANDOM_SOLARIZE = 11
    RANDOM_POSTERIZE = 12
    RANDOM_INVERT = 13
    RANDOM_AUTOCONTRAST = 14
    RANDOM_EQUALIZE = 15
    RANDOM_ADJUST_SHARPNESS = 16
    RANDOM_AFFINE = 17
    RANDOM_ROTATION = 18
    RANDOM_PERSPECTIVE = 19
    RAND_AUGMENT = 20
    TRIVIAL_AUGMENT_WIDE = 21
    AUTO_AUGMENT = 22
    AUG_MIX = 23
    MIX_UP = 24
    CUT_MIX = 25
    RANDOM_ORDER = 26
    MASKS = 27
    """iBOT's masks."""
    FUNCTION = 28
    """A user's function of an image, on the CPU."""
    REPLACEMENT = 29
    """Reserved: which sample stands in for a bad one."""
    MIXING_CHOICE = 30
    """Which of several MixUps and CutMixes is done."""
    COLLATION = 31
    """A user's collate_fn."""
    ITEM = 32
    """What a dataset itself draws while it makes an item."""
    WORKER = 33
    """A worker process's generators, when it starts."""
