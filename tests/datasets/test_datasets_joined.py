"""Several datasets as one: Concat and Mix."""

from __future__ import annotations

import io
import pickle
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from dataset_contract import DatasetContract
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import ConcatDataset, Subset, TensorDataset

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader
from dalikit.datasets import ImageFolder, KeyedDataset, LocatedDataset, create_dataset
from dalikit.datasets.joined import MAX_SIZE, Concat, Mix
from dalikit.datasets.views import lies_in_files
from dalikit.datasets.wrapped import unwrap
from dalikit.errors import ArgumentError, DatasetNotFoundError, DecodeError
from dalikit.fetch.declared import DeclaredRows


class Rows:
    """Encoded images as any dataset may have them, of any length."""

    def __init__(self, name: str, count: int, **attributes: Any) -> None:
        self.name, self.count = name, count
        vars(self).update(attributes)

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"Rows({self.name})"

    def get_image_data(self, index: int) -> bytes:
        return f"{self.name}{range(self.count)[index]}".encode()

    def get_target(self, index: int) -> int:
        return 1000 * ord(self.name[0]) + range(self.count)[index]

    def get_key(self, index: int) -> str:
        return f"{self.name}-{index}"


class Batched(Rows):
    """Reads several at once, and knows sizes."""

    def get_batch(self, indices: list[int]) -> list[tuple[bytes, int]]:
        return [(self.get_image_data(index), self.get_target(index)) for index in indices]

    def image_size(self, index: int) -> tuple[int, int, int]:
        return index, 7, 1


class Unsized:
    """No dataset."""

    def get_image_data(self, index: int) -> bytes:
        return bytes(index)


def plus_one(target: int) -> int:
    return target + 1


def times_two(target: int) -> int:
    return target * 2


def folder(root: Path, colours: str) -> ImageFolder:
    """A folder with an image in each class."""
    for number, colour in enumerate(colours):
        path = root / f"class {number}" / f"{number}.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 6), {"r": "red", "g": "green", "b": "blue"}[colour]).save(path)
    return ImageFolder(root, progress=False)


def names(dataset: Any) -> str:
    """All rows, as text."""
    return " ".join(dataset.get_image_data(index).decode() for index in range(len(dataset)))


class TestConcat(DatasetContract):
    """Keeps what built-in datasets keep."""

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Any:
        return Concat([folder(tmp_path / "a", "rg"), Subset(folder(tmp_path / "b", "bgr"), [2, 0])])

    @pytest.fixture
    def twin(self, tmp_path: Path) -> Any:
        return Concat([folder(tmp_path / "c", "rg"), Subset(folder(tmp_path / "d", "bgr"), [2, 0])])


class TestMix(TestConcat):
    """So does Mix, with rows that repeat."""

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Any:
        return Mix([folder(tmp_path / "a", "rg"), folder(tmp_path / "b", "bgr")], [1, 2], 11)

    @pytest.fixture
    def twin(self, tmp_path: Path) -> Any:
        return Mix([folder(tmp_path / "c", "rg"), folder(tmp_path / "d", "bgr")], [1, 2], 11)


# Rows


def test_concat_has_torchs_rows() -> None:
    """And those of the view that a loader makes of a ConcatDataset, fingerprint and all."""
    parts = [Rows("a", 2), Concat([Rows("b", 1), Rows("c", 2)])]
    dataset, view = Concat(parts), unwrap(ConcatDataset(parts))  # type: ignore[arg-type]
    assert names(dataset) == names(view) == "a0 a1 b0 c0 c1"
    assert [dataset.get_key(index) for index in (0, -1)] == ["0/a-0", "1/1/c-1"]
    assert dataset.fingerprint == view.fingerprint
    assert repr(dataset) == "Concat(5 in Rows(a), Concat(3 in Rows(b), Rows(c)))"
    assert type(dataset) is type(Concat([Rows("x", 1)]))
    assert isinstance(dataset, Concat)


def test_a_joined_dataset_has_what_all_parts_have(tmp_path: Path) -> None:
    """The fetcher reads straight from files, or batches, only if all parts can."""
    files = folder(tmp_path, "rg")
    for make in (Concat, lambda parts: Mix(parts, [1] * len(parts))):
        for copied in (make([files, files]), pickle.loads(pickle.dumps(make([files, files])))):
            assert isinstance(copied, LocatedDataset)
            assert isinstance(copied, KeyedDataset)
            assert lies_in_files(copied)
        assert not isinstance(make([files, Rows("a", 1)]), LocatedDataset)
        batched = make([Batched("a", 2), Batched("b", 2)])
        assert DeclaredRows(batched, None).whole
        assert batched.get_batch([3, 0]) == [(b"b1", 98001), (b"a0", 97000)]
        assert batched.image_size(3) == (1, 7, 1)
        assert not hasattr(make([Batched("a", 2), Rows("b", 2)]), "get_batch")


def test_the_picture_in_the_docstring() -> None:
    """Parts of 2 and 3 rows, at 0.75 and 0.25."""
    dataset = Mix([Rows("a", 2), Rows("b", 3)], [0.75, 0.25])
    assert names(dataset) == "a0 a1 a0 a1 a0 a1 a0 a1 a0 b0 b1 b2"
    assert [dataset.get_key(index) for index in (1, 2, 8, 9)] == ["0/a-1", "0#2/a-0", "0#5/a-0", "1/b-0"]
    assert dataset.get_target(-1) == 98002
    assert repr(dataset) == "Mix(12 rows: 9 (75 %) of Rows(a), 3 (25 %) of Rows(b))"


@pytest.mark.parametrize(
    ("lengths", "weights", "size", "rows"),
    [
        ((5, 4), (1, 1), 6, "a0 a1 a3 b0 b1 b2"),
        ((3, 3, 3), (1, 1, 1), 8, "a0 a1 a2 b0 b1 b2 c0 c1"),
        ((1, 10), (0.9, 0.1), 4, "a0 a0 a0 a0"),
        ((2, 1), (3, 1), None, "a0 a1 a0 b0"),
        ((1,), (5,), 3, "a0 a0 a0"),
        ((7, 1), (1, 1), 7, "a0 a1 a3 a5 b0 b0 b0"),
    ],
)
def test_golden_rows(lengths: tuple[int, ...], weights: tuple[float, ...], size: int | None, rows: str) -> None:
    """Checkpoints rely on them: changed only on purpose."""
    assert names(Mix([Rows(*part) for part in zip("abc", lengths, strict=False)], weights, size)) == rows


def test_weights_count_as_they_are_written() -> None:
    """0.1 is a tenth, not the binary number next to it; so are numpy's and fractions."""
    for weights in ([0.1, 0.9], [torch.tensor([0.1])[0].numpy(), 0.9], [Fraction(1, 10), Fraction(9, 10)], [1, 9]):
        assert Mix([Rows("a", 1), Rows("b", 9)], weights).counts == [1, 9]
    big = Mix([Rows("a", 10**17), Rows("b", 1)], [0.1, 0.9])
    assert len(big) == 10**18
    assert big.counts == [10**17, 9 * 10**17]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 50)), min_size=1, max_size=4),
    st.one_of(st.none(), st.integers(1, 60)),
)
def test_proportions_and_coverage(parts: list[tuple[int, int]], size: int | None) -> None:
    """Counts add up and miss their share by less than a row; a part's rows occur equally often, or once more."""
    lengths, weights = zip(*parts, strict=True)
    dataset = Mix([Rows(chr(97 + part), length) for part, length in enumerate(lengths)], weights, size)
    assert sum(dataset.counts) == len(dataset) == (size or len(dataset))
    found = [dataset.find(index) for index in range(len(dataset))]
    assert found == sorted(found, key=lambda place: place[0])
    for part, (length, weight) in enumerate(parts):
        rows = [row for each, row in found if each == part]
        assert len(rows) == dataset.counts[part]
        assert abs(len(rows) - Fraction(len(dataset) * weight, sum(weights))) < 1
        times = Counter(rows)
        assert {times[row] for row in range(length)} <= {len(rows) // length, -(-len(rows) // length)}
        assert size is not None or min(times.values()) >= 1
    keys = [dataset.get_key(index) for index in range(len(dataset))]
    assert len(set(keys)) == len(keys)


@given(st.integers(1, MAX_SIZE), st.integers(1, 2**60), st.integers(1, 2**60), st.data())
def test_places_are_exact_however_large(size: int, one: int, other: int, data: st.DataObject) -> None:
    """Whole numbers all the way, up to 2**62 rows."""
    dataset = Mix([Rows("a", one), Rows("b", other)], [one, other], size)
    for index in (0, size - 1, data.draw(st.integers(0, size - 1))):
        part, row = dataset.find(index)
        count, length = dataset.counts[part], (one, other)[part]
        place = index - (dataset.counts[0] if part else 0)
        assert 0 <= row < length
        assert row == place % length if count >= length else row * count <= place * length < (row + 1) * count


def test_the_fingerprint_tells_proportions_apart() -> None:
    def of(*arguments: Any) -> str:
        return str(Mix([Rows("a", 3), Rows("b", 4)], *arguments).fingerprint)

    assert of([1, 1]) == of([2, 2]) == of([0.5, 0.5], 8)
    assert len({of([1, 1]), of([1, 2]), of([1, 1], 9), of([1, 1], 7)}) == 4


# Transforms


def test_a_transform_that_is_given_is_that_of_all() -> None:
    """Else the parts', which must be equal."""
    parts = [Rows("a", 1, transform=T.CenterCrop(3)), Rows("b", 1, transform=T.CenterCrop(4))]
    assert Concat(parts[:1]).transform == T.CenterCrop(3)
    assert Concat(parts, T.CenterCrop(5)).transform == T.CenterCrop(5)
    dataset = Mix(parts, [1, 1])
    with pytest.raises(ArgumentError, match=r"Mix: its datasets have different transforms .* give it as transform="):
        dataset.transform  # noqa: B018
    with pytest.raises(ArgumentError, match="Concat: its datasets have different transforms"):
        Concat(parts).transform  # noqa: B018
    dataset.transform = T.CenterCrop(6)
    assert pickle.loads(pickle.dumps(dataset)).transform == T.CenterCrop(6)


@pytest.mark.parametrize("given_one", [None, times_two])
def test_a_target_transform_comes_after_the_parts(given_one: Any) -> None:
    """Which may differ, and shift classes."""
    parts = [Rows("a", 1, target_transform=plus_one), Rows("b", 1)]
    for dataset in (Concat(parts, None, given_one), Mix(parts, [1, 1], target_transform=given_one)):
        for copied in (dataset, pickle.loads(pickle.dumps(dataset))):
            found = [copied.target_transform(copied.get_target(index)) for index in (0, 1)]
            assert found == ([97001, 98000] if given_one is None else [2 * 97001, 2 * 98000])
    assert Concat(parts[1:]).target_transform is None


# Refusals


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ([], r"datasets must be a list of at least one dataset, got \[\]"),
        (Rows("a", 1), r"datasets must be a list of at least one dataset, got Rows\(a\)"),
        ([Rows("a", 1), TensorDataset(torch.zeros(3))], "part 1, a TensorDataset, is no dataset of encoded images"),
        ([Unsized()], r"part 0, a Unsized, .* it needs get_image_data\(index\), get_target\(index\) and len"),
    ],
)
def test_parts_that_cannot_be_meant_are_refused(datasets: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"Concat: {message}"):
        Concat(datasets)
    with pytest.raises(ArgumentError, match=f"Mix: {message}"):
        Mix(datasets, [1])


@pytest.mark.parametrize(
    ("weights", "size", "message"),
    [
        ([1], None, r"Mix: weights must be one for each of 2 datasets, got 1: \[1\]"),
        ([1, 0], None, r"Mix: weights must be numbers above 0 and finite, got 0 in \[1, 0\]"),
        ([1, -0.5], None, "got -0.5 in"),
        ([float("nan"), 1], None, "got nan in"),
        ([float("inf"), 1], None, "got inf in"),
        (["many", 1], None, "got 'many' in"),
        ([1, 1], 0, r"Mix: size must be 1 to 2\*\*62, got 0$"),
        ([1, 1], 2**62 + 1, r"Mix: size must be 1 to 2\*\*62, got 4611686018427387905$"),
        ([1, 1e-30], None, r"Mix: size must be .*, which these weights ask for: .* give a size"),
    ],
)
def test_proportions_that_cannot_be_meant_are_refused(weights: Any, size: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Mix([Rows("a", 1), Rows("b", 1)], weights, size)


def test_an_empty_part_cannot_fill_its_share() -> None:
    with pytest.raises(ArgumentError, match="Mix: part 1 is empty: it cannot fill its share"):
        Mix([Rows("a", 1), Rows("b", 0)], [1, 1])
    assert names(Concat([Rows("b", 0), Rows("a", 1), Rows("b", 0)])) == "a0"


def test_a_row_that_is_no_image_says_which() -> None:
    with pytest.raises(DecodeError, match=r"Pillow cannot decode it: .*\[dataset=Mix, index=1, key=1/b-0, stage"):
        Mix([Rows("a", 1), Rows("b", 1)], [1, 1])[-1]


# By name


def test_by_name(tmp_path: Path) -> None:
    """Any keys, in their order; a joined dataset within another doubles its quotes."""
    for name, colours in (("x", "rg"), ("y", "b")):
        folder(tmp_path / name, colours)
    one, other = (f'"ImageFolder:root={tmp_path}/{name}"' for name in "xy")
    text = f"Concat:one={one}:another={other}"
    dataset = create_dataset(text, T.CenterCrop(3), plus_one)
    assert isinstance(dataset, Concat)
    assert [dataset.get_key(index) for index in range(3)] == ["0/class 0/0.png", "0/class 1/1.png", "1/class 0/0.png"]
    assert dataset.transform == T.CenterCrop(3)
    assert dataset[1][1] == 2
    quoted = text.replace('"', '""')
    mix = create_dataset(f'Mix:b="{quoted}":a={one}:weights=0.6,0.4:size=10', T.CenterCrop(3))
    assert isinstance(mix, Mix)
    assert mix.counts == [6, 4]
    assert mix.get_key(2) == "0/1/class 0/0.png"
    assert mix.transform == T.CenterCrop(3)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("Concat", ArgumentError, "Concat: datasets must be a list of at least one dataset"),
        ("Mix:a=ImageFolder", ArgumentError, "dataset 'Mix' needs weights"),
        ("Mix:weights=1,x", ArgumentError, "Mix: weights must be numbers, such as 0.7,0.3; got '1,x'"),
        ("Mix:weights=1:size=many", ArgumentError, "Mix: size must be a whole number or none, got 'many'"),
        ("Concat:a=Nothing", ArgumentError, "dataset 'Nothing' is not known"),
        ("Concat:a=ImageFolder:root=/nowhere", ArgumentError, "dataset 'ImageFolder' needs root"),
        ('Concat:a="ImageFolder:root=/nowhere"', DatasetNotFoundError, "root '/nowhere' does not exist"),
    ],
)
def test_texts_that_cannot_be_meant_are_refused(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        create_dataset(text)
    if "a=" in text and "Mix" not in text:
        assert caught.value.__notes__[0].startswith("in a=")
        assert caught.value.__notes__[0].endswith("of Concat")


# End to end


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_mixes_and_resumes(tmp_path: Path, num_workers: int) -> None:
    """Exact proportions in each pass; a resumed run goes on bit for bit."""
    parts = [folder(tmp_path / "a", "r"), folder(tmp_path / "b", "gbg")]
    dataset = Mix(parts, [0.25, 0.75], 8, T.RandomResizedCrop(4), plus_one)

    def make() -> DataLoader:
        return make_data_loader(
            dataset=dataset, batch_size=4, num_workers=num_workers, sampler_type=SamplerType.INFINITE, device="cpu"
        )

    with make() as loader:
        batches = [batch for batch, _ in zip(loader, range(6), strict=False)]
    for first in (0, 2, 4):
        reds = sum((images[:, 0].flatten(1).amin(1) > 200).sum() for images, _ in batches[first : first + 2])
        assert reds == 2
    with make() as loader:
        iterator = iter(loader)
        for _ in range(3):
            next(iterator)
        state = loader.state_dict()
    with make() as loader:
        loader.load_state_dict(state)
        for (images, targets), (images_expected, targets_expected) in zip(loader, batches[3:], strict=False):
            assert torch.equal(images, images_expected)
            assert torch.equal(targets, targets_expected)


def test_an_item_is_an_image(tmp_path: Path) -> None:
    dataset = Concat([folder(tmp_path, "rg")], transform=lambda image: image.size)
    assert dataset[0] == ((8, 6), 0)
    assert Image.open(io.BytesIO(dataset.get_image_data(1))).size == (8, 6)
