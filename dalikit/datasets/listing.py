"""Lists an image folder: which classes it has, and which files each class has, in torchvision's order."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from dalikit.datasets.paths import join_paths
from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError, EmptyDatasetError
from dalikit.progress import progress_bar
from dalikit.storage import check_scheme, is_remote
from dalikit.storage.remote.address import check_host, redact
from dalikit.storage.settling import wait_until_settled

__all__ = [
    "EXTENSIONS",
    "NUM_THREADS",
    "ClassListing",
    "Listing",
    "find_classes",
    "find_root",
    "list_folder",
    "open_root",
    "refuse_empty",
]

EXTENSIONS = (
    ".bmp", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
"""What DALI decodes. torchvision lists .jpg .jpeg .png .ppm .bmp .pgm .tif .tiff .webp; none of the others is common
enough in its folders to change an order that matters, and all of them would be lost without a word."""

NUM_THREADS = 4
"""Class folders listed at once. On a network file system they wait for answers; on a local one more only get in each
other's way."""

_MAX_NAMED = 10  # class folders that a message names

logger = logging.getLogger(__name__)


class ClassListing(NamedTuple):
    """One class folder."""

    num_files: int
    """How many files."""
    paths: bytes
    """Their paths, relative to the root, as `join_paths` joins them."""
    folders: list[str]
    """Every folder that was visited, relative to the root."""
    mtimes: list[int]
    """When each was last changed, in ns, as it was just before it was listed."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A whole image folder. What `list_folder` found, or what a cache file remembers of it."""

    classes: list[str]
    """Class names in class order."""
    counts: list[int]
    """How many files each class has."""
    paths: bytes
    """All paths relative to the root, as `join_paths` joins them: class by class, in order."""
    folders: list[str]
    """Every folder below the root that was visited."""
    mtimes: list[int]
    """When each was last changed, in ns."""


class _Folder(NamedTuple):
    """A folder to be listed."""

    path: str
    """Relative to the root."""
    ancestors: tuple[tuple[int, int], ...]
    """(device, inode) of the folders above it."""


def open_root(root: str | os.PathLike[str]) -> str:
    """The path of a dataset's root, with `~` expanded.

    Raises:
        ArgumentError: `root` is no path, or an address that cannot be read.
        DatasetNotFoundError: it is not there.
        DatasetError: it is not a folder, or cannot be looked into.
    """
    path = os.fspath(root) if isinstance(root, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ArgumentError(f"root must be the path of a folder, got {root!r}")
    expanded = os.path.expanduser(check_scheme("root", path))
    try:
        with os.scandir(expanded):
            return expanded
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"root {redact(expanded)!r} does not exist") from error
    except NotADirectoryError as error:
        raise DatasetError(f"root {redact(expanded)!r} is a file; a folder of class folders is wanted") from error
    except OSError as error:
        raise DatasetError(f"root {redact(expanded)!r} cannot be listed: {error.strerror}") from error


def find_root(root: str | os.PathLike[str]) -> str:
    """What `open_root` gives; of a remote root its address, of which only the form is looked at.

    Raises:
        ArgumentError: the address is not of its form, or holds a password. And what `open_root` does.
    """
    return check_host(root) if isinstance(root, str) and is_remote(root) else open_root(root)


def find_classes(root: str) -> list[str]:
    """The names of the folders in `root` (links to folders count), sorted by code point.

    Raises:
        EmptyDatasetError: there is none.
    """
    classes, files = _scan(root, follow_links=True, extensions=("",))
    if not classes:
        raise EmptyDatasetError(
            f"root {root!r} has no class folders: found {len(files)} file{'s' * (len(files) != 1)} at the top; "
            "ImageFolder wants root/class/image.jpg"
        )
    return sorted(classes)


def list_folder(
    root: str, classes: list[str], *, follow_links: bool = True, progress: bool | None = None, settle: bool = False
) -> Listing:
    """Lists every class folder, and the folders below it.

    Args:
        root: the folder that holds them.
        classes: their names, in class order.
        follow_links: go into linked folders below a class folder; a link to a folder above itself is left out with a
            warning. A class folder may itself be a link either way.
        progress: a progress bar on stderr; None: if that is a terminal.
        settle: make the recorded times fit to tell later changes, at the price of waiting for folders that were
            changed just now.

    Raises:
        DatasetError: a folder cannot be listed.
        EmptyDatasetError: a class has no file, in which case torchvision raises FileNotFoundError too.
    """
    top = _identity(_stat(root))
    job = partial(_list_class, root, top=top, follow_links=follow_links, settle=settle)
    found: list[ClassListing] = []
    with ThreadPoolExecutor(NUM_THREADS, "dalikit-list") as threads, progress_bar(progress, "listing", "files") as bar:
        for listing in threads.map(job, classes):
            found.append(listing)
            bar.update(listing.num_files)
    refuse_empty(root, [name for name, listing in zip(classes, found, strict=True) if not listing.num_files])
    return Listing(
        classes=classes,
        counts=[listing.num_files for listing in found],
        paths=b"".join(listing.paths for listing in found),
        folders=[folder for listing in found for folder in listing.folders],
        mtimes=[mtime for listing in found for mtime in listing.mtimes],
    )


def _list_class(root: str, name: str, *, top: tuple[int, int], follow_links: bool, settle: bool) -> ClassListing:
    """Lists one class folder and what is below it."""
    found: dict[str, list[str]] = {}
    mtimes: dict[str, int] = {}
    pending = [_Folder(name, (top,))]
    while pending:
        folder, ancestors = pending.pop()
        path = f"{root}/{folder}"
        status = _stat_settled(path) if settle else _stat(path)
        identity = _identity(status)
        if identity in ancestors:
            logger.warning("left out %r: it links to a folder above itself", path)
            continue
        subfolders, files = _scan(path, follow_links=follow_links, extensions=EXTENSIONS)
        found[folder], mtimes[folder] = files, status.st_mtime_ns
        pending.extend(_Folder(f"{folder}/{subfolder}", (*ancestors, identity)) for subfolder in subfolders)
    folders = sorted(found)  # by the whole path, as torchvision sorts what os.walk gives: not level by level
    paths = [f"{folder}/{file}" for folder in folders for file in sorted(found[folder])]
    return ClassListing(len(paths), join_paths(paths), folders, [mtimes[folder] for folder in folders])


def _scan(path: str, *, follow_links: bool, extensions: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The names of the folders in a folder, and of its files that end in one of `extensions`. Unsorted."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if _is_folder(entry):
                    if follow_links or not entry.is_symlink():
                        folders.append(entry.name)
                elif entry.name.lower().endswith(extensions):
                    files.append(entry.name)
    except OSError as error:
        raise DatasetError(f"folder {path!r} cannot be listed: {error.strerror}") from error
    return folders, files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or leads to one. A broken link is a file, as for os.walk."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _stat(path: str) -> os.stat_result:
    """Status of a folder."""
    try:
        return os.stat(path)
    except OSError as error:
        raise DatasetError(f"folder {path!r} cannot be listed: {error.strerror}") from error


def _stat_settled(path: str) -> os.stat_result:
    """Status of a folder whose next change will show in its time."""
    status = _stat(path)
    return _stat(path) if wait_until_settled(status.st_mtime_ns) else status


def _identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a folder from all others, by whatever path it was reached."""
    return status.st_dev, status.st_ino


def refuse_empty(root: str, empty: list[str]) -> None:
    """Raises EmptyDatasetError if there are class folders without an image."""
    if empty:
        named = ", ".join(map(repr, empty[:_MAX_NAMED]))
        more = f" and {len(empty) - _MAX_NAMED} more" if len(empty) > _MAX_NAMED else ""
        raise EmptyDatasetError(
            f"root {root!r}: found no image file for the classes {named}{more}; "
            f"names must end in one of {' '.join(EXTENSIONS)}. Remove the folders that are no classes"
        )
