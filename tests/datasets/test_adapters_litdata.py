"""LitData's StreamingDataset: items by their number, images as they were stored."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapted_contract import AdaptedContract
from torchvision_import import import_torchvision

from dalikit import DataLoader
from dalikit.datasets.adapters import LitDataImages, adapt, as_encoded
from dalikit.errors import ArgumentError, ReadError

import_torchvision()  # which LitData imports
litdata: Any = pytest.importorskip("litdata")
litdata_writer: Any = pytest.importorskip("litdata.streaming.writer")
litdata_types: Any = pytest.importorskip("litdata.types")

COUNT = 10
PER_CHUNK = 4


@pytest.fixture(autouse=True)
def _without_a_look_for_newer_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITDATA_DISABLE_VERSION_CHECK", "1")


def write(folder: Path, items: list[Any]) -> Path:
    """Items in chunks, written by LitData."""
    writer = litdata_writer.BinaryWriter(str(folder), chunk_size=PER_CHUNK)
    for number, item in enumerate(items):
        writer[number] = item
    writer.done()
    writer.merge()
    return folder


@pytest.fixture
def files(photographs: list[Path]) -> list[Path]:
    """Some photographs."""
    return photographs[:COUNT]


@pytest.fixture
def folder(files: list[Path], tmp_path: Path) -> Path:
    """Dicts of an image, a label and a name."""
    items = [
        {"image": litdata_types.Jpeg(path=str(file)), "label": number, "name": file.name}
        for number, file in enumerate(files)
    ]
    return write(tmp_path / "optimized", items)


@pytest.fixture
def dataset(folder: Path) -> LitDataImages:
    """Adapted."""
    return as_encoded(litdata.StreamingDataset(str(folder)))


@pytest.fixture
def twin(folder: Path, tmp_path: Path) -> LitDataImages:
    """A copy of the chunks."""
    return as_encoded(litdata.StreamingDataset(str(shutil.copytree(folder, tmp_path / "copy"))))


class TestLitData(AdaptedContract):
    """Three chunks of JPEG images."""


def test_a_batch_reads_each_item_once(dataset: LitDataImages, files: list[Path]) -> None:
    """In the order that was asked for, whatever the order of the chunks."""
    rows = [9, 0, 5, 0]
    assert dataset.get_batch(rows) == [(files[row].read_bytes(), row) for row in rows]


def test_a_subsample_has_its_own_rows(folder: Path) -> None:
    """As many as LitData has, and the same."""
    half = litdata.StreamingDataset(str(folder), subsample=0.5)
    view = as_encoded(half)
    assert len(view) == len(half) == 5
    assert len({view.get_target(index) for index in range(5)}) == 5
    assert view.fingerprint != as_encoded(litdata.StreamingDataset(str(folder))).fingerprint


def test_pairs_are_image_and_target(files: list[Path], tmp_path: Path) -> None:
    """Also where images were stored as the bytes of their files."""
    pairs = write(tmp_path / "pairs", [(file.read_bytes(), number) for number, file in enumerate(files)])
    view = as_encoded(litdata.StreamingDataset(str(pairs)))
    assert (view.get_image_data(3), view.get_target(3)) == (files[3].read_bytes(), 3)


def test_the_target_may_be_named(folder: Path, files: list[Path]) -> None:
    """Any other column."""
    view = as_encoded(litdata.StreamingDataset(str(folder)), target="name")
    assert view.get_target(4) == files[4].name


def test_worker_processes_read_it(dataset: LitDataImages) -> None:
    """Each opens its own chunks."""
    dataset.get_image_data(0)
    with DataLoader(dataset, batch_size=5, device="cpu", num_threads=1, num_workers=2) as loader:
        assert [target for _, targets in loader for target in targets.tolist()] == list(range(COUNT))


def test_the_dataset_itself_is_not_changed(folder: Path) -> None:
    """It keeps its serializers, and has opened nothing."""
    streaming = litdata.StreamingDataset(str(folder))
    as_encoded(streaming).get_image_data(0)
    assert streaming.serializers is None
    assert streaming.cache is None
    assert adapt(streaming) is streaming


def test_a_chunk_that_was_cut_is_an_error_with_a_place(dataset: LitDataImages, folder: Path) -> None:
    """Of the item."""
    os.truncate(folder / "chunk-0-2.bin", 2)
    with pytest.raises(ReadError, match=r"LitData cannot read it: .*dataset=LitDataImages, index=9, key=9, stage=read"):
        dataset.get_image_data(9)


def test_a_transform_is_refused(folder: Path) -> None:
    """It works on decoded items."""
    streaming = litdata.StreamingDataset(str(folder), transform=lambda item: item)
    with pytest.raises(ArgumentError, match=r"it has a transform=, which works on decoded items. Make it without"):
        as_encoded(streaming)


def test_an_overridden_method_is_refused(folder: Path) -> None:
    """It may do anything."""
    kind = type("Mine", (litdata.StreamingDataset,), {"__getitem__": lambda _, index: index})
    with pytest.raises(ArgumentError, match=r"Mine\): the class has its own __getitem__ in place of LitData's"):
        as_encoded(kind(str(folder)))


def test_items_without_an_image_are_refused(tmp_path: Path) -> None:
    """With what they are."""
    numbers = write(tmp_path / "numbers", [(1, 2.0)] * 3)
    with pytest.raises(ArgumentError, match=r"an item must hold one encoded image .* the first holds 0: it is tuple"):
        as_encoded(litdata.StreamingDataset(str(numbers)))
    dicts = write(tmp_path / "dicts", [{"a": 1}] * 3)
    with pytest.raises(ArgumentError, match=r"found no image column; name it with image=. Its columns: 'a'"):
        as_encoded(litdata.StreamingDataset(str(dicts)))


def test_there_are_no_columns_in_pairs(files: list[Path], tmp_path: Path) -> None:
    """A name would be forgotten silently."""
    pairs = write(tmp_path / "pairs", [(file.read_bytes(), 1) for file in files])
    with pytest.raises(ArgumentError, match="target='label': its items are pairs"):
        as_encoded(litdata.StreamingDataset(str(pairs)), target="label")


def test_a_pickled_target_is_refused(files: list[Path], tmp_path: Path) -> None:
    """Nothing that is read is unpickled."""
    items = [{"image": file.read_bytes(), "label": np.datetime64("2020-01-01"), "number": 1} for file in files]
    folder = write(tmp_path / "pickled", items)
    with pytest.raises(ArgumentError, match="its target is a pickled object, and nothing that is read is unpickled"):
        as_encoded(litdata.StreamingDataset(str(folder)))
    assert as_encoded(litdata.StreamingDataset(str(folder)), target="number").get_target(0) == 1
