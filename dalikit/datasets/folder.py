"""Images in one folder per class."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from dalikit.datasets.listing import Listing, find_classes, find_root, list_folder
from dalikit.datasets.listing_cache import check_cache_path, load_listing, save_listing
from dalikit.datasets.listing_remote import list_remote_folder
from dalikit.datasets.paths import PathTable, join_paths
from dalikit.datasets.stored import StoredDataset
from dalikit.errors import ArgumentError
from dalikit.storage import Location, is_remote
from dalikit.storage.remote.address import redact

__all__ = ["ImageFolder", "Samples"]


class ImageFolder(StoredDataset):
    """Images in one folder per class, as torchvision's ImageFolder has them: the same classes, in the same order.

        root/cat/001.jpg         index 0, target 0
        root/cat/more/002.png    index 1, target 0
        root/dog/001.jpg         index 2, target 1

    Classes are the folders in `root`, sorted by name; a class's files are all images in its folder and below, sorted by
    folder and then by name. A folder without an image is an error. Unlike torchvision, so is one that cannot be listed,
    and a few more kinds of file count as images (.jpe .jfif .jp2 .j2k .pbm .pnm).

    A sample costs its name's length, relative to the root, and 16 bytes more; there are no Python objects per sample.

    Args:
        root: the folder; `~` is expanded. Or its address in an object store, "s3://bucket/train": listed each time,
            some 1,000 names a request.
        transform: what is done to an image; carried out by the loader (see `__getitem__`).
        target_transform: a callable for the target.
        cache: a file, ending in .npz, that remembers the listing. It is used if no folder has changed since, else
            written anew; it is never needed. Not of a remote folder. None: the folder is listed each time.
        follow_links: go into linked folders, as torchvision does. Class folders may be links either way.
        progress: show a progress bar on stderr while listing. None: if stderr is a terminal.

    Attributes:
        root: as it was given, with `~` expanded.
        remote: whether it is an address.
        classes: class names, in class order.
        class_to_idx: class name to target.
        targets: int64 (n,), read-only: other rows would otherwise no longer match `fingerprint`.
        samples: the (path, target) of each row, made when asked for.
        imgs: the same.

    Raises:
        ArgumentError: `root` or `cache` is not a path of the kind wanted.
        DatasetNotFoundError: `root` is not there.
        DatasetError: `root` is a file, or a folder cannot be listed.
        EmptyDatasetError: there is no class folder, or one without an image.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
        cache: str | os.PathLike[str] | None = None,
        follow_links: bool = True,
        progress: bool | None = None,
    ) -> None:
        super().__init__(transform, target_transform)
        self.root = find_root(root)
        self.remote = is_remote(self.root)
        if self.remote:
            self.root = self.root.rstrip("/")
        listing = _open(self.root, cache, remote=self.remote, follow_links=follow_links, progress=progress)
        self.classes = listing.classes
        self.class_to_idx = {name: target for target, name in enumerate(listing.classes)}
        self.targets: npt.NDArray[np.int64] = np.repeat(np.arange(len(listing.classes)), listing.counts)
        self.targets.flags.writeable = False
        self._paths = PathTable(listing.paths)
        self._prefix = self.root if self.root.endswith("/") else self.root + "/"
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        """How many images."""
        return len(self._paths)

    def __repr__(self) -> str:
        """The root, and how much is in it."""
        return f"ImageFolder(root={redact(self.root)!r}, num_samples={len(self)}, num_classes={len(self.classes)})"

    def get_location(self, index: int) -> Location:
        """The file of row `index`."""
        return Location(self._prefix + self._paths[self._row(index)])

    def get_target(self, index: int) -> int:
        """The class of row `index`."""
        return int(self.targets[self._row(index)])

    def get_key(self, index: int) -> str:
        """The file of row `index` relative to the root: "cat/001.jpg"."""
        return self._paths[self._row(index)]

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the classes, the files' paths relative to the root, and the targets."""
        if self._fingerprint is None:
            digest = hashlib.blake2b(b"ImageFolder", digest_size=8)
            digest.update(len(self).to_bytes(8, "little"))
            for block in (join_paths(self.classes), self._paths.block, self.targets.astype("<i4").tobytes()):
                digest.update(len(block).to_bytes(8, "little"))
                digest.update(block)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    @property
    def samples(self) -> Samples:
        """The (path, target) of each row."""
        return Samples(self)

    @property
    def imgs(self) -> Samples:
        """The same as `samples`, by torchvision's older name."""
        return self.samples


class Samples(Sequence[tuple[str, int]]):
    """The (path, target) of each row of an ImageFolder, made when asked for."""

    def __init__(self, dataset: ImageFolder) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        """How many rows."""
        return len(self._dataset)

    @overload
    def __getitem__(self, index: int) -> tuple[str, int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, int]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, int] | list[tuple[str, int]]:
        """One row, or the list of those in a slice."""
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        return self._dataset.get_location(index).uri, self._dataset.get_target(index)


def _open(
    path: str, cache: str | os.PathLike[str] | None, *, remote: bool, follow_links: bool, progress: bool | None
) -> Listing:
    """The listing of a root, from the cache file if that is up to date."""
    if remote:
        if cache is not None:
            raise ArgumentError(
                f"cache={os.fspath(cache)!r}: an object store does not say whether a folder has changed. Leave it out, "
                "or write a list once and give that as a Manifest"
            )
        return list_remote_folder(path)
    cache_path = None if cache is None else check_cache_path(cache)
    classes = find_classes(path)
    if cache_path is None:
        return list_folder(path, classes, follow_links=follow_links, progress=progress)
    listing = load_listing(cache_path, path, classes, follow_links=follow_links)
    if listing is None:
        listing = list_folder(path, classes, follow_links=follow_links, progress=progress, settle=True)
        save_listing(cache_path, listing, path, follow_links=follow_links)
    return listing
