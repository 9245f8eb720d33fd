"""WHAT index i is: encoded bytes and a target.

    dataset = create_dataset("ImageFolder:root=/data/train", transform, target_transform)
    dataset.get_image_data(0), dataset.get_target(0)

Others can give their own datasets a name, with `register_dataset`.
"""

from dalikit.datasets.base import ImageDataset, KeyedDataset, LocatedDataset, MeasuredDataset
from dalikit.datasets.dino import DatasetWithEnumeratedTargets, ImageNet, ImageNet22k
from dalikit.datasets.folder import ImageFolder
from dalikit.datasets.joined import Concat, Mix
from dalikit.datasets.manifest import Manifest
from dalikit.datasets.registry import create_dataset, dataset_names, parse_dataset_string, register_dataset
from dalikit.datasets.stored import StoredDataset
from dalikit.datasets.webdataset import WebDataset

__all__ = [
    "Concat",
    "DatasetWithEnumeratedTargets",
    "ImageDataset",
    "ImageFolder",
    "ImageNet",
    "ImageNet22k",
    "KeyedDataset",
    "LocatedDataset",
    "Manifest",
    "MeasuredDataset",
    "Mix",
    "StoredDataset",
    "WebDataset",
    "create_dataset",
    "dataset_names",
    "parse_dataset_string",
    "register_dataset",
]
