"""What is known of a file or object without reading it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ObjectInfo"]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What tells one version of a file or object from another."""

    uri: str
    size: int
    """In bytes."""
    mtime_ns: int | None = None
    """When a file was last changed, ns since the epoch; of an object when it was stored, if its store says so."""
    etag: str | None = None
    """An object's, if its store has any."""
