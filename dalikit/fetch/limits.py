"""How large an image may be: held against what is known of it before memory is taken for it."""

from __future__ import annotations

from dataclasses import dataclass

from dalikit.errors import DecodeError, ReadError
from dalikit.storage.reading import MAX_SIZE

__all__ = ["MAX_PIXELS", "NO_LIMITS", "Limits"]

MAX_PIXELS = 178_956_970
"""Pillow's: beyond it `Image.open` raises DecompressionBombError (twice its MAX_IMAGE_PIXELS, 1 GiB / 4 / 3)."""

_WHAT_TO_DO = "raise the limit, or leave the row out by exclude="


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one image."""

    max_pixels: int | None = None
    """None: none."""
    max_encoded_bytes: int = MAX_SIZE

    def check_bytes(self, count: int) -> None:
        """Of an image that was not read yet.

        Raises:
            ReadError: it has too many.
        """
        if count > self.max_encoded_bytes:
            raise ReadError(f"{count} bytes are more than max_encoded_bytes={self.max_encoded_bytes}: {_WHAT_TO_DO}")

    def check_pixels(self, height: int, width: int) -> None:
        """Of an image that was not decoded yet.

        Raises:
            DecodeError: it has too many.
        """
        if self.max_pixels is not None and height * width > self.max_pixels:
            raise DecodeError(
                f"an image of {height}x{width} pixels (height x width) is larger than max_pixels={self.max_pixels}: "
                f"{_WHAT_TO_DO}"
            )


NO_LIMITS = Limits()
"""But for what is read at once."""
