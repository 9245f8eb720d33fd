"""What can be found in a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ALWAYS_BAD", "KINDS", "Finding"]

KINDS: Mapping[str, str] = {
    "unreadable": "the bytes cannot be read",
    "corrupt": "the bytes are no image that can be decoded",
    "huge": "more pixels or bytes than allowed; not decoded",
    "target": "the dataset raises when it is asked for the target",
    "damaged": "it is decoded, but the decoder complains: parts of the picture may be gray",
    "tiny": "a side is shorter than wanted",
    "mislabelled": "the name's extension says another format than the bytes",
    "duplicate": "the very bytes of an earlier row",
}
"""Every kind of finding, and what it means."""

ALWAYS_BAD = frozenset({"unreadable", "corrupt", "huge", "target"})
"""Kinds that a loader cannot do anything with."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found at a row."""

    kind: str
    """One of KINDS."""
    index: int
    """Row of the dataset, from 0 on."""
    stage: str
    """What was being done: "read", "header", "decode", "target" or "compare"."""
    error: str
    """What is wrong, in words."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else is known, by name: "height" and "width" (pixels), "format", "of" (the row that has the same bytes)."""
