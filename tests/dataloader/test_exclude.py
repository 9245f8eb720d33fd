"""exclude=: other samples take the places of known bad rows; nothing else changes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import IterableDataset, Subset

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType
from dalikit.datasets import ImageFolder
from dalikit.errors import ArgumentError, SampleError, StateError
from dalikit.exclusion import Exclusion, make_exclusion, read_exclusion, replacements
from dalikit.fetch import Request

Make = Callable[..., DataLoader]

BAD = [0, 7, 8, 22]
COUNT = 23

PINNED = ([304, 288, 281, 301], [455, 38, 602, 755])
"""Rows that stand in, for two seeds."""


class Rows:
    """A dataset whose items are their own row numbers."""

    def __init__(self, count: int = COUNT) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


class Endless(IterableDataset[int]):
    """Iterable, with a length all the same."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Any:
        return iter(range(3))


@pytest.fixture
def make_rows(make: Make) -> Make:
    """Loaders of batches of row numbers."""

    def make_rows(**arguments: Any) -> DataLoader:
        return make(**{"dataset": Rows(), **arguments})

    return make_rows


def taken(loader: DataLoader, batches: int) -> list[list[int]]:
    """The rows of so many batches."""
    found = iter(loader)
    return [next(found).tolist() for _ in range(batches)]


def rows_of(loader: DataLoader, batches: int) -> list[int]:
    """The same in one list."""
    return [row for batch in taken(loader, batches) for row in batch]


def request(indices: Any, positions: Any = None) -> Request:
    """Of one batch."""
    places = np.arange(len(indices)) if positions is None else np.asarray(positions)
    return Request(indices, places.astype(np.int64), 0)


# The rule


@given(
    count=st.integers(2, 60),
    data=st.data(),
    seed=st.integers(0, 2**63 - 1),
    start=st.integers(0, 2**62),
)
def test_only_excluded_rows_are_replaced_by_good_ones(count: int, data: Any, seed: int, start: int) -> None:
    """Whatever is excluded, and however few rows are left."""
    rows = st.integers(0, count - 1)
    bad = np.array(sorted(data.draw(st.sets(rows, min_size=1, max_size=count - 1))), dtype=np.int64)
    indices = np.array(data.draw(st.lists(rows, min_size=1, max_size=40)), dtype=np.int64)
    before = indices.copy()
    asked = request(indices, start + np.arange(len(indices)))
    found = np.asarray(Exclusion(bad, count).apply(asked, seed=seed).indices)
    hit = np.isin(indices, bad)
    assert np.array_equal(indices, before)
    assert np.array_equal(found[~hit], indices[~hit])
    assert not np.isin(found, bad).any()
    assert ((found >= 0) & (found < count)).all()


def test_the_rule_is_pinned() -> None:
    """A change would be an ORDER change."""
    assert replacements(0, [0, 1, 2, 2**40], 0, 1000).tolist() == PINNED[0]
    assert replacements(2**63 - 1, [0, 1, 2, 2**40], 1, 1000).tolist() == PINNED[1]


def test_what_stands_in_is_spread_over_all_rows() -> None:
    """And depends on the position, not on the row that it replaces."""
    exclusion = Exclusion(np.array([3], dtype=np.int64), 100)
    found = np.asarray(exclusion.apply(request(np.full(20_000, 3)), seed=5).indices)
    counts = np.bincount(found, minlength=100)
    assert counts[3] == 0
    assert (np.abs(np.delete(counts, 3) - 20_000 / 99) < 6 * np.sqrt(20_000 / 99)).all()


def test_where_nearly_all_is_excluded_all_that_is_left_stands_in() -> None:
    """Equally often, however many rows there are before it; by draws of their own, after all attempts."""
    count, left = 100_000, np.array([3, 1_003, 50_000, 99_999])
    exclusion = Exclusion(np.setdiff1d(np.arange(count), left), count)
    asked = request(np.full(4_000, 7))
    found = np.asarray(exclusion.apply(asked, seed=5).indices)
    rows, counts = np.unique(found, return_counts=True)
    assert rows.tolist() == left.tolist()
    assert (np.abs(counts - 1_000) < 6 * np.sqrt(1_000)).all()
    last = left[replacements(5, asked.positions, 32, len(left))]
    early = np.zeros(len(found), dtype=bool)
    for attempt in range(32):
        early |= np.isin(replacements(5, asked.positions, attempt, count), left)
    assert early.sum() < 40
    assert np.array_equal(found[~early], last[~early])


def test_a_longer_list_keeps_what_stood_in_before() -> None:
    """Only the places of rows that are newly excluded change."""
    indices = np.arange(1000) % 50
    short, long = (Exclusion(np.array(bad, dtype=np.int64), 50) for bad in ([4, 9], [4, 9, 30]))
    one, other = (np.asarray(exclusion.apply(request(indices), seed=1).indices) for exclusion in (short, long))
    assert np.array_equal(one[one != 30], other[one != 30])


def test_a_batch_without_excluded_rows_is_handed_on_as_it_is() -> None:
    """It costs a search of a few microseconds."""
    asked = request(np.array([1, 2, 3]))
    assert Exclusion(np.array([0]), 23).apply(asked, seed=0) is asked


# Loaders


@pytest.mark.parametrize("kind", [kind for kind in SamplerType if kind is not SamplerType.DISTRIBUTED])
def test_all_other_samples_stay(make_rows: Make, kind: SamplerType) -> None:
    """And so do the batches and their number."""
    plain, without = (make_rows(sampler_type=kind, seed=3, exclude=bad) for bad in (None, BAD))
    one, other = (np.array(taken(loader, 4)) for loader in (plain, without))
    hit = np.isin(one, BAD)
    assert hit.any()
    assert np.array_equal(one[~hit], other[~hit])
    assert not np.isin(other, BAD).any()


def test_length_and_number_of_batches_stay(make_rows: Make) -> None:
    """`exclude` never changes n."""
    loader = make_rows(sampler_type=SamplerType.EPOCH, drop_last=False, exclude=BAD)
    assert (len(loader), len(loader.dataset)) == (5, 23)
    assert [len(batch) for batch in loader] == [5, 5, 5, 5, 3]


def test_batch_size_ranks_workers_and_cuts_change_nothing(make_rows: Make) -> None:
    """What stands in follows from the position."""
    arguments = {"sampler_type": SamplerType.INFINITE, "seed": 3, "exclude": BAD}
    uncut = rows_of(make_rows(**arguments, batch_size=4), 15)
    assert rows_of(make_rows(**arguments, batch_size=6), 10) == uncut
    assert rows_of(make_rows(**arguments, batch_size=4, num_workers=2), 15) == uncut
    ranks = [rows_of(make_rows(**arguments, rank=rank, world_size=2), 6) for rank in range(2)]
    joined = [row for pair in zip(*ranks, strict=True) for row in pair]
    assert joined[:22] == uncut[:22]  # at an epoch's odd end DINOv2's ranks drift apart
    cut, resumed = make_rows(**arguments, batch_size=4), make_rows(**arguments, batch_size=4)
    batches = iter(cut)
    for _ in range(5):
        next(batches)
    resumed.load_state_dict(json.loads(json.dumps(cut.state_dict())))
    assert rows_of(resumed, 10) == uncut[20:]


def test_a_drawn_seed_that_a_state_brings_decides() -> None:
    """What stands in follows the seed that is taken over."""
    loaders = [DataLoader(Rows(), batch_size=23, shuffle=True, device="cpu", exclude=BAD) for _ in range(2)]
    loaders[1].load_state_dict(loaders[0].state_dict())
    assert taken(loaders[0], 1) == taken(loaders[1], 1)


def test_images_and_targets_are_those_of_what_stands_in(make: Make, dataset: ImageFolder) -> None:
    """Rows of an image folder, read by threads."""
    folder = ImageFolder(dataset.root, transform=T.CenterCrop(8))
    arguments = {"dataset": folder, "sampler_type": None, "shuffle": False, "batch_size": 23, "drop_last": False}
    images, targets = next(iter(make(**arguments)))
    others, their_targets = next(iter(make(**arguments, exclude=BAD)))
    exclusion = Exclusion(np.array(BAD), 23)
    stands_in = np.asarray(exclusion.apply(request(np.arange(23)), seed=0).indices)
    assert torch.equal(others, images[stands_in])
    assert torch.equal(their_targets, targets[stands_in])


# Torch-style samplers


@pytest.mark.parametrize("workers", [0, 1])
def test_a_torch_style_sampler_gets_a_good_sample_of_the_batch(workers: int) -> None:
    """Negative and numpy's numbers are rows too."""
    sampler = [[0, 1, 2], [np.int64(7), 5], [-1, 4, torch.tensor(8)]]
    with DataLoader(Rows(), batch_sampler=sampler, exclude=BAD, device="cpu", seed=1, num_workers=workers) as loader:
        first, second, third = (batch.tolist() for batch in loader)
    assert first[1:] == [1, 2]
    assert first[0] in (1, 2)
    assert second == [5, 5]
    assert third == [4, 4, 4]


def test_a_batch_with_nothing_good_is_an_error() -> None:
    """As nobody knows what the sampler draws from."""
    with DataLoader(Rows(), sampler=[1, 2, 7, 8], batch_size=2, exclude=BAD, device="cpu", seed=1) as loader:
        batches = iter(loader)
        assert next(batches).tolist() == [1, 2]
        with pytest.raises(SampleError, match=r"every sample of the batch is excluded \(indices \[7, 8\]\).*index=7"):
            next(batches)


def test_indices_that_are_no_numbers_cannot_be_excluded() -> None:
    """A list of rows says nothing about them."""
    with (
        DataLoader(Rows(), sampler=["a"], exclude=BAD, device="cpu") as loader,
        pytest.raises(ArgumentError, match="exclude: takes a sampler that yields whole numbers, came 'a'"),
    ):
        next(iter(loader))


# Lists


def header(dataset: Any, **changes: Any) -> dict[str, Any]:
    """The first line of a report."""
    line = {"kind": "header", "version": 1, "dataset": type(dataset).__name__, "length": len(dataset)}
    return {**line, "fingerprint": getattr(dataset, "fingerprint", None), **changes}


def write_report(path: Path, *lines: Any, complete: bool = True) -> Path:
    """A report of these lines and a last one."""
    last = {"kind": "summary", "complete": complete, "checked": 11}
    path.write_text("".join(json.dumps(line) + "\n" for line in (*lines, last)))
    return path


def test_a_report_lists_its_bad_lines(dataset: ImageFolder, tmp_path: Path) -> None:
    """Other lines do not count; a row may stand there twice."""
    bad = [{"kind": "corrupt", "bad": True, "index": row, "key": dataset.get_key(row)} for row in (7, 3, 7)]
    path = write_report(tmp_path / "report.jsonl", header(dataset), *bad, {"kind": "tiny", "bad": False, "index": 5})
    assert read_exclusion(path, dataset).tolist() == [3, 7]
    assert read_exclusion(str(path), dataset).tolist() == [3, 7]


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        ({"length": 24}, {}, r"(?s)is of another dataset.*in the report: ImageFolder length 24.*here:  .*length 23"),
        ({"fingerprint": "00"}, {}, r"(?s)is of another dataset.*fingerprint '00'.*here"),
        ({"version": 2}, {}, "version 2 of reports; this dalikit reads 1"),
        ({"kind": "corrupt"}, {}, "its first line is no header"),
        ({}, {"index": 23}, "line 2: index 23 is no row of a dataset of 23 samples"),
        ({}, {"index": -1}, "line 2: index -1 is no row"),
        ({}, {"index": "3"}, "line 2: index '3' is no row"),
        ({}, {"index": True}, "line 2: index True is no row"),
        ({}, {"key": "elsewhere.jpg"}, "line 2: row 3 is 'elsewhere.jpg' there, and '.*jpg' in this dataset"),
    ],
)
def test_a_report_that_does_not_fit_is_refused(
    dataset: ImageFolder, tmp_path: Path, change: dict[str, Any], line: dict[str, Any], message: str
) -> None:
    """With both sides, or the line."""
    bad = {"kind": "corrupt", "bad": True, "index": 3, "key": dataset.get_key(3), **line}
    path = write_report(tmp_path / "report.jsonl", header(dataset, **change), bad)
    with pytest.raises(ArgumentError, match=message):
        read_exclusion(path, dataset)


@pytest.mark.parametrize(
    ("text", "message"), [('{"kind', "line 2: is no JSON"), ("[1]", "line 2: must be a JSON object")]
)
def test_a_broken_line_is_named(dataset: ImageFolder, tmp_path: Path, text: str, message: str) -> None:
    """A check that was killed may leave half of one."""
    path = tmp_path / "report.jsonl.part"
    path.write_text(json.dumps(header(dataset)) + "\n" + text)
    with pytest.raises(ArgumentError, match=message):
        read_exclusion(path, dataset)


def test_a_report_of_a_check_that_was_cut_short_is_taken_with_a_warning(
    dataset: ImageFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says how far the check had come, if that is known."""
    path = write_report(tmp_path / "report.jsonl", header(dataset), complete=False)
    assert read_exclusion(path, dataset).tolist() == []
    assert "the check was cut short (11 of 23 rows)" in caplog.text
    path.write_text(json.dumps(header(dataset)))
    assert read_exclusion(path, dataset).tolist() == []
    assert "the check was cut short (nobody knows how far)" in caplog.text


def test_a_text_file_lists_rows(tmp_path: Path) -> None:
    """In any order, with remarks and empty lines, from the end too."""
    path = tmp_path / "bad.txt"
    path.write_text("# found by hand\n7 3\n\n-1  # the last\n7\n")
    assert read_exclusion(path, Rows()).tolist() == [3, 7, 22]
    path.write_text("")
    assert read_exclusion(path, Rows()).tolist() == []
    path.write_text("\ufeff7\n3\n", encoding="utf-8")
    assert read_exclusion(path, Rows()).tolist() == [3, 7]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"7\n3 cat.jpg\n", "line 2: 'cat.jpg' is no row number"),
        (b"23", r"row 23 is out of range for a dataset of 23 samples; allowed are -23 to 22"),
        (b"-24", "row -24 is out of range"),
        (b"9" * 40, "row 9999999999.* is out of range"),
        (b"\xff\xfe", "is no text"),
    ],
)
def test_a_text_file_that_is_off_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """With the line."""
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=message):
        read_exclusion(path, Rows())


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """When the loader is made."""
    with pytest.raises(ArgumentError, match=r"exclude='.*nowhere': cannot be read: No such file"):
        DataLoader(Rows(), exclude=tmp_path / "nowhere", device="cpu")


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        ([23], "exclude: row 23 is out of range for a dataset of 23 samples"),
        (np.zeros(23, dtype=bool), r"came truth values; give the numbers of the rows, numpy.flatnonzero\(mask\)"),
        ([0.5], r"must be whole numbers in one dimension, came float64 of shape \(1,\)"),
        ([[1]], r"came int64 of shape \(1, 1\)"),
        ({1, 2}, r"must be a path, or a list or array of row numbers \(a set: sorted\(exclude\)\)"),
        (3, "exclude=3: must be a path"),
        ([[1], [2, 3]], "exclude: must be whole numbers in one dimension: .*inhomogeneous"),
        (torch.tensor([0.5]), r"must be whole numbers in one dimension, came float32 of shape \(1,\)"),
        (torch.zeros(23, dtype=torch.bool), "came truth values"),
        (torch.ones(2, requires_grad=True), "exclude: must be whole numbers in one dimension: .*detach"),
        ("a\0b", r"exclude='a\\x00b': cannot be read: embedded null byte"),
        (range(23), "all 23 rows of the dataset are excluded"),
    ],
)
def test_lists_that_are_off_are_refused(exclude: Any, message: str) -> None:
    """When the loader is made."""
    with pytest.raises(ArgumentError, match=message):
        DataLoader(Rows(), exclude=exclude, device="cpu")


def test_numbers_may_repeat_and_count_from_the_end() -> None:
    """Of any integer type."""
    assert read_exclusion(np.array([22, 3, 3], dtype=np.uint8), Rows()).tolist() == [3, 22]
    assert read_exclusion((-1, 0), Rows()).tolist() == [0, 22]
    assert read_exclusion(torch.tensor([7, -1]), Rows()).tolist() == [7, 22]
    assert make_exclusion([], Rows()) is None


def test_iterable_datasets_have_no_rows_to_exclude() -> None:
    """Refused when the loader is made."""
    with pytest.raises(ArgumentError, match="exclude: names rows, and dataset Endless has none"):
        DataLoader(Endless(), exclude=[1], device="cpu")


def test_rows_of_a_subset_are_counted_in_the_subset(make: Make, dataset: ImageFolder) -> None:
    """As the sampler counts them; a report of the whole is refused."""
    subset: Any = Subset(cast("Any", dataset), range(5, 15))
    loader = make(dataset=subset, sampler_type=None, shuffle=False, batch_size=10, exclude=[9], return_parameters=False)
    assert loader.state_dict()["exclude"].startswith("1 rows, ")
    with pytest.raises(ArgumentError, match="row 10 is out of range for a dataset of 10 samples"):
        make(dataset=subset, exclude=[10])


# States


def test_a_state_says_what_was_excluded(make_rows: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Another list is a warning with both sides: lists grow between restarts."""
    none, short, long = (make_rows(seed=0, exclude=bad) for bad in (None, BAD, [*BAD, 9]))
    assert none.state_dict()["exclude"] is None
    assert short.state_dict()["exclude"].startswith("4 rows, ")
    with caplog.at_level(logging.WARNING, logger="dalikit"):
        make_rows(seed=0, exclude=BAD[::-1]).load_state_dict(short.state_dict())
        assert caplog.text == ""
        long.load_state_dict(short.state_dict())
        assert "made with another exclude (4 rows, " in caplog.text
        assert ", here 5 rows, " in caplog.text
        caplog.clear()
        short.load_state_dict(none.state_dict())
        assert "made with another exclude (no row, here 4 rows, " in caplog.text


def test_a_state_with_a_broken_exclude_is_refused(make_rows: Make) -> None:
    """It is a text."""
    loader = make_rows(seed=0)
    with pytest.raises(StateError, match=r"state\['exclude'\]: must be what state_dict\(\) gave, came \[1\]"):
        loader.load_state_dict({**loader.state_dict(), "exclude": [1]})
