"""Targets with the number of their row, for evaluation: DINOv2's and DINOv3's DatasetWithEnumeratedTargets."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

from dalikit.datasets.base import Encoded, declares_images, row_of
from dalikit.datasets.dino.tabled import no_target
from dalikit.datasets.traits import is_mapped, lies_remotely, may_be_gzipped, measures
from dalikit.datasets.views import comes_first
from dalikit.datasets.wrapped import unwrap
from dalikit.errors import ArgumentError
from dalikit.storage import Location

__all__ = ["DatasetWithEnumeratedTargets"]

PADDED = -1
"""In place of a padded row's number: DINOv3's."""


class DatasetWithEnumeratedTargets:
    """A dataset whose targets are (number of the row, target), so that results can be put back in order.

        dataset                     0  1  2  3  4
        num_replicas=4, padded      0  1  2  3  4 -1 -1 -1     the number in the target
                                                  0  1  2      the row whose image and target it has

    Any dataset with `len` and rows (image, target) will do. If the dataset is one of encoded images, so is this, and it
    has of `get_location`, `get_batch`, `get_key`, `image_size`, `get_image_relpath` and `fingerprint` those that the
    dataset has, and its `transform`. torch's Subset and ConcatDataset of such datasets are looked into.

    A target that is None, or that of ImageNet's TEST split, becomes the number beside it, as in DINOv2, so that a batch
    of them can be collated; in `get_target`, which gives targets as they are stored, it is None.

    It is deterministic, thread-safe and pickles if the dataset is and does.

    Args:
        dataset: any map-style dataset.
        pad_dataset: repeat rows from the start until `num_replicas` divides the length, as torch's DistributedSampler
            does, so that every rank has equally many; their number is -1. DINOv3's.
        num_replicas: how many ranks; needed to pad.

    Raises:
        ArgumentError: `num_replicas` is not at least 1 where rows are to be padded, or the dataset has no length or,
            so that nothing can be repeated, no rows.
    """

    _base: ClassVar[type | None] = None  # the class that was called, of those made for a dataset

    def __new__(cls, dataset: Any, pad_dataset: bool = False, num_replicas: int | None = None) -> Any:
        """Of a class that has what the dataset has: what stands there decides how a loader reads it."""
        del pad_dataset, num_replicas
        return super().__new__(_class_for(cls, unwrap(dataset)))

    def __init__(self, dataset: Any, pad_dataset: bool = False, num_replicas: int | None = None) -> None:
        if not hasattr(dataset, "__len__") or not (hasattr(dataset, "__getitem__") or declares_images(dataset)):
            raise ArgumentError(f"dataset must have a length and rows, got {type(dataset).__name__}")
        if pad_dataset and (isinstance(num_replicas, bool) or not isinstance(num_replicas, int) or num_replicas < 1):
            raise ArgumentError(f"num_replicas must be at least 1 if pad_dataset is True, got {num_replicas!r}")
        self._arguments = (dataset, pad_dataset, num_replicas)
        self._dataset = dataset
        self._inner = unwrap(dataset)
        self._size = len(dataset)
        self._padded_size = self._size
        if pad_dataset:
            if self._size == 0:
                raise ArgumentError("dataset has no rows that could be repeated")
            replicas = cast("int", num_replicas)
            self._padded_size = -(-self._size // replicas) * replicas

    def __reduce__(self) -> Any:
        """Its class is made anew from the dataset."""
        return self._base or type(self), self._arguments

    def __len__(self) -> int:
        """How many rows, with the padded ones."""
        return self._padded_size

    def __repr__(self) -> str:
        """How many rows of what."""
        return f"DatasetWithEnumeratedTargets({len(self)} rows of {self._dataset!r})"

    def __getitem__(self, index: int) -> tuple[Any, tuple[int, Any]]:
        """The image as the dataset gives it, and (number, target). Raises IndexError, and what the dataset does."""
        number, row = self._find(index)
        image, target = self._dataset[row]
        missing = getattr(self._inner, "target_transform", None) is no_target
        return image, _enumerate(number, None if missing else target)

    def _find(self, index: int) -> tuple[int, int]:
        """The number of a row, and the row of the dataset. Raises IndexError."""
        place = row_of(self, index)
        return (place, place) if place < self._size else (PADDED, place % self._size)


def _enumerate(number: int, target: Any) -> tuple[int, Any]:
    return number, number if target is None else target


class _TargetTransform:
    """What a dataset does to its targets, done to the target beside a number."""

    def __init__(self, transform: Callable[[Any], Any] | None) -> None:
        self._transform = None if transform is no_target else transform

    def __call__(self, target: tuple[int, Any]) -> tuple[int, Any]:
        number, value = target
        return _enumerate(number, value if self._transform is None else self._transform(value))


# What only some datasets have. The order of the classes counts: what stands before `get_image_data` is used instead.


class _Images:
    def get_image_data(self: Any, index: int) -> Encoded:
        """The encoded bytes of row `index`. Raises IndexError, and what the dataset does."""
        return cast("Encoded", self._inner.get_image_data(self._find(index)[1]))

    def get_target(self: Any, index: int) -> tuple[int, Any]:
        """Number and target of row `index`, before `target_transform`. Raises IndexError."""
        number, row = self._find(index)
        return number, self._inner.get_target(row)

    @property
    def transform(self: Any) -> Any:
        """The dataset's."""
        return getattr(self._inner, "transform", None)

    @property
    def target_transform(self: Any) -> Callable[[tuple[int, Any]], tuple[int, Any]]:
        """The dataset's, for the target beside the number; and the number in place of None."""
        return _TargetTransform(getattr(self._inner, "target_transform", None))

    @property
    def may_be_gzipped(self: Any) -> bool:
        """The dataset's."""
        return may_be_gzipped(self._inner)

    @property
    def remote(self: Any) -> bool:
        """Whether any of the dataset's bytes lie in remote storage."""
        return lies_remotely(self._inner)

    @property
    def memory_map(self: Any) -> bool:
        """The dataset's."""
        return is_mapped(self._inner)


class _Located:
    def get_location(self: Any, index: int) -> Location:
        """Where the encoded bytes of row `index` lie. Raises IndexError."""
        return cast("Location", self._inner.get_location(self._find(index)[1]))


class _Batched:
    def get_batch(self: Any, indices: Sequence[int]) -> list[tuple[Encoded, Any]]:
        """The encoded bytes, and number and target, of several rows, in this order. Raises IndexError."""
        found = [self._find(index) for index in indices]
        pairs = list(self._inner.get_batch([row for _, row in found]))
        if len(pairs) != len(found):
            raise ArgumentError(
                f"get_batch of {type(self._inner).__name__} was asked for {len(found)} rows and gave {len(pairs)}: it "
                "must give (bytes, target) for each index, in the same order"
            )
        return [(data, (number, target)) for (number, _), (data, target) in zip(found, pairs, strict=True)]


class _Keyed:
    def get_key(self: Any, index: int) -> str:
        """The name of row `index`; of padded ones "name (repeat 1)". Raises IndexError."""
        place = row_of(self, index)
        repeat, row = divmod(place, self._size)
        key = self._inner.get_key(row)
        return f"{key} (repeat {repeat})" if repeat else key


class _Measured:
    def image_size(self: Any, index: int) -> Any:
        """Height, width and orientation of the image of row `index`, or None. Raises IndexError."""
        return self._inner.image_size(self._find(index)[1])


class _InFolders:
    def get_image_relpath(self: Any, index: int) -> str:
        """The file of row `index`, relative to the dataset's root. Raises IndexError."""
        return cast("str", self._inner.get_image_relpath(self._find(index)[1]))


class _Fingerprinted:
    @property
    def fingerprint(self: Any) -> str:
        """16 hex digits, hashed from the dataset's and the padded length."""
        told = f"{self._inner.fingerprint} {len(self)}"
        return hashlib.blake2b(b"DatasetWithEnumeratedTargets" + told.encode(), digest_size=8).hexdigest()


_OPTIONAL = {
    "get_location": _Located,
    "get_batch": _Batched,
    "get_key": _Keyed,
    "image_size": _Measured,
    "get_image_relpath": _InFolders,
    "fingerprint": _Fingerprinted,
}


def _class_for(base: type, dataset: Any) -> type:
    """A subclass of `base` with what a dataset has."""
    if not declares_images(dataset):
        return base
    # as in the dataset: before `get_image_data`, used instead of it; behind it, only told
    first = ["image_size"] if measures(dataset) else []
    first += [name for name in ("get_location", "get_batch") if comes_first(dataset, name)]
    later = [name for name in _OPTIONAL if name not in first and hasattr(type(dataset), name)]
    return _make_class(base, tuple(first), tuple(later))


@functools.cache
def _make_class(base: type, first: tuple[str, ...], later: tuple[str, ...]) -> type:
    """One class for all datasets of a kind."""
    mixins = (*(_OPTIONAL[name] for name in first), _Images, *(_OPTIONAL[name] for name in later))
    return type(base.__name__, (*mixins, base), {"__doc__": base.__doc__, "_base": base})
