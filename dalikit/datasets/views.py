"""Rows of other datasets of encoded images, seen as one such dataset."""

from __future__ import annotations

import bisect
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from dalikit.datasets.base import Encoded, row_of
from dalikit.errors import ArgumentError
from dalikit.storage import Location

__all__ = [
    "ConcatView",
    "SubsetView",
    "View",
    "comes_first",
    "has_images",
    "identity_of",
    "lies_in_files",
    "reads_pairs",
    "view_class",
]

Rows = npt.NDArray[np.int64]


def lies_in_files(dataset: Any) -> bool:
    """Whether `get_location` tells where the bytes lie: not if a subclass has a `get_image_data` of its own."""
    return comes_first(dataset, "get_location")


def comes_first(dataset: Any, method: str) -> bool:
    """Whether the dataset has a method, and no subclass has a `get_image_data` of its own that it does not know."""
    for cls in type(dataset).__mro__:
        if method in vars(cls):
            return True
        if "get_image_data" in vars(cls):
            return False
    return False


def reads_pairs(dataset: Any) -> bool:
    """Whether images and targets are to be read together: not if a subclass gives others, or at other places."""
    for cls in type(dataset).__mro__:
        if "split_pair" in vars(cls):
            return True
        if any(method in vars(cls) for method in ("get_image_data", "get_batch", "get_location", "get_target")):
            return False
    return False


def has_images(dataset: Any) -> bool:
    """Whether it is a dataset of encoded images: has all that a view asks for."""
    return all(callable(getattr(dataset, name, None)) for name in ("get_image_data", "get_target", "__len__"))


class _Target(NamedTuple):
    """A target of a part whose `target_transform` is not that of the others."""

    part: int
    target: Any


class _TargetTransforms:
    """The target transforms of a view's parts, each for its own."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any] | None]) -> None:
        self._transforms = tuple(transforms)

    def __call__(self, target: _Target) -> Any:
        transform = self._transforms[target.part]
        return target.target if transform is None else transform(target.target)


class View:
    """Rows of other datasets. Deterministic and thread-safe if those are."""

    parts: tuple[Any, ...]
    shown_as: str
    """The name of its class, in messages too."""

    def __len__(self) -> int:
        """How many rows."""
        raise NotImplementedError

    def find(self, index: int) -> tuple[int, int]:
        """The part that row `index` is in, and its row there. Raises IndexError."""
        raise NotImplementedError

    def name(self, index: int, part: int, key: str) -> str:
        """The name of row `index`, which is called `key` in its part."""
        del index, part
        return key

    def mark(self, part: int, target: Any) -> Any:
        """A target of a part, as `target_transform` takes it."""
        del part
        return target

    def get_image_data(self, index: int) -> Encoded:
        """The encoded bytes of row `index`. Raises IndexError, and what the dataset inside does."""
        part, row = self.find(index)
        return cast("Encoded", self.parts[part].get_image_data(row))

    def get_target(self, index: int) -> Any:
        """The target of row `index`, before `target_transform`. Raises IndexError."""
        part, row = self.find(index)
        return self.mark(part, self.parts[part].get_target(row))

    def _row(self, index: int) -> int:
        """`index` counted from the start. Raises IndexError."""
        return row_of(self, index)


class SubsetView(View):
    """Some rows of a dataset of encoded images, in any order: a Subset.

    Args:
        dataset: of encoded images.
        rows: int64 (n,), each from 0 on.
    """

    shown_as = "Subset"

    def __init__(self, dataset: Any, rows: Rows) -> None:
        self.dataset = dataset
        self.parts = (dataset,)
        self.rows = rows

    def __len__(self) -> int:
        """How many rows."""
        return len(self.rows)

    def __repr__(self) -> str:
        """How many rows of what."""
        return f"Subset({len(self)} of {self.dataset!r})"

    def __reduce__(self) -> Any:
        """Its class is made anew from the dataset."""
        return _make_subset, (self.dataset, self.rows)

    def find(self, index: int) -> tuple[int, int]:
        """The only part, and the row there. Raises IndexError."""
        return 0, int(self.rows[self._row(index)])

    @property
    def transform(self) -> Any:
        """The dataset's."""
        return getattr(self.dataset, "transform", None)

    @property
    def target_transform(self) -> Any:
        """The dataset's."""
        return getattr(self.dataset, "target_transform", None)

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the dataset's and the rows."""
        digest = hashlib.blake2b(b"Subset", digest_size=8)
        digest.update(identity_of(self.dataset))
        digest.update(self.rows.astype("<i8", copy=False).tobytes())
        return digest.hexdigest()


class ConcatView(View):
    """Datasets of encoded images, one after the other: a ConcatDataset.

    Args:
        parts: the datasets.
        ends: of each the first row that is no more its own, counted from the first dataset's start.
    """

    shown_as = "ConcatDataset"

    def __init__(self, parts: Sequence[Any], ends: Sequence[int]) -> None:
        self.parts = tuple(parts)
        self._ends = list(ends)
        transforms = [getattr(part, "target_transform", None) for part in self.parts]
        self._together = _agree(transforms)
        self._target_transform: Any = transforms[0] if self._together else _TargetTransforms(transforms)

    def __len__(self) -> int:
        """How many rows."""
        return self._ends[-1]

    def __repr__(self) -> str:
        """What it consists of."""
        return f"ConcatDataset({len(self)} in {', '.join(map(repr, self.parts))})"

    def __reduce__(self) -> Any:
        """Its class is made anew from the parts."""
        return _make_concat, (self.parts, self._ends)

    def find(self, index: int) -> tuple[int, int]:
        """The part that row `index` is in, and its row there. Raises IndexError."""
        row = self._row(index)
        part = bisect.bisect_right(self._ends, row)
        return part, row - self._ends[part - 1] if part else row

    def name(self, index: int, part: int, key: str) -> str:
        """Behind the part's number: two parts may have rows of one name."""
        del index
        return f"{part}/{key}"

    def mark(self, part: int, target: Any) -> Any:
        """With the part's number, if the parts' target transforms differ."""
        return target if self._together else _Target(part, target)

    @property
    def target_transform(self) -> Any:
        """The parts'."""
        return self._target_transform

    @property
    def transform(self) -> Any:
        """The parts'.

        Raises:
            ArgumentError: they have not all the same.
        """
        transforms = [getattr(part, "transform", None) for part in self.parts]
        if not _agree(transforms):
            told = "; ".join(
                f"{number}: {type(part).__name__} with {transform!r}"
                for number, (part, transform) in enumerate(zip(self.parts, transforms, strict=True))
            )
            raise ArgumentError(
                f"{self.shown_as}: its datasets have different transforms ({told}); the loader has one for all images: "
                "give it as transform="
            )
        return transforms[0]

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the parts'."""
        digest = hashlib.blake2b(b"ConcatDataset", digest_size=8)
        for part, end in zip(self.parts, self._ends, strict=True):
            digest.update(identity_of(part))
            digest.update(end.to_bytes(8, "little"))
        return digest.hexdigest()


def _agree(values: Sequence[Any]) -> bool:
    """Whether all are identical or equal."""
    return all(value is values[0] or _equal(value, values[0]) for value in values)


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # users' objects compare as they like: elementwise, say
        return False


def identity_of(dataset: Any) -> bytes:
    """What is known of a dataset, with its length, so that two of them one after the other cannot be mixed up."""
    told = getattr(dataset, "fingerprint", None)
    text = str(told) if told is not None else f"{type(dataset).__qualname__} of {len(dataset)}"
    data = text.encode()
    return len(data).to_bytes(8, "little") + data


# What only some datasets have. A view's class has exactly what its parts' have, since `hasattr` and the order of the
# classes decide how a dataset is read: what stands before `get_image_data` is used instead of it.


class _Located:
    def get_location(self: Any, index: int) -> Location:
        """Where the encoded bytes of row `index` lie. Raises IndexError."""
        part, row = self.find(index)
        return cast("Location", self.parts[part].get_location(row))


class _Paired:
    def get_pair_location(self: Any, index: int) -> Location:
        """Where image and target of row `index` lie together, or the image alone. Raises IndexError."""
        part, row = self.find(index)
        dataset = self.parts[part]
        return cast("Location", (dataset.get_pair_location if reads_pairs(dataset) else dataset.get_location)(row))

    def split_pair(self: Any, index: int, data: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], Any]:
        """Image and target of row `index`, of what lies there. Raises IndexError, and what the dataset does."""
        part, row = self.find(index)
        dataset = self.parts[part]
        if reads_pairs(dataset):
            data, target = dataset.split_pair(row, data)
        else:
            target = dataset.get_target(row)
        return data, self.mark(part, target)


class _Batched:
    def get_batch(self: Any, indices: Sequence[int]) -> list[tuple[Encoded, Any]]:
        """The encoded bytes and the target of several rows, in this order. Raises IndexError."""
        found = [self.find(index) for index in indices]
        pairs: dict[int, tuple[Encoded, Any]] = {}
        for part in dict.fromkeys(part for part, _ in found):
            places = [place for place, (each, _) in enumerate(found) if each == part]
            dataset = self.parts[part]
            given = list(dataset.get_batch([found[place][1] for place in places]))
            if len(given) != len(places):
                raise ArgumentError(
                    f"get_batch of {type(dataset).__name__} was asked for {len(places)} rows and gave {len(given)}: it "
                    "must give (bytes, target) for each index, in the same order"
                )
            for place, (data, target) in zip(places, given, strict=True):
                pairs[place] = data, self.mark(part, target)
        return [pairs[place] for place in range(len(found))]


class _Keyed:
    def get_key(self: Any, index: int) -> str:
        """The name of row `index`. Raises IndexError."""
        part, row = self.find(index)
        return cast("str", self.name(index, part, self.parts[part].get_key(row)))


class _Measured:
    def image_size(self: Any, index: int) -> Any:
        """The size of the image of row `index`. Raises IndexError."""
        part, row = self.find(index)
        return self.parts[part].image_size(row)


def view_class(base: Any, parts: tuple[Any, ...]) -> Any:
    """The class of a view of these datasets."""

    def have(method: str) -> bool:
        return all(callable(getattr(part, method, None)) for part in parts)

    def use(method: str) -> bool:
        return all(comes_first(part, method) for part in parts)

    first: list[type] = [mixin for mixin, name in ((_Located, "get_location"), (_Batched, "get_batch")) if use(name)]
    if _Located in first and any(map(reads_pairs, parts)):
        first.insert(0, _Paired)  # before all that a subclass may override
    later = [
        mixin
        for mixin, name in ((_Located, "get_location"), (_Keyed, "get_key"), (_Measured, "image_size"))
        if mixin not in first and have(name)
    ]
    return _make_class(base, tuple(first), tuple(later))


@functools.cache
def _make_class(base: Any, first: tuple[type, ...], later: tuple[type, ...]) -> Any:
    """One class for all views of a kind: two views of the same kind have the same type."""
    return type(base.shown_as, (*first, base, *later), {"__doc__": base.__doc__, "__module__": base.__module__})


def _make_subset(dataset: Any, rows: Rows) -> Any:
    rows.flags.writeable = False
    return view_class(SubsetView, (dataset,))(dataset, rows)


def _make_concat(parts: tuple[Any, ...], ends: list[int]) -> Any:
    return view_class(ConcatView, parts)(parts, ends)
