"""WHAT is done to an image: frozen descriptions with torchvision's names, and how their parameters are drawn.

    import dalikit.transforms as T

    transform = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(mean, std)])

A transform describes; the executor of the loader carries it out, on the GPU in one DALI graph or on the CPU's threads.
"""

from dalikit.transforms.base import Transform
from dalikit.transforms.compose import Compose
from dalikit.transforms.conversion import (
    ConvertImageDtype,
    Decode,
    Normalize,
    PILToTensor,
    ToDtype,
    ToImage,
    ToTensor,
)
from dalikit.transforms.erasing import RandomErasing
from dalikit.transforms.geometry import (
    CenterCrop,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
)
from dalikit.transforms.operations import InterpolationMode
from dalikit.transforms.views import MultiCrop, Views

__all__ = [
    "CenterCrop",
    "Compose",
    "ConvertImageDtype",
    "Decode",
    "InterpolationMode",
    "MultiCrop",
    "Normalize",
    "PILToTensor",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomVerticalFlip",
    "Resize",
    "ToDtype",
    "ToImage",
    "ToTensor",
    "Transform",
    "Views",
]
