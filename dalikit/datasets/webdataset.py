"""Images in tar shards, by index."""

from __future__ import annotations

import bisect
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dalikit.datasets.shard_members import MemberColumn, choose_members, extensions_of, parse_extensions
from dalikit.datasets.shard_targets import MAX_TARGET, TargetPart, decode_target, parse_target
from dalikit.datasets.stored import StoredDataset
from dalikit.errors import DatasetError, EmptyDatasetError, ReadError
from dalikit.shards import NO_CLASS, ShardIndex, expand_shards, open_index
from dalikit.storage import Arena, Location, is_remote, read
from dalikit.storage.remote.address import redact

__all__ = ["IMAGE_EXTENSIONS", "WebDataset"]

IMAGE_EXTENSIONS = "jpg;jpeg;png;webp;jpe;jfif;bmp;tif;tiff;ppm;pgm;pbm;pnm;jp2;j2k"
"""What DALI decodes, the commonest first."""

_BETWEEN = 64 << 10
"""64 KiB: so many bytes that nobody wants are read along with image and target rather than reading twice: a request to
an object store costs more, and members' own headers and padding are 1 KiB."""

logger = logging.getLogger(__name__)


class WebDataset(StoredDataset):
    """Images in webdataset's tar shards, any of them by its index: every sampler, a shuffle over all shards and exact
    resume work on shards as they are.

        dataset = WebDataset("/data/{000000..000146}.tar", target="json:label")
        dataset = make_dataset(dataset_str="WebDataset:root=s3://bucket/{000000..000146}.tar:target=cls")

        a.jpg a.cls b.jpg b.cls | c.png c.cls       index 0: a, target of a.cls; 1: b; 2: c
             shard 000000.tar   | 000001.tar

    Rows are the samples in the order of the shards and, in each, of the file: what webdataset.WebDataset yields with
    shardshuffle=False. Where their members lie is looked up once and remembered in an index file (see
    `dalikit.shards`). Rows cost no Python object and, if all samples have the same members, no memory but the mapped
    index; else 8 bytes a target and row, 16 if samples are left out.

    A shard that is changed while the dataset is in use is not read any more: its rows raise a ReadError that says so.

    Args:
        root: the shards: a path or address (s3, gs, az, http, https) with webdataset's braces, "{000..146}.tar"; a
            pattern with `*`, a folder (all *.tar right in it; in a store its address ends in a slash), or a list of
            such.
        image: extensions of the image, without a dot; the first that a sample has, as in webdataset's
            `to_tuple("jpg;png")`. What follows the first dot of a name is its extension: "seg.png" is not "png".
            Samples without any are left out, with one warning.
        target: where the target lies. "cls": the whole number in the member .cls. "json": what .json holds,
            "json:label" a field of it, "json:a.b" a field within a field. "txt": text. "npy": an array. Any other
            extension: bytes. "cls;txt": the first that a sample has. "cls,txt": a tuple of both. None (as text "none"):
            each target is (), which is collated to []: torch's collation takes no None.
        index: the index file; if it is not there, it is made, with one warning that says so. See
            `dalikit.shards.open_index`. None: its usual place.
        memory_map: the loader maps local shards instead of reading them: faster if all of them fit into the page cache,
            but a shard that is cut off meanwhile kills the process. False, for that.
        transform: what is done to an image; carried out by the loader (see `__getitem__`).
        target_transform: a callable for the target.
        progress: show a progress bar on stderr while shards are indexed. None: if stderr is a terminal.

    Attributes:
        root: as it was given.
        shards: their paths or addresses.
        remote: whether any of them is remote.

    Raises:
        ArgumentError: an argument is not of its form.
        DatasetNotFoundError: a shard is not there.
        DatasetError: a shard cannot be read, or a sample has no target; an example is named.
        EmptyDatasetError: there is no sample, or none with an image.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        image: str = IMAGE_EXTENSIONS,
        target: str | None = "cls",
        index: str | Path | None = None,
        memory_map: bool = False,
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
        progress: bool | None = None,
    ) -> None:
        super().__init__(transform, target_transform)
        images, self._parts = parse_extensions("image", image), parse_target(target)
        self.root = root
        self.memory_map = memory_map
        self._index = open_index(expand_shards(_as_text(root)), index=index, progress=progress)
        self.shards = self._index.shards
        self.remote = any(map(is_remote, self.shards))
        self._chosen = images
        self._shown = redact(root) if isinstance(root, str) else f"{len(self.shards)} shards"
        name = f"WebDataset {self._shown!r}"
        self._images = choose_members(self._index, images)
        self._samples = _with_image(name, self._index, self._images, image)
        self._targets = [_find_targets(name, self._index, part, self._samples) for part in self._parts]
        self._starts = self._index.shard_bounds.tolist()
        self._labels = _label(self.shards)
        self._fingerprint: str | None = None
        self._known = not self._parts or self.targets is not None  # no target is to be read

    def __len__(self) -> int:
        """How many samples with an image."""
        return len(self._index) if self._samples is None else len(self._samples)

    def __repr__(self) -> str:
        """The root, and how much is in it."""
        return f"WebDataset(root={self._shown!r}, num_samples={len(self)}, num_shards={len(self.shards)})"

    def get_location(self, index: int) -> Location:
        """The bytes of the image of row `index` within its shard."""
        sample = self._sample(index)
        return self._locate(sample, self._images[sample])

    def get_target(self, index: int) -> Any:
        """The target of row `index`; read from its shard, unless it is the number of a .cls, which the index has.

        Raises:
            IndexError: there is no such row.
            ReadError: it cannot be read, or is not what its extension says.
        """
        return self._target_of(index, self._sample(index), None)

    def _target_of(self, index: int, sample: int, near: _Near | None) -> Any:
        values = [self._value(index, sample, number, near) for number in range(len(self._parts))]
        return values[0] if len(values) == 1 else tuple(values)

    def _unread(self, sample: int) -> list[int]:
        """The members with the targets of a sample that the index does not know itself."""
        columns = self._index
        members = [int(part[sample]) for part in self._targets]
        if columns.sample_class[sample] == NO_CLASS:
            return members
        return [each for each in members if columns.extensions[columns.member_extension[each]] != "cls"]

    def get_pair_location(self, index: int) -> Location:
        """The image's bytes, and those of the members with the target, if these lie close by and have to be read."""
        sample = self._sample(index)
        image = self._locate(sample, self._images[sample])
        if self._known:
            return image
        members = [self._locate(sample, member) for member in self._unread(sample)]
        start = min((each.offset for each in members), default=image.offset)
        stop = max((_end(each) for each in members), default=0)
        start, stop = min(start, image.offset), max(stop, _end(image))
        pair = Location(image.uri, start, stop - start, image.version)
        between = (pair.size or 0) - sum(each.size or 0 for each in (image, *members))
        return pair if between <= _BETWEEN else image

    def split_pair(self, index: int, data: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], Any]:
        """The image's bytes and the target, of the bytes at `get_pair_location`.

        Raises:
            IndexError: there is no such row.
            ReadError: the target cannot be read, or is not what its extension says.
        """
        sample = self._sample(index)
        if self._known:
            return data, self._target_of(index, sample, None)
        image, pair = self._locate(sample, self._images[sample]), self.get_pair_location(index)
        first = image.offset - pair.offset
        target = self._target_of(index, sample, None if pair == image else _Near(pair, data))
        return data[first : first + (image.size or 0)], target

    def get_key(self, index: int) -> str:
        """The names of the shard's file and of the image's member, whose extension is in small letters:
        "000000.tar/n01440764_10026.jpg".

        If two shards have the same file name, the shards' numbers stand before it: "7-000000.tar/...".
        """
        sample = self._sample(index)
        columns = self._index
        extension = columns.extensions[columns.member_extension[self._images[sample]]]
        return f"{self._labels[self._shard(sample)]}/{columns.key(sample)}.{extension}"

    def image_size(self, index: int) -> tuple[int, int, int] | None:
        """Height and width of the image as stored, and its EXIF orientation (1 to 8; 0: not known). From the index.

        Returns:
            None: the index does not have it.
        """
        member = self._images[self._sample(index)]
        columns = self._index
        height = int(columns.member_height[member])
        if height == 0:
            return None
        return height, int(columns.member_width[member]), int(columns.member_orientation[member])

    @property
    def targets(self) -> npt.NDArray[np.int64] | None:
        """int64 (n,), read-only: the targets, if they are the numbers of .cls members; else None."""
        if len(self._parts) != 1 or list(self._parts[0].fields) != ["cls"]:
            return None
        classes: npt.NDArray[np.int64] = self._index.sample_class
        if self._samples is not None:
            classes = classes[self._samples]
        if (classes == NO_CLASS).any():  # known only when they are read
            return None
        classes = classes.view()
        classes.flags.writeable = False
        return classes

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the samples' keys, members and sizes, the names of the shards, the classes, and
        which members were chosen.
        """
        if self._fingerprint is None:
            digest = hashlib.blake2b(b"WebDataset", digest_size=8)
            chosen = [";".join(self._chosen), *(part.text for part in self._parts)]
            digest.update("\0".join([self._index.fingerprint, *chosen]).encode())
            classes = self.targets
            if classes is not None:
                digest.update(classes.astype("<i8", copy=False).tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def _sample(self, index: int) -> int:
        """The sample of row `index`. Raises IndexError."""
        row = self._row(index)
        return row if self._samples is None else int(self._samples[row])

    def _shard(self, sample: int) -> int:
        return bisect.bisect_right(self._starts, sample) - 1

    def _locate(self, sample: int, member: int) -> Location:
        """Where a member of a sample lies, in the shard as it was indexed: of another one the index says nothing."""
        columns, shard = self._index, self._shard(sample)
        offset, size = int(columns.member_offset[member]), int(columns.member_size[member])
        return Location(columns.shards[shard], offset, size, columns.versions[shard] if columns.versions else None)

    def _value(self, index: int, sample: int, number: int, near: _Near | None) -> Any:
        """One of the targets of a sample.

        Args:
            index: its row.
            sample: which.
            number: which target.
            near: bytes that were read already, in which it lies; None: it is to be read.
        """
        columns = self._index
        member = self._targets[number][sample]
        extension = columns.extensions[columns.member_extension[member]]
        if extension == "cls" and columns.sample_class[sample] != NO_CLASS:
            return int(columns.sample_class[sample])
        location = self._locate(sample, member)
        try:  # an empty member is no error for a text
            if location.size == 0:
                data = np.empty(0, np.uint8)
            elif near is not None:
                data = near.part(location)
            else:
                data = read(location, Arena(chunk_size=1), max_size=MAX_TARGET)
            return decode_target(data, extension, self._parts[number].fields[extension])
        except ReadError as error:
            error.locate(self._place(index, location, "target"))
            raise


class _Near(NamedTuple):
    """Bytes that were read."""

    location: Location
    data: npt.NDArray[np.uint8]

    def part(self, location: Location) -> npt.NDArray[np.uint8]:
        """Those at a location within."""
        start = location.offset - self.location.offset
        return self.data[start : start + (location.size or 0)]


def _end(location: Location) -> int:
    return location.offset + (location.size or 0)


def _as_text(root: Any) -> str | list[str]:
    """Paths as text; whatever else it is, `expand_shards` refuses."""
    if isinstance(root, list | tuple):
        return [os.fspath(each) if isinstance(each, os.PathLike) else each for each in root]
    text: str = os.fspath(root) if isinstance(root, os.PathLike) else root
    return text


def _with_image(name: str, index: ShardIndex, images: MemberColumn, image: str) -> npt.NDArray[np.int64] | None:
    """int64: the samples that have an image; None: all have.

    Raises:
        EmptyDatasetError: none has.
    """
    if len(index) == 0:
        raise EmptyDatasetError(f"{name} holds no sample")
    missing = images.missing()
    if len(missing) == 0:
        return None
    example = _describe(index, int(missing[0]))
    if len(missing) == len(index):
        raise EmptyDatasetError(
            f"{name}: none of {len(index)} samples has an image ({image}): {example}. Say which it is with image="
        )
    count = f"{len(missing)} of {len(index)}"
    logger.warning("%s: left out %s samples, which have no image (%s): %s", name, count, image, example)
    kept = np.ones(len(index), dtype=np.bool_)
    kept[missing] = False
    return np.flatnonzero(kept)


def _find_targets(
    name: str, index: ShardIndex, part: TargetPart, samples: npt.NDArray[np.int64] | None
) -> MemberColumn:
    """The members that hold a target.

    Raises:
        DatasetError: a sample with an image has none.
    """
    members = choose_members(index, list(part.fields))
    missing = members.missing()
    if samples is not None:
        missing = np.intersect1d(missing, samples, assume_unique=True)
    if len(missing):
        count = len(index) if samples is None else len(samples)
        raise DatasetError(
            f"{name}: {len(missing)} of {count} samples have no target ({part.text}): "
            f"{_describe(index, int(missing[0]))}. Say where the targets are with target=, or target=none"
        )
    return members


def _describe(index: ShardIndex, sample: int) -> str:
    """A sample as an example."""
    shard = redact(index.shards[index.shard_of(sample)])
    return f"sample {index.key(sample)!r} in {shard!r} has {extensions_of(index, sample)}"


def _without_query(shard: str) -> str:
    """An http(s) address may have one; in the names of buckets' objects "?" is a letter like others."""
    return shard.partition("?")[0] if is_remote(shard) and shard[:4].lower() == "http" else shard


def _label(shards: Sequence[str]) -> list[str]:
    """The file names of the shards, which begin with their numbers if a name comes twice."""
    names = [_without_query(shard).rpartition("/")[2] for shard in shards]
    if len(set(names)) == len(names):
        return names
    return [f"{number}-{name}" for number, name in enumerate(names)]
