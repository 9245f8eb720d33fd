"""Where the encoded bytes of a sample lie."""

from __future__ import annotations

import re
from typing import NamedTuple

from dalikit.errors import ArgumentError
from dalikit.storage.information import ObjectInfo

__all__ = ["SCHEMES", "Location", "check_scheme", "is_remote"]

SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "http", "https")
"""Of addresses that are remote."""

_ANY = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
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
    version: ObjectInfo | None = None
    """What the file or object has to be: if its size, or its tag (of a file: its time), is another, then what is known
    of it is no longer true, and reading it is an error. None: whatever is there is read."""


def is_remote(uri: str) -> bool:
    """Whether an address is that of a remote object. A path that begins so is written "./s3://..."."""
    return _REMOTE.match(uri) is not None


def check_scheme(name: str, uri: str) -> str:
    """Refuses addresses that nothing here can read, before they are taken for paths.

    Args:
        name: what messages call it.
        uri: an address or a path. A path that begins like an address is written "./ftp://...".

    Returns:
        It, as it was.

    Raises:
        ArgumentError: it begins with "scheme://", and the scheme is none of `SCHEMES`. The message says no more of it:
            a password may stand behind.
    """
    found = _ANY.match(uri)
    if found is not None and not is_remote(uri):
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ArgumentError(
            f"{name}: an address that begins with {found[0]!r} cannot be read; it must begin with one of {known}, or "
            "be a path of the local file system, without any"
        )
    return uri
