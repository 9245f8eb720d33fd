"""DINOv2's augmentation: two global crops and any number of local ones, each distorted on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from dalikit.transforms.arguments import check_numbers, check_probability, check_range, check_size, check_whole
from dalikit.transforms.base import Transform
from dalikit.transforms.colour import ColorJitter, RandomGrayscale, RandomSolarize
from dalikit.transforms.compose import Compose, Preset
from dalikit.transforms.containers import RandomApply
from dalikit.transforms.conversion import ToTensor
from dalikit.transforms.filters import GaussianBlur
from dalikit.transforms.geometry import RandomHorizontalFlip, RandomResizedCrop
from dalikit.transforms.operations import InterpolationMode
from dalikit.transforms.presets import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, make_normalize_transform
from dalikit.transforms.views import MultiCrop, Views

__all__ = ["DataAugmentationDINO", "multi_crop"]

_MAX_LOCAL_CROPS = 1022  # with the two global ones as many views as a MultiCrop may have
_RELEASED_BLUR = (0.0, 0.9, 0.5)


def multi_crop(
    global_crops: Sequence[Transform], local_crop: Transform, local_crops_number: int, **constants: Any
) -> MultiCrop:
    """Views under DINOv2's names: "global_crops", "global_crops_teacher" (the same tensor), "local_crops", "offsets".

    Args:
        global_crops: what makes each global crop.
        local_crop: what makes a local crop.
        local_crops_number: how many of them. With 0 the batch has "local_crops": (), so that the key is there.
        constants: further entries of the batch.
    """
    groups = [Views("global_crops", tuple(global_crops))]
    entries = {**constants, "offsets": ()}
    if local_crops_number:
        groups.append(Views("local_crops", local_crop, count=local_crops_number))
    else:
        entries["local_crops"] = ()
    return MultiCrop(groups, aliases={"global_crops_teacher": "global_crops"}, constants=entries)


@dataclass(frozen=True)
class DataAugmentationDINO(Preset):
    """DINOv2's augmentation, argument for argument, from one decoded image.

    Each crop: a random box, resized (bicubic); a flip (p=0.5); ColorJitter(0.4, 0.4, 0.2, 0.1) with p=0.8; gray with
    p=0.2; GaussianBlur(9, (0.1, 2.0)) with a probability of its own; the second global crop is solarized (threshold
    128) with p=0.2; then a normalized float tensor.

    A batch's images are a dict: "global_crops" (2, B, 3, H, W), "global_crops_teacher" (the same tensor),
    "local_crops" (local_crops_number, B, 3, h, w; `()` if there are none) and "offsets" `()`.

    Source: M. Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023, and
    facebookresearch/dinov2, dinov2/data/augmentations.py. The default blur is what that code does and the released
    models saw, not what it says: its GaussianBlur(p) blurs with probability 1 - p (facebookresearch/dinov2#411), so
    that its p=1.0, 0.1 and 0.5 come out as 0, 0.9 and 0.5. `blur_probabilities=DataAugmentationDINO.PAPER_BLUR` gives
    1.0, 0.1 and 0.5, as in the paper (and in BYOL and DINO).

    Args:
        global_crops_scale: smallest and largest share of the image's area, such as (0.32, 1.0).
        local_crops_scale: the same of a local crop, such as (0.05, 0.32).
        local_crops_number: how many local crops, 0 to 1022.
        global_crops_size: side of a global crop (or height and width), in pixels.
        local_crops_size: side of a local crop (or height and width), in pixels.
        mean: of the normalization: three numbers (red, green, blue) on the scale of 0 to 1; default ImageNet's.
        std: the same.
        blur_probabilities: how often the first global crop, the second one and a local crop are blurred.

    Raises:
        ArgumentError: an argument is out of range.
    """

    PAPER_BLUR: ClassVar[tuple[float, float, float]] = (1.0, 0.1, 0.5)
    """`blur_probabilities` as the paper has them."""
    RELEASED_BLUR: ClassVar[tuple[float, float, float]] = _RELEASED_BLUR
    """`blur_probabilities` as the released code carries them out."""

    global_crops_scale: Any
    local_crops_scale: Any
    local_crops_number: Any
    global_crops_size: Any = 224
    local_crops_size: Any = 96
    _: KW_ONLY
    mean: Any = IMAGENET_DEFAULT_MEAN
    std: Any = IMAGENET_DEFAULT_STD
    blur_probabilities: Any = _RELEASED_BLUR

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        set_field = object.__setattr__
        for name in ("global_crops_scale", "local_crops_scale"):
            set_field(self, name, check_range(name, getattr(self, name), high=1.0))
        for name in ("global_crops_size", "local_crops_size"):
            set_field(self, name, check_size(name, getattr(self, name)))
        number = check_whole("local_crops_number", self.local_crops_number, 0, _MAX_LOCAL_CROPS)
        set_field(self, "local_crops_number", number)
        normalize = make_normalize_transform(self.mean, self.std)
        set_field(self, "mean", normalize.mean)
        set_field(self, "std", normalize.std)
        blur = check_numbers("blur_probabilities", self.blur_probabilities, (3,))
        set_field(self, "blur_probabilities", tuple(check_probability("blur_probabilities", each) for each in blur))

    def expand(self) -> MultiCrop:
        """The views, step by step."""
        first, second, local = self.blur_probabilities
        whole = (self.global_crops_size, self.global_crops_scale)
        part = (self.local_crops_size, self.local_crops_scale)
        solarize = RandomSolarize(threshold=128, p=0.2)
        return multi_crop(
            [self._crop(*whole, first), self._crop(*whole, second, solarize)],
            self._crop(*part, local),
            self.local_crops_number,
        )

    def _crop(self, size: Any, scale: Any, blur: float, *more: Transform) -> Compose:
        return Compose(
            [
                RandomResizedCrop(size, scale=scale, interpolation=InterpolationMode.BICUBIC),
                RandomHorizontalFlip(p=0.5),
                RandomApply([ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)], p=0.8),
                RandomGrayscale(p=0.2),
                RandomApply([GaussianBlur(kernel_size=9, sigma=(0.1, 2.0))], p=blur),
                *more,
                ToTensor(),
                make_normalize_transform(self.mean, self.std),
            ]
        )
