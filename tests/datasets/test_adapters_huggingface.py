"""Hugging Face datasets: rows are views of Arrow tables, and the dataset string opens what lies on disk."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapted_contract import AdaptedContract
from dataset_contract import DatasetContract
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dalikit import DataLoader
from dalikit.datasets.adapters import HuggingFaceFiles, HuggingFaceImages, adapt, as_encoded
from dalikit.datasets.adapters.arrow import BinaryValues
from dalikit.datasets.huggingface import open_huggingface
from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError, ReadError
from dalikit.fetch.declared import DeclaredRows

datasets: Any = pytest.importorskip("datasets")
pyarrow: Any = pytest.importorskip("pyarrow")

datasets.disable_progress_bars()


def make(files: list[Path], *, embedded: bool, **more: Any) -> Any:
    """A dataset of these files, as bytes or as paths, with their number modulo 3 as the class."""
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    images = [{"bytes": file.read_bytes(), "path": file.name} if embedded else str(file) for file in files]
    columns = {"image": images, "label": [number % 3 for number in range(len(files))]}
    extra = {name: datasets.Value("string" if isinstance(values[0], str) else "int64") for name, values in more.items()}
    return datasets.Dataset.from_dict({**columns, **more}, features=datasets.Features({**kinds, **extra}))


def in_chunks(files: list[Path], **options: Any) -> Any:
    """The same, of several Arrow chunks."""
    parts = [files[:2], files[2:5], files[5:]]
    return datasets.concatenate_datasets([make(part, **options) for part in parts])


@pytest.fixture
def files(photographs: list[Path]) -> list[Path]:
    """Some of them."""
    return photographs[:8]


class TestBytes(AdaptedContract):
    """Images in the Arrow tables, in several chunks."""

    @pytest.fixture
    def dataset(self, files: list[Path]) -> Any:
        """In memory."""
        return as_encoded(in_chunks(files, embedded=True))

    @pytest.fixture
    def twin(self, files: list[Path], tmp_path: Path) -> Any:
        """On disk, in one chunk."""
        make_fewer = make(files, embedded=True)
        expected = as_encoded(in_chunks(files, embedded=True))
        make_fewer.cast_column("label", expected.dataset.features["label"]).save_to_disk(tmp_path / "saved")
        return as_encoded(datasets.load_from_disk(str(tmp_path / "saved")))

    def test_a_copy_elsewhere_has_the_same_fingerprint_and_keys(self, dataset: Any, files: list[Path]) -> None:
        """However it is cut into chunks."""
        labels = [dataset.get_target(index) for index in range(len(dataset))]
        other = make(files, embedded=True).remove_columns("label").add_column("label", labels)
        twin = as_encoded(other)
        assert len(twin.dataset.data.column("image").chunks) != len(dataset.dataset.data.column("image").chunks)
        assert twin.fingerprint == dataset.fingerprint
        assert twin.get_key(3) == dataset.get_key(3)


class TestSelected(AdaptedContract):
    """Rows after select and shuffle."""

    @pytest.fixture
    def rows(self) -> list[int]:
        """In another order, and not all."""
        return [6, 0, 3, 2, 7]

    @pytest.fixture
    def files(self, photographs: list[Path], rows: list[int]) -> list[Path]:
        """Of the rows."""
        return [photographs[row] for row in rows]

    @pytest.fixture
    def dataset(self, photographs: list[Path], rows: list[int]) -> Any:
        """Selected."""
        return as_encoded(in_chunks(photographs[:8], embedded=True).select(rows))

    @pytest.fixture
    def twin(self, photographs: list[Path], rows: list[int]) -> Any:
        """Of another object."""
        return as_encoded(in_chunks(photographs[:8], embedded=True).select(rows))

    def test_the_keys_are_those_of_the_tables(self, dataset: Any, files: list[Path]) -> None:
        """Whatever was selected."""
        assert dataset.get_key(0) == f"6/{files[0].name}"

    def test_the_fingerprint_is_another_one(self, dataset: Any, photographs: list[Path]) -> None:
        """Order counts."""
        assert as_encoded(in_chunks(photographs[:8], embedded=True).select([0, 6, 3, 2, 7])).fingerprint != (
            dataset.fingerprint
        )


class TestPaths(DatasetContract):
    """Images in files that the rows name: a located dataset."""

    @pytest.fixture
    def dataset(self, files: list[Path]) -> Any:
        """Of paths."""
        return as_encoded(make(files, embedded=False))

    @pytest.fixture
    def twin(self, files: list[Path], tmp_path: Path) -> Any:
        """Another folder with files of the same names."""
        copies = [tmp_path / file.name for file in files]
        for copy, file in zip(copies, files, strict=True):
            copy.write_bytes(file.read_bytes())
        return as_encoded(make(copies, embedded=False))

    def test_rows_are_bytes_of_images(self, dataset: Any) -> None:
        """Arrays, as they are read."""
        for index in range(len(dataset)):
            Image.open(io.BytesIO(dataset.get_image_data(index))).load()

    def test_the_location_holds_the_same_bytes(self, dataset: Any) -> None:
        """Read straight into the memory of a batch."""
        assert isinstance(dataset, HuggingFaceFiles)
        assert DeclaredRows(dataset, None).in_files
        for index in range(len(dataset)):
            assert Path(dataset.get_location(index).uri).read_bytes() == bytes(dataset.get_image_data(index))

    def test_it_is_deterministic(self, dataset: Any) -> None:
        """As all are."""
        rows = [(bytes(dataset.get_image_data(i)), dataset.get_target(i), dataset.get_key(i)) for i in (0, 1, 0, 1)]
        assert rows[:2] == rows[2:]

    def test_threads_may_share_it(self) -> None:
        """Tested with the bytes."""

    def test_items_go_through_callables_and_raw_rows_do_not(self, dataset: Any) -> None:
        """As of built-in ones."""
        dataset.transform, dataset.target_transform = lambda image: image.size, lambda _: ()
        image, target = dataset[1]
        assert isinstance(image, tuple)
        assert target == ()
        assert dataset.get_target(1) == 1

    @pytest.mark.parametrize("method", ["get_location", "get_target", "get_key", "get_image_data", "__getitem__"])
    def test_indices_are_those_of_a_list(self, dataset: Any, method: str) -> None:
        """From the end too."""
        get = getattr(dataset, method)
        if method in ("get_location", "get_target", "get_key"):
            assert get(-1) == get(len(dataset) - 1)
        with pytest.raises(IndexError, match="index 8 is out of range"):
            get(8)


def test_bytes_are_not_copied(files: list[Path]) -> None:
    """A row is a view of the Arrow table."""
    dataset = make(files, embedded=True)
    view = as_encoded(dataset)
    chunk = dataset.data.column("image").chunks[0]
    start = chunk.field("bytes").buffers()[2].address
    address = np.frombuffer(view.get_image_data(1), dtype=np.uint8).ctypes.data
    assert address == start + len(files[0].read_bytes())


@given(
    values=st.lists(st.none() | st.binary(max_size=5), max_size=20),
    cut=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    kind=st.sampled_from(["binary", "large_binary"]),
)
def test_values_of_arrow_arrays_are_read_as_arrow_does(
    values: list[bytes | None], cut: tuple[int, int], kind: str
) -> None:
    """Nulls, empty ones, and slices."""
    array = pyarrow.array(values, type=kind).slice(*cut)
    read = BinaryValues(array)
    assert [None if read[place] is None else bytes(read[place]) for place in range(len(read))] == array.to_pylist()


def test_a_slice_of_the_tables_is_minded(files: list[Path]) -> None:
    """A contiguous select slices them, and rows that are null as a whole are found where they are."""
    view = as_encoded(make(files, embedded=True).select(range(3, 6)))
    assert [bytes(view.get_image_data(index)) for index in range(3)] == [file.read_bytes() for file in files[3:6]]


def test_rows_without_an_image_are_errors_with_a_place(files: list[Path]) -> None:
    """Null, empty, and a path to nowhere."""
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = [None, {"bytes": b"", "path": None}, {"bytes": None, "path": "/nowhere.jpg"}, str(files[0])]
    view = as_encoded(datasets.Dataset.from_dict({"image": rows, "label": [0, 1, 2, 3]}, features=kinds))
    assert type(view) is HuggingFaceImages
    with pytest.raises(ReadError, match=r"'image': the row holds neither bytes nor a path \[.*index=0, key=0"):
        view.get_image_data(0)
    with pytest.raises(ReadError, match=r"the row holds 0 bytes \[dataset=HuggingFaceImages, index=1"):
        view.get_image_data(1)
    with pytest.raises(ReadError, match=r"No such file.*key=2/nowhere.jpg, file=/nowhere.jpg"):
        view.get_image_data(2)
    assert bytes(view.get_image_data(3)) == files[0].read_bytes()


def test_the_target_is_the_only_class_else_label_else_a_dict(files: list[Path]) -> None:
    """Or what was asked for."""
    numbers = list(range(len(files)))
    dataset = make(files, embedded=True, number=numbers, name=[file.name for file in files])
    assert as_encoded(dataset).get_target(4) == 1
    assert as_encoded(dataset, target="number").get_target(4) == 4
    others = as_encoded(dataset.remove_columns("label"))
    assert others.get_target(4) == {"number": 4, "name": files[4].name}
    assert as_encoded(dataset.cast_column("label", datasets.Value("int8"))).get_target(4) == 1
    assert as_encoded(dataset.select_columns(["image"])).get_target(0) == {}


def test_a_dict_of_targets_is_collated_as_torch_does_it(files: list[Path]) -> None:
    """Numbers to tensors, text to lists."""
    dataset = make(files, embedded=True, name=[file.name for file in files], number=list(range(len(files))))
    view = as_encoded(dataset.remove_columns("label"))
    with DataLoader(view, batch_size=4, device="cpu", num_threads=1) as loader:
        _, targets = next(iter(loader))
    assert targets["number"].tolist() == [0, 1, 2, 3]
    assert targets["name"] == [file.name for file in files[:4]]


def test_a_binary_column_will_do_if_it_is_named(files: list[Path]) -> None:
    """Without a path."""
    kinds = datasets.Features({"png": datasets.Value("binary"), "label": datasets.Value("int64")})
    rows = {"png": [file.read_bytes() for file in files], "label": list(range(len(files)))}
    dataset = datasets.Dataset.from_dict(rows, features=kinds)
    view = as_encoded(dataset, image="png")
    assert bytes(view.get_image_data(2)) == files[2].read_bytes()
    assert view.get_key(2) == "2"
    assert len(view.fingerprint) == 16
    with pytest.raises(ArgumentError, match=r"found no image column; name it with image=. Its columns: 'png', 'label'"):
        as_encoded(dataset)
    with pytest.raises(ArgumentError, match="column 'label' is int64; an image column is a struct of bytes and path"):
        as_encoded(dataset, image="label")


def test_hidden_columns_stay_hidden(files: list[Path]) -> None:
    """set_format(columns=...) holds."""
    dataset = make(files, embedded=True, number=list(range(len(files))))
    dataset.set_format(columns=["image", "number"])
    assert as_encoded(dataset).get_target(3) == {"number": 3}


@pytest.mark.parametrize(("option", "name"), [("image", "picture"), ("target", "class")])
def test_a_column_that_is_not_there_is_refused(files: list[Path], option: str, name: str) -> None:
    """With those that are."""
    with pytest.raises(ArgumentError, match=f"{option}='{name}': there is no such column; there are 'image', 'label'"):
        as_encoded(make(files, embedded=True), **{option: name})


def test_two_images_must_be_told_apart(files: list[Path]) -> None:
    """By name."""
    dataset = make(files, embedded=True)
    twice = dataset.add_column("mask", [{"bytes": b"x", "path": None}] * len(files), feature=datasets.Image())
    with pytest.raises(ArgumentError, match=r"found 2 columns of encoded images \(image, mask\)"):
        as_encoded(twice)
    assert len(as_encoded(twice, image="image")) == len(files)


def test_what_is_not_a_plain_dataset_is_refused(files: list[Path]) -> None:
    """Splits, streams, and the user's own transform."""
    dataset = make(files, embedded=True)
    with pytest.raises(ArgumentError, match=r"it has splits, 'train'; take one, as_encoded\(dataset\['train'\]\)"):
        as_encoded(datasets.DatasetDict({"train": dataset}))
    with pytest.raises(ArgumentError, match=r"a streamed dataset has no rows. Give the loader dataset.decode\(False\)"):
        as_encoded(dataset.to_iterable_dataset())
    with pytest.raises(ArgumentError, match=r"it has a transform .* that works on decoded images"):
        as_encoded(dataset.with_transform(lambda rows: rows))


def test_it_is_never_adapted_by_itself(files: list[Path]) -> None:
    """Its batches are dicts, and stay so."""
    dataset = make(files, embedded=True)
    assert adapt(dataset) is dataset


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_worker_processes_read_it(files: list[Path], context: str) -> None:
    """Spawned ones get it pickled."""
    view = as_encoded(in_chunks(files, embedded=True))
    options: dict[str, Any] = {"device": "cpu", "num_threads": 1, "num_workers": 1, "multiprocessing_context": context}
    with DataLoader(view, batch_size=8, **options) as loader:
        [(images, targets)] = list(loader)
    assert len(images) == 8
    assert targets.tolist() == [view.get_target(index) for index in range(8)]


# By name


@pytest.fixture
def saved(files: list[Path], tmp_path: Path) -> Path:
    """What save_to_disk writes, of two splits."""
    splits = {"train": make(files[:5], embedded=True), "test": make(files[5:], embedded=True)}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


def test_a_split_of_a_saved_dataset_is_opened(saved: Path, files: list[Path]) -> None:
    """By its name; without one only if there is no other."""
    images = open_huggingface(saved, split="test", transform=str, target_transform=float)
    assert [bytes(images.get_image_data(index)) for index in range(3)] == [file.read_bytes() for file in files[5:]]
    assert (images.transform, images.target_transform) == (str, float)
    with pytest.raises(ArgumentError, match=r"split=None: .*saved' has the splits 'train', 'test'; name one of them"):
        open_huggingface(saved)
    with pytest.raises(ArgumentError, match=r"split='val': .*has the splits 'train', 'test'"):
        open_huggingface(saved, split="val")


def test_a_saved_dataset_without_splits_is_opened(saved: Path) -> None:
    """Asked for another split it says so."""
    assert len(open_huggingface(saved / "train")) == 5
    with pytest.raises(ArgumentError, match=r"split='test': .*holds one dataset; leave split out"):
        open_huggingface(saved / "train", split="test")


def test_parquet_files_are_opened(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names that Hugging Face's hub gives them, without a network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "data").mkdir()
    make(files[:5], embedded=True).to_parquet(str(tmp_path / "data" / "train-00000-of-00001.parquet"))
    make(files[5:], embedded=True).to_parquet(str(tmp_path / "data" / "test-00000-of-00001.parquet"))
    images = open_huggingface(tmp_path / "data", split="test", image="image", target="label")
    assert [bytes(images.get_image_data(index)) for index in range(3)] == [file.read_bytes() for file in files[5:]]
    assert [images.get_target(index) for index in range(3)] == [0, 1, 2]


def test_folders_without_a_dataset_are_refused(saved: Path, tmp_path: Path) -> None:
    """Each in its words."""
    with pytest.raises(DatasetNotFoundError, match=r"path '.*nowhere' is no folder"):
        open_huggingface(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"holds neither what save_to_disk writes .* nor .parquet files"):
        open_huggingface(tmp_path / "empty")
    (saved / "train" / "state.json").write_text("{")
    with pytest.raises(DatasetError, match=r"saved' cannot be opened: "):
        open_huggingface(saved, split="test")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import a_package_that_is_not_there", "installed, but cannot be imported: ModuleNotFoundError: No module"),
        ("from os import nothing_there", "installed, but cannot be imported: ImportError: cannot import name"),
        ("raise RuntimeError('numpy 1 is wanted')", "cannot be imported: RuntimeError: numpy 1 is wanted; is a pa"),
        (None, "needs the package datasets: pip install datasets"),
    ],
)
def test_a_package_that_cannot_be_imported(
    source: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own reason is told; only if it is not there is it to be installed."""
    if source is not None:
        (tmp_path / "datasets.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "datasets", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ArgumentError, match=message):
        open_huggingface(tmp_path)
