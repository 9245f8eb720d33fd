"""Shards of an object store: listed, read once from end to end, and then known by their tags."""

from __future__ import annotations

import gzip
import logging
import pickle
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_server import FaultServer, fault_server
from s3_server import use_server
from tar_shards import samples, write_shards, write_tar

from dalikit import DataLoader
from dalikit.datasets import WebDataset
from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError, SampleError
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


def test_addresses_that_differ_in_their_query_are_two_shards(server: FaultServer, local: list[str]) -> None:
    """Unless it is a signature that differs. What the query holds is not written."""
    for number, shard in enumerate(local):
        server.objects[f"/get?id={number}"] = Path(shard).read_bytes()
    shards = [f"{server.url}/get?id={number}" for number in range(3)]
    index = open_index(shards)
    assert [index.key(row) for row in range(9)] == [f"s{row:05d}" for row in range(9)]
    assert index.path is not None
    assert b"id=" not in Path(index.path).read_bytes()
    read = gets(server)
    assert open_index(shards).fingerprint == index.fingerprint
    assert gets(server) == read
    signed = f"{server.url}/bucket/data/shard-000.tar?X-Amz-Date="
    with pytest.raises(ArgumentError, match=r"two addresses of '.*shard-000\.tar' differ only in .* a signature"):
        open_index([f"{signed}1", f"{signed}2"])


def test_names_of_objects_may_hold_a_question_mark(server: FaultServer) -> None:
    """Of a store's objects it is a letter: they are not indexed anew each time."""
    server.objects["/bucket/what?.tar"] = server.objects["/bucket/data/shard-001.tar"]
    open_index(["s3://bucket/what?.tar"])
    read = gets(server)
    assert open_index(["s3://bucket/what?.tar"]).shards == ("s3://bucket/what?.tar",)
    assert gets(server) == read


def test_no_message_tells_a_signature(server: FaultServer, tmp_path: Path) -> None:
    """Neither of the indexing nor of the reading."""
    secret = f"{server.url}/bucket/data/shard-000.tar?X-Amz-Signature=SECRET"
    index = open_index([secret])
    whole = server.objects["/bucket/data/shard-000.tar"]
    server.objects["/bucket/data/shard-000.tar"] = whole[:512] + bytes(100) + whole[612:1024] + b"x" * 2000
    assert "SECRET" not in " ".join(verify_index(index))
    texts = []
    for content in (whole[:1500], b"x" * 2000, b"", gzip.compress(whole)):
        server.objects["/bucket/data/shard-000.tar"] = content
        with pytest.raises(DatasetError) as caught:
            open_index([secret], index=tmp_path / "other.index")
        texts.append(str(caught.value))
    server.objects["/bucket/data/shard-000.tar"] = whole
    dataset = WebDataset(secret, target="txt;jpg", image="cls")
    with DataLoader(dataset, batch_size=1) as loader:
        for fail in (lambda: dataset[0], lambda: next(iter(loader))):
            with pytest.raises(SampleError) as failed:
                fail()
            texts.append(str(failed.value))
    assert all("shard-000.tar?..." in text for text in texts)
    assert "SECRET" not in " ".join(texts)


def test_nobody_waits_for_the_other_shards_once_one_is_broken(server: FaultServer) -> None:
    """Nor after Ctrl-C: those that are being read are given up, not read to their ends."""
    names = [f"/bucket/data/shard-{number:03d}.tar" for number in range(3)]
    server.objects[names[0]] = b"x" * 2000
    for name in names[1:]:
        server.faults[name] = ["stall"] * 8
    begin = time.monotonic()
    with pytest.raises(DatasetError, match=r"shard-000\.tar', offset 0"):
        open_index([f"s3:/{name}" for name in names])
    assert time.monotonic() - begin < 5


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
