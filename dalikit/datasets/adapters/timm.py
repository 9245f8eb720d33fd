"""timm's ImageDataset and its readers, seen as datasets of encoded images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from dalikit.datasets.adapters.adapted import Options
from dalikit.datasets.adapters.huggingface import encode_huggingface
from dalikit.datasets.adapters.origin import check_not_overridden, find_class
from dalikit.datasets.stored import StoredDataset
from dalikit.errors import ArgumentError
from dalikit.storage import Location

__all__ = ["TimmFiles", "encode_timm"]

_PACKAGE = "timm.data"
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")  # gzip, bzip2, xz: tarfile opens these too

Row = tuple[Location, Any, str]
"""Where it lies, its target, and its name."""


class TimmFiles(StoredDataset):
    """The files of a timm reader, or the members of its tar files. Thread-safe, unlike timm's tar readers: those share
    an open file, this reads byte ranges. Pickles if the reader does.

    Args:
        reader: a ReaderImageFolder, ReaderImageInTar or ReaderImageTar.
        transform: what is done to an image.
        target_transform: a callable for the target.

    Attributes:
        reader: the reader.
    """

    def __init__(self, reader: Any, transform: Any, target_transform: Callable[[Any], Any] | None) -> None:
        super().__init__(transform, target_transform)
        self.reader = reader
        self._find = _FINDERS[_kind_of(reader)]
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        """How many rows."""
        return len(self.reader)

    def __repr__(self) -> str:
        """What it stands for, and how much is in it."""
        return f"TimmFiles({type(self.reader).__name__}, num_samples={len(self)})"

    def get_location(self, index: int) -> Location:
        """Where the bytes of row `index` lie."""
        return self._find(self.reader, self._row(index))[0]

    def get_target(self, index: int) -> int:
        """The class of row `index`; -1 if it has none, as timm has it."""
        target = self._find(self.reader, self._row(index))[1]
        return -1 if target is None else int(target)

    def get_key(self, index: int) -> str:
        """The file of row `index` relative to the root; of a tar's member "shard.tar/cat/001.jpg"."""
        return self._find(self.reader, self._row(index))[2]

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the names and targets in order. Made once, when it is asked for."""
        if self._fingerprint is None:
            digest = hashlib.blake2b(b"timm", digest_size=8)
            for row in range(len(self)):
                digest.update(os.fsencode(f"{self.get_key(row)}\0{self.get_target(row)}\0"))
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def encode_timm(dataset: Any, options: Options) -> Any:
    """The files of timm's ImageDataset or of a reader; None: it is neither.

    Raises:
        ArgumentError: it is one that is not known, or does more with its items.
    """
    reader, transform, target_transform = dataset, None, None
    if find_class(dataset, _PACKAGE, "ImageDataset") is not None:
        _check_dataset(dataset)
        reader, transform, target_transform = dataset.reader, dataset.transform, dataset.target_transform
    elif find_class(dataset, _PACKAGE, "Reader") is None:
        return None
    transform = transform if options.transform is None else options.transform
    target_transform = target_transform if options.target_transform is None else options.target_transform
    check_not_overridden(reader, _PACKAGE, "timm")
    kind = _kind_of(reader)
    if kind == "ReaderHfds":
        return _encode_hfds(reader, options, transform, target_transform)
    if kind not in _FINDERS:
        raise ArgumentError(
            f"as_encoded({type(dataset).__name__}): its reader is {type(reader).__name__}; known are "
            f"{', '.join(_FINDERS)} and ReaderHfds. The others stream and have no rows"
        )
    options.refuse_columns(dataset)
    if kind != "ReaderImageFolder":
        _check_tars(reader)
    return TimmFiles(reader, transform, target_transform)


def _check_dataset(dataset: Any) -> None:
    check_not_overridden(dataset, _PACKAGE, "timm")
    if dataset.input_img_mode not in ("RGB", None):
        raise ArgumentError(
            f"as_encoded({type(dataset).__name__}): input_img_mode={dataset.input_img_mode!r}: dalikit decodes to RGB; "
            "make it with input_img_mode='RGB'"
        )
    if dataset.additional_features is not None:
        raise ArgumentError(
            f"as_encoded({type(dataset).__name__}): additional_features={dataset.additional_features!r}: its items "
            "hold more than image and target. Adapt the Hugging Face dataset itself: as_encoded(dataset.reader.dataset)"
        )


def _encode_hfds(reader: Any, options: Options, transform: Any, target_transform: Any) -> Any:
    """A reader of a Hugging Face dataset: that dataset."""
    if reader.remap_class or reader.target_keys:
        raise ArgumentError(
            "as_encoded(ReaderHfds): it has a class_map or several target keys. Adapt its dataset, and give the "
            "mapping as target_transform: as_encoded(reader.dataset, target=..., target_transform=...)"
        )
    image, target = options.image or reader.image_key, options.target or reader.label_key
    return encode_huggingface(reader.dataset, Options(image, target, transform, target_transform))


def _kind_of(reader: Any) -> str:
    """The name of timm's class that reads."""
    cls = find_class(reader, _PACKAGE)
    return "" if cls is None else cls.__name__


def _find_file(reader: Any, row: int) -> Row:
    path, target = reader.samples[row]
    return Location(path), target, path.removeprefix(os.path.join(os.fspath(reader.root), ""))


def _find_in_tars(reader: Any, row: int) -> Row:
    """A member of one of several tars, or of a tar within a tar."""
    member, tar, child = reader.samples[row]
    path = os.path.join(reader.root, tar) if tar else os.fspath(reader.root)
    start = member.offset_data + (0 if child is None else child.offset_data)
    name = "/".join((tar or os.path.basename(path), *((child.name,) if child is not None else ()), member.name))
    return Location(path, start, member.size), reader.targets[row], name


def _find_in_tar(reader: Any, row: int) -> Row:
    member, target = reader.samples[row]
    return Location(os.fspath(reader.root), member.offset_data, member.size), target, member.name


_FINDERS: dict[str, Callable[[Any, int], Row]] = {
    "ReaderImageFolder": _find_file,
    "ReaderImageInTar": _find_in_tars,
    "ReaderImageTar": _find_in_tar,
}


def _check_tars(reader: Any) -> None:
    """Byte ranges need tars that are not compressed."""
    tars = reader.tar_state if isinstance(getattr(reader, "tar_state", None), dict) else {None: None}
    for tar in tars:
        path = os.path.join(reader.root, tar) if tar else os.fspath(reader.root)
        with open(path, "rb") as file:
            start = file.read(8)
        if start.startswith(_COMPRESSED):
            raise ArgumentError(
                f"as_encoded({type(reader).__name__}): {path!r} is compressed, so its members have no place of "
                "their own in it; unpack it to a plain .tar"
            )
