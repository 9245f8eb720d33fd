"""A shard that is changed under a live dataset gives errors, never new pixels with old labels."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, fault_server
from PIL import Image
from s3_server import use_server

import dalikit.transforms as T
from dalikit import DataLoader
from dalikit.datasets.webdataset import WebDataset
from dalikit.errors import ReadError
from dalikit.storage.remote import forget_stores

CHANGED = "has changed since it was indexed: it had"


def shard(grey: int, label: int) -> bytes:
    """Four images and their labels; all shards have members of one size."""
    file, picture = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(picture, "BMP")
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(4):
            for extension, data in (("bmp", picture.getvalue()), ("cls", b"%d" % label), ("txt", b"%d" % label)):
                member = tarfile.TarInfo(f"{number}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """For the remote ones."""
    monkeypatch.setenv("DALIKIT_CACHE", str(tmp_path / "cache"))
    with fault_server() as server:
        use_server(monkeypatch, server.url, sign=False)
        yield server
    forget_stores()


@pytest.mark.parametrize(
    ("place", "options"),
    [
        ("local", {}),
        ("local", {"memory_map": True}),
        ("s3", {}),
        ("s3", {"target": "txt"}),
        ("local", {"target": "txt"}),
    ],
)
def test_new_pixels_never_have_old_labels(
    tmp_path: Path, server: FaultServer, place: str, options: dict[str, Any]
) -> None:
    """Overwritten in place, with members of equal size; whoever makes the dataset anew gets what is new."""
    path = tmp_path / "0.tar"

    def put(data: bytes) -> None:
        if path.exists():
            with open(path, "r+b") as file:
                file.write(data)
        else:
            path.write_bytes(data)
        server.objects["/bucket/0.tar"] = data

    root = str(path) if place == "local" else "s3://bucket/0.tar"

    def make() -> WebDataset:
        return WebDataset(root, progress=False, transform=T.CenterCrop(8), **options)

    put(shard(10, 1))
    dataset = make()
    with DataLoader(dataset, batch_size=2, device="cpu") as loader:
        assert len(list(loader)) == 2
        put(shard(200, 7))
        with pytest.raises(ReadError, match=CHANGED):
            list(loader)
    with pytest.raises(ReadError, match=CHANGED):
        dataset.get_image_data(0)
    with DataLoader(make(), batch_size=4, device="cpu") as loader:
        ((images, targets),) = list(loader)
    assert {int(each) for each in targets} == {7}
    assert set(images.flatten().tolist()) == {200}


def test_a_target_that_is_read_is_of_the_version_too(tmp_path: Path) -> None:
    """By itself, as by the loader."""
    path = tmp_path / "0.tar"
    path.write_bytes(shard(10, 1))
    dataset = WebDataset(path, target="txt", progress=False)
    assert dataset.get_target(0) == "1"
    with open(path, "r+b") as file:
        file.write(shard(10, 2))
    with pytest.raises(ReadError, match=CHANGED):
        dataset.get_target(0)


def test_a_prefix_of_a_store_is_the_shards_below_it(server: FaultServer) -> None:
    """Right below it; a slash says that it is one."""
    for name in ("a/1.tar", "a/0.tar", "a/deep/2.tar", "ab/3.tar", "a/x.index"):
        server.objects[f"/bucket/{name}"] = shard(10, int(name[-5]) if name.endswith("r") else 0)
    dataset = WebDataset("s3://bucket/a/", progress=False)
    assert dataset.shards == ("s3://bucket/a/0.tar", "s3://bucket/a/1.tar")
    assert [dataset.get_target(row) for row in (0, 4)] == [0, 1]
