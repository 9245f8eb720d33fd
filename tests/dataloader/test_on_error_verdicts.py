"""What counts as a bad sample: what its own bytes say, whichever others are in the batch, and no fault of the code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoded_images import broken_png, encode
from item_datasets import Counting, Given
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader
from dalikit.errors import ReadError, SampleError
from dalikit.fetch.pieces import plan_pieces, read_tolerantly
from dalikit.fetch.rows import Rows
from dalikit.storage import Location

pytestmark = pytest.mark.usefixtures("own_folder")

COUNT = 12
CROPS = T.Compose([T.RandomResizedCrop(16, scale=(0.05, 0.3)), T.ToTensor()])
WHOLE = T.Compose([T.Resize((16, 16)), T.ToTensor()])


def picture(number: int = 0) -> Image.Image:
    """Of noise."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (100, 120, 3), dtype=np.uint8))


def images(count: int = COUNT) -> list[bytes]:
    """Good ones."""
    return [encode(picture(row), "PNG") for row in range(count)]


def load(dataset: Any, **arguments: Any) -> DataLoader:
    """A loader that waits for no batch for ever."""
    named: dict[str, Any] = {"batch_size": 4, "num_workers": 0, "device": "cpu", "num_threads": 2, "timeout": 60}
    named |= {"transform": WHOLE, "sampler_type": SamplerType.KEYED_EPOCH, "drop_last": False, "seed": 0}
    return make_data_loader(dataset=dataset, **{**named, **arguments})


def take(loader: DataLoader, count: int) -> list[int]:
    """The first targets."""
    taken: list[int] = []
    with loader:
        for _, found in loader:
            taken += found.tolist()
            if len(taken) >= count:
                return taken[:count]
    return taken


class Items(Dataset[Any]):
    """Items whose image is whatever is given."""

    def __init__(self, files: list[Any]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        return self.files[index], index


class Streamed(IterableDataset[Any]):
    """The same, one after the other."""

    def __init__(self, files: list[Any]) -> None:
        self.files = files

    def __iter__(self) -> Iterator[Any]:
        yield from zip(self.files, range(len(self.files)), strict=True)


@pytest.mark.parametrize("executor", ["host", "dali"])
def test_an_image_of_which_a_part_can_be_decoded(executor: str) -> None:
    """Is good where the crop meets that part, whatever else is in the batch, and whatever was seen before."""
    files = images()
    tiff = encode(picture(), "TIFF")
    files[5] = tiff[: len(tiff) * 9 // 10]
    files[7] = broken_png(picture())
    arguments: dict[str, Any] = {"on_error": "replace", "executor": executor, "transform": CROPS}
    arguments["sampler_type"] = SamplerType.KEYED_INFINITE

    def stream(batch_size: int, cut: int = 0) -> list[int]:
        loader = load(Given(files), batch_size=batch_size, **arguments)
        if cut:
            batches = iter(loader)
            for _ in range(cut):
                next(batches)
            state = loader.state_dict()
            loader.close()
            loader = load(Given(files), batch_size=batch_size, **arguments)
            loader.load_state_dict(state)
        return take(loader, 240 - batch_size * cut)

    expected = stream(4)
    assert 2 < expected.count(5) < 20
    assert 7 not in expected
    assert stream(12) == expected
    assert stream(4, cut=20) == expected[80:]


@pytest.mark.parametrize("executor", ["host", "dali"])
@pytest.mark.parametrize(("transform", "passes_read"), [(WHOLE, 1), (CROPS, 3)])
def test_only_verdicts_on_whole_images_are_remembered(executor: str, transform: Any, passes_read: int) -> None:
    """Of a part the next crop may meet another."""
    files = images()
    files[3] = broken_png(picture())
    dataset = Counting(files)
    with load(dataset, on_error="drop", executor=executor, transform=transform) as loader:
        for _ in range(3):
            assert sum(len(found) for _, found in loader) == COUNT - 1
        assert loader.stats() == {"bad_rows": 1, "bad_samples": 3}
    assert dataset.read.count(3) == passes_read


class Remote:
    """As DeclaredRows: rows of one remote object, of which one cannot be found."""

    whole = False
    remote = True

    def locate(self, index: int) -> Location:
        if index == 2:
            raise ReadError("too large")
        return Location("http://there/object", 10 * index, 10)

    def fetch(self, location: Location, arena: Any) -> Any:
        del arena
        return np.arange(location.offset, location.offset + (location.size or 0)).astype(np.uint8)

    def complete(self, rows: Any, row: int, data: Any) -> Any:
        return data, rows.indices[row]

    def read(self, rows: Any, row: int, arena: Any) -> Any:
        return self.complete(rows, row, self.fetch(self.locate(rows.indices[row]), arena))


def test_a_row_that_cannot_be_located_spoils_no_other() -> None:
    """All others are read, in one span."""
    rows = Rows(None, [0, 1, 2, 3], np.arange(4))
    declared: Any = Remote()
    pieces = plan_pieces(declared, rows)
    errors: dict[int, SampleError] = {}
    read = [
        sample
        for piece in range(len(pieces))
        for sample in read_tolerantly(pieces, declared, rows, errors, piece, None)
    ]
    assert {row: int(data[0]) for row, data, _ in read} == {0: 0, 1: 10, 3: 30}
    assert {row: error.place.index for row, error in errors.items()} == {2: 2}
    assert len(pieces) == 2
    with pytest.raises(ReadError, match=r"too large \[.*index=2"):
        list(pieces.read(0, None))


class Located(Given):
    """In files, of which the index knows one too few."""

    def get_location(self, index: int) -> Location:
        if index == 3:
            raise OSError("not in the index")
        return Location(str(self.files[index]))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_that_cannot_say_where_a_row_lies(tmp_path: Path, workers: int) -> None:
    """It is asked again for the message, and fails again."""
    paths = [tmp_path / f"{row}.png" for row in range(COUNT)]
    for path, data in zip(paths, images(), strict=True):
        path.write_bytes(data)
    taken = take(load(Located(paths), on_error="replace", num_workers=workers), COUNT)
    assert len(taken) == COUNT
    assert 3 not in taken


class NoLabels(Given):
    """Whose labels lie in a file that is not there."""

    def get_target(self, index: int) -> int:
        raise FileNotFoundError(f"labels.csv, row {index}")


class NoTargets(Given):
    """The same of the transform."""

    def target_transform(self, target: int) -> int:
        raise OSError(f"no targets: {target}")


def fails(image: Any) -> Any:
    """A function that lacks something."""
    raise OSError(f"no configuration for {image}")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("kind", "transform", "words"),
    [
        (NoLabels, WHOLE, "labels.csv"),
        (NoTargets, WHOLE, "no targets"),
        (Given, T.Compose([T.OnCPU(fails), WHOLE]), "no configuration"),
        (Items, T.Compose([T.OnCPU(fails), WHOLE]), "no configuration"),
    ],
)
def test_faults_of_the_code_are_no_bad_samples(kind: Any, transform: Any, words: str, workers: int) -> None:
    """Though the operating system's errors are such where images are read."""
    loader = load(kind(images()), on_error="replace", transform=transform, num_workers=workers)
    with loader, pytest.raises(OSError, match=words) as caught:
        list(loader)
    assert not isinstance(caught.value, SampleError)
    assert loader.stats()["bad_rows"] == 0


@pytest.mark.parametrize("kind", [Given, Items])
def test_a_function_gets_no_broken_images(kind: Any) -> None:
    """What cannot be decoded for it is a bad sample."""
    files = images()
    files[3] = files[4] = b"junk"
    transform = T.Compose([T.OnCPU(lambda image: image), WHOLE])
    for batch_size in (1, 4):
        loader = load(kind(files), on_error="replace", transform=transform, batch_size=batch_size)
        taken = take(loader, COUNT)
        assert len(taken) == COUNT
        assert not {3, 4} & set(taken)


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("junk", [b"", b"<html>not found</html>"])
def test_batches_of_junk_alone(junk: bytes, batch_size: int) -> None:
    """The first one too: where items must hold images their only bytes are one."""
    files = [junk, junk, *images()[2:]]
    for workers in (0, 2):
        loader = load(
            Items(files), on_error="replace", batch_size=batch_size, num_workers=workers, sampler_type=None,
            shuffle=False,
        )  # fmt: skip
        taken = take(loader, COUNT)
        assert taken[2:] == list(range(2, COUNT))
        assert not {0, 1} & set(taken)


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_junk_of_an_iterable_dataset(batch_size: int | None) -> None:
    """The same; and items that are no batch."""
    files = [b"junk", b"junk", *images()[2:]]
    arguments: dict[str, Any] = {"batch_size": batch_size, "transform": WHOLE, "device": "cpu", "timeout": 60}
    with DataLoader(Streamed(files), on_error="drop", **arguments) as loader:
        found = [int(target) for _, targets in loader for target in np.atleast_1d(targets)]
    assert found == list(range(2, COUNT))


def test_bytes_that_are_data_stay_data() -> None:
    """Without a transform nobody said that they are images."""
    files = [b"one", b"two", b"three"]
    arguments: dict[str, Any] = {"batch_size": 1, "device": "cpu", "collate_fn": list}
    with DataLoader(Items(files), on_error="replace", **arguments) as loader:
        assert [item for [item] in loader] == [(b"one", 0), (b"two", 1), (b"three", 2)]
