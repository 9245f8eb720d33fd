"""WHAT is done to an image: frozen descriptions with torchvision's names, and how their parameters are drawn.

    import dalikit.transforms as T

    transform = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(mean, std)])

A transform describes; the executor of the loader carries it out, on the GPU in one DALI graph or on the CPU's threads.
"""

from dalikit.transforms.base import Transform
from dalikit.transforms.colour import (
    ColorJitter,
    Grayscale,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from dalikit.transforms.compose import Compose
from dalikit.transforms.containers import RandomApply, RandomChoice, RandomOrder
from dalikit.transforms.conversion import (
    ConvertImageDtype,
    Decode,
    Normalize,
    PILToTensor,
    ToDtype,
    ToImage,
    ToTensor,
)
from dalikit.transforms.describe import describe
from dalikit.transforms.dino import DataAugmentationDINO
from dalikit.transforms.erasing import RandomErasing
from dalikit.transforms.filters import GaussianBlur
from dalikit.transforms.geometry import (
    CenterCrop,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
)
from dalikit.transforms.mixing import CutMix, MixUp
from dalikit.transforms.on_cpu import OnCPU
from dalikit.transforms.operations import InterpolationMode
from dalikit.transforms.policies import AugMix, AutoAugment, AutoAugmentPolicy, RandAugment, TrivialAugmentWide
from dalikit.transforms.presets import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    make_classification_eval_transform,
    make_classification_train_transform,
    make_normalize_transform,
)
from dalikit.transforms.torchvision import from_torchvision
from dalikit.transforms.views import MultiCrop, Views
from dalikit.transforms.warps import Pad, RandomAffine, RandomPerspective, RandomRotation

__all__ = [
    "IMAGENET_DEFAULT_MEAN",
    "IMAGENET_DEFAULT_STD",
    "AugMix",
    "AutoAugment",
    "AutoAugmentPolicy",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "CutMix",
    "DataAugmentationDINO",
    "Decode",
    "GaussianBlur",
    "Grayscale",
    "InterpolationMode",
    "MixUp",
    "MultiCrop",
    "Normalize",
    "OnCPU",
    "PILToTensor",
    "Pad",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomApply",
    "RandomAutocontrast",
    "RandomChoice",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomOrder",
    "RandomPerspective",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSolarize",
    "RandomVerticalFlip",
    "Resize",
    "ToDtype",
    "ToImage",
    "ToTensor",
    "Transform",
    "TrivialAugmentWide",
    "Views",
    "describe",
    "from_torchvision",
    "make_classification_eval_transform",
    "make_classification_train_transform",
    "make_normalize_transform",
]
