"""MosaicML's StreamingDataset: samples by their number, images as they were stored. Run where that package is."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapted_contract import AdaptedContract
from PIL import Image
from torchvision_import import import_torchvision

from dalikit import DataLoader
from dalikit.datasets.adapters import MosaicImages, adapt, as_encoded
from dalikit.errors import ArgumentError, ReadError

import_torchvision()  # which it imports
streaming: Any = pytest.importorskip("streaming")

COUNT = 10


def write(folder: Path, columns: dict[str, str], samples: list[dict[str, Any]]) -> Path:
    """Several shards, written by MosaicML's package."""
    with streaming.MDSWriter(out=str(folder), columns=columns, size_limit=300_000, progress_bar=False) as writer:
        for sample in samples:
            writer.write(sample)
    return folder


@pytest.fixture
def files(photographs: list[Path]) -> list[Path]:
    """Some photographs."""
    return photographs[:COUNT]


@pytest.fixture
def folder(files: list[Path], tmp_path: Path) -> Iterator[Path]:
    """JPEG images with a number and a name."""
    samples = []
    for number, file in enumerate(files):
        with Image.open(file) as image:
            image.load()
            samples.append({"image": file.read_bytes(), "label": number, "name": file.name, "any": {1, 2}})
    columns = {"image": "bytes", "label": "int", "name": "str", "any": "pkl"}
    yield write(tmp_path / "mds", columns, samples)
    streaming.base.util.clean_stale_shared_memory()


def opened(folder: Path) -> Any:
    """MosaicML's dataset of a folder."""
    return streaming.StreamingDataset(local=str(folder), shuffle=True, batch_size=2, allow_unsafe_types=True)


@pytest.fixture
def dataset(folder: Path) -> MosaicImages:
    """Adapted."""
    return as_encoded(opened(folder))


@pytest.fixture
def twin(folder: Path, tmp_path: Path) -> MosaicImages:
    """A copy of the shards."""
    return as_encoded(opened(shutil.copytree(folder, tmp_path / uuid.uuid4().hex)))


class TestMosaic(AdaptedContract):
    """Several shards of image files."""


def test_there_are_several_shards(dataset: MosaicImages) -> None:
    """Else little is tested."""
    assert len({dataset.get_key(index).partition("/")[0] for index in range(COUNT)}) > 1


def test_jpeg_and_png_columns_hold_files(files: list[Path], tmp_path: Path) -> None:
    """As MosaicML encoded them; pixels do not."""
    images = []
    for file in files[:3]:
        with Image.open(file) as image:
            images.append(image.convert("RGB").resize((8, 6)))
    for kind in ("png", "pil"):
        write(tmp_path / kind, {"image": kind, "label": "int"}, [{"image": image, "label": 1} for image in images])
    view = as_encoded(opened(tmp_path / "png"))
    assert view[1][0].tobytes() == images[1].tobytes()
    with pytest.raises(ArgumentError, match="found no image column"):
        as_encoded(opened(tmp_path / "pil"))
    with pytest.raises(ArgumentError, match="column 'image' is stored as 'pil', which is no image file"):
        as_encoded(opened(tmp_path / "pil"), image="image")


def test_the_target_may_be_named(folder: Path, files: list[Path]) -> None:
    """Any column that is not pickled."""
    assert as_encoded(opened(folder), target="name").get_target(4) == files[4].name
    with pytest.raises(ArgumentError, match="column 'any' is pickled, and nothing that is read is unpickled"):
        as_encoded(opened(folder), target="any")


def test_worker_processes_read_it(dataset: MosaicImages) -> None:
    """Forked ones."""
    with DataLoader(dataset, batch_size=5, device="cpu", num_threads=1, num_workers=2) as loader:
        assert [target for _, targets in loader for target in targets.tolist()] == list(range(COUNT))


def test_a_shard_that_was_cut_is_an_error_with_a_place(dataset: MosaicImages, folder: Path) -> None:
    """Of the sample."""
    os.truncate(folder / dataset.get_key(COUNT - 1).partition("/")[0], 6)
    with pytest.raises(
        ReadError, match=r"MosaicML streaming cannot read it: .*dataset=MosaicImages, index=9, key=shard"
    ):
        dataset.get_image_data(COUNT - 1)


def test_the_dataset_itself_is_not_changed(folder: Path) -> None:
    """It decodes as ever."""
    mosaic = opened(folder)
    before = [list(shard.column_encodings) for shard in mosaic.shards]
    as_encoded(mosaic).get_image_data(0)
    assert [list(shard.column_encodings) for shard in mosaic.shards] == before
    assert adapt(mosaic) is mosaic


def test_an_overridden_method_is_refused(folder: Path) -> None:
    """It may do anything."""
    kind = type("Mine", (streaming.StreamingDataset,), {"__getitem__": lambda _, index: index})
    with pytest.raises(ArgumentError, match=r"Mine\): the class has its own __getitem__ in place of MosaicML"):
        as_encoded(kind(local=str(folder), batch_size=1, allow_unsafe_types=True))
