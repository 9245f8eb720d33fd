"""Hugging Face datasets that lie on disk, by the dataset string "HuggingFace:path=...:split=..."."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from dalikit.datasets.adapters.adapted import Options
from dalikit.datasets.adapters.huggingface import HuggingFaceImages, encode_huggingface
from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError
from dalikit.storage.remote.address import redact

__all__ = ["open_huggingface"]

_SAVED = ("dataset_dict.json", "state.json")
"""What `save_to_disk` writes: of several splits, and of one."""


def open_huggingface(
    path: str | os.PathLike[str],
    *,
    split: str | None = None,
    image: str | None = None,
    target: str | None = None,
    transform: Any = None,
    target_transform: Callable[[Any], Any] | None = None,
) -> HuggingFaceImages:
    """Opens a Hugging Face dataset on disk: what `save_to_disk` wrote, or a folder of Parquet files.

    Nothing is fetched, and no code of the dataset's is run. Parquet files are converted to Arrow once, as
    `datasets.load_dataset` does it, in its cache folder (HF_DATASETS_CACHE): that takes their size on disk again. Which
    files are which split is told by their names, as that package does: "train-00000-of-00005.parquet".

    Args:
        path: the folder; `~` is expanded.
        split: which, of a dataset with several. None: the only one.
        image: the column of images. None: the only one.
        target: the column that is the target. None: the only one of classes, else "label"; else a dict of all others.
        transform: what is done to an image; carried out by the loader.
        target_transform: a callable for the target.

    Raises:
        ArgumentError: there is no such split or column, or the package `datasets` is not installed or broken.
        DatasetNotFoundError: the folder is not there.
        DatasetError: it holds no such dataset, or one that cannot be opened.
    """
    folder = os.path.expanduser(os.fspath(path))
    if not os.path.isdir(folder):
        raise DatasetNotFoundError(f"HuggingFace: path {redact(folder)!r} is no folder")
    dataset = _open(folder, split)
    images = encode_huggingface(dataset, Options(image, target, transform, target_transform))
    if images is None:
        raise DatasetError(f"HuggingFace: {folder!r} holds a {type(dataset).__name__}, which is no datasets.Dataset")
    return images


def _open(folder: str, split: str | None) -> Any:
    """The `datasets.Dataset` of a split."""
    try:
        datasets: Any = import_module("datasets")
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise _broken_package(error) from error
        raise ArgumentError("HuggingFace: needs the package datasets: pip install datasets") from error
    except Exception as error:  # what a package does when it is loaded may fail in any way
        raise _broken_package(error) from error
    saved = any(os.path.exists(os.path.join(folder, name)) for name in _SAVED)
    if not saved and not _has_parquet(folder):
        raise DatasetError(
            f"HuggingFace: {folder!r} holds neither what save_to_disk writes ({' or '.join(_SAVED)}) nor .parquet files"
        )
    try:
        found = datasets.load_from_disk(folder) if saved else datasets.load_dataset("parquet", data_dir=folder)
    except Exception as error:  # of a broken folder that package raises nearly anything
        raise DatasetError(f"HuggingFace: {folder!r} cannot be opened: {error}") from error
    if not isinstance(found, dict):  # it has no splits
        if split is not None and split != str(found.split):
            raise ArgumentError(f"HuggingFace: split={split!r}: {folder!r} holds one dataset; leave split out")
        return found
    there = ", ".join(map(repr, found)) or "none"
    if split is None and len(found) == 1:
        return next(iter(found.values()))
    if split not in found:
        raise ArgumentError(f"HuggingFace: split={split!r}: {folder!r} has the splits {there}; name one of them")
    return found[split]


def _broken_package(error: Exception) -> ArgumentError:
    return ArgumentError(
        "HuggingFace: the package datasets is installed, but cannot be imported: "
        f"{type(error).__name__}: {error}; is a package that it needs missing, or of another version than it wants?"
    )


def _has_parquet(folder: str) -> bool:
    return any(name.endswith(".parquet") for _, _, files in os.walk(folder) for name in files)
