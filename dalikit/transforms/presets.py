"""DINOv2's ready-made transforms for classification, with its arguments and defaults.

Source: facebookresearch/dinov2, dinov2/data/transforms.py, which roughly follows torchvision's
references/classification/presets.py.
"""

from __future__ import annotations

from typing import Any

from dalikit.transforms.base import Transform
from dalikit.transforms.compose import Compose
from dalikit.transforms.conversion import Normalize, ToTensor
from dalikit.transforms.geometry import CenterCrop, RandomHorizontalFlip, RandomResizedCrop, Resize
from dalikit.transforms.operations import InterpolationMode

__all__ = [
    "IMAGENET_DEFAULT_MEAN",
    "IMAGENET_DEFAULT_STD",
    "make_classification_eval_transform",
    "make_classification_train_transform",
    "make_normalize_transform",
]

IMAGENET_DEFAULT_MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's training images (red, green, blue) on the scale of 0 to 1; the name is timm's."""
IMAGENET_DEFAULT_STD = (0.229, 0.224, 0.225)
"""Their standard deviation (red, green, blue) on the scale of 0 to 1; the name is timm's."""


def make_normalize_transform(mean: Any = IMAGENET_DEFAULT_MEAN, std: Any = IMAGENET_DEFAULT_STD) -> Normalize:
    """`(value - mean) / std` for each channel, after ToTensor.

    Args:
        mean: three numbers (red, green, blue) on the scale of 0 to 1, or one for all; default ImageNet's.
        std: the same; none may be zero.

    Raises:
        ArgumentError: a count is wrong, a number is not finite, or a std is zero.
    """
    return Normalize(mean=mean, std=std)


def make_classification_train_transform(
    *,
    crop_size: Any = 224,
    interpolation: Any = InterpolationMode.BICUBIC,
    hflip_prob: float = 0.5,
    mean: Any = IMAGENET_DEFAULT_MEAN,
    std: Any = IMAGENET_DEFAULT_STD,
) -> Compose:
    """A random crop, a flip, and a normalized float tensor (3, crop_size, crop_size).

    Args:
        crop_size: an int (square) or (height, width) of the output, in pixels.
        interpolation: "nearest", "bilinear" or "bicubic" (default, as DINOv2's).
        hflip_prob: how often left and right change places; with 0 the step is left out.
        mean: of make_normalize_transform.
        std: of make_normalize_transform.

    Raises:
        ArgumentError: an argument is out of range.
    """
    steps: list[Transform] = [RandomResizedCrop(crop_size, interpolation=interpolation)]
    if hflip_prob != 0.0:
        steps.append(RandomHorizontalFlip(hflip_prob))
    return Compose([*steps, ToTensor(), make_normalize_transform(mean, std)])


def make_classification_eval_transform(
    *,
    resize_size: Any = 256,
    interpolation: Any = InterpolationMode.BICUBIC,
    crop_size: Any = 224,
    mean: Any = IMAGENET_DEFAULT_MEAN,
    std: Any = IMAGENET_DEFAULT_STD,
) -> Compose:
    """A resize, the middle of the image, and a normalized float tensor (3, crop_size, crop_size).

    Args:
        resize_size: what the shorter side gets, or (height, width), in pixels.
        interpolation: "nearest", "bilinear" or "bicubic" (default, as DINOv2's).
        crop_size: an int (square) or (height, width) of the output, in pixels.
        mean: of make_normalize_transform.
        std: of make_normalize_transform.

    Raises:
        ArgumentError: an argument is out of range.
    """
    resize = Resize(resize_size, interpolation=interpolation)
    return Compose([resize, CenterCrop(crop_size), ToTensor(), make_normalize_transform(mean, std)])
