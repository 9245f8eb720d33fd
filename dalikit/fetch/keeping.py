"""What an item is kept as until the batch that it belongs to is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dalikit.fetch.task import ReadTask
from dalikit.items import is_tensor, with_parts

__all__ = ["copied", "keep_item"]


def keep_item(task: ReadTask, item: Any) -> Any:
    """An item as it is to be kept: called before the next item is read.

    The dataset may write its next item into the same memory, and batches of images are read ahead. What is no image is
    collated, so copied, before the next batch is read, as torch does: without a transform nothing is done here.
    """
    return copied(item) if task.transformed else item


def copied(value: Any) -> Any:
    """The same with memory of its own: arrays, tensors, bytearrays and memoryviews in any depth are copied.

    So the dataset may write into that memory again while the batch is still to be used. Nothing else is copied:
    containers without any of these, PIL images and tensors that require a gradient are the very objects.
    """
    if isinstance(value, Mapping):
        pairs: Any = ((key, value[key]) for key in value)
    elif isinstance(value, tuple | list):
        pairs = enumerate(value)
    else:
        return _copied_leaf(value)
    parts = {key: new for key, part in pairs if (new := copied(part)) is not part}
    return with_parts(value, parts) if parts else value


def _copied_leaf(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, bytearray):
        return bytearray(value)
    if isinstance(value, memoryview):
        return memoryview(value.tobytes()) if value.format == "B" and value.ndim == 1 else value
    return value.clone() if is_tensor(value) and not value.requires_grad else value
