"""Shards of an object store: listed, read once from end to end, and then known by their tags."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_server import FaultServer, fault_server
from s3_server import use_server
from tar_shards import samples, write_shards, write_tar

from dalikit.errors import DatasetError, DatasetNotFoundError
from dalikit.shards import build_index, expand_shards, open_index, opening, verify_index
from dalikit.shards.index import COLUMNS
from dalikit.storage import stat_object
from dalikit.storage.remote import forget_stores


@pytest.fixture
def local(tmp_path: Path) -> list[str]:
    """The shards, as files."""
    return write_shards(tmp_path / "d", [3, 2, 4])


@pytest.fixture
def server(local: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """With three shards, which an S3 client and an http client can read."""
    monkeypatch.setenv("DALIKIT_CACHE", str(tmp_path / "cache"))
    with fault_server() as server:
        for shard in local:
            server.objects[f"/bucket/data/{Path(shard).name}"] = Path(shard).read_bytes()
        use_server(monkeypatch, server.url, sign=False)
        yield server
    forget_stores()


def gets(server: FaultServer) -> int:
    """How many objects, or parts of some, were read so far."""
    return sum(method == "GET" and "list-type" not in path for method, path, _ in server.requests)


@pytest.mark.parametrize("pattern", ["s3://bucket/data/shard-*.tar", "s3://bucket/data/shard-{000..002}.tar"])
def test_an_index_of_objects_is_that_of_files(
    server: FaultServer, local: list[str], tmp_path: Path, pattern: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Made once, with a word on what it costs, in the cache folder; the next opening reads nothing."""
    shards = expand_shards(pattern)
    assert shards == [f"s3://bucket/data/shard-{number:03d}.tar" for number in range(3)]
    with caplog.at_level(logging.WARNING, "dalikit"):
        index = open_index(shards)
    assert "3 remote shards are not indexed yet: each is read once from end to end" in caplog.text
    files = build_index(local, tmp_path / "files.index")
    assert all(np.array_equal(getattr(index, name), getattr(files, name)) for name in COLUMNS)
    assert index.fingerprint == files.fingerprint
    read = gets(server)
    assert open_index(shards).fingerprint == index.fingerprint
    assert pickle.loads(pickle.dumps(index)).shards == tuple(shards)
    assert gets(server) == read
    assert verify_index(index) == []


def test_a_changed_object_is_read_again(server: FaultServer, tmp_path: Path) -> None:
    """By its tag; the others are not."""
    shards = expand_shards("s3://bucket/data/*.tar")
    open_index(shards)
    server.objects["/bucket/data/shard-001.tar"] = write_tar(tmp_path / "new.tar", samples(2, 70)).read_bytes()
    read = gets(server)
    assert open_index(shards).key(3) == "s00070"
    assert gets(server) == read + 1


def test_signatures_in_addresses_may_change(server: FaultServer, caplog: pytest.LogCaptureFixture) -> None:
    """Over http what follows "?" is no part of a shard's name, and is not written anywhere."""
    address = f"{server.url}/bucket/data/shard-000.tar"
    index = open_index([f"{address}?signature=one"])
    read = gets(server)
    again = open_index([f"{address}?signature=two"])
    assert gets(server) == read
    assert again.shards == (f"{address}?signature=two",)
    assert index.path is not None
    assert b"signature" not in Path(index.path).read_bytes()
    assert "signature" not in caplog.text


def test_without_tag_and_time_an_index_is_never_used_again(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody could know whether it is of this shard. One that tells the time is believed."""
    server.etags = False
    address = [f"{server.url}/bucket/data/shard-000.tar"]
    open_index(address)
    read = gets(server)
    open_index(address)
    assert gets(server) == read
    silent = [replace(stat_object(address[0]), mtime_ns=None, etag=None)]
    monkeypatch.setattr(opening, "stat_shards", lambda *_: silent)
    with caplog.at_level(logging.WARNING, "dalikit"):
        open_index(address)
    assert gets(server) > read
    assert "the server of 1 shards gives neither a tag nor a time" in caplog.text


def test_broken_and_missing_objects_are_named(server: FaultServer) -> None:
    """With the address."""
    server.objects["/bucket/data/shard-002.tar"] = server.objects["/bucket/data/shard-002.tar"][:3000]
    with pytest.raises(DatasetError, match=r"shard 's3://bucket/data/shard-002\.tar' is cut off after 3000 bytes"):
        open_index(["s3://bucket/data/shard-002.tar"])
    with pytest.raises(DatasetNotFoundError, match=r"s3://bucket/data/gone\.tar"):
        open_index(["s3://bucket/data/gone.tar"])
    with pytest.raises(DatasetNotFoundError, match=r"nothing matches 's3://bucket/data/x\*\.tar'"):
        expand_shards("s3://bucket/data/x*.tar")
