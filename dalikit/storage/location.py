"""Where the encoded bytes of a sample lie."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["SCHEMES", "Location", "is_remote"]

SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "http", "https")
"""Of addresses that are remote."""

_REMOTE = re.compile(rf"(?:{'|'.join(SCHEMES)})://", re.IGNORECASE)


class Location(NamedTuple):
    """The byte range [offset, offset + size) of a file or object."""

    uri: str
    """A path of the local file system, as it would be given to `open` (bytes that are no text are surrogate-escaped, as
    `os.fsdecode` does it), or the address of a remote object: "s3://bucket/key", "https://host/path"."""
    offset: int = 0
    """First byte."""
    size: int | None = None
    """How many bytes; None: to the end of the file."""


def is_remote(uri: str) -> bool:
    """Whether an address is that of a remote object. A path that begins so is written "./s3://..."."""
    return _REMOTE.match(uri) is not None
