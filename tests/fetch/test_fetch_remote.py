"""Rows of remote objects: in spans, on many threads or in a worker process, each with its own bytes or own error."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_server import FaultServer, fault_server
from ranged_rows import RangedRows, join
from reading import png_of, reader_of, request_of

from dalikit.errors import ReadError
from dalikit.fetch import ThreadFetcher
from dalikit.storage import Location
from dalikit.storage.spans import MAX_GAP
from dalikit.workers import JobCancelledError

WAYS = ["threads", "worker"]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with fault_server() as server:
        yield server


def shards(server: FaultServer, *, count: int = 6, num_shards: int = 2, gap: int = 512) -> list[Location]:
    """Rows 0, 1, ... of PNG images in tar-like objects, shard after shard."""
    locations = []
    for shard in range(num_shards):
        rows = range(shard * count // num_shards, (shard + 1) * count // num_shards)
        uri = f"{server.url}/data/{shard}.tar"
        server.objects[f"/data/{shard}.tar"], places = join(uri, [png_of(row) for row in rows], gap)
        locations += places
    return locations


def read(way: str, dataset: Any, indices: Any, *, num_threads: int = 8) -> Any:
    """One batch, its targets as a list."""
    if way == "worker":
        return reader_of(dataset, collate_fn=list).read(request_of(indices))
    fetcher = ThreadFetcher(dataset, num_threads=num_threads)
    try:
        return fetcher.submit(request_of(indices)).result()
    finally:
        fetcher.close()


def check(batch: Any, indices: Any) -> None:
    """The bytes and targets are those of the rows."""
    assert [data.tobytes() for data in batch.data] == [png_of(index) for index in indices]
    assert batch.targets == [10 * index for index in indices]


@pytest.mark.parametrize("way", WAYS)
def test_rows_that_lie_together_are_one_request(way: str, server: FaultServer) -> None:
    """In whatever order, and one that is there twice."""
    indices = [4, 0, 5, 2, 0]
    check(read(way, RangedRows(shards(server)), indices), indices)
    assert sorted(path for _, path, _ in server.requests) == ["/data/0.tar", "/data/1.tar"]


@pytest.mark.parametrize("way", WAYS)
def test_rows_that_lie_apart_are_read_at_once(way: str, server: FaultServer) -> None:
    """Each on a thread of its own."""
    server.latency_s = 0.3
    locations = shards(server, num_shards=1, gap=MAX_GAP + 1)
    check(read(way, RangedRows(locations), [5, 3, 1, 0]), [5, 3, 1, 0])
    assert server.most_in_flight == 4
    assert len(server.requests) == 4


@pytest.mark.parametrize("way", WAYS)
def test_whole_objects(way: str, server: FaultServer) -> None:
    """Without a size."""
    for row in range(3):
        server.objects[f"/{row}.png"] = png_of(row)
    check(read(way, RangedRows([Location(f"{server.url}/{row}.png") for row in range(3)]), [2, 0]), [2, 0])


@pytest.mark.parametrize("way", WAYS)
def test_some_rows_in_files_and_some_remote(way: str, server: FaultServer, tmp_path: Path) -> None:
    """As a concatenation has them, in one batch."""
    path = tmp_path / "local.tar"
    content, local = join(str(path), [png_of(row) for row in range(3)])
    path.write_bytes(content)
    locations = local + shards(server)[3:]
    check(read(way, RangedRows(locations), [5, 1, 3, 0]), [5, 1, 3, 0])
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_gzip_is_inflated(way: str, remote: bool, server: FaultServer, tmp_path: Path) -> None:
    """What is not gzip stays as it is; without the attribute all does."""
    pieces = [gzip.compress(png_of(0)), png_of(1)]
    uri = f"{server.url}/g.tar" if remote else str(tmp_path / "g.tar")
    content, locations = join(uri, pieces)
    server.objects["/g.tar"] = content
    (tmp_path / "g.tar").write_bytes(content)
    check(read(way, RangedRows(locations, may_be_gzipped=True), [1, 0]), [1, 0])
    plain = reader_of(RangedRows(locations), collate_fn=list).read(request_of([1, 0]))
    assert [data.tobytes() for data in plain.data] == pieces[::-1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_broken_gzip_is_told_of_its_row(way: str, remote: bool, server: FaultServer, tmp_path: Path) -> None:
    pieces = [gzip.compress(png_of(0)), gzip.compress(png_of(1))[:-9]]
    uri = f"{server.url}/g.tar" if remote else str(tmp_path / "g.tar")
    content, locations = join(uri, pieces)
    server.objects["/g.tar"] = content
    (tmp_path / "g.tar").write_bytes(content)
    message = rf"^gzip: .*index=1, position=100, key=row-1, file=.*g\.tar, offset={len(pieces[0])}, stage=read"
    with pytest.raises(ReadError, match=message):
        read(way, RangedRows(locations, may_be_gzipped=True), [1, 0])


@pytest.mark.parametrize("way", WAYS)
def test_the_row_that_cannot_be_read_is_named(way: str, server: FaultServer) -> None:
    """Of a span whose end was cut off: not the first one."""
    locations = shards(server, num_shards=1)
    server.objects["/data/0.tar"] = server.objects["/data/0.tar"][: locations[4].offset + 5]
    dataset = RangedRows(locations)
    check(read(way, dataset, [3, 1]), [3, 1])
    with pytest.raises(ReadError, match=rf"index=4, position=101, key=row-4.*offset={locations[4].offset}, stage=read"):
        read(way, dataset, [1, 4])


@pytest.mark.parametrize("way", WAYS)
def test_an_object_that_is_not_there(way: str, server: FaultServer) -> None:
    locations = shards(server)
    del server.objects["/data/1.tar"]
    with pytest.raises(ReadError, match=r"is not there .*index=3, position=102, key=row-3, file=http.*/data/1\.tar"):
        read(way, RangedRows(locations), [0, 4, 3])


@pytest.mark.parametrize("way", WAYS)
def test_a_fault_that_passes_is_not_noticed(way: str, server: FaultServer) -> None:
    server.faults["/data/0.tar"] = ["503", "truncate"]
    check(read(way, RangedRows(shards(server)), [0, 1, 2]), [0, 1, 2])


@pytest.mark.parametrize("way", WAYS)
def test_an_index_out_of_range_is_the_datasets_error(way: str, server: FaultServer) -> None:
    """It comes where the batch would, so that the batches before it are not lost."""
    dataset = RangedRows(shards(server))
    if way == "threads":
        fetcher = ThreadFetcher(dataset, num_threads=2)
        pending = fetcher.submit(request_of([0, 9]))
        with pytest.raises(IndexError, match="index 9 is out of range for RangedRows of 6") as caught:
            pending.result()
        fetcher.close()
    else:
        with pytest.raises(IndexError, match="index 9 is out of range for RangedRows of 6") as caught:
            read(way, dataset, [0, 9])
    assert caught.value.__notes__ == ["in RangedRows of 6 samples: index=9, position=101, stage=read"]


class SlowTarget(RangedRows):
    """Its targets come when they are let go."""

    def __init__(self, locations: list[Location]) -> None:
        super().__init__(locations)
        self.asked, self.let_go = threading.Event(), threading.Event()

    def get_target(self, index: int) -> Any:
        self.asked.set()
        assert self.let_go.wait(10)
        return super().get_target(index)


def test_a_batch_at_hand_is_described_and_cancelled(server: FaultServer) -> None:
    """By the indices of its spans."""
    dataset = SlowTarget(shards(server))
    fetcher = ThreadFetcher(dataset, num_threads=1)
    pending = fetcher.submit(request_of([5, 0, 4, 1]))
    assert dataset.asked.wait(10)
    report = pending.describe()
    assert "stage=read, on threads: at hand are the indices [4, 5] of the batch with indices [5, 0, 4, 1]" in report
    assert "key=row-4, file=" in report
    assert "/data/1.tar, offset=" in report
    pending.cancel()
    with pytest.raises(JobCancelledError):
        pending.result()
    dataset.let_go.set()
    fetcher.close()
    assert {path for _, path, _ in server.requests} == {"/data/1.tar"}


def test_a_mapped_file_is_not_copied(tmp_path: Path) -> None:
    """Rows are views of one mapping; a loose file is read."""
    shard, loose = tmp_path / "local.tar", tmp_path / "2.png"
    content, locations = join(str(shard), [png_of(0), png_of(1)])
    shard.write_bytes(content)
    loose.write_bytes(png_of(2))
    dataset = RangedRows([*locations, Location(str(loose))], memory_map=True)
    batch = read("threads", dataset, [2, 1, 0])
    check(batch, [2, 1, 0])
    whole = np.frombuffer(content, np.uint8)
    first, second = batch.data[2], batch.data[1]
    assert not first.flags.writeable
    assert second.ctypes.data - first.ctypes.data == len(png_of(0))
    assert first.tobytes() + second.tobytes() == whole.tobytes()
    assert batch.data[0].flags.writeable
    check(read("worker", dataset, [1, 2]), [1, 2])


def test_the_bytes_outlive_the_fetcher_and_the_files(tmp_path: Path) -> None:
    """Mapped memory belongs to the batch."""
    shard = tmp_path / "local.tar"
    content, locations = join(str(shard), [png_of(0), png_of(1)])
    shard.write_bytes(content)
    batch = read("threads", RangedRows(locations, memory_map=True), [0, 1])
    shard.unlink()
    check(batch, [0, 1])
