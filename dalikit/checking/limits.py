"""What counts as tiny, huge and bad."""

from __future__ import annotations

from dataclasses import dataclass

from dalikit.checking.findings import ALWAYS_BAD, KINDS
from dalikit.errors import ArgumentError

__all__ = ["MAX_BYTES", "MAX_PIXELS", "MIN_SIDE", "Limits"]

MIN_SIDE = 32
"""Pixels. Whatever is smaller is an icon or a placeholder; DINO's small crops are 96."""

MAX_PIXELS = 178_956_970
"""Pillow refuses to open more (Image.open, DecompressionBombError): 537 MB as RGB."""

MAX_BYTES = 256 << 20
"""Bytes of a file: 256 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What counts as tiny, huge and bad.

    Raises:
        ArgumentError: a number is out of range, or a kind is not known.
    """

    min_side: int = MIN_SIDE
    """Pixels: an image with a shorter side is tiny. 0: none is."""
    max_pixels: int = MAX_PIXELS
    """An image with more is huge. Its header tells; it is not decoded."""
    max_bytes: int = MAX_BYTES
    """A file with more is huge; it is not read."""
    exclude: frozenset[str] = frozenset()
    """Kinds that are bad beside those that always are."""
    duplicates: bool = True
    """Whether equal rows are looked for: 8 bytes of memory a row, and twice as many while they are sorted at the end;
    what may be equal is read once more."""

    def __post_init__(self) -> None:
        for name, least in (("min_side", 0), ("max_pixels", 1), ("max_bytes", 1)):
            if getattr(self, name) < least:
                raise ArgumentError(f"{name}={getattr(self, name)!r}: must be a whole number, at least {least}")
        unknown = sorted(self.exclude - set(KINDS))
        if unknown:
            raise ArgumentError(f"exclude={','.join(unknown)}: not known; there are {', '.join(KINDS)}")

    @property
    def bad(self) -> frozenset[str]:
        """Kinds whose rows a loader is to leave out."""
        return ALWAYS_BAD | self.exclude
