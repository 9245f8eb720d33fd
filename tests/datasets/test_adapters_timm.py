"""timm's datasets and readers: files and members of tars, read by their place."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adapted_contract import AdaptedContract
from dataset_contract import DatasetContract
from torchvision_import import import_torchvision

from dalikit.datasets.adapters import HuggingFaceImages, TimmFiles, adapt, as_encoded
from dalikit.errors import ArgumentError, ReadError

import_torchvision()  # which timm imports
timm_data: Any = pytest.importorskip("timm.data")
timm_folder: Any = pytest.importorskip("timm.data.readers.reader_image_folder")
timm_in_tar: Any = pytest.importorskip("timm.data.readers.reader_image_in_tar")
timm_tar: Any = pytest.importorskip("timm.data.readers.reader_image_tar")


def pack(root: Path, target: Path, mode: str = "w") -> Path:
    """A tar of a folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, mode) as tar:  # type: ignore[call-overload]
        for path in sorted(root.rglob("*.jpg")):
            tar.add(path, path.relative_to(root))
    return target


def read_by_timm(reader: Any) -> list[tuple[bytes, Any]]:
    """All rows, and the tars that timm leaves open are closed."""
    rows = []
    for row in range(len(reader)):
        file, target = reader[row]
        with file:
            rows.append((file.read(), target))
    states = getattr(reader, "tar_state", {})
    for state in states.values() if isinstance(states, dict) else [states]:
        state.tf.close()
        state.tf = None
        for child in state.children.values():
            child.tf = None
    if getattr(reader, "tarfile", None) is not None:
        reader.tarfile.close()
        reader.tarfile = None
    return rows


def of_folder(root: Path, place: Path) -> Any:
    """A reader of a copy of the folder."""
    return timm_folder.ReaderImageFolder(str(shutil.copytree(root, place)))


def of_tars(root: Path, place: Path) -> Any:
    """A reader of a tar a class."""
    for folder in root.iterdir():
        pack(folder, place / f"{folder.name}.tar")
    return timm_in_tar.ReaderImageInTar(str(place))


def of_one_tar(root: Path, place: Path) -> Any:
    """A reader of a tar of folders."""
    return timm_in_tar.ReaderImageInTar(str(pack(root, place / "all.tar")))


def of_tars_in_a_tar(root: Path, place: Path) -> Any:
    """A reader of a tar of tars, one a class."""
    outer = place / "outer.tar"
    for folder in root.iterdir():
        pack(folder, place / "inner" / f"{folder.name}.tar")
    with tarfile.open(outer, "w") as tar:
        for path in sorted((place / "inner").iterdir()):
            tar.add(path, path.name)
    return timm_in_tar.ReaderImageInTar(str(outer))


def of_the_older_tar(root: Path, place: Path) -> Any:
    """timm's older reader of one tar."""
    return timm_tar.ReaderImageTar(str(pack(root, place / "all.tar")))


READERS = [of_folder, of_tars, of_one_tar, of_tars_in_a_tar, of_the_older_tar]


@pytest.fixture(params=READERS, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Callable[[Path, Path], Any]:
    """Makes a reader of a folder of classes."""
    return request.param


@pytest.fixture
def dataset(make: Callable[[Path, Path], Any], photograph_root: Path, tmp_path: Path) -> TimmFiles:
    """Adapted."""
    return as_encoded(make(photograph_root, tmp_path / "one"))


@pytest.fixture
def twin(make: Callable[[Path, Path], Any], photograph_root: Path, tmp_path: Path) -> TimmFiles:
    """Of files elsewhere."""
    return as_encoded(make(photograph_root, tmp_path / "two"))


@pytest.fixture
def files(dataset: TimmFiles, tmp_path: Path) -> list[Path]:
    """What timm itself reads, as files in timm's order."""
    found = []
    for row, (data, _) in enumerate(read_by_timm(dataset.reader)):
        found.append(tmp_path / f"{row}.jpg")
        found[-1].write_bytes(data)
    return found


class TestReaders(DatasetContract):
    """They are as good as built-in datasets."""


class TestReadersAdapted(AdaptedContract):
    """And give the bytes that timm reads."""

    def test_targets_are_timms(self, dataset: TimmFiles) -> None:
        """Numbers of Python."""
        for row, (_, target) in enumerate(read_by_timm(dataset.reader)):
            assert type(dataset.get_target(row)) is int
            assert dataset.get_target(row) == target


def test_an_image_dataset_has_its_readers_rows(photograph_root: Path) -> None:
    """And its transforms."""
    images = timm_data.ImageDataset(str(photograph_root), transform=str, target_transform=float)
    view = as_encoded(images)
    assert view.get_location(3).uri == images.reader.samples[3][0]
    assert (view.transform, view.target_transform) == (str, float)
    assert as_encoded(images, transform=repr).transform is repr
    assert adapt(images) is images


def test_a_target_that_is_none_is_minus_one(photograph_root: Path) -> None:
    """As timm has it."""
    reader = timm_folder.ReaderImageFolder(str(photograph_root))
    reader.samples[0] = reader.samples[0][0], None
    assert as_encoded(reader).get_target(0) == -1


def test_a_tar_that_was_cut_is_an_error_with_a_place(photograph_root: Path, tmp_path: Path) -> None:
    """Of the member."""
    view = as_encoded(of_one_tar(photograph_root, tmp_path))
    location = view.get_location(5)
    with open(location.uri, "r+b") as file:
        file.truncate(location.offset + 10)
    with pytest.raises(
        ReadError, match=r"short read.*dataset=TimmFiles, index=5, key=all.tar/.*file=.*all.tar, offset="
    ):
        view.get_image_data(5)


def test_a_compressed_tar_is_refused(photograph_root: Path, tmp_path: Path) -> None:
    """Its members have no place in it."""
    packed = pack(photograph_root, tmp_path / "all.tar.gz", "w:gz")
    with pytest.raises(ArgumentError, match=r"all.tar.gz' is compressed, .* unpack it to a plain .tar"):
        as_encoded(timm_tar.ReaderImageTar(str(packed)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_img_mode": "L"}, "input_img_mode='L': dalikit decodes to RGB"),
        ({"additional_features": ["caption"]}, r"additional_features=\['caption'\]: its items hold more"),
    ],
)
def test_items_of_another_kind_are_refused(photograph_root: Path, options: dict[str, Any], words: str) -> None:
    """They would silently become others."""
    reader = timm_folder.ReaderImageFolder(str(photograph_root))
    with pytest.raises(ArgumentError, match=words):
        as_encoded(timm_data.ImageDataset(str(photograph_root), reader=reader, **options))


def test_readers_that_are_not_known_are_refused(photograph_root: Path) -> None:
    """By their class; and one whose methods are not timm's."""
    stream = type("ReaderOfStreams", (timm_folder.Reader,), {"__module__": "timm.data.readers.other"})
    with pytest.raises(
        ArgumentError, match="its reader is ReaderOfStreams; known are ReaderImageFolder, ReaderImageIn"
    ):
        as_encoded(stream())
    mine = type("Mine", (timm_folder.ReaderImageFolder,), {"__getitem__": lambda _, index: index})
    with pytest.raises(ArgumentError, match=r"Mine\): the class has its own __getitem__ in place of timm's"):
        as_encoded(mine(str(photograph_root)))
    with pytest.raises(ArgumentError, match="image='img': its items are pairs"):
        as_encoded(timm_folder.ReaderImageFolder(str(photograph_root)), image="img")


def test_a_reader_of_a_hugging_face_dataset_is_that_dataset(
    photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reader's columns."""
    datasets: Any = pytest.importorskip("datasets")
    hfds: Any = pytest.importorskip("timm.data.readers.reader_hfds")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    kinds = datasets.Features({"img": datasets.Image(), "class": datasets.Value("int64")})
    rows = {"img": [{"bytes": file.read_bytes(), "path": None} for file in photographs[:3]], "class": [2, 1, 0]}
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict(rows, features=kinds).to_parquet(str(tmp_path / "data" / "train.parquet"))
    reader = hfds.ReaderHfds(str(tmp_path / "data"), input_key="img", target_key="class", root=str(tmp_path / "cache"))
    view = as_encoded(reader)
    assert isinstance(view, HuggingFaceImages)
    assert (bytes(view.get_image_data(1)), view.get_target(0)) == (photographs[1].read_bytes(), 2)
    reader.remap_class = True
    with pytest.raises(ArgumentError, match=r"it has a class_map or several target keys. Adapt its dataset"):
        as_encoded(reader)
