"""Whole files and objects: what there is, and their bytes one after the other. For making indexes and reading lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from dalikit.errors import DatasetError, DatasetNotFoundError
from dalikit.storage.information import ObjectInfo
from dalikit.storage.location import is_remote

__all__ = ["CHUNK_SIZE", "ObjectInfo", "list_objects", "read_stream", "stat_object"]

CHUNK_SIZE = 8 << 20
"""Of a stream: a remote object's pieces take several times as long as their first byte is waited for."""


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


def read_stream(
    uri: str, *, offset: int = 0, chunk_size: int = CHUNK_SIZE, stopped: Callable[[], bool] | None = None
) -> Iterator[bytes]:
    """The bytes of a file or object from `offset` on, in pieces of at most `chunk_size`; memory is bounded by a few.

    Args:
        uri: a path or address.
        offset: of the first byte.
        chunk_size: in bytes.
        stopped: asked now and then while a piece of a remote object is waited for: whether to give up.

    Raises:
        DatasetNotFoundError: it is not there.
        DatasetError: it cannot be read, or ends before its size; or it was `stopped`.
    """
    if is_remote(uri):
        from dalikit.storage.remote import stream_remote

        yield from stream_remote(uri, offset=offset, chunk_size=chunk_size, stopped=stopped)
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


def list_objects(prefix: str) -> list[str]:
    """All files below a folder (links to folders are followed), or all objects below a prefix, sorted.

    Raises:
        DatasetNotFoundError: the folder is not there.
        DatasetError: it cannot be listed.
    """
    if is_remote(prefix):
        from dalikit.storage.remote import list_remote

        return list_remote(prefix)

    return sorted(_files(prefix, ()))


def _files(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """The files below a folder. `above`: device and inode of the folders above it, where a link may lead back to."""
    try:
        status = os.stat(folder)
        identity = status.st_dev, status.st_ino
        if identity in above:
            return
        with os.scandir(folder) as entries:
            found = [(entry.path, entry.is_dir()) for entry in entries]
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"folder {folder!r} does not exist") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"folder {folder!r} cannot be listed: {reason}") from error
    for path, is_folder in found:
        if is_folder:
            yield from _files(path, (*above, identity))
        else:
            yield path
