"""Datasets of other packages, seen as datasets of encoded images.

    dataset = as_encoded(torchvision_or_huggingface_or_timm_or_litdata_dataset)
    dataset.get_image_data(0), dataset.get_target(0)

No other package is imported: what nobody has imported has made no dataset.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from dalikit.datasets.adapters.adaptation import Adaptation
from dalikit.datasets.adapters.adapted import AdaptedDataset, Options
from dalikit.datasets.adapters.certain import adapt
from dalikit.datasets.adapters.huggingface import HuggingFaceFiles, HuggingFaceImages, encode_huggingface
from dalikit.datasets.adapters.litdata import LitDataImages, encode_litdata
from dalikit.datasets.adapters.mosaic import MosaicImages, encode_mosaic
from dalikit.datasets.adapters.timm import TimmFiles, encode_timm
from dalikit.datasets.adapters.torchvision import TorchvisionFiles, encode_torchvision
from dalikit.datasets.base import declares_images
from dalikit.errors import ArgumentError

__all__ = [
    "Adaptation",
    "AdaptedDataset",
    "HuggingFaceFiles",
    "HuggingFaceImages",
    "LitDataImages",
    "MosaicImages",
    "TimmFiles",
    "TorchvisionFiles",
    "adapt",
    "as_encoded",
]

_ENCODERS: tuple[Callable[[Any, Options], Any], ...] = (
    encode_torchvision,
    encode_timm,
    encode_huggingface,
    encode_litdata,
    encode_mosaic,
)


def as_encoded(
    dataset: Any,
    *,
    image: str | None = None,
    target: str | None = None,
    transform: Any = None,
    target_transform: Callable[[Any], Any] | None = None,
) -> Any:
    """The encoded images and targets of a dataset of another package, for dalikit to decode: docs/adapters.md.

    Known are torchvision's datasets with a `loader` (ImageFolder, ImageNet, Food101, ...), timm's ImageDataset and
    readers, Hugging Face's `datasets.Dataset`, LitData's and MosaicML's StreamingDataset. Images come out as RGB. The
    dataset itself is not changed. It is taken as it is now: what is set on it later (`dataset.transform = ...`,
    `dataset.samples = ...`) is not seen and not reported; adapt it anew then. Lists that it holds are shared, so what
    is changed within them is seen, but a loader made before has its length.

    Args:
        dataset: the dataset. One that has `get_image_data` already is given back as it is.
        image: the column that holds the images, where there are named columns. None: the only one there is.
        target: the column that is the target. None: the only column of classes, else "label"; else the target is a dict
            of all other columns. An item that is a pair is (image, target).
        transform: what is done to an image. None: the dataset's own, where the package has it apart from the items.
        target_transform: a callable for the target. None: likewise.

    Returns:
        A dataset with `get_image_data`, `get_target`, `get_key`, `len`, `fingerprint`, `transform` and
        `target_transform`, and with `get_location` where rows are files or lie in one.

    Raises:
        ArgumentError: it is none of these, or does something to its items that is not known.
    """
    if declares_images(dataset):
        return dataset
    options = Options(image, target, transform, target_transform)
    for encode in _ENCODERS:
        adapted = encode(dataset, options)
        if adapted is not None:
            return adapted
    raise ArgumentError(f"as_encoded({type(dataset).__name__}): {_advice(dataset)}")


def _advice(dataset: Any) -> str:
    """What was looked for, and what else works."""
    torch_data: Any = sys.modules.get("torch.utils.data")
    if torch_data is not None and isinstance(dataset, torch_data.Subset | torch_data.ConcatDataset):
        return "adapt what is inside of it: Subset(as_encoded(dataset.dataset), dataset.indices), for example"
    return (
        "no dataset of torchvision, timm, Hugging Face datasets, LitData or MosaicML streaming that is known. Any "
        "class becomes one of encoded images by two methods, get_image_data(index) -> bytes and get_target(index); a "
        "dataset whose items are bytes, PIL images, arrays or tensors can be given to the loader as it is"
    )
