"""dalikit: DINOv2's and torch's data loader on NVIDIA DALI.

Samplers produce index streams; the streams feed DALI, which decodes and augments on the GPU; torch tensors come out in
device memory. Names resolve on first use: importing dalikit loads neither DALI, torch nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "DataLoader",
    "MaskingGenerator",
    "SampleList",
    "SamplerType",
    "as_encoded",
    "collate_data_and_cast",
    "errors",
    "make_data_loader",
    "make_dataset",
    "register_dataset",
    "transforms",
]

_HOMES = {
    "DataLoader": "dalikit.dataloader",
    "MaskingGenerator": "dalikit.masking",
    "SampleList": "dalikit.samples",
    "SamplerType": "dalikit.loaders",
    "as_encoded": "dalikit.datasets.adapters",
    "collate_data_and_cast": "dalikit.dino",
    "make_data_loader": "dalikit.loaders",
    "make_dataset": "dalikit.loaders",
    "register_dataset": "dalikit.datasets",
}
_MODULES = ("errors", "transforms")

if TYPE_CHECKING:
    from dalikit import errors, transforms
    from dalikit.dataloader import DataLoader
    from dalikit.datasets import register_dataset
    from dalikit.datasets.adapters import as_encoded
    from dalikit.dino import collate_data_and_cast
    from dalikit.loaders import SamplerType, make_data_loader, make_dataset
    from dalikit.masking import MaskingGenerator
    from dalikit.samples import SampleList


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"dalikit.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dalikit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
