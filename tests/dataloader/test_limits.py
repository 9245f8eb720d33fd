"""Images that are too large are refused before memory is taken for them, by whichever way they come."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from item_datasets import Given, Photographs
from PIL import Image

import dalikit.transforms as T
from dalikit import DataLoader, make_dataset
from dalikit.datasets import ImageFolder
from dalikit.errors import ArgumentError, DecodeError, ReadError, SampleError

TOO_MANY = (
    r"an image of 30000x30000 pixels \(height x width\) is larger than max_pixels=178956970: raise the limit, or "
)
BIG = 200_000
"""Bytes of the large file; the others have less."""


@pytest.fixture
def bomb(tmp_path: Path, photographs: list[Path]) -> Path:
    """A folder with a good photograph and one that claims to have 30000 x 30000 pixels."""
    (tmp_path / "class").mkdir()
    data = photographs[0].read_bytes()
    frame = data.index(b"\xff\xc0")
    (tmp_path / "class/0.jpg").write_bytes(data)
    (tmp_path / "class/1.jpg").write_bytes(data[: frame + 5] + struct.pack(">HH", 30_000, 30_000) + data[frame + 9 :])
    return tmp_path


@pytest.fixture
def large(tmp_path: Path, photographs: list[Path]) -> Path:
    """A folder with a good photograph and one of more than BIG bytes."""
    (tmp_path / "class").mkdir()
    (tmp_path / "class/0.jpg").write_bytes(photographs[0].read_bytes())
    assert len(photographs[0].read_bytes()) < BIG
    buffer = io.BytesIO()
    Image.effect_noise((700, 700), 100).convert("RGB").save(buffer, "PNG")
    assert len(buffer.getvalue()) > BIG
    (tmp_path / "class/1.png").write_bytes(buffer.getvalue())
    return tmp_path


def paths_of(root: Path) -> list[Path]:
    """The files in it."""
    return sorted(path for path in root.rglob("class/*") if path.is_file())


def in_a_tar(root: Path) -> Any:
    """The same files as a shard."""
    with tarfile.open(root / "shard.tar", "w") as tar:
        for path in paths_of(root):
            tar.add(path, path.name)
            label = tarfile.TarInfo(f"{path.stem}.cls")
            label.size = 1
            tar.addfile(label, io.BytesIO(b"0"))
    return make_dataset(dataset_str=f"WebDataset:root={root}/shard.tar:target=cls")


WAYS: dict[str, Callable[[Path], Any]] = {
    "folder": ImageFolder,
    "tar": in_a_tar,
    "given": lambda root: Given(paths_of(root)),
    "items": lambda root: Photographs(paths_of(root)),
}


def loader_of(dataset: Any, **arguments: Any) -> Iterator[Any]:
    """The batches, one sample each."""
    with DataLoader(dataset, batch_size=1, device="cpu", transform=T.CenterCrop(8), **arguments) as loader:
        yield from loader


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("way", WAYS)
def test_pixels(bomb: Path, way: str, workers: int) -> None:
    """The header is enough to refuse it; the image before it comes first."""
    memory = psutil.Process().memory_info().rss
    batches = loader_of(WAYS[way](bomb), num_workers=workers)
    next(batches)
    with pytest.raises(DecodeError, match=TOO_MANY + r".*index=1.*stage=header"):
        next(batches)
    assert psutil.Process().memory_info().rss - memory < 300e6  # its pixels would be 2.7 GB


@pytest.mark.parametrize("executor", ["host", "dali"])
def test_pixels_in_both_executors(bomb: Path, executor: str) -> None:
    """Neither gets to see it."""
    batches = loader_of(ImageFolder(bomb), executor=executor)
    next(batches)
    with pytest.raises(DecodeError, match=TOO_MANY):
        next(batches)


def test_pixels_for_a_function_on_the_cpu(bomb: Path) -> None:
    """Pillow, which decodes for it, has the same limit; a smaller one is the loader's."""
    transform = T.Compose([T.OnCPU(lambda image: image), T.Resize((8, 8))])
    for limit, index, match in ((None, 1, "Pillow: Image size .900000000 pixels. exceeds"), (99, 0, "max_pixels=99")):
        with DataLoader(ImageFolder(bomb), device="cpu", transform=transform, max_pixels=limit) as loader:
            batches = iter(loader)
            for _ in range(index):
                next(batches)
            with pytest.raises(DecodeError, match=match):
                next(batches)


def test_the_limit_is_the_users(photograph_root: Path) -> None:
    """At the number of pixels an image passes, at one less it does not; None: no limit."""
    with Image.open(ImageFolder(photograph_root).get_location(0).uri) as image:
        pixels = image.width * image.height
    next(loader_of(ImageFolder(photograph_root), max_pixels=pixels))
    next(loader_of(ImageFolder(photograph_root), max_pixels=None))
    with pytest.raises(DecodeError, match=rf"is larger than max_pixels={pixels - 1}"):
        next(loader_of(ImageFolder(photograph_root), max_pixels=pixels - 1))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("way", WAYS)
def test_bytes(large: Path, way: str, workers: int) -> None:
    """A file of too many is an error, with its place."""
    batches = loader_of(WAYS[way](large), num_workers=workers, max_encoded_bytes=BIG)
    next(batches)
    with pytest.raises(SampleError, match=rf"\d{{6,}} bytes are more than .*{BIG}.*index=1"):
        next(batches)
    assert len(list(loader_of(WAYS[way](large), num_workers=workers))) == 2


def test_inflated_bytes(tmp_path: Path, photographs: list[Path]) -> None:
    """Of a gzipped image those count that it has when inflated."""
    data = gzip.compress(photographs[0].read_bytes() + bytes(50_000_000))
    assert len(data) < BIG

    class Gzipped(Given):
        def get_location(self, index: int) -> Any:
            from dalikit.storage import Location

            return Location(str(self.files[index]))

        may_be_gzipped = True

    (tmp_path / "0.jpg.gz").write_bytes(data)
    with pytest.raises(ReadError, match=rf"gzip: holds more than the limit of {BIG} bytes"):
        next(loader_of(Gzipped([tmp_path / "0.jpg.gz"]), max_encoded_bytes=BIG))


SPARSE = """
import resource, sys
from dalikit import DataLoader, make_dataset
loader = DataLoader(make_dataset(dataset_str=f"ImageFolder:root={sys.argv[1]}"), device="cpu", max_encoded_bytes=10**6)
batches = iter(loader)
next(batches)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    next(batches)
except Exception as error:
    print(type(error).__name__, error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000)
"""


def test_a_file_of_a_terabyte_takes_no_memory(tmp_path: Path, photographs: list[Path]) -> None:
    """A sparse one: its size is known before it is read."""
    (tmp_path / "class").mkdir()
    (tmp_path / "class/0.jpg").write_bytes(photographs[0].read_bytes())
    with open(tmp_path / "class/1.jpg", "wb") as file:
        file.truncate(1 << 40)
    command = [sys.executable, "-c", SPARSE, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "ReadError 1099511627776 bytes are more than" in result.stdout
    assert result.stdout.endswith("True\n")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"max_pixels": 0}, r"max_pixels=0: must be a whole number, at least 1"),
        ({"max_pixels": 1.5}, r"max_pixels=1\.5: must be"),
        ({"max_encoded_bytes": 0}, r"max_encoded_bytes=0: must be a whole number, from 1 to 2147483648"),
        ({"max_encoded_bytes": 2**40}, r"max_encoded_bytes=1099511627776: must be"),
    ],
)
def test_limits_that_are_none(photograph_root: Path, arguments: dict[str, Any], match: str) -> None:
    """Refused when the loader is made."""
    with pytest.raises(ArgumentError, match=match):
        DataLoader(ImageFolder(photograph_root), device="cpu", **arguments)
