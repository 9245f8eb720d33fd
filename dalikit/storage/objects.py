"""Whole files and objects: what there is, and their bytes one after the other. For making indexes and reading lists."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from dalikit.errors import DatasetError, DatasetNotFoundError
from dalikit.storage.location import is_remote

__all__ = ["ObjectInfo", "read_stream", "stat_object"]

CHUNK_SIZE = 8 << 20


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


def stat_object(uri: str) -> ObjectInfo:
    """Size and version of a file or object.

    Raises:
        DatasetNotFoundError: it is not there.
        DatasetError: it cannot be asked for.
    """
    if is_remote(uri):
        from dalikit.storage.remote import stat_remote

        return stat_remote(uri)
    try:
        status = os.stat(uri)
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"file {uri!r} does not exist") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"file {uri!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return ObjectInfo(uri, status.st_size, status.st_mtime_ns)


def read_stream(uri: str, *, offset: int = 0, chunk_size: int = CHUNK_SIZE) -> Iterator[bytes]:
    """The bytes of a file or object from `offset` on, in pieces of at most `chunk_size`; memory is bounded by a few.

    Raises:
        DatasetNotFoundError: it is not there.
        DatasetError: it cannot be read, or ends before its size.
    """
    if is_remote(uri):
        from dalikit.storage.remote import stream_remote

        yield from stream_remote(uri, offset=offset, chunk_size=chunk_size)
        return
    try:
        with open(uri, "rb") as file:
            file.seek(offset)
            while chunk := file.read(chunk_size):
                yield chunk
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"file {uri!r} does not exist") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"file {uri!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
