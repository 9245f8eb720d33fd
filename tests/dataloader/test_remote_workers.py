"""Loaders of remote objects: the same batches as of local files, by threads or by processes that are not forked."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_server import FaultServer, fault_server
from left_over import children
from ranged_rows import RangedRows, join
from torch.utils.data import ConcatDataset, Subset

import dalikit.transforms as T
from dalikit import DataLoader
from dalikit.datasets.wrapped import unwrap
from dalikit.errors import ArgumentError, ReadError
from dalikit.storage import Location
from dalikit.supply import check_context

TRANSFORM = T.Compose([T.RandomResizedCrop(16), T.ToTensor()])
REMOTE = RangedRows([Location("s3://bucket/a.tar", 0, 5)])
LOCAL = RangedRows([Location("a.tar", 0, 5)])


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with fault_server() as server:
        yield server


@pytest.fixture
def pair(server: FaultServer, photographs: list[Path], tmp_path: Path) -> tuple[RangedRows, RangedRows]:
    """The 12 photographs in a shard, local and remote."""
    shard = tmp_path / "photographs.tar"
    contents = [path.read_bytes() for path in photographs]
    content, local = join(str(shard), contents)
    shard.write_bytes(content)
    server.objects["/photographs.tar"] = content
    return RangedRows(local), RangedRows([place._replace(uri=f"{server.url}/photographs.tar") for place in local])


def load(dataset: Any, **arguments: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """One pass."""
    with DataLoader(dataset, 5, shuffle=True, transform=TRANSFORM, device="cpu", seed=3, **arguments) as loader:
        return list(loader)


def assert_same(one: list[Any], other: list[Any]) -> None:
    assert len(one) == len(other) == 3
    for (images, targets), (other_images, other_targets) in zip(one, other, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(targets, other_targets)


@pytest.mark.parametrize("executor", ["host", "dali"])
def test_threads_give_the_same_as_of_local_files(pair: tuple[RangedRows, RangedRows], executor: str) -> None:
    local, remote = pair
    assert_same(load(local, executor=executor), load(remote, executor=executor))


@pytest.mark.parametrize("executor", ["host", "dali"])
def test_mapped_files_give_the_same(pair: tuple[RangedRows, RangedRows], executor: str) -> None:
    local, _ = pair
    expected = load(local, executor=executor)
    vars(local)["memory_map"] = True
    assert_same(load(local, executor=executor), expected)


def test_workers_give_the_same_by_a_forkserver(pair: tuple[RangedRows, RangedRows], server: FaultServer) -> None:
    """After this process has read remotely too, which a fork would not survive."""
    expected = load(pair[1])
    server.requests.clear()
    assert_same(load(pair[1], num_workers=2), expected)
    assert 3 <= len(server.requests) < 12  # in spans
    assert children() == []


def test_an_error_of_a_worker_has_its_place(pair: tuple[RangedRows, RangedRows], server: FaultServer) -> None:
    del server.objects["/photographs.tar"]
    with pytest.raises(ReadError, match=r"is not there .*key=row-\d+, file=http://127.0.0.1.*stage=read"):
        load(pair[1], num_workers=1)


def test_a_fork_of_remote_storage_is_refused_when_the_loader_is_made() -> None:
    message = (
        r"^multiprocessing_context='fork': RangedRows lies in remote storage, whose connections do not survive a fork; "
        "give None, 'forkserver' or 'spawn', or num_workers=0"
    )
    for context in ("fork", multiprocessing.get_context("fork")):
        with pytest.raises(ArgumentError, match=message):
            DataLoader(REMOTE, num_workers=1, multiprocessing_context=context, device="cpu")


@pytest.mark.parametrize(
    "dataset", [Subset(REMOTE, [0]), ConcatDataset([LOCAL, REMOTE])], ids=["subset", "concatenation"]
)
def test_a_view_of_remote_storage_is_not_forked_either(dataset: Any) -> None:
    assert check_context(unwrap(dataset), None, 1) == "forkserver"
    with pytest.raises(ArgumentError, match="lies in remote storage"):
        check_context(unwrap(dataset), "fork", 1)


def test_how_workers_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the user says; by itself only what must not be forked is not."""
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda **_: None)
    assert check_context(LOCAL, None, 2) is None
    assert check_context(LOCAL, "fork", 2) == "fork"
    assert check_context(REMOTE, None, 0) is None
    assert check_context(REMOTE, None, 2) == "forkserver"
    assert check_context(REMOTE, "spawn", 2) == "spawn"
    spawning = multiprocessing.get_context("spawn")
    assert check_context(REMOTE, spawning, 2) is spawning
    for method, expected in (("fork", "forkserver"), ("spawn", None), ("forkserver", None)):
        monkeypatch.setattr(multiprocessing, "get_start_method", lambda method=method, **_: method)
        assert check_context(REMOTE, None, 2) == expected


def test_there_are_more_threads_for_remote_storage(pair: tuple[RangedRows, RangedRows], server: FaultServer) -> None:
    """However few cores there are to decode."""
    objects = [Location(f"{server.url}/{row}.jpg") for row in range(12)]
    for row, location in enumerate(pair[0]._locations):
        content = Path(location.uri).read_bytes()
        server.objects[f"/{row}.jpg"] = content[location.offset :][: location.size]
    server.latency_s = 0.3
    assert_same(load(RangedRows(objects), num_threads=1), load(pair[0]))
    assert server.most_in_flight == 12
