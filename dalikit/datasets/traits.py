"""How a dataset of encoded images is to be read: what it says of its bytes, and whether those are the ones it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dalikit.datasets.base import declares_images
from dalikit.datasets.views import View
from dalikit.storage import is_remote

__all__ = ["is_mapped", "lies_remotely", "may_be_gzipped", "measures"]

_DECIDE = ("get_image_data", "get_batch")
"""Methods that decide which bytes a row has. Another `get_location` is another place for the same."""


def lies_remotely(dataset: Any) -> bool:
    """Whether any of a dataset's bytes lie in remote storage, as far as that can be told without looking at all rows.

    Its attribute `remote` says so, if that is True or False. Else the first and the last row do.

    Args:
        dataset: anything.
    """
    if isinstance(dataset, View):
        return any(lies_remotely(part) for part in dataset.parts)
    if not declares_images(dataset):  # nothing is known of others, whatever their attributes are called
        return False
    told = getattr(dataset, "remote", None)
    if isinstance(told, bool):
        return told
    count = len(dataset) if hasattr(type(dataset), "get_location") else 0
    return count > 0 and any(is_remote(dataset.get_location(row).uri) for row in (0, count - 1))


def may_be_gzipped(dataset: Any) -> bool:
    """Whether the bytes at a location may be a gzip file that holds the image's: its attribute of that name."""
    return _says(dataset, "may_be_gzipped", any)


def is_mapped(dataset: Any) -> bool:
    """Whether ranges of local files are to be mapped: its attribute `memory_map`. A view's if all its parts say so."""
    return _says(dataset, "memory_map", all)


def measures(dataset: Any) -> bool:
    """Whether `image_size` tells the size of the images: not if a subclass gives other bytes, which it may not know."""
    if isinstance(dataset, View):
        return all(measures(part) for part in dataset.parts)
    for cls in type(dataset).__mro__:
        if "image_size" in vars(cls):
            return callable(vars(cls)["image_size"])
        if any(method in vars(cls) for method in _DECIDE):
            return False
    return False


def _says(dataset: Any, name: str, join: Callable[[Iterable[bool]], bool]) -> bool:
    """An attribute that is True, and nothing that only counts as that."""
    if isinstance(dataset, View):
        return join([_says(part, name, join) for part in dataset.parts])
    return getattr(dataset, name, False) is True
