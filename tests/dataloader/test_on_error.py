"""One bad image does not end a run: it is replaced or dropped, written down, and nothing else changes."""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from encoded_images import broken_png, encode, truncated_webp
from item_datasets import Given, Photographs
from PIL import Image
from torch.utils.data import Dataset, SequentialSampler

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader, make_dataset
from dalikit.datasets import ImageFolder
from dalikit.errors import ArgumentError, DecodeError, ReadError, SampleError, TooManyErrorsError, TransformError
from samplers import KeyedEpochSampler

pytestmark = pytest.mark.usefixtures("own_folder")

COUNT = 24
TRANSFORM = T.Compose([T.RandomResizedCrop(16), T.RandomHorizontalFlip(), T.ToTensor()])
Make = Callable[..., DataLoader]


def _spoiled(image: Image.Image, jpeg: bytes) -> dict[int, bytes]:
    """By row: files that fail when they are read, at their header, and at decoding."""
    return {
        2: b"",
        5: jpeg[: len(jpeg) // 2],
        9: random.Random(0).randbytes(3000),
        13: broken_png(image),
        14: truncated_webp(image),
        20: b"<html>not found</html>",
    }


BAD = {2, 5, 9, 13, 14, 20}
AT_DECODING = {13, 14}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, photographs: list[Path]) -> tuple[Path, Path]:
    """A folder of good images, and one in which some are spoiled."""
    root = tmp_path_factory.mktemp("repair")
    (root / "good/class").mkdir(parents=True)
    image = Image.open(photographs[0]).convert("RGB").resize((60, 50))
    for row in range(COUNT):
        photograph = Image.open(photographs[row % len(photographs)]).convert("RGB").resize((90 + row, 80))
        (root / f"good/class/{row:02d}.jpg").write_bytes(encode(photograph, "JPEG"))
    shutil.copytree(root / "good", root / "bad")
    for row, data in _spoiled(image, photographs[0].read_bytes()).items():
        (root / f"bad/class/{row:02d}.jpg").write_bytes(data)
    return root / "good", root / "bad"


@pytest.fixture
def make() -> Iterator[Make]:
    """A loader; it is closed at the end."""
    made: list[DataLoader] = []

    def make(dataset: Any, **arguments: Any) -> DataLoader:
        named = {"batch_size": 5, "num_workers": 0, "device": "cpu", "num_threads": 2, "transform": TRANSFORM}
        named |= {"sampler_type": SamplerType.KEYED_EPOCH, "drop_last": False}
        made.append(make_data_loader(dataset=dataset, **{**named, **arguments}))
        return made[-1]

    yield make
    for loader in made:
        loader.close()


def files_of(root: Path) -> list[Path]:
    """In the order of the rows."""
    return sorted(root.rglob("*.jpg"))


class Decoded(Dataset[Any]):
    """Items that Pillow decodes, as torch's datasets do; it raises for the bad ones."""

    def __init__(self, root: Path) -> None:
        self.paths = files_of(root)

    def __len__(self) -> int:
        """How many."""
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        """A PIL image and its number."""
        with Image.open(self.paths[index]) as image:
            return image.convert("RGB"), index


class Whole(Given):
    """All rows of a batch at once."""

    def get_batch(self, indices: list[int]) -> list[tuple[bytes, int]]:
        """Fails for all if one is an empty file."""
        pairs = [(self.get_image_data(index), self.get_target(index)) for index in indices]
        if not all(data for data, _ in pairs):
            raise OSError("an empty file")
        return pairs


def in_a_tar(root: Path) -> Any:
    """The files as a shard."""
    shard = root.parent / f"{root.name}.tar"
    if not shard.exists():
        with tarfile.open(shard, "w") as tar:
            for path in sorted(root.rglob("*.jpg")):
                tar.add(path, path.name)
    return make_dataset(dataset_str=f"WebDataset:root={shard}:target=none")


WAYS: dict[str, Callable[[Path], Any]] = {
    "folder": ImageFolder,
    "tar": in_a_tar,
    "given": lambda root: Given(files_of(root)),
    "whole": lambda root: Whole(files_of(root)),
    "items": lambda root: Photographs(files_of(root)),
    "decoded": Decoded,
}


def images_of(loader: Any, count: int | None = None) -> list[torch.Tensor]:
    """Each image of a pass, or the first ones."""
    return list(itertools.islice((image for images, *_ in loader for image in images), count))


def differing(mine: list[torch.Tensor], others: list[torch.Tensor]) -> set[int]:
    """Where two streams of images differ."""
    return {place for place, (one, other) in enumerate(zip(mine, others, strict=True)) if not torch.equal(one, other)}


def rows_at(places: set[int], **arguments: Any) -> set[int]:
    """Which rows the sampler has at some places of the first pass."""
    order = KeyedEpochSampler(sample_count=COUNT, **arguments).indices(0, COUNT)
    return {int(order[place]) for place in places}


@pytest.mark.parametrize("executor", ["host", "dali"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("way", WAYS)
def test_only_bad_images_are_replaced(
    make: Make, folders: tuple[Path, Path], way: str, workers: int, executor: str
) -> None:
    """Batches keep their size, and all other images their pixels, wherever a bad one is found out."""
    if executor == "dali" and workers and way not in ("folder", "items"):
        return  # the executor does not know where a batch came from
    good, bad = (
        make(WAYS[way](folder), num_workers=workers, executor=executor, **more)
        for folder, more in zip(folders, ({}, {"on_error": "replace"}), strict=True)
    )
    expected = images_of(good)
    assert rows_at(differing(images_of(bad), expected)) == BAD
    assert bad.stats()["bad_rows"] == len(BAD)
    second = images_of(bad)
    assert len(differing(second, images_of(good))) == len(BAD)
    assert bad.stats() == {"bad_rows": len(BAD), "bad_samples": 2 * len(BAD)}


def test_the_same_at_any_batch_size_on_any_ranks_and_with_a_list(make: Make, folders: tuple[Path, Path]) -> None:
    """What stands in follows from the position: in one stream, resumed, over ranks, and by `exclude=` of the report."""
    dataset = ImageFolder(folders[1])
    expected = images_of(make(dataset, on_error="replace", quarantine="report.jsonl"))
    assert differing(images_of(make(dataset, on_error="replace", batch_size=1)), expected) == set()
    assert differing(images_of(make(dataset, exclude="report.jsonl")), expected) == set()
    ranks = [images_of(make(dataset, on_error="replace", rank=rank, world_size=3)) for rank in range(3)]
    dealt = [image for round_ in itertools.zip_longest(*ranks) for image in round_ if image is not None]
    assert differing(dealt, expected) == set()
    cut = make(dataset, on_error="replace")
    next(iter(cut))
    resumed = make(dataset, on_error="replace")
    resumed.load_state_dict(cut.state_dict())
    assert differing(images_of(resumed), expected[5:]) == set()


@pytest.mark.parametrize(
    "sampler_type",
    [SamplerType.INFINITE, SamplerType.SHARDED_INFINITE, SamplerType.DISTRIBUTED, SamplerType.EPOCH, None],
)
def test_every_sampler(make: Make, folders: tuple[Path, Path], sampler_type: SamplerType | None) -> None:
    """As many samples differ as were bad."""
    shuffle = sampler_type is not None
    good, bad = (
        make(ImageFolder(folder), sampler_type=sampler_type, shuffle=shuffle, **more)
        for folder, more in zip(folders, ({}, {"on_error": "replace"}), strict=True)
    )
    assert len(differing(images_of(bad, COUNT), images_of(good, COUNT))) == len(BAD)


def test_drop(make: Make, folders: tuple[Path, Path]) -> None:
    """Batches are shorter; one of which nothing is left is left out, and the places count as taken."""
    expected = images_of(make(ImageFolder(folders[0])))
    loader = make(ImageFolder(folders[1]), on_error="drop", batch_size=2)
    sizes = [len(images) for images, _ in loader]
    assert sum(sizes) == COUNT - len(BAD)
    assert max(sizes) == 2
    order = KeyedEpochSampler(sample_count=COUNT).indices(0, COUNT).tolist()
    kept = [image for image, row in zip(expected, order, strict=True) if row not in BAD]
    assert differing(images_of(make(ImageFolder(folders[1]), on_error="drop")), kept) == set()
    assert loader.state_dict()["passes"] == 1
    resumed = make(ImageFolder(folders[1]), on_error="drop", batch_size=2)
    batches = iter(loader)
    next(batches)
    resumed.load_state_dict(loader.state_dict())
    assert [len(images) for images, _ in resumed] == [len(images) for images, _ in batches]


def test_a_pass_of_bad_images_alone(make: Make, tmp_path: Path) -> None:
    """Dropped: no batch. Replaced: an error that says so, not a hang."""
    (tmp_path / "data/class").mkdir(parents=True)
    for row in range(3):
        (tmp_path / f"data/class/{row}.jpg").write_bytes(b"nothing")
    dataset = ImageFolder(tmp_path / "data")
    assert list(make(dataset, on_error="drop")) == []
    with pytest.raises(TooManyErrorsError, match=r"all 3 rows of the dataset are bad; see .*jsonl"):
        next(iter(make(dataset, on_error="replace")))
    for row in range(3):
        (tmp_path / f"data/class/{row}.jpg").unlink()  # nobody knows whether they come back
    with pytest.raises(ReadError, match=r"no sample could stand in for it: all 3 rows are bad, or cannot be used"):
        next(iter(make(dataset, on_error="replace")))


def test_torchs_samplers_take_one_of_the_batch(folders: tuple[Path, Path]) -> None:
    """Of which nobody knows from what they draw."""
    dataset = ImageFolder(folders[1])
    arguments: dict[str, Any] = {"transform": T.Compose([T.CenterCrop(8)]), "device": "cpu", "batch_size": 6}
    loader = DataLoader(dataset, sampler=SequentialSampler(dataset), on_error="replace", **arguments)
    good = DataLoader(ImageFolder(folders[0]), sampler=SequentialSampler(dataset), **arguments)
    for (mine, _), (others, _), start in zip(loader, good, range(0, COUNT, 6), strict=True):
        for row in range(6):
            if start + row in BAD:
                assert any(torch.equal(mine[row], other) for other in others)
            else:
                assert torch.equal(mine[row], others[row])
    loader.close()
    good.close()


def test_the_report(make: Make, folders: tuple[Path, Path]) -> None:
    """A line for each bad row, once, as it is found; a second run adds to it."""
    loader = make(ImageFolder(folders[1]), on_error="replace", quarantine="report.jsonl", seed=7)
    assert not Path("report.jsonl").exists()
    images_of(loader)
    header, *lines = [json.loads(line) for line in Path("report.jsonl").read_text().splitlines()]
    assert (header["kind"], header["source"], header["length"]) == ("header", "quarantine", COUNT)
    assert {line["index"] for line in lines} == BAD
    assert all(line["bad"] and line["rank"] == 0 for line in lines)
    by_row = {line["index"]: line for line in lines}
    assert by_row[2]["kind"] == "unreadable"
    assert by_row[5]["error"].startswith("truncated JPEG")
    assert {row for row, line in by_row.items() if line["stage"] == "decode"} == AT_DECODING
    assert by_row[9]["key"] == "class/09.jpg"
    assert by_row[9]["file"] == str(folders[1] / "class/09.jpg")
    order = KeyedEpochSampler(sample_count=COUNT, seed=7).indices(0, COUNT).tolist()
    of_its_own = {row: order.index(row) for row in BAD}
    # That of the sample which it was to stand in for, if that came first.
    assert all(by_row[row]["position"] in of_its_own.values() for row in BAD)
    assert sum(by_row[row]["position"] == of_its_own[row] for row in BAD) >= len(BAD) - 1
    images_of(loader)
    assert len(Path("report.jsonl").read_text().splitlines()) == 1 + len(BAD)
    images_of(make(ImageFolder(folders[1]), on_error="replace", quarantine="report.jsonl"))
    assert len(Path("report.jsonl").read_text().splitlines()) == 1 + 2 * len(BAD)


def test_the_reports_own_name(make: Make, folders: tuple[Path, Path]) -> None:
    """In the current folder, by dataset and rank."""
    images_of(make(ImageFolder(folders[1]), on_error="replace", rank=1, world_size=2))
    [report] = Path().glob("*.jsonl")
    assert report.name.startswith("dalikit-quarantine-ImageFolder-")
    assert report.name.endswith("-rank1.jsonl")


def test_a_report_of_something_else_is_not_added_to(make: Make, folders: tuple[Path, Path]) -> None:
    """Found out when the loader is made."""
    Path("mine.txt").write_text("a list of my own\n")
    with pytest.raises(ArgumentError, match=r"quarantine=.*mine.txt: cannot be added to"):
        make(ImageFolder(folders[1]), on_error="replace", quarantine="mine.txt")
    images_of(make(ImageFolder(folders[1]), on_error="replace", quarantine="report.jsonl"))
    with pytest.raises(ArgumentError, match=r"is no report of the bad samples of this dataset"):
        make(Given(files_of(folders[1])), on_error="replace", quarantine="report.jsonl")


def test_a_report_that_cannot_be_written_ends_no_run(
    make: Make, folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, once."""
    loader = make(ImageFolder(folders[1]), on_error="replace", quarantine="missing/report.jsonl")
    assert len(images_of(loader)) == COUNT
    assert sum("cannot be written" in message for message in caplog.messages) == 1


def test_the_log(make: Make, folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    """A line each, with the place."""
    with caplog.at_level(logging.WARNING, "dalikit"):
        images_of(make(ImageFolder(folders[1]), on_error="replace"))
    lines = [message for message in caplog.messages if message.startswith("a bad sample is replaced")]
    assert len(lines) == len(BAD)
    assert any("key=class/09.jpg" in line for line in lines)


@pytest.mark.parametrize(
    ("most", "match"), [(3, "4 rows are bad, more than max_errors=3"), (0.004, "more than the share")]
)
def test_too_many(make: Make, folders: tuple[Path, Path], most: Any, match: str) -> None:
    """The run ends with the list."""
    with pytest.raises(TooManyErrorsError, match=rf"(?s){match}.*All are in .*jsonl; the latest:\n.*index="):
        images_of(make(ImageFolder(folders[1]), on_error="replace", max_errors=most))


def test_not_too_many(make: Make, folders: tuple[Path, Path]) -> None:
    """Rows count once; a share is not taken of the first few samples."""
    for most in (len(BAD), 0.5):
        loader = make(ImageFolder(folders[1]), on_error="replace", max_errors=most)
        for _ in range(3):
            assert len(images_of(loader)) == COUNT


def test_a_transform_that_refuses(make: Make, folders: tuple[Path, Path], tmp_path: Path) -> None:
    """An image that is smaller than the crop is a bad sample too."""
    root = tmp_path / "data"
    shutil.copytree(folders[0], root)
    (root / "class/03.jpg").write_bytes(encode(Image.new("RGB", (10, 10)), "JPEG"))
    transform = T.Compose([T.RandomCrop(40), T.ToTensor()])
    with pytest.raises(TransformError):
        images_of(make(ImageFolder(root), transform=transform))
    loader = make(ImageFolder(root), transform=transform, on_error="replace", quarantine="report.jsonl")
    assert len(images_of(loader)) == COUNT
    lines = [json.loads(line) for line in Path("report.jsonl").read_text().splitlines()]
    assert [(line["index"], line["kind"], line["bad"]) for line in lines[1:]] == [(3, "refused", False)]


def test_a_fault_of_the_dataset_is_raised(make: Make, folders: tuple[Path, Path]) -> None:
    """It is not a bad sample."""

    class Faulty(Given):
        def get_target(self, index: int) -> int:
            """A mistake."""
            return {}[index]

    with pytest.raises(KeyError):
        images_of(make(Faulty(files_of(folders[0])), on_error="replace"))


def test_a_file_that_comes_back(make: Make, folders: tuple[Path, Path], tmp_path: Path) -> None:
    """What could not be read is tried again in the next pass: only verdicts on the bytes are remembered."""
    root = tmp_path / "data"
    shutil.copytree(folders[0], root)
    dataset = ImageFolder(root)
    expected = images_of(make(dataset))
    file = root / "class/07.jpg"
    kept = file.read_bytes()
    file.unlink()
    loader = make(dataset, on_error="replace", sampler_type=None, shuffle=False)
    images_of(loader)
    assert loader.stats() == {"bad_rows": 1, "bad_samples": 1}
    file.write_bytes(kept)
    images_of(loader)
    assert loader.stats() == {"bad_rows": 1, "bad_samples": 1}
    assert len(expected) == COUNT


def test_several_views(make: Make, folders: tuple[Path, Path]) -> None:
    """DINO's crops, in both executors."""
    transform = T.DataAugmentationDINO((0.3, 1.0), (0.05, 0.3), 2, global_crops_size=24, local_crops_size=16)
    for executor in ("host", "dali"):
        good, bad = (
            make(ImageFolder(folder), transform=transform, executor=executor, **more)
            for folder, more in zip(folders, ({}, {"on_error": "replace"}), strict=True)
        )
        places = set()
        for batch, ((mine, _), (others, _)) in enumerate(zip(bad, good, strict=True)):
            for name in ("global_crops", "local_crops"):
                same = (mine[name] == others[name]).flatten(2).all(2).all(0)
                places |= {batch * 5 + int(row) for row in (~same).nonzero()}
        assert rows_at(places) == BAD


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"on_error": "skip"}, r"on_error='skip': must be one of 'raise', 'replace', 'drop'"),
        ({"max_errors": 5}, r"max_errors=5: is for on_error='replace' or 'drop'"),
        ({"quarantine": "x"}, r"quarantine='x': is for on_error='replace' or 'drop'"),
        ({"on_error": "replace", "max_errors": -1}, r"max_errors=-1: must be a whole number, at least 0, or a share"),
        ({"on_error": "replace", "max_errors": 1.5}, r"max_errors=1\.5: must be"),
        ({"on_error": "replace", "max_errors": True}, r"max_errors=True: must be"),
        ({"on_error": "replace", "max_errors": "5"}, r"max_errors='5': must be"),
        ({"on_error": "replace", "quarantine": 5}, r"quarantine=5: must be the path of a file, or None"),
        ({"on_error": "drop", "rank": 0, "world_size": 2}, r"on_error='drop': shortens the batches of one rank"),
    ],
)
def test_arguments(make: Make, folders: tuple[Path, Path], arguments: dict[str, Any], match: str) -> None:
    """Refused when the loader is made."""
    with pytest.raises(ArgumentError, match=match):
        make(ImageFolder(folders[0]), **arguments)


def test_by_default_it_is_raised(make: Make, folders: tuple[Path, Path]) -> None:
    """With the place; and nothing is written."""
    with pytest.raises((ReadError, DecodeError), match="index="):
        images_of(make(ImageFolder(folders[1])))
    assert os.listdir() == []
    assert issubclass(ReadError, SampleError)
