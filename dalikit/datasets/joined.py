"""Several datasets as one: one after the other, or in given proportions."""

from __future__ import annotations

import hashlib
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from dalikit.datasets.looking import item_of
from dalikit.datasets.registry import create_dataset
from dalikit.datasets.views import ConcatView, has_images, identity_of, view_class
from dalikit.datasets.wrapped import unwrap
from dalikit.errors import ArgumentError, DalikitError, Place

__all__ = ["MAX_SIZE", "Concat", "Mix", "concat_by_name", "mix_by_name"]

MAX_SIZE = 1 << 62
"""Of a Mix: positions of several passes still fit 64 bits, and `len` works."""


class Concat(ConcatView):
    """Datasets of encoded images, one after the other: torch's ConcatDataset with all that the parts have in common.

        Concat([ImageFolder("/data/a"), WebDataset("/data/b/{000..099}.tar")])
        make_dataset(dataset_str='Concat:a="ImageFolder:root=/data/a":b="WebDataset:root=/data/b/{000..099}.tar"')

    It has `get_image_data`, `get_target` and `len`, and of `get_location`, `get_batch`, `get_key` and `image_size`
    those that all parts have. A key is that of the part behind its number: "1/cat/001.jpg". Negative indices count from
    the end.

    Args:
        datasets: a list of them; torch's Subset and ConcatDataset of such datasets will do.
        transform: what is done to all images, instead of the parts' own. None: the parts', which then must be equal: a
            loader that asks for it gets an ArgumentError if they are not.
        target_transform: a callable for all targets, after the parts' own.

    Raises:
        ArgumentError: there is no part, or one is no dataset of encoded images.
    """

    shown_as = "Concat"

    def __new__(
        cls, datasets: Sequence[Any], transform: Any = None, target_transform: Callable[[Any], Any] | None = None
    ) -> Concat:
        """Of a class that has what all parts have."""
        del transform, target_transform
        made: Concat = _new(Concat, cls, datasets)
        return made

    def __init__(
        self, datasets: Sequence[Any], transform: Any = None, target_transform: Callable[[Any], Any] | None = None
    ) -> None:
        parts = _as_parts(self.shown_as, datasets)
        super().__init__(parts, list(itertools.accumulate(map(len, parts))))
        self._given = transform, target_transform

    def __repr__(self) -> str:
        """What it consists of."""
        return f"{self.shown_as}({len(self)} in {', '.join(map(repr, self.parts))})"

    def __reduce__(self) -> Any:
        """Its class is made anew from the parts."""
        return Concat, (self.parts, *self._given)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """The image and the target of row `index`, decoded by Pillow: for looking at single rows, and for torch's own
        DataLoader. dalikit's loader takes the encoded bytes.

        Returns:
            The image as PIL RGB, after `transform` if that is a plain callable; the target after `target_transform`.

        Raises:
            IndexError: there is no such row.
            ReadError: its bytes cannot be read.
            DecodeError: they are no image that Pillow decodes.
        """
        return item_of(self, index, lambda: self._place(index))

    @property
    def transform(self) -> Any:
        """The one that was given; else the parts'. May be set.

        Raises:
            ArgumentError: none was given, and they have not all the same.
        """
        return super().transform if self._given[0] is None else self._given[0]

    @transform.setter
    def transform(self, transform: Any) -> None:
        self._given = transform, self._given[1]

    @property
    def target_transform(self) -> Any:
        """The parts' own, and then the one that was given. That one may be set."""
        own, given = self._target_transform, self._given[1]
        return own if given is None else _Both(own, given)

    @target_transform.setter
    def target_transform(self, target_transform: Callable[[Any], Any] | None) -> None:
        self._given = self._given[0], target_transform

    def _place(self, index: int) -> Place:
        """Where row `index` lies."""
        key = self.get_key(index) if hasattr(self, "get_key") else None
        return Place(dataset=self.shown_as, index=self._row(index), key=key, stage="decode")


class Mix(Concat):
    """Datasets of encoded images in given proportions, exact in every pass.

        Mix([web, photographs], weights=[0.7, 0.3])
        make_dataset(dataset_str='Mix:a="WebDataset:root=/w/{000..099}.tar":b="ImageFolder:root=/p":weights=0.7,0.3')

    It has `size` rows, of which part p has size x weight_p (rounded so that they add up: the largest remainders get the
    rows that are left). A part's rows are repeated to fill its share: each occurs as often as any other, or once more.
    Where its share is smaller than the part, every so many-th row is taken, the same ones in every pass.

        weights 0.75 0.25, parts of 2 and 3 rows:    size = max(2 / 0.75, 3 / 0.25) = 12

        index    0 1 2 3 4 5 6 7 8 | 9 10 11         the parts lie one after the other
        row      0 1 0 1 0 1 0 1 0 | 0  1  2

    Mixing them is the sampler's work: without a shuffle the parts come one after the other. All is arithmetic with
    whole numbers, so memory does not grow with `size`, and every sampler, resume and any number of ranks work. A
    sampler's pass (an epoch) is `size` rows.

    It has what Concat has. A key is that of the part behind the part's number and, from the second time on, which time
    it is: "1/cat/001.jpg", "1#2/cat/001.jpg". Targets are the parts' own; where they number their classes differently,
    give a part a `target_transform`.

    Args:
        datasets: a list of them, none empty.
        weights: the share of each, above 0; they need not add up to 1. They count as they are written: 0.1 is a tenth.
        size: how many rows. None: as few as make every row of every part occur: the largest of len / share.
        transform: what is done to all images, instead of the parts' own; see Concat.
        target_transform: a callable for all targets, after the parts' own.

    Raises:
        ArgumentError: a part is empty or no dataset of encoded images, weights are not as many as parts or not above 0,
            or `size` is not 1 to 2**62.
    """

    shown_as = "Mix"

    def __new__(
        cls,
        datasets: Sequence[Any],
        weights: Sequence[float],
        size: int | None = None,
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> Mix:
        """Of a class that has what all parts have."""
        del weights, size, transform, target_transform
        made: Mix = _new(Mix, cls, datasets)
        return made

    def __init__(
        self,
        datasets: Sequence[Any],
        weights: Sequence[float],
        size: int | None = None,
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(datasets, transform, target_transform)
        lengths = [len(part) for part in self.parts]
        shares = _as_shares(weights, len(lengths))
        self._arguments = list(weights), size
        self.counts = _count_rows(lengths, shares, size)
        """How many of the rows each part has."""
        self._ends = list(itertools.accumulate(self.counts))
        self._lengths = lengths

    def __repr__(self) -> str:
        """What it consists of, in which proportions."""
        told = ", ".join(
            f"{count} ({100 * count / len(self):.4g} %) of {part!r}"
            for count, part in zip(self.counts, self.parts, strict=True)
        )
        return f"Mix({len(self)} rows: {told})"

    def __reduce__(self) -> Any:
        """Its class is made anew from the parts."""
        return Mix, (self.parts, *self._arguments, *self._given)

    def find(self, index: int) -> tuple[int, int]:
        """The part that row `index` is in, and its row there. Raises IndexError."""
        part, place = super().find(index)
        count, length = self.counts[part], self._lengths[part]
        return part, place % length if count >= length else place * length // count

    def name(self, index: int, part: int, key: str) -> str:
        """Behind the part's number, and which time the part gives this row."""
        turn = super().find(index)[1] // self._lengths[part]
        return f"{part}/{key}" if turn == 0 else f"{part}#{turn + 1}/{key}"

    @property
    def fingerprint(self) -> str:
        """16 hex digits, hashed from the parts' and how many rows each has."""
        digest = hashlib.blake2b(b"Mix", digest_size=8)
        for part, count in zip(self.parts, self.counts, strict=True):
            digest.update(identity_of(part))
            digest.update(count.to_bytes(8, "little"))
        return digest.hexdigest()


class _Both:
    """The parts' target transform, then another. Pickles if they do."""

    def __init__(self, first: Callable[[Any], Any] | None, second: Callable[[Any], Any]) -> None:
        self._first, self._second = first, second

    def __call__(self, target: Any) -> Any:
        return self._second(target if self._first is None else self._first(target))


def concat_by_name(
    *, transform: Any = None, target_transform: Callable[[Any], Any] | None = None, **datasets: str
) -> Concat:
    """Makes `Concat:a="Name:key=value":b="..."`: any keys, whose values are dataset strings, in the order given.

    Raises:
        ArgumentError: a part's text has a fault. As for any error of a part, a note says which.
        DatasetError: a part cannot be opened.
    """
    return Concat(_create("Concat", datasets), transform, target_transform)


def mix_by_name(
    *,
    weights: str,
    size: int | None = None,
    transform: Any = None,
    target_transform: Callable[[Any], Any] | None = None,
    **datasets: str,
) -> Mix:
    """Makes `Mix:a="Name:key=value":b="...":weights=0.7,0.3`: weights in the order of the parts; `size` likewise.

    Raises:
        ArgumentError: weights are no numbers, or a part's text has a fault. A note says which part.
        DatasetError: a part cannot be opened.
    """
    numbers = []
    for piece in weights.split(","):
        try:
            numbers.append(float(piece))
        except ValueError:
            raise ArgumentError(f"Mix: weights must be numbers, such as 0.7,0.3; got {weights!r}") from None
    return Mix(_create("Mix", datasets), numbers, size, transform, target_transform)


def _create(name: str, texts: dict[str, str]) -> list[Any]:
    """The datasets that texts describe."""
    made = []
    for key, text in texts.items():
        try:
            made.append(create_dataset(text))
        except DalikitError as error:
            error.add_note(f"in {key}={text!r} of {name}")
            raise
    return made


def _new(base: type[Any], cls: type[Any], datasets: Sequence[Any]) -> Any:
    """An object of the class of these parts; a subclass of `base` that users made stays what it is."""
    chosen = view_class(base, tuple(_as_parts(base.shown_as, datasets))) if cls is base else cls
    return object.__new__(chosen)


def _as_parts(name: str, datasets: Sequence[Any]) -> list[Any]:
    """The parts as datasets of encoded images.

    Raises:
        ArgumentError: there is none, or one is none.
    """
    if not isinstance(datasets, list | tuple) or not datasets:
        raise ArgumentError(f"{name}: datasets must be a list of at least one dataset, got {datasets!r}")
    parts = [unwrap(dataset) for dataset in datasets]
    for number, part in enumerate(parts):
        if not has_images(part):
            raise ArgumentError(
                f"{name}: part {number}, a {type(part).__name__}, is no dataset of encoded images: it needs "
                "get_image_data(index), get_target(index) and len"
            )
    return parts


def _as_shares(weights: Sequence[float], count: int) -> list[Fraction]:
    """The weights as shares of 1, exactly: a float counts as its shortest decimal.

    Raises:
        ArgumentError: they are not as many as parts, or not above 0 and finite.
    """
    given = list(weights)
    if len(given) != count:
        raise ArgumentError(f"Mix: weights must be one for each of {count} datasets, got {len(given)}: {given}")
    exact = []
    for weight in given:
        try:
            exact.append(Fraction(str(weight)))  # the shortest decimal, not the binary number next to it
        except (ValueError, ZeroDivisionError):  # nan, inf, no number
            exact.append(Fraction(0))
        if exact[-1] <= 0:
            raise ArgumentError(f"Mix: weights must be numbers above 0 and finite, got {weight!r} in {given}")
    whole = sum(exact)
    return [weight / whole for weight in exact]


def _count_rows(lengths: Sequence[int], shares: Sequence[Fraction], size: int | None) -> list[int]:
    """How many of the rows each part has.

    Raises:
        ArgumentError: a part has no rows, or `size` is out of range.
    """
    if 0 in lengths:
        raise ArgumentError(f"Mix: part {lengths.index(0)} is empty: it cannot fill its share")
    if size is None:
        total = max(math.ceil(length / share) for length, share in zip(lengths, shares, strict=True))
    else:
        total = operator.index(size)
    if not 1 <= total <= MAX_SIZE:
        hint = "" if size is not None else ", which these weights ask for: every row occurs at least once; give a size"
        raise ArgumentError(f"Mix: size must be 1 to 2**62, got {total!r}{hint}")
    exact = [total * share for share in shares]
    counts = [math.floor(number) for number in exact]
    by_remainder = sorted(range(len(counts)), key=lambda part: counts[part] - exact[part])  # stable: ties by part
    for part in by_remainder[: total - sum(counts)]:
        counts[part] += 1
    return counts
