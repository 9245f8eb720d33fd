"""An ImageFolder in an object store has the rows of a copy on the disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_server import fault_server
from PIL import Image
from s3_server import s3_server, use_server

import dalikit.transforms as T
from dalikit import DataLoader, make_dataset
from dalikit.datasets import ImageFolder
from dalikit.errors import ArgumentError, EmptyDatasetError

NAMES = (
    "cat/b.JPG",
    "cat/a.jpg",
    "cat/more/z.jpg",
    "cat.d/a.png",
    "dog/1 é%20#.jpg",
    "dog/deep/er/x.jpg",
    "dog/note.txt",
)


def picture(number: int) -> bytes:
    """No two are alike."""
    file = io.BytesIO()
    ramp = np.add.outer(np.arange(20 + 8 * number), np.arange(24))[..., None] * np.array([3, 1, 2]) + number
    Image.fromarray(ramp.clip(0, 255).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """By name; written to tmp_path/local too."""
    made = {name: picture(number) for number, name in enumerate(NAMES)}
    for name, data in made.items():
        path = tmp_path / "local" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return made


def check_same(remote: ImageFolder, local: ImageFolder) -> None:
    assert remote.classes == local.classes
    assert remote.targets.tolist() == local.targets.tolist()
    assert [remote.get_key(row) for row in range(len(local))] == [local.get_key(row) for row in range(len(local))]
    assert remote.fingerprint == local.fingerprint
    assert [remote.get_image_data(row) for row in range(len(local))] == [
        local.get_image_data(row) for row in range(len(local))
    ]


@pytest.mark.parametrize("slash", ["", "/"])
def test_rows_are_those_of_a_local_copy(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, slash: str
) -> None:
    """The same order, keys and fingerprint; what lies beside the root with the same beginning is not of it."""
    with fault_server() as server:
        use_server(monkeypatch, server.url, sign=False)
        server.objects |= {f"/data/train/{name}": data for name, data in files.items()}
        server.objects |= {"/data/train/top.jpg": b"?", "/data/training/x/1.jpg": b"?"}
        dataset = ImageFolder(f"s3://data/train{slash}")
        assert dataset.remote
        assert repr(dataset) == "ImageFolder(root='s3://data/train', num_samples=6, num_classes=3)"
        check_same(dataset, ImageFolder(tmp_path / "local"))
        assert dataset.get_location(0).uri == "s3://data/train/cat/a.jpg"


def test_a_loader_over_a_real_server(tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels are the local copy's, with worker processes too."""
    with s3_server(tmp_path / "server") as server:
        use_server(monkeypatch, server.url)
        for name, data in files.items():
            server.put(f"some/{name}", data)
        transform = T.Compose([T.RandomResizedCrop(16), T.ToTensor()])
        dataset = make_dataset(dataset_str="ImageFolder:root=s3://photographs/some", transform=transform)
        local = ImageFolder(tmp_path / "local", transform=transform)
        check_same(dataset, local)
        expected = list(DataLoader(local, batch_size=4, shuffle=True, seed=1, device="cpu"))
        for num_workers in (0, 1):
            with DataLoader(
                dataset,
                batch_size=4,
                shuffle=True,
                seed=1,
                device="cpu",
                num_workers=num_workers,
                # a server of forks that is running already has the environment, and its credentials, of its beginning
                multiprocessing_context="spawn" if num_workers else None,
            ) as loader:
                for (images, targets), (others, other_targets) in zip(loader, expected, strict=True):
                    assert images.equal(others)
                    assert targets.equal(other_targets)


@pytest.mark.parametrize(
    ("objects", "options", "error", "message"),
    [
        (
            {"a.jpg": b""},
            {},
            EmptyDatasetError,
            "root 's3://data/train' has no class folders: found 1 object at",
        ),
        ({}, {}, EmptyDatasetError, "found 0 objects at the top"),
        ({"a/1.jpg": b"", "b/x.txt": b""}, {}, EmptyDatasetError, "found no image file for the classes 'b'"),
        ({"a/1.jpg": b""}, {"cache": "x.npz"}, ArgumentError, "cache='x.npz': an object store does not say whether"),
    ],
)
def test_what_is_no_image_folder(
    objects: dict[str, bytes],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fault_server() as server:
        use_server(monkeypatch, server.url, sign=False)
        server.objects |= {f"/data/train/{name}": data for name, data in objects.items()}
        with pytest.raises(error, match=message):
            ImageFolder("s3://data/train", **options)


def test_http_has_no_lists() -> None:
    with pytest.raises(ArgumentError, match="cannot be listed: an http server has no list of its files"):
        ImageFolder("https://127.0.0.1/train")
