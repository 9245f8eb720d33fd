"""A server that fails is asked again where that may help, for a bounded time, and else named with the reason."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fault_server import Fault, FaultServer, fault_server
from s3_server import use_server

from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError, ReadError
from dalikit.storage import Arena, Location, ObjectInfo, list_objects, read, read_stream, stat_object
from dalikit.storage.remote import attempts, forget_stores, stores

DATA = np.random.default_rng(0).bytes(200_000)
PATH = "/bucket/shard.tar"
S3 = "s3://bucket/shard.tar"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """With one object, and a client that is less patient than it is to be in a run."""
    monkeypatch.setattr(stores, "READ_TIMEOUT_S", 0.2)
    monkeypatch.setattr(stores, "MAX_RETRIES", 2)
    monkeypatch.setattr(stores, "BACKOFF_S", 0.01)
    monkeypatch.setattr(attempts, "BACKOFF_S", 0.01)
    with fault_server() as server:
        server.objects[PATH] = DATA
        use_server(monkeypatch, server.url, sign=False)
        yield server
    forget_stores()


def address(server: FaultServer, scheme: str) -> str:
    """Of the object, as an S3 or as an http client sees it."""
    return S3 if scheme == "s3" else server.url + PATH


def read_bytes(uri: str, offset: int = 0, size: int | None = None, max_size: int | None = None) -> bytes:
    """By the way that datasets read."""
    return read(Location(uri, offset, size), Arena(), max_size=max_size).tobytes()


@pytest.mark.parametrize("scheme", ["s3", "http"])
@pytest.mark.parametrize(("offset", "size"), [(0, 200_000), (0, 1), (1000, 50_000), (199_999, 1), (0, None), (7, None)])
def test_a_range_is_read(server: FaultServer, scheme: str, offset: int, size: int | None) -> None:
    """The first and the last byte, a part, and to the end, in one request each."""
    stop = None if size is None else offset + size
    assert read_bytes(address(server, scheme), offset, size) == DATA[offset:stop]
    assert len(server.requests) == 1


@pytest.mark.usefixtures("server")
def test_the_answer_is_not_copied() -> None:
    """The array is a view of the client's buffer, which nobody may write to."""
    view = read(Location(S3, 10, 100), Arena())
    assert view.dtype == np.uint8
    assert not view.flags.owndata
    assert not view.flags.writeable


@pytest.mark.parametrize(("scheme", "etags"), [("s3", True), ("s3", False), ("http", False)])
@pytest.mark.parametrize("fault", ["503", "429", "truncate", "stall", "reset"])
@pytest.mark.parametrize("size", [50_000, None])
def test_two_faults_are_survived(server: FaultServer, scheme: str, etags: bool, fault: Fault, size: int | None) -> None:
    """With and without ETags, which the client itself needs to go on after a body that broke off."""
    server.etags = etags
    server.faults[PATH] = [fault, fault]
    stop = None if size is None else 1000 + size
    assert read_bytes(address(server, scheme), 1000, size) == DATA[1000:stop]
    assert server.num_requests(PATH) == 3


@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("503", r"cannot be read after 3 attempts: answer 503 Scripted \["),
        ("429", r"cannot be read after 3 attempts: answer 429 Scripted \["),
        ("truncate", r"cannot be read after 3 attempts: .*body error"),
        ("stall", r"cannot be read after 3 attempts: .*body error \(timed out\)"),
        ("reset", r"cannot be read after 3 attempts: HTTP error: error sending request"),
    ],
)
def test_attempts_are_bounded(server: FaultServer, etags: bool, fault: Fault, reason: str) -> None:
    """And the error says how many there were, what came, and of what."""
    server.etags = etags
    server.faults[PATH] = [fault] * 100
    began = time.monotonic()
    with pytest.raises(ReadError, match=reason) as caught:
        read_bytes(S3, 1000, 50_000)
    assert time.monotonic() - began < 8
    assert (caught.value.place.file, caught.value.place.offset, caught.value.place.stage) == (S3, 1000, "read")
    assert server.num_requests(PATH) <= 9


def test_no_attempt_begins_after_the_limit(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stalls for long each time is given up sooner."""
    monkeypatch.setattr(attempts, "GIVE_UP_S", 0.0)
    server.etags = False
    server.faults[PATH] = ["truncate"] * 100
    with pytest.raises(ReadError, match="cannot be read after 1 attempts"):
        read_bytes(S3, 1000, 50_000)
    assert server.num_requests(PATH) == 1


@pytest.mark.parametrize("scheme", ["s3", "http"])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (
            "401",
            r"is refused \(answer 401 Scripted\): (credentials .*AWS_SKIP_SIGNATURE=1|no credentials are sent by http)",
        ),
        (
            "403",
            r"is refused \(answer 403 Scripted\): (credentials .*AWS_SKIP_SIGNATURE=1|no credentials are sent by http)",
        ),
        ("404", "is not there"),
        ("ignore_range", "cannot be read in parts: the server ignores Range; it must answer 206"),
        ("wrong_range", r"the server answered with another range: .*Requested 1000\.\.51000, got 1001\.\.51001"),
    ],
)
def test_what_stays_wrong_is_not_asked_again(server: FaultServer, scheme: str, fault: Fault, reason: str) -> None:
    """One request, and the reason; nothing of the answer's body, which may repeat what is secret."""
    server.faults[PATH] = [fault] * 10
    with pytest.raises(ReadError, match=reason) as caught:
        read_bytes(address(server, scheme), 1000, 50_000)
    assert server.num_requests(PATH) == 1
    assert "SECRET" not in str(caught.value)


@pytest.mark.usefixtures("server")
def test_a_short_reply_is_an_error() -> None:
    """The store gives what there is when a range goes past the end: a shard that was cut."""
    with pytest.raises(ReadError, match="short reply: expected 50 bytes, got 10; the object was cut"):
        read_bytes(S3, len(DATA) - 10, 50)


@pytest.mark.usefixtures("server")
def test_a_range_behind_the_end_is_an_error() -> None:
    """For a range, and for the rest."""
    for size in (50, None):
        with pytest.raises(ReadError, match=r"ends before the first byte that was asked for \(answer 416\)"):
            read_bytes(S3, len(DATA), size)


@pytest.mark.parametrize(("offset", "size"), [(-1, 5), (0, 0), (0, -1)])
def test_ranges_that_cannot_be_meant(server: FaultServer, offset: int, size: int) -> None:
    """Are refused before anybody is asked."""
    with pytest.raises(ReadError, match=f"nothing to read: offset {offset}, size {size}"):
        read_bytes(S3, offset, size)
    assert server.requests == []


def test_large_objects_are_refused_before_they_are_read(server: FaultServer) -> None:
    """By the range, and by the answer's head where the size is not known."""
    with pytest.raises(ReadError, match="50000 bytes are more than the limit of 49999"):
        read_bytes(S3, 0, 50_000, max_size=49_999)
    assert server.requests == []
    with pytest.raises(ReadError, match="199999 bytes are more than the limit of 49999"):
        read_bytes(S3, 1, None, max_size=49_999)


def test_an_empty_object_is_an_error(server: FaultServer) -> None:
    """As an empty file is."""
    server.objects["/bucket/empty"] = b""
    with pytest.raises(ReadError, match="empty object"):
        read_bytes("s3://bucket/empty")


def test_nobody_listens(server: FaultServer) -> None:
    """The operating system's word is in the message."""
    uri = server.url.rpartition(":")[0] + ":1/image.jpg"
    with pytest.raises(ReadError, match=r"cannot be read after 3 attempts: .*\(Connection refused\)"):
        read_bytes(uri, 0, 5)


def test_a_query_is_sent_but_not_shown(server: FaultServer) -> None:
    """It is a signature, often."""
    uri = server.url + PATH + "?X-Amz-Signature=hidden%2F1"
    assert read_bytes(uri, 5, 5) == DATA[5:10]
    assert server.requests[-1][1] == PATH + "?X-Amz-Signature=hidden%2F1"
    server.faults[PATH] = ["503"] * 100
    with pytest.raises(ReadError, match=r"shard\.tar\?\.\.\.") as caught:
        read_bytes(uri, 5, 5)
    assert "hidden" not in str(caught.value)


def test_stores_are_bounded(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of a million signed addresses does not open a million of them."""
    monkeypatch.setattr(stores, "MAX_STORES", 3)
    for number in range(10):
        assert read_bytes(f"{server.url}{PATH}?signature={number}", 0, 5) == DATA[:5]
    assert len(stores._stores) == 3


@pytest.mark.parametrize("key", ["a b.jpg", "ö/日.jpg", "100%.jpg", "a%20b.jpg", "a#b?c=d&e+f.jpg", "(~*'!).jpg"])
def test_http_addresses_are_percent_encoded(server: FaultServer, key: str) -> None:
    """As a browser would ask for them."""
    from urllib.parse import quote

    server.objects["/" + key] = DATA
    assert read_bytes(f"{server.url}/{quote(key)}", 5, 5) == DATA[5:10]


def test_stat_and_stream(server: FaultServer) -> None:
    """Size and version; pieces in order, which survive faults."""
    server.faults[PATH] = ["truncate", "503", "ok", "reset"]
    info = stat_object(S3)
    assert (info.uri, info.size) == (S3, len(DATA))
    assert info.mtime_ns == 1_767_225_600 * 10**9  # 2026-01-01
    assert info.etag is not None
    pieces = list(read_stream(S3, offset=1000, chunk_size=30_000))
    assert [len(piece) for piece in pieces] == [30_000] * 6 + [19_000]
    assert b"".join(pieces) == DATA[1000:]


def test_stat_without_etags(server: FaultServer) -> None:
    """Then the size and the time say what version it is."""
    server.etags = False
    assert stat_object(server.url + PATH) == ObjectInfo(server.url + PATH, len(DATA), 1_767_225_600 * 10**9, None)
    assert b"".join(read_stream(server.url + PATH, chunk_size=70_000)) == DATA


def test_an_object_that_changes_under_a_stream(server: FaultServer) -> None:
    """Is noticed by its ETag: half of the old and half of the new is nobody's."""
    stream = read_stream(S3, chunk_size=10_000)
    next(stream)
    server.objects[PATH] = DATA[::-1]
    with pytest.raises(DatasetError, match="has changed while it was read"):
        list(stream)


@pytest.mark.parametrize("changes", [False, True])
def test_weak_tags_are_compared_here(server: FaultServer, changes: bool) -> None:
    """A server must refuse any If-Match that holds one (RFC 9110, 13.1.1)."""
    server.weak = True
    stream = read_stream(server.url + PATH, chunk_size=10_000)
    first = next(stream)
    if changes:
        server.objects[PATH] = DATA[::-1]
        with pytest.raises(DatasetError, match="has changed while it was read: read it again from the start"):
            list(stream)
    else:
        assert first + b"".join(stream) == DATA


def test_a_stream_that_is_stopped_waits_for_nothing(server: FaultServer) -> None:
    """Not even for the answer at hand."""
    server.faults[PATH] = ["stall"] * 8
    with pytest.raises(DatasetError, match=r"object 's3://.*' was not read to its end: its reading was stopped"):
        next(read_stream(S3, stopped=lambda: server.num_requests(PATH) > 0))


def test_a_stream_asks_ahead_but_not_far(server: FaultServer) -> None:
    """Four pieces, whatever the object's size: memory is bounded."""
    server.latency_s = 0.01
    stream = read_stream(S3, chunk_size=1000)
    next(stream)
    assert server.num_requests(PATH) <= 4
    assert len(b"".join(stream)) == len(DATA) - 1000
    assert server.most_in_flight <= 4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda uri: stat_object(uri + "x"), DatasetNotFoundError, r"object 's3://bucket/shard\.tarx' is not there"),
        (lambda uri: next(read_stream(uri + "x")), DatasetNotFoundError, "is not there"),
        (lambda _: list_objects("https://host/folder"), ArgumentError, "an http server has no list of its files"),
        (lambda uri: next(read_stream(uri, chunk_size=0)), ArgumentError, "chunk_size at least 1, got 0 and 0"),
    ],
)
@pytest.mark.usefixtures("server")
def test_errors_of_whole_objects(call: Callable[[str], object], error: type[Exception], message: str) -> None:
    """Are a dataset's: it cannot be opened."""
    with pytest.raises(error, match=message):
        call(S3)


def test_long_lists_come_whole(server: FaultServer) -> None:
    """Page after page, also if one has to be asked for again."""
    keys = [f"many/{number}/a b&<c>.jpg" for number in range(10)]
    server.objects |= {f"/bucket/{key}": b"x" for key in [*keys, "other/d.jpg", "many-more.jpg"]}
    server.faults["/bucket"] = ["ok", "503", "truncate"]
    assert list_objects("s3://bucket/many") == sorted(f"s3://bucket/{key}" for key in keys)
    assert len(server.requests) >= 6


def test_many_threads_share_one_pool(server: FaultServer) -> None:
    """As many requests are in flight as threads ask, and what they get is theirs."""
    server.latency_s = 0.02
    rng = np.random.default_rng(1)
    ranges = [(int(offset), int(size)) for offset, size in rng.integers(1, 100_000, (320, 2))]
    barrier = threading.Barrier(16, timeout=10)  # all threads are there before the first asks

    def fetch(mine: list[tuple[int, int]]) -> bool:
        barrier.wait()
        return all(read_bytes(S3, offset, size) == DATA[offset : offset + size] for offset, size in mine)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(fetch, [ranges[part::16] for part in range(16)]))
    assert server.most_in_flight >= 8
    assert len(stores._stores) == 1
