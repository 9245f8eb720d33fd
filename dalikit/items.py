"""What one item of a dataset is: where in it the image is, and what is left without it.

Not written yet: the names are the seam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["PAIR", "Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in an item the image is. Frozen, picklable."""

    path: tuple[Any, ...]
    """Keys and places from the outside in; (): the item is the image itself."""
    bare_pair: bool = False
    """The item is a tuple (image, target): what is left is the target itself."""


PAIR = Layout((0,), bare_pair=True)
"""(image, target), as datasets with `get_image_data` and `get_target` have it."""
