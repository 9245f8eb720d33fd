"""DINOv2's and DINOv3's transform classes as far as their attributes go, made of real torchvision objects.

Neither project is a package that could be installed. What is written here follows facebookresearch/dinov2 and
facebookresearch/dinov3, data/transforms.py and data/augmentations.py: attribute for attribute, module name for module
name. The classes do nothing; only their attributes are read.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torchvision_import import import_torchvision

__all__ = ["dinov2", "dinov3"]

import_torchvision()
from torchvision import transforms as v1  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _blur_class(api: Any) -> type:
    class GaussianBlur(api.RandomApply):  # type: ignore[misc, name-defined]
        def __init__(self, *, p: float = 0.5, radius_min: float = 0.1, radius_max: float = 2.0) -> None:
            blur = api.GaussianBlur(kernel_size=9, sigma=(radius_min, radius_max))
            super().__init__(transforms=[blur], p=1 - p)

    return GaussianBlur


def _boxes(api: Any, size: int, scale: Any, flip: float = 0.5) -> Any:
    bicubic = api.InterpolationMode.BICUBIC
    box = api.RandomResizedCrop(size, scale=scale, interpolation=bicubic)
    return api.Compose([box, api.RandomHorizontalFlip(p=flip)])


def _colours(api: Any) -> Any:
    jitter = api.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    return api.Compose([api.RandomApply([jitter], p=0.8), api.RandomGrayscale(p=0.2)])


class _Augmentation:
    def __call__(self, image: Any) -> Any:
        raise AssertionError(f"only its attributes are read, but it came {image!r}")


def _located(kind: type, module: str, name: str) -> type:
    kind.__module__, kind.__name__, kind.__qualname__ = module, name, name
    return kind


class _MaybeToTensor(v1.ToTensor):  # type: ignore[misc]
    def __call__(self, pic: Any) -> Any:
        return pic


class _DinoV2(_Augmentation):
    def __init__(
        self,
        global_crops_scale: Any,
        local_crops_scale: Any,
        local_crops_number: int,
        global_crops_size: int = 224,
        local_crops_size: int = 96,
    ) -> None:
        self.local_crops_number = local_crops_number
        self.geometric_augmentation_global = _boxes(v1, global_crops_size, global_crops_scale)
        self.geometric_augmentation_local = _boxes(v1, local_crops_size, local_crops_scale)
        blur = dinov2.GaussianBlur
        solarize = v1.Compose([blur(p=0.1), v1.RandomSolarize(threshold=128, p=0.2)])
        self.normalize = v1.Compose([v1.ToTensor(), v1.Normalize(mean=MEAN, std=STD)])
        self.global_transfo1 = v1.Compose([_colours(v1), blur(p=1.0), self.normalize])
        self.global_transfo2 = v1.Compose([_colours(v1), solarize, self.normalize])
        self.local_transfo = v1.Compose([_colours(v1), blur(p=0.5), self.normalize])


class _DinoV3(_Augmentation):
    def __init__(
        self,
        global_crops_scale: Any,
        local_crops_scale: Any,
        local_crops_number: int,
        global_crops_size: int = 224,
        local_crops_size: int = 96,
        gram_teacher_crops_size: int | None = None,
        teacher_no_color_jitter: bool = False,
        local_crops_subset_of_global_crops: bool = False,
        share_color_jitter: bool = False,
        horizontal_flips: bool = True,
        mean: Any = MEAN,
        std: Any = STD,
    ) -> None:
        self.local_crops_number = local_crops_number
        self.gram_teacher_crops_size = gram_teacher_crops_size
        self.teacher_no_color_jitter = teacher_no_color_jitter
        self.local_crops_subset_of_global_crops = local_crops_subset_of_global_crops
        self.share_color_jitter = share_color_jitter
        flip = 0.5 if horizontal_flips else 0.0
        self.geometric_augmentation_global = _boxes(v2, global_crops_size, global_crops_scale, flip)
        self.geometric_augmentation_local = _boxes(v2, local_crops_size, local_crops_scale, flip)
        self.color_jittering = _colours(v2)
        blur = dinov3.GaussianBlur
        solarize = v2.Compose([blur(p=0.1), v2.RandomSolarize(threshold=128, p=0.2)])
        self.normalize = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
        first = [] if len(mean) == 3 else [v2.Grayscale()]
        colours = [] if share_color_jitter else [self.color_jittering]
        self.global_transfo1 = v2.Compose([*first, nn.Identity(), *colours, blur(p=1.0), self.normalize])
        self.global_transfo2 = v2.Compose([*first, nn.Identity(), *colours, solarize, self.normalize])
        self.local_transfo = v2.Compose([*first, *colours, blur(p=0.5), self.normalize])


dinov2 = SimpleNamespace(
    GaussianBlur=_located(_blur_class(v1), "dinov2.data.transforms", "GaussianBlur"),
    MaybeToTensor=_located(_MaybeToTensor, "dinov2.data.transforms", "MaybeToTensor"),
    DataAugmentationDINO=_located(_DinoV2, "dinov2.data.augmentations", "DataAugmentationDINO"),
)
dinov3 = SimpleNamespace(
    GaussianBlur=_located(_blur_class(v2), "dinov3.data.transforms", "GaussianBlur"),
    DataAugmentationDINO=_located(_DinoV3, "dinov3.data.augmentations", "DataAugmentationDINO"),
)
