"""A row as Pillow decodes it: for looking at it, and for torch's own DataLoader."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from dalikit.errors import DecodeError, Place

__all__ = ["item_of"]


def item_of(dataset: Any, index: int, place: Callable[[], Place]) -> tuple[Any, Any]:
    """The image and the target of a row of encoded images, as `__getitem__` of DINOv2's datasets gives them.

    Args:
        dataset: with `get_image_data`, `get_target`, `transform` and `target_transform`.
        index: the row.
        place: where it lies; asked for if it cannot be decoded.

    Returns:
        The image as PIL RGB, after `transform` if that is a plain callable (dalikit's transforms are not: they describe
        what a loader does to whole batches); the target after `target_transform`.

    Raises:
        IndexError: there is no such row.
        ReadError: its bytes cannot be read.
        DecodeError: they are no image that Pillow decodes.
    """
    image = _decode(dataset.get_image_data(index), place)
    transform, target_transform = dataset.transform, dataset.target_transform
    if callable(transform):
        image = transform(image)
    target = dataset.get_target(index)
    return image, target if target_transform is None else target_transform(target)


def _decode(data: Any, place: Callable[[], Place]) -> Any:
    from PIL import Image  # whoever does not look needs none

    try:
        with Image.open(BytesIO(data)) as image:
            return image.convert("RGB")
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        raise DecodeError(f"Pillow cannot decode it: {error}", place()) from error
