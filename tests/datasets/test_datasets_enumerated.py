"""DatasetWithEnumeratedTargets gives DINOv2's and DINOv3's targets, and reads as the dataset inside does."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from encoded_images import encode
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import ConcatDataset, DistributedSampler, Subset

from dalikit import DataLoader, make_data_loader
from dalikit.datasets import ImageDataset, ImageFolder, KeyedDataset, LocatedDataset
from dalikit.datasets.base import declares_images
from dalikit.datasets.dino.enumerated import DatasetWithEnumeratedTargets
from dalikit.datasets.traits import is_mapped, lies_remotely, may_be_gzipped, measures
from dalikit.datasets.views import comes_first, lies_in_files
from dalikit.datasets.wrapped import unwrap
from dalikit.errors import ArgumentError


class Rows:
    """Encoded images as DINOv2's datasets have them, without a target in row 2."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def get_image_data(self, index: int) -> bytes:
        return f"image {index}".encode()

    def get_target(self, index: int) -> int | None:
        return None if index == 2 else 100 + index

    def __getitem__(self, index: int) -> tuple[bytes, int | None]:
        return self.get_image_data(index), self.get_target(index)


class BatchedRows(Rows):
    """Reads whole batches."""

    def get_batch(self, indices: Sequence[int]) -> list[tuple[bytes, Any]]:
        return [(f"batch {index}".encode(), self.get_target(index)) for index in indices]

    def image_size(self, index: int) -> tuple[int, int, int]:
        return index, index, 1

    def get_image_relpath(self, index: int) -> str:
        return f"{index}.jpg"


class Measured(Rows):
    """Knows the sizes of the images that it has."""

    def image_size(self, index: int) -> tuple[int, int, int]:
        return index, 2 * index, 0

    def get_image_data(self, index: int) -> bytes:
        return b"image %d" % index


class TooFew(BatchedRows):
    """Gives one row less than it is asked for."""

    def get_batch(self, indices: Sequence[int]) -> list[tuple[bytes, Any]]:
        return super().get_batch(indices)[1:]


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    """Five images in two classes."""
    for number in range(5):
        path = tmp_path / f"{number // 3}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(Image.new("RGB", (8 + number, 8), (50 * number,) * 3), "JPEG"))
    return ImageFolder(tmp_path)


def test_targets_are_dinov2s() -> None:
    """Number and target; an item has the number in place of None, a target as it is stored has not."""
    dataset = DatasetWithEnumeratedTargets(Rows(4))
    assert isinstance(dataset, DatasetWithEnumeratedTargets)
    assert len(dataset) == 4
    assert [dataset[row] for row in range(4)] == [
        (b"image 0", (0, 100)),
        (b"image 1", (1, 101)),
        (b"image 2", (2, 2)),
        (b"image 3", (3, 103)),
    ]
    assert [dataset.get_target(row) for row in (-1, 2)] == [(3, 103), (2, None)]
    assert [dataset.target_transform(dataset.get_target(row)) for row in (-1, 2)] == [(3, 103), (2, 2)]
    assert dataset.get_image_data(-1) == b"image 3"


@given(size=st.integers(1, 40), replicas=st.integers(1, 60))
def test_padding_is_torchs(size: int, replicas: int) -> None:
    """As DistributedSampler repeats rows; their number is -1."""
    dataset = DatasetWithEnumeratedTargets(Rows(size), pad_dataset=True, num_replicas=replicas)
    samplers = [DistributedSampler(range(size), replicas, rank, shuffle=False) for rank in range(replicas)]  # type: ignore[arg-type, var-annotated]
    order = [row for rows in zip(*samplers, strict=True) for row in rows]
    assert [data for data, _ in map(dataset.__getitem__, range(len(dataset)))] == [f"image {i}".encode() for i in order]
    numbers = [dataset.get_target(row)[0] for row in range(len(dataset))]
    assert numbers == [*range(size), *[-1] * (len(order) - size)]
    assert [dataset.get_target(row)[1] for row in range(len(dataset))] == [Rows(size).get_target(row) for row in order]


def test_a_padded_row_without_a_target() -> None:
    """Its number in place of None, so that a batch collates."""
    dataset = DatasetWithEnumeratedTargets(Rows(3), pad_dataset=True, num_replicas=6)
    assert dataset[5] == (b"image 2", (-1, -1))


def test_indices_are_those_of_a_list() -> None:
    """With the padded ones."""
    dataset = DatasetWithEnumeratedTargets(Rows(3), pad_dataset=True, num_replicas=4)
    assert dataset[-1] == dataset[3]
    for index in (4, -5):
        for method in (dataset.__getitem__, dataset.get_target, dataset.get_image_data):
            with pytest.raises(
                IndexError, match=rf"index {index} is out of range for .*EnumeratedTargets of 4 samples"
            ):
                method(index)


def test_it_has_what_the_dataset_has(folder: ImageFolder) -> None:
    """Places, names, a hash and transforms, and is read from files; of others none of these."""
    dataset = DatasetWithEnumeratedTargets(folder)
    assert isinstance(dataset, ImageDataset)
    assert isinstance(dataset, LocatedDataset)
    assert isinstance(dataset, KeyedDataset)
    assert lies_in_files(dataset)
    assert dataset.get_location(3) == folder.get_location(3)
    assert dataset.get_key(-1) == folder.get_key(4)
    assert dataset.may_be_gzipped is False
    folder.transform = "a transform"
    assert dataset.transform == "a transform"
    plain = DatasetWithEnumeratedTargets(Rows(3))
    for name in ("get_location", "get_batch", "get_key", "image_size", "get_image_relpath", "fingerprint"):
        assert not hasattr(plain, name)
    assert plain.transform is None


@pytest.mark.parametrize(
    ("name", "trait"), [("may_be_gzipped", may_be_gzipped), ("memory_map", is_mapped), ("remote", lies_remotely)]
)
def test_it_is_read_as_the_dataset_is(folder: ImageFolder, name: str, trait: Any) -> None:
    """Also inside torch's wrappers."""
    assert [trait(each) for each in (folder, DatasetWithEnumeratedTargets(folder))] == [False, False]
    setattr(folder, name, True)
    for dataset in (folder, Subset(folder, [1])):
        assert trait(DatasetWithEnumeratedTargets(dataset)) is True
        assert trait(unwrap(Subset(DatasetWithEnumeratedTargets(dataset), [0]))) is True


def test_it_is_asked_for_sizes_if_the_dataset_is() -> None:
    """Not if a subclass of it has other bytes."""

    class OtherBytes(BatchedRows):
        def get_image_data(self, index: int) -> bytes:
            return bytes(index)

    for dataset, expected in ((BatchedRows(2), True), (Measured(2), True), (OtherBytes(2), False), (Rows(2), False)):
        assert [measures(dataset), measures(DatasetWithEnumeratedTargets(dataset))] == [expected, expected]


def test_padded_rows_have_names_of_their_own(folder: ImageFolder) -> None:
    """And the hash tells how many there are."""
    datasets = [DatasetWithEnumeratedTargets(folder, count is not None, count) for count in (None, 4, 12)]
    keys = [datasets[2].get_key(row) for row in range(12)]
    assert len(set(keys)) == 12
    assert (keys[4], keys[5], keys[10]) == ("1/4.jpg", "0/0.jpg (repeat 1)", "0/0.jpg (repeat 2)")
    assert len({dataset.fingerprint for dataset in datasets} | {folder.fingerprint}) == 4
    assert datasets[0].fingerprint == DatasetWithEnumeratedTargets(folder).fingerprint


def test_whole_batches() -> None:
    """One call for all rows, also the padded ones."""
    dataset = DatasetWithEnumeratedTargets(BatchedRows(3), pad_dataset=True, num_replicas=4)
    assert comes_first(dataset, "get_batch")
    assert dataset.get_batch([3, 1, -2]) == [(b"batch 0", (-1, 100)), (b"batch 1", (1, 101)), (b"batch 2", (2, None))]
    assert (dataset.image_size(3), dataset.get_image_relpath(3)) == ((0, 0, 1), "0.jpg")
    with pytest.raises(ArgumentError, match="get_batch of TooFew was asked for 2 rows and gave 1: it must give"):
        DatasetWithEnumeratedTargets(TooFew(3)).get_batch([0, 1])


def test_torchs_wrappers_are_looked_into(folder: ImageFolder) -> None:
    """Rows are numbered from the start of what was given."""
    dataset = DatasetWithEnumeratedTargets(ConcatDataset([Subset(folder, [4, 0]), folder]))
    assert declares_images(dataset)
    assert [dataset.get_key(row) for row in (0, 2)] == ["0/1/4.jpg", "1/0/0.jpg"]
    assert dataset.get_target(0) == (0, 1)
    image, target = dataset[0]
    assert (image.size, target) == ((12, 8), (0, 1))


def test_other_items_stay_items() -> None:
    """A dataset of no encoded images does not become one."""
    items = [(torch.full((2,), row), None if row == 1 else row * 10) for row in range(3)]
    dataset = DatasetWithEnumeratedTargets(items, pad_dataset=True, num_replicas=2)
    assert not declares_images(dataset)
    assert not hasattr(dataset, "transform")
    assert [dataset[row][1] for row in range(4)] == [(0, 0), (1, 1), (2, 20), (-1, 0)]


@pytest.mark.parametrize("dataset", [Rows(3), BatchedRows(3), [(0, 1)] * 3])
def test_it_pickles(dataset: Any) -> None:
    """As the same kind."""
    made = DatasetWithEnumeratedTargets(dataset, True, 2)
    copy = pickle.loads(pickle.dumps(made))
    assert type(copy) is type(made)
    assert [copy[row] for row in range(4)] == [made[row] for row in range(4)]
    assert repr(made).startswith("DatasetWithEnumeratedTargets(4 rows of ")


class Mine(DatasetWithEnumeratedTargets):
    """A subclass of a user's."""


def test_subclasses_pickle_as_themselves() -> None:
    """With what the dataset has."""
    made = Mine(Rows(3))
    copy = pickle.loads(pickle.dumps(made))
    assert isinstance(copy, Mine)
    assert copy.get_image_data(1) == b"image 1"


@pytest.mark.parametrize("count", [None, 0, -1, 2.0, True])
def test_padding_needs_a_number_of_replicas(count: Any) -> None:
    """At least one."""
    with pytest.raises(ArgumentError, match=f"num_replicas must be at least 1 if pad_dataset is True, got {count}"):
        DatasetWithEnumeratedTargets(Rows(3), pad_dataset=True, num_replicas=count)


def test_what_cannot_be_wrapped() -> None:
    """Neither iterables nor, to pad, nothing."""
    with pytest.raises(ArgumentError, match="dataset must have a length and rows, got generator"):
        DatasetWithEnumeratedTargets(number for number in range(3))
    with pytest.raises(ArgumentError, match="dataset has no rows that could be repeated"):
        DatasetWithEnumeratedTargets(Rows(0), pad_dataset=True, num_replicas=2)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loader_gives_numbers_and_targets(folder: ImageFolder, num_workers: int) -> None:
    """Two tensors; a target transform of the dataset's is carried out."""
    folder.target_transform = {0: 7, 1: None}.get
    dataset = DatasetWithEnumeratedTargets(folder, pad_dataset=True, num_replicas=4)
    with make_data_loader(
        dataset=dataset,
        batch_size=8,
        num_workers=num_workers,
        shuffle=False,
        sampler_type=None,
        drop_last=False,
        device="cpu",
    ) as loader:
        images, (numbers, targets) = next(iter(loader))
    assert [image.shape[-1] for image in images] == [8, 9, 10, 11, 12, 8, 9, 10]
    assert numbers.tolist() == [0, 1, 2, 3, 4, -1, -1, -1]
    assert targets.tolist() == [7, 7, 7, 3, 4, 7, 7, 7]


def test_a_loader_takes_other_items() -> None:
    """As torch collates them."""
    dataset = DatasetWithEnumeratedTargets([(torch.full((2,), row), row * 10) for row in range(3)])
    with DataLoader(dataset, batch_size=3, device="cpu") as loader:
        values, (numbers, targets) = next(iter(loader))
    assert values.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert (numbers.tolist(), targets.tolist()) == ([0, 1, 2], [0, 10, 20])
