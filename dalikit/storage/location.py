"""Where the encoded bytes of a sample lie."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Location"]


class Location(NamedTuple):
    """The byte range [offset, offset + size) of a file or object."""

    uri: str
    """A path of the local file system, as it would be given to `open` (bytes that are no text are surrogate-escaped, as
    `os.fsdecode` does it), or the address of a remote object."""
    offset: int = 0
    """First byte."""
    size: int | None = None
    """How many bytes; None: to the end of the file."""
