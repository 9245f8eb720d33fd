"""Remembers the listing of an image folder in a file, for as long as no folder changes."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dalikit.datasets.listing import EXTENSIONS, NUM_THREADS, Listing
from dalikit.datasets.paths import join_paths, split_paths
from dalikit.errors import ArgumentError
from dalikit.storage.replacing import replacing

__all__ = ["check_cache_path", "load_listing", "save_listing"]

_VERSION = 1
_FORMAT = "dalikit image folder listing"

logger = logging.getLogger(__name__)


class _ForeignFileError(ValueError):
    """The file is a listing, but not of this folder, or it is no listing at all."""


def check_cache_path(cache: str | os.PathLike[str]) -> Path:
    """The path of a cache file.

    Raises:
        ArgumentError: it does not end in .npz. A file that is no cache is overwritten, so a slip must not name labels.
    """
    path = Path(cache)
    if path.suffix != ".npz":
        raise ArgumentError(f"cache must be the path of a file that ends in .npz, got {os.fspath(cache)!r}")
    return path


def load_listing(cache: Path, root: str, classes: list[str], *, follow_links: bool) -> Listing | None:
    """The listing that `cache` holds, if it is still that of `root`: every folder has the time it had then.

    A file that is added, removed or renamed changes the time of its folder. One whose bytes are replaced does not, nor
    does that change the listing.

    Args:
        cache: as `save_listing` wrote it.
        root: the image folder.
        classes: the names of its class folders as they are now.
        follow_links: as the listing is to be made.

    Returns:
        None if there is no such file, if a folder changed, or (with a warning) if the file cannot be used.
    """
    try:
        listing = _read(cache, _header(root, follow_links))
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile and numpy raise nearly anything on a foreign file
        logger.warning("cache %r cannot be used and is written anew: %s: %s", str(cache), type(error).__name__, error)
        return None
    if listing.classes != classes or _mtimes(root, listing.folders) != listing.mtimes:
        logger.info("cache %r is out of date: %r has changed", str(cache), root)
        return None
    return listing


def save_listing(cache: Path, listing: Listing, root: str, *, follow_links: bool) -> None:
    """Writes `listing` of `root` to `cache`, at once or not at all. If it cannot be written, warns."""
    try:
        with replacing(cache) as file:
            _write(file, _header(root, follow_links), listing)
    except OSError as error:
        logger.warning("cache %r cannot be written: %s", str(cache), error.strerror or error)


def _header(root: str, follow_links: bool) -> list[str]:
    """What the listing depends on, the folders themselves aside."""
    # os.fsencode and hex: numpy's text arrays hold no lone surrogates and drop null characters at the end
    return [_FORMAT, str(_VERSION), os.fsencode(Path(root).absolute()).hex(), " ".join(EXTENSIONS), str(follow_links)]


def _write(file: IO[bytes], header: list[str], listing: Listing) -> None:
    np.savez(
        file,
        header=np.array(header),
        classes=_as_array(join_paths(listing.classes)),
        counts=np.array(listing.counts, dtype=np.int64),
        paths=_as_array(listing.paths),
        folders=_as_array(join_paths(listing.folders)),
        mtimes=np.array(listing.mtimes, dtype=np.int64),
    )


def _read(path: Path, header: list[str]) -> Listing:
    """Reads a file that `_write` wrote with the same header. Raises nearly anything if it did not."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        _check_header(arrays["header"].tolist(), header)
        listing = Listing(
            classes=split_paths(_as_bytes(arrays["classes"])),
            counts=_as_integers(arrays["counts"]),
            paths=_as_bytes(arrays["paths"]),
            folders=split_paths(_as_bytes(arrays["folders"])),
            mtimes=_as_integers(arrays["mtimes"]),
        )
    same = (
        len(listing.counts) == len(listing.classes)
        and len(listing.mtimes) == len(listing.folders)
        and min(listing.counts, default=0) > 0
        and sum(listing.counts) == listing.paths.count(b"\0")
    )
    if not same:
        raise _ForeignFileError("its parts do not fit together")
    return listing


def _check_header(came: Any, wanted: list[str]) -> None:
    """Refuses what another version, or the listing of another folder, wrote."""
    if not isinstance(came, list) or came[:1] != wanted[:1]:
        raise _ForeignFileError("it is no listing of an image folder")
    for name, one, other in zip(("version", "root", "extensions", "follow_links"), came[1:], wanted[1:], strict=True):
        if one != other:
            raise _ForeignFileError(f"it was made with another {name}")


def _as_array(block: bytes) -> npt.NDArray[np.uint8]:
    """uint8 (n,)."""
    return np.frombuffer(block, dtype=np.uint8)


def _as_bytes(array: npt.NDArray[Any]) -> bytes:
    """The block that `_as_array` took, ended by a null byte."""
    if array.dtype != np.uint8 or array.ndim != 1 or (len(array) and array[-1] != 0):
        raise _ForeignFileError("a block of names is broken")
    return array.tobytes()


def _as_integers(array: npt.NDArray[Any]) -> list[int]:
    """The numbers of an int64 array (n,)."""
    if array.dtype != np.int64 or array.ndim != 1:
        raise _ForeignFileError("a column of numbers is broken")
    return [int(number) for number in array.tolist()]


def _mtimes(root: str, folders: Sequence[str]) -> list[int]:
    """When each folder was last changed, in ns; -1 for one that is gone."""

    def mtime(folder: str) -> int:
        try:
            return os.stat(f"{root}/{folder}").st_mtime_ns
        except OSError:
            return -1

    with ThreadPoolExecutor(NUM_THREADS, "dalikit-stat") as threads:  # for network file systems
        return list(threads.map(mtime, folders))
