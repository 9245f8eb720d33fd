"""What a dataset says of its bytes, and when that counts."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ranged_rows import RangedRows
from torch.utils.data import ConcatDataset, Subset

from dalikit.datasets.base import MeasuredDataset
from dalikit.datasets.traits import is_mapped, lies_remotely, may_be_gzipped, measures
from dalikit.datasets.wrapped import unwrap
from dalikit.storage import Location

LOCAL, REMOTE = Location("a.tar", 0, 5), Location("s3://bucket/a.tar", 0, 5)


class Measured(RangedRows):
    """Knows sizes."""

    def image_size(self, index: int) -> tuple[int, int, int] | None:
        return (5, 7, 1) if index else None


class OtherBytes(Measured):
    """Gives other bytes, whose sizes nobody knows."""

    def get_image_data(self, index: int) -> bytes:
        return b"%d" % index


class OtherBatches(Measured):
    """Gives other bytes, several at once."""

    def get_batch(self, indices: list[int]) -> list[tuple[bytes, int]]:
        return [(b"%d" % index, 0) for index in indices]


class OtherPlaces(Measured):
    """The same ones lie elsewhere."""

    def get_location(self, index: int) -> Location:
        return super().get_location(index)


class MeasuredAgain(OtherBytes):
    """Knows the other ones' sizes, too."""

    def image_size(self, index: int) -> tuple[int, int, int] | None:
        return 1, index, 0


class Constant(RangedRows):
    """`image_size` may mean something else."""

    image_size = 224


def rows(*locations: Location, kind: type[RangedRows] = RangedRows, **attributes: Any) -> RangedRows:
    return kind(locations, **attributes)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (rows(LOCAL, LOCAL), False),
        (rows(REMOTE, LOCAL), True),
        (rows(LOCAL, REMOTE), True),
        (rows(LOCAL, REMOTE, LOCAL), False),
        (rows(LOCAL, REMOTE, LOCAL, remote=True), True),
        (rows(REMOTE, remote=False), False),
        (rows(LOCAL, remote="yes"), False),
        (rows(), False),
        ([1, 2], False),
        (SimpleNamespace(remote=True), False),
    ],
    ids=["local", "first", "last", "middle", "says so", "says no", "says something", "empty", "a list", "no images"],
)
def test_whether_it_lies_remotely(dataset: Any, expected: bool) -> None:
    assert lies_remotely(dataset) is expected


def test_a_view_lies_remotely_if_any_part_does() -> None:
    assert lies_remotely(unwrap(ConcatDataset([rows(LOCAL), rows(REMOTE), rows(LOCAL)])))
    assert lies_remotely(unwrap(Subset(rows(LOCAL, LOCAL, REMOTE), [0])))
    assert not lies_remotely(unwrap(ConcatDataset([rows(LOCAL), rows(LOCAL)])))


@pytest.mark.parametrize(
    ("question", "attribute", "mixed"),
    [(is_mapped, "memory_map", False), (may_be_gzipped, "may_be_gzipped", True)],
    ids=["mapped", "gzipped"],
)
def test_attributes_that_are_true(question: Callable[[Any], bool], attribute: str, mixed: bool) -> None:
    """And nothing else counts as that. Gzip is looked for if any part needs it; mapped is what all parts allow."""
    yes, no = rows(LOCAL, **{attribute: True}), rows(LOCAL)
    assert question(yes)
    assert not any(question(dataset) for dataset in (no, rows(LOCAL, **{attribute: 1}), object()))
    assert question(unwrap(ConcatDataset([yes, no]))) is mixed
    assert question(unwrap(ConcatDataset([yes, Subset(yes, [0])])))
    assert not question(unwrap(ConcatDataset([no, no])))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (RangedRows, False),
        (Measured, True),
        (OtherBytes, False),
        (OtherBatches, False),
        (OtherPlaces, True),
        (MeasuredAgain, True),
        (Constant, False),
    ],
)
def test_whether_sizes_are_those_of_the_bytes(kind: type[RangedRows], expected: bool) -> None:
    dataset = rows(LOCAL, LOCAL, kind=kind)
    assert measures(dataset) is expected
    assert measures(unwrap(Subset(dataset, [1]))) is expected
    assert measures(unwrap(ConcatDataset([dataset, rows(LOCAL, kind=Measured)]))) is expected


def test_the_protocol_of_sizes() -> None:
    assert isinstance(rows(LOCAL, kind=Measured), MeasuredDataset)
    assert not isinstance(rows(LOCAL), MeasuredDataset)
    view = unwrap(Subset(rows(LOCAL, LOCAL, kind=Measured), [1, 0]))
    assert (view.image_size(0), view.image_size(1)) == ((5, 7, 1), None)
