"""Images and targets that lie beside each other come with one read."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from fault_server import FaultServer, fault_server
from reading import png_of, reader_of, request_of
from torch.utils.data import ConcatDataset, Subset

from dalikit.datasets import Concat, WebDataset
from dalikit.datasets.base import PairedDataset
from dalikit.datasets.views import reads_pairs
from dalikit.datasets.wrapped import unwrap
from dalikit.errors import ReadError
from dalikit.fetch import ThreadFetcher

pytestmark = [  # of files that webdataset leaves to the collector
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
COUNT = 6
FAR = 100_000
"""Bytes: more than are read along."""
OF_JSON = [row * 10 for row in range(COUNT)]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with fault_server() as server:
        yield server


def tar(*, far: bool = False) -> bytes:
    """Samples with class, JSON, image and text, in this order, and with something large between, if `far`."""
    file = io.BytesIO()
    with webdataset.TarWriter(file) as writer:
        for row in range(COUNT):
            large = {"mask": bytes(FAR)} if far else {}
            parts = {"json": json.dumps({"a": 10 * row}).encode(), "txt": f"text {row}".encode()}
            writer.write({"__key__": f"{row:03d}", "png": png_of(row), "cls": str(row).encode(), **large, **parts})
    return file.getvalue()


def local(folder: Path, **options: Any) -> str:
    path = folder / "a.tar"
    path.write_bytes(tar(**options))
    return str(path)


def read(way: str, dataset: Any, indices: list[int]) -> Any:
    """One batch, its targets as a list."""
    if way == "worker":
        return reader_of(dataset, collate_fn=list).read(request_of(indices))
    fetcher = ThreadFetcher(dataset, num_threads=2)
    try:
        return fetcher.submit(request_of(indices)).result()
    finally:
        fetcher.close()


@pytest.mark.parametrize("way", ["threads", "worker"])
@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("json:a", OF_JSON),
        ("cls", list(range(COUNT))),
        ("cls,json:a", [(row, 10 * row) for row in range(COUNT)]),
        ("txt,json:a", [(f"text {row}", 10 * row) for row in range(COUNT)]),
        ("none", [()] * COUNT),
    ],
)
def test_bytes_and_targets_are_those_of_each_alone(
    tmp_path: Path, target: str, expected: list[Any], far: bool, way: str
) -> None:
    """Whatever the target is made of, and wherever it lies."""
    dataset = WebDataset(local(tmp_path, far=far), target=target, progress=False)
    assert isinstance(dataset, PairedDataset)
    indices = [5, 0, 3, 3, 1]
    batch = read(way, dataset, indices)
    assert [data.tobytes() for data in batch.data] == [png_of(row) for row in indices]
    assert batch.targets == [expected[row] for row in indices]
    assert [dataset.get_target(row) for row in indices] == batch.targets


def test_a_pair_is_read_only_if_its_parts_lie_close_by_and_are_needed(tmp_path: Path) -> None:
    """Else the location is the image's alone."""
    near, far = local(tmp_path), tmp_path / "far.tar"
    far.write_bytes(tar(far=True))
    for path, target, together in ((near, "json:a", True), (near, "cls", False), (str(far), "json:a", False)):
        dataset = WebDataset(path, target=target, progress=False)
        pair, image = dataset.get_pair_location(2), dataset.get_location(2)
        assert (pair != image) is together
        assert pair.offset <= image.offset
        assert (pair.size or 0) - (image.size or 0) < 66_000


@pytest.mark.parametrize("target", ["json:a", "txt,json:a"])
def test_a_remote_sample_is_one_request(server: FaultServer, target: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Of image and target together; joined with its neighbours', too."""
    monkeypatch.setenv("DALIKIT_CACHE", str(tmp_path))
    server.objects["/data/a.tar"] = tar()
    dataset = WebDataset(f"{server.url}/data/a.tar", target=target, progress=False)
    server.requests.clear()
    batch = read("threads", dataset, [4, 1, 2])
    assert [data.tobytes() for data in batch.data] == [png_of(row) for row in (4, 1, 2)]
    assert server.num_requests("/data/a.tar") == 1


@pytest.mark.parametrize(
    "wrap",
    [
        lambda dataset: unwrap(Subset(dataset, range(COUNT))),
        lambda dataset: unwrap(ConcatDataset([Subset(dataset, [0, 1, 2]), Subset(dataset, [3, 4, 5])])),
        lambda dataset: Concat([unwrap(Subset(dataset, [0, 1, 2])), Unpaired(dataset), dataset]),
    ],
    ids=["Subset", "ConcatDataset", "with a part that has none"],
)
def test_views_read_pairs_too(tmp_path: Path, wrap: Any) -> None:
    """With the parts that can."""
    view = wrap(WebDataset(local(tmp_path), target="json:a", progress=False))
    assert reads_pairs(view)
    assert view.get_pair_location(1) != view.get_location(1)
    batch = read("threads", view, [4, 1])
    assert [np.asarray(data).tobytes() for data in batch.data] == [view.get_image_data(row) for row in (4, 1)]
    assert batch.targets == [view.get_target(row) for row in (4, 1)]


class Unpaired:
    """Another's rows, without more than where they lie."""

    def __init__(self, dataset: Any) -> None:
        self.get_location, self.data, self.count = dataset.get_location, dataset.get_image_data, len(dataset)

    def __len__(self) -> int:
        return self.count

    def get_location(self, index: int) -> Any:
        """Set for each object."""

    def get_image_data(self, index: int) -> Any:
        return self.data(index)

    def get_target(self, index: int) -> int:
        return -index


class OwnTargets(WebDataset):
    """A user's class."""

    def get_target(self, index: int) -> int:
        return 1000 + index


def test_a_subclass_with_other_targets_is_asked_for_them(tmp_path: Path) -> None:
    dataset = OwnTargets(local(tmp_path), target="json:a", progress=False)
    assert not reads_pairs(dataset)
    assert read("threads", dataset, [3]).targets == [1003]
    assert read("threads", unwrap(Subset(dataset, [3])), [0]).targets == [1003]


def test_a_broken_target_is_named(tmp_path: Path) -> None:
    """With its sample and the place of the member."""
    path = Path(local(tmp_path))
    path.write_bytes(tar().replace(b'{"a": 20}', b'{"a": 20;'))
    dataset = WebDataset(str(path), target="json:a", progress=False)
    with pytest.raises(ReadError, match=r"is no JSON: .*index=2, .*key=a.tar/002.png, .*stage=target"):
        read("threads", dataset, [1, 2])
