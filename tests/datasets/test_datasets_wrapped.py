"""torch's Subset and ConcatDataset of datasets with encoded images are such datasets themselves."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_contract import DatasetContract
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import ChainDataset, ConcatDataset, IterableDataset, Subset, TensorDataset, random_split

import dalikit.transforms as T
from dalikit.datasets import ImageDataset, ImageFolder, KeyedDataset, LocatedDataset
from dalikit.datasets.views import lies_in_files
from dalikit.datasets.wrapped import unwrap
from dalikit.errors import ArgumentError
from dalikit.storage import Arena, read_local


class Rows(torch.utils.data.Dataset[Any]):
    """Encoded images as DINOv2's datasets have them. An item is the bytes, so torch's wrappers say what to expect."""

    def __init__(self, name: str, count: int, **attributes: Any) -> None:
        self.name, self.count = name, count
        vars(self).update(attributes)

    def __len__(self) -> int:
        return self.count

    def get_image_data(self, index: int) -> bytes:
        assert isinstance(index, int)
        return f"{self.name}{range(self.count)[index]}".encode()

    def get_target(self, index: int) -> int:
        return 1000 * ord(self.name[0]) + range(self.count)[index]

    def __getitem__(self, index: Any) -> tuple[bytes, int]:
        return self.get_image_data(int(index)), self.get_target(int(index))


class Named(Rows):
    """Has names, a fingerprint and sizes."""

    @property
    def fingerprint(self) -> str:
        return f"{self.name} of {self.count}"

    def get_key(self, index: int) -> str:
        return f"{self.name}-{index}"

    def image_size(self, index: int) -> tuple[int, int]:
        return index, 7


class Batched(Rows):
    """Reads several at once."""

    def get_batch(self, indices: list[int]) -> list[tuple[bytes, int]]:
        return [self[index] for index in indices if index != 5]


class Deaf(Batched):
    """Has bytes that `get_batch` does not know."""

    def get_image_data(self, index: int) -> bytes:
        return b"deaf %d" % index


class Delegating(Subset[Any]):
    """Hands on whatever it lacks, as wrappers often do."""

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["dataset"], name)


class Images(ImageFolder):
    """In files, which are not what its bytes are."""

    def get_image_data(self, index: int) -> bytes:
        return super().get_image_data(index)[::-1]


def plus_one(target: int) -> int:
    return target + 1


def times_two(target: int) -> int:
    return target * 2


def folder(root: Path, colours: str) -> ImageFolder:
    """A folder with an image in each class."""
    for number, colour in enumerate(colours):
        path = root / f"class {number}" / f"{number}.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (4, 5), {"r": "red", "g": "green", "b": "blue"}[colour]).save(path)
    return ImageFolder(root, progress=False)


# Rows


@st.composite
def wrapped(draw: st.DrawFn, depth: int = 3) -> Any:
    """A dataset in wrappers, nested at random; none is empty."""
    kind = draw(st.sampled_from(["rows", "subset", "concat"] if depth else ["rows"]))
    if kind == "rows":
        return Named(draw(st.sampled_from("abcd")), draw(st.integers(1, 6)))
    if kind == "concat":
        return ConcatDataset(draw(st.lists(wrapped(depth - 1), min_size=1, max_size=3)))
    inner = draw(wrapped(depth - 1))
    rows = draw(st.lists(st.integers(-len(inner), len(inner) - 1), min_size=1, max_size=8))
    return Subset(inner, draw(st.sampled_from([list, tuple, np.array, torch.tensor]))(rows))


@given(wrapped())
def test_rows_are_those_of_torchs_wrappers(dataset: Any) -> None:
    """Nested in any way, from either end, and after a journey to another process."""
    view = unwrap(dataset)
    assert isinstance(view, ImageDataset)
    assert len(view) == len(dataset)
    for copy in (view, pickle.loads(pickle.dumps(view))):
        for index in (*range(len(dataset)), *range(-len(dataset), 0)):
            assert (copy.get_image_data(index), copy.get_target(index)) == dataset[index]
        for index in (len(dataset), -len(dataset) - 1, 10**12):
            with pytest.raises(IndexError, match="out of range"):
                copy.get_image_data(index)


@given(wrapped(), wrapped())
def test_the_fingerprint_tells_rows_apart(one: Any, other: Any) -> None:
    """Never equal where a row differs; equal for two wrappers of one kind with the same rows."""
    views = [unwrap(one), unwrap(other), unwrap(pickle.loads(pickle.dumps(one)))]
    rows = [[view.get_image_data(index) for index in range(len(view))] for view in views]
    assert views[0].fingerprint == views[2].fingerprint
    if rows[0] != rows[1]:
        assert views[0].fingerprint != views[1].fingerprint


class TestSubsetOfAFolder(DatasetContract):
    """A Subset of ImageFolder keeps what built-in datasets keep."""

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Any:
        return unwrap(Subset(Subset(folder(tmp_path / "here", "rgbr"), [3, 0, 1, 2]), np.array([2, 0, -1])))

    @pytest.fixture
    def twin(self, tmp_path: Path) -> Any:
        return unwrap(Subset(folder(tmp_path / "there", "rgbr"), torch.tensor([1, 3, 2])))

    @pytest.mark.parametrize("method", ["get_location", "get_target", "get_key", "get_image_data"])
    def test_indices_are_those_of_a_list(self, dataset: Any, method: str) -> None:
        super().test_indices_are_those_of_a_list(dataset, method)

    def test_an_item_is_a_pil_image_and_the_target(self, dataset: Any) -> None:
        assert not hasattr(dataset, "__getitem__")

    test_items_go_through_callables_and_raw_rows_do_not = test_an_item_is_a_pil_image_and_the_target
    test_a_transform_that_only_describes_is_left_to_the_loader = test_an_item_is_a_pil_image_and_the_target


class TestConcatDatasetOfFolders(TestSubsetOfAFolder):
    """So does a ConcatDataset; two parts may have rows of one name."""

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Any:
        parts = [folder(tmp_path / "a", "rg"), folder(tmp_path / "b", "b"), folder(tmp_path / "c", "grb")]
        return unwrap(ConcatDataset([*parts[:2], Subset(parts[2], [2, 0])]))

    @pytest.fixture
    def twin(self, tmp_path: Path) -> Any:
        parts = [folder(tmp_path / "d", "rg"), folder(tmp_path / "e", "b"), folder(tmp_path / "f", "grb")]
        return unwrap(ConcatDataset([*parts[:2], Subset(parts[2], [2, 0])]))


def test_random_splits_share_out_the_rows() -> None:
    """Each row in one of them."""
    splits = random_split(Rows("a", 10), [0.5, 0.3, 0.2], generator=torch.Generator().manual_seed(0))
    views = [unwrap(split) for split in splits]
    assert [len(view) for view in views] == [5, 3, 2]
    rows = [view.get_image_data(index) for view in views for index in range(len(view))]
    assert sorted(rows) == sorted(f"a{row}".encode() for row in range(10))
    assert len({view.fingerprint for view in views}) == 3


@pytest.mark.parametrize(
    "indices",
    [
        [3, 0, -1],
        (3, 0, -1),
        np.array([3, 0, -1], dtype=np.int8),
        torch.tensor([3, 0, -1], dtype=torch.int32),
        [torch.tensor(3), torch.tensor(0), torch.tensor(-1)],
        [np.int64(3), np.uint8(0), np.int64(-1)],
        {2: -1, 0: 3, 1: 0},
    ],
    ids=lambda value: type(value).__name__,
)
def test_indices_may_be_whatever_torch_takes(indices: Any) -> None:
    """What `indices[i]` gives, is the row."""
    view = unwrap(Subset(Rows("a", 5), indices))
    assert [view.get_image_data(index) for index in range(3)] == [b"a3", b"a0", b"a4"]
    assert view.rows.dtype == np.int64


def test_unsigned_indices_and_ranges() -> None:
    assert unwrap(Subset(Rows("a", 5), np.array([4, 0], dtype=np.uint64))).get_image_data(0) == b"a4"
    assert unwrap(Subset(Rows("a", 9), range(8, 0, -3))).get_image_data(-1) == b"a2"


def test_an_empty_subset_is_a_dataset_of_no_rows() -> None:
    view = unwrap(Subset(Rows("a", 5), []))
    assert len(view) == 0
    with pytest.raises(IndexError, match="index 0 is out of range for Subset of 0 samples"):
        view.get_target(0)


def test_a_million_indices_take_8_bytes_each_and_little_time() -> None:
    """Nested four deep: one array, and far less time than a Python loop over them."""
    count = 1_000_000
    dataset: Any = Rows("a", count)
    for number in range(4):
        dataset = Subset(dataset, torch.randperm(count, generator=torch.Generator().manual_seed(number)))
    start = time.process_time()
    view = unwrap(dataset)
    assert time.process_time() - start < 1.0
    assert len(pickle.dumps(view)) < 8 * count + 1000
    assert all(view.get_image_data(index) == dataset[index][0] for index in range(0, count, 99_991))


def test_later_changes_of_the_indices_are_not_seen() -> None:
    """Nor can the view's own be changed."""
    indices = np.array([1, 2])
    view = unwrap(Subset(Rows("a", 5), indices))
    indices[0] = 4
    assert view.get_image_data(0) == b"a1"
    for copy in (view, pickle.loads(pickle.dumps(view))):
        with pytest.raises(ValueError, match="read-only"):
            copy.rows[0] = 4


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 5], r"Subset: indices\[1\] = 5 is out of range for Rows of 5 samples; allowed are -5 to 4"),
        ([-6], r"Subset: indices\[0\] = -6 is out of range"),
        (np.array([2**64 - 1], dtype=np.uint64), r"indices\[0\] = 18446744073709551615 is out of range"),
        ([True, False], r"Subset: indices are booleans; .* torch.nonzero\(mask\)"),
        (torch.ones(5, dtype=torch.bool), "Subset: indices are booleans"),
    ],
)
def test_indices_that_cannot_be_meant_are_refused(indices: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        unwrap(Subset(Rows("a", 5), indices))


# What is left alone


class Own(Subset[Any]):
    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index)

    def __getitems__(self, indices: Any) -> Any:
        return super().__getitems__(indices)


class Twice(Subset[Any]):
    def __len__(self) -> int:
        return 2 * super().__len__()


class OwnConcat(ConcatDataset[Any]):
    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index)


class Batches(ConcatDataset[Any]):
    def __getitems__(self, indices: Any) -> Any:
        return [self[index] for index in indices]


class WithImages(Subset[Any]):
    def get_image_data(self, index: int) -> bytes:
        return bytes(index)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(())


@pytest.mark.parametrize(
    "dataset",
    [
        [1, 2, 3],
        None,
        Rows("a", 3),
        Own(Rows("a", 3), [1]),
        Twice(Rows("a", 3), [1]),
        OwnConcat([Rows("a", 3)]),
        Batches([Rows("a", 3)]),
        WithImages(Rows("a", 3), [1]),
        Subset(TensorDataset(torch.zeros(3)), [1]),
        Subset([b"a", b"b"], [1]),  # type: ignore[arg-type]
        Subset(Own(Rows("a", 3), [1]), [0]),
        ConcatDataset([Rows("a", 3), TensorDataset(torch.zeros(3))]),
        ChainDataset([Stream()]),
        Subset(Rows("a", 3), ["cat"]),  # type: ignore[list-item]
        Subset(Rows("a", 3), [1.0]),  # type: ignore[list-item]
        Subset(Rows("a", 3), [[1], [1, 2]]),  # type: ignore[list-item]
        Subset(Rows("a", 3), [2**70]),
        Subset(Rows("a", 3), np.zeros((1, 1), dtype=int)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_returned_as_it_is(dataset: Any) -> None:
    assert unwrap(dataset) is dataset


def test_a_subclass_that_changes_no_row_is_seen_through() -> None:
    """Even if it hands on `get_image_data`, for which the rows would be the wrong ones."""
    dataset = Delegating(Rows("a", 5), [3])
    assert dataset.get_image_data(0) == b"a0"
    assert unwrap(dataset).get_image_data(0) == b"a3" == dataset[0][0]


def test_torch_is_not_loaded() -> None:
    """Whoever has one of its wrappers has loaded it."""
    code = "import sys, dalikit.datasets.wrapped as w; print(w.unwrap([1]), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[1] False\n"


# What the datasets inside have


@pytest.mark.parametrize(("kind", "present"), [(Rows, False), (Named, True)])
def test_a_view_has_what_all_inside_have(kind: type[Rows], present: bool) -> None:
    views = [unwrap(Subset(kind("a", 5), [3, 1])), unwrap(ConcatDataset([kind("a", 1), kind("b", 3)]))]
    for view in (*views, *(pickle.loads(pickle.dumps(view)) for view in views)):
        assert isinstance(view, KeyedDataset) is present
        assert hasattr(view, "image_size") is present
        assert not isinstance(view, LocatedDataset)
        assert not lies_in_files(view)
    if present:
        assert (views[0].get_key(0), views[0].image_size(1)) == ("a-3", (1, 7))
        assert (views[1].get_key(0), views[1].get_key(-1), views[1].image_size(2)) == ("0/a-0", "1/b-2", (1, 7))
    assert not hasattr(unwrap(ConcatDataset([Rows("a", 1), Named("b", 1)])), "get_key")


def test_several_rows_at_once() -> None:
    """Each part is asked once, and the order is that of the indices."""
    subset = unwrap(Subset(Batched("a", 5), [3, 1, 4]))
    assert subset.get_batch([2, 0]) == [(b"a4", 97004), (b"a3", 97003)]
    concat = unwrap(ConcatDataset([subset, Batched("b", 2, target_transform=plus_one)]))
    for view in (concat, pickle.loads(pickle.dumps(concat))):
        pairs = view.get_batch([4, 0, 3, -3])
        assert [data for data, _ in pairs] == [b"b1", b"a3", b"b0", b"a4"]
        assert [view.target_transform(target) for _, target in pairs] == [98002, 97003, 98001, 97004]
    assert concat.get_batch([]) == []
    with pytest.raises(IndexError, match="index 9 is out of range for ConcatDataset of 5 samples"):
        concat.get_batch([0, 9])
    for parts in ([Deaf("a", 2)], [Batched("a", 2), Rows("b", 2)]):
        assert not hasattr(unwrap(ConcatDataset(parts)), "get_batch")


def test_a_batch_that_is_short_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"get_batch of Batched was asked for 3 rows and gave 2: it must give"):
        unwrap(Subset(Batched("a", 7), range(7))).get_batch([4, 5, 6])


def test_an_attribute_that_is_no_method_is_none() -> None:
    """`image_size = 224` says something else."""
    assert not hasattr(unwrap(Subset(Rows("a", 3, image_size=224), [0])), "image_size")


def test_bytes_in_files_are_read_from_there(tmp_path: Path) -> None:
    """Where a dataset's bytes are not those of its files, neither are the view's."""
    files, other = folder(tmp_path / "a", "rgb"), Images(folder(tmp_path / "b", "rgb").root, progress=False)
    cases = [(files, files), (files, other), (other, other), (files, Rows("a", 3))]
    for parts, located, in_files in zip(cases, (True, True, True, False), (True, False, False, False), strict=True):
        views = [unwrap(ConcatDataset(parts)), unwrap(ConcatDataset([Subset(part, [2, 0]) for part in parts]))]
        for view in views:
            assert hasattr(view, "get_location") is located
            assert lies_in_files(view) is in_files
            if in_files:
                data = read_local(view.get_location(1), Arena()).tobytes()
                assert data == view.get_image_data(1)


def test_names_and_lengths_are_in_the_repr() -> None:
    """Reports call a view by the wrapper's name."""
    subset, concat = unwrap(Subset([1], [0])), unwrap(ConcatDataset([Rows("a", 2)]))
    assert not hasattr(subset, "get_image_data")
    view = unwrap(Subset(Rows("a", 5), [3, 1]))
    assert (type(view).__name__, type(concat).__name__) == ("Subset", "ConcatDataset")
    assert repr(view).startswith("Subset(2 of <")
    assert repr(concat).startswith("ConcatDataset(2 in <")


def test_the_fingerprint_is_of_rows_not_of_nesting() -> None:
    """Cut in two steps or in one; other rows, another order, another dataset inside, another division are others."""

    def of(dataset: Any) -> str:
        return str(unwrap(dataset).fingerprint)

    base = Named("a", 9)
    assert of(Subset(Subset(base, [8, 1, 2]), [2, 0])) == of(Subset(base, torch.tensor([2, -1])))
    others = [
        Subset(base, [2, 8]),
        Subset(base, [8, 2]),
        Subset(base, [8]),
        Subset(Named("b", 9), [2, 8]),
        Subset(Rows("a", 9), [2, 8]),
        Subset(Rows("a", 10), [2, 8]),
        ConcatDataset([Subset(base, [2, 8])]),
        ConcatDataset([Subset(base, [2]), Subset(base, [8])]),
        ConcatDataset([base, Named("b", 9)]),
        ConcatDataset([Named("b", 9), base]),
    ]
    prints = [of(dataset) for dataset in others]
    assert len(set(prints)) == len(prints)
    assert all(len(text) == 16 for text in prints)


# Transforms


def test_the_transform_is_that_of_the_datasets_inside() -> None:
    """Equal ones, or none; of a Subset it is looked up when it is asked for, as torch's would use it."""
    assert unwrap(ConcatDataset([Rows("a", 1), Rows("b", 1, transform=None)])).transform is None
    flips = [Rows(name, 3, transform=T.RandomHorizontalFlip(0.5), target_transform=plus_one) for name in "ab"]
    view = unwrap(ConcatDataset([flips[0], Subset(flips[1], [1])]))
    assert view.transform == T.RandomHorizontalFlip(0.5)
    assert view.target_transform is plus_one
    subset = unwrap(Subset(flips[0], [1]))
    flips[0].transform = crop = T.CenterCrop(3)
    assert subset.transform is crop


class Odd:
    """Compares elementwise, as arrays do."""

    def __eq__(self, other: object) -> Any:
        return np.ones(2)

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("transforms", [(T.CenterCrop(3), None), (T.CenterCrop(3), T.CenterCrop(4)), (Odd(), Odd())])
def test_different_transforms_are_refused_when_asked_for(transforms: tuple[Any, Any]) -> None:
    """The message names both; a loader with a transform of its own does not ask."""
    parts = [Rows(name, 3, transform=transform) for name, transform in zip("ab", transforms, strict=True)]
    view = unwrap(Subset(ConcatDataset(parts), [4, 0]))
    assert view.get_image_data(0) == b"b1"
    with pytest.raises(ArgumentError, match=r"ConcatDataset: .* different transforms \(0: Rows with .*; 1: Rows with"):
        view.transform  # noqa: B018
    with pytest.raises(ArgumentError, match="give it as transform="):
        view.transform  # noqa: B018


@pytest.mark.parametrize("functions", list(itertools.product((plus_one, times_two, None), repeat=3)))
def test_target_transforms_go_to_their_parts(functions: tuple[Any, ...]) -> None:
    """A ConcatDataset may shift the classes of its parts, nested too."""
    parts = [Rows(name, 2, target_transform=call) for name, call in zip("abc", functions, strict=True)]
    view = unwrap(Subset(ConcatDataset([ConcatDataset(parts[:2]), parts[2]]), range(6)))
    for copy in (view, pickle.loads(pickle.dumps(view))):
        call = copy.target_transform
        targets = [copy.get_target(index) for index in range(6)]
        found = targets if call is None else [call(target) for target in targets]
        raw = [
            (part.get_target(row), function) for part, function in zip(parts, functions, strict=True) for row in (0, 1)
        ]
        assert found == [target if function is None else function(target) for target, function in raw]
        if len(set(functions)) == 1:
            assert call is functions[0]
            assert targets == [target for target, _ in raw]
