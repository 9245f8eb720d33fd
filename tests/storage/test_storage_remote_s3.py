"""A real S3 over loopback: signed requests, names with every letter, listing, and the gain of many in flight."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fault_server import relay
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from s3_server import BUCKET, S3Server, s3_server, use_server

from dalikit.errors import DatasetNotFoundError, ReadError
from dalikit.storage import Arena, Location, list_objects, read, read_stream, stat_object
from dalikit.storage.remote import forget_stores, stores
from dalikit.storage.spans import plan_spans, split_span

SHARD = np.random.default_rng(0).bytes(20 << 20)

KEYS = [
    "plain/a.jpg", "plain/b.jpg", "plain-not/c.jpg", "a b/c d.jpg", "ö/日本.jpg", "100%.jpg", "a%20b.jpg",
    "a#b?c=d&e+f.jpg", "(~*'!)@,;:$.jpg", "[{^|`}].jpg", ".hidden", "a..b",
]  # fmt: skip
"""s3rver itself stores names as files, so the exotic ones of a real S3 (".", "a/" beside "a/b") are not tried."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server with a shard and a few small objects."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        server.put("shards/0.tar", SHARD)
        for key in KEYS:
            server.put("keys/" + key, key.encode() * 3)
        yield server


@pytest.fixture
def server(running: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """It, with the environment that finds it."""
    use_server(monkeypatch, running.url)
    yield running
    forget_stores()


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("key", KEYS)
def test_names_are_taken_letter_by_letter(key: str) -> None:
    """A percent sign, a hash or a question mark in a name is just that; the name listed is the name read."""
    uri = f"s3://{BUCKET}/keys/{key}"
    data = key.encode() * 3
    assert stat_object(uri).size == len(data)
    assert read(Location(uri), Arena()).tobytes() == data
    assert read(Location(uri, 2, 5), Arena()).tobytes() == data[2:7]
    assert b"".join(read_stream(uri, chunk_size=4)) == data
    assert uri in list_objects(f"s3://{BUCKET}/keys")


@pytest.mark.usefixtures("server")
def test_all_below_a_prefix_is_listed() -> None:
    """Sorted, with or without a slash at its end, in the scheme that was asked for; a prefix ends at a slash."""
    every = sorted([f"s3://{BUCKET}/keys/{key}" for key in KEYS] + [f"s3://{BUCKET}/shards/0.tar"])
    assert list_objects(f"s3://{BUCKET}") == list_objects(f"s3://{BUCKET}/") == every
    plain = [f"s3a://{BUCKET}/keys/plain/a.jpg", f"s3a://{BUCKET}/keys/plain/b.jpg"]
    assert list_objects(f"s3a://{BUCKET}/keys/plain") == list_objects(f"s3a://{BUCKET}/keys/plain/") == plain
    assert list_objects(f"s3://{BUCKET}/nothing") == []


@pytest.mark.usefixtures("server")
def test_what_is_not_there() -> None:
    """Object and bucket."""
    with pytest.raises(ReadError, match=r"is not there \(answer 404 NoSuchKey\) \[file=s3://photographs/missing"):
        read(Location(f"s3://{BUCKET}/missing", 0, 5), Arena())
    with pytest.raises(DatasetNotFoundError, match=r"object 's3://photographs/missing' is not there"):
        stat_object(f"s3://{BUCKET}/missing")
    with pytest.raises(
        DatasetNotFoundError, match=r"is not there \(answer 404 NoSuchBucket\): there is no such bucket"
    ):
        stat_object("s3://no-such-bucket/0.tar")
    with pytest.raises(ReadError, match=r"is not there \(answer 404 NoSuchBucket\): there is no such bucket"):
        read(Location("s3://no-such-bucket/0.tar", 0, 5), Arena())
    with pytest.raises(DatasetNotFoundError, match=r"is not there .*NoSuchBucket"):
        list_objects("s3://no-such-bucket")


@pytest.mark.usefixtures("server")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.integers(1, len(SHARD) - 1), st.integers(2, 300_000))
def test_any_range(offset: int, size: int) -> None:
    """Is the shard's own, or an error that says how much there was."""
    expected = SHARD[offset : offset + size]
    if len(expected) == size:
        assert read(Location(f"s3://{BUCKET}/shards/0.tar", offset, size), Arena()).tobytes() == expected


@pytest.mark.usefixtures("server")
def test_a_shard_is_streamed() -> None:
    """In order, from any byte on."""
    uri = f"s3://{BUCKET}/shards/0.tar"
    pieces = list(read_stream(uri))
    assert [len(piece) for piece in pieces] == [8 << 20, 8 << 20, 4 << 20]
    assert b"".join(pieces) == SHARD
    assert b"".join(read_stream(uri, offset=len(SHARD) - 5)) == SHARD[-5:]


@pytest.mark.usefixtures("server")
def test_a_batch_out_of_a_shard() -> None:
    """Near rows share a request; sixteen threads get every row its bytes through one pool."""
    rng = np.random.default_rng(1)
    uri = f"s3://{BUCKET}/shards/0.tar"
    locations = [Location(uri, int(start) * 100_000 + 7, 99_000) for start in rng.permutation(200)[:64]]
    spans = plan_spans(locations)
    assert len(spans) < 40
    ready = threading.Barrier(16, timeout=10)

    def fetch(part: int) -> list[tuple[int, bytes]]:
        ready.wait()
        return [
            (row, view.tobytes())
            for span in spans[part::16]
            for row, view in split_span(span, locations, read(Location(span.uri, span.offset, span.size), Arena()))
        ]

    with ThreadPoolExecutor(16) as pool:
        rows = dict(row for rows in pool.map(fetch, range(16)) for row in rows)
    assert sorted(rows) == list(range(64))
    for row, (_, offset, size, _) in enumerate(locations):
        assert rows[row] == SHARD[offset : offset + (size or 0)]
    assert len(stores._stores) == 1


def test_sixteen_in_flight_are_five_times_as_fast(running: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one at a time, at a store that answers after 20 ms, as near ones do. (The server alone takes 1 ms a range.)"""
    rng = np.random.default_rng(2)
    locations = [
        Location(f"s3://{BUCKET}/shards/0.tar", int(start), 20_000) for start in rng.integers(0, 20 << 20, 128)
    ]
    with relay(running.url, 0.02) as url, ThreadPoolExecutor(16) as pool:
        use_server(monkeypatch, url)

        def fetch(location: Location) -> int:
            return len(read(location, Arena()))

        assert sum(pool.map(fetch, locations)) == 128 * 20_000  # connections are there now
        began = time.perf_counter()
        pool.submit(lambda: [fetch(location) for location in locations[:16]]).result()
        alone = (time.perf_counter() - began) / 16
        began = time.perf_counter()
        list(pool.map(fetch, locations))
        together = (time.perf_counter() - began) / 128
        forget_stores()
    assert alone > 0.02
    assert alone / together > 5
