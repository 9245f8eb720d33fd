"""What was changed since it was indexed is not read: an error says what it was and what it is."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from fault_server import FaultServer, fault_server
from s3_server import use_server

from dalikit.errors import ReadError
from dalikit.storage import Arena, Location, ObjectInfo, read, read_local, stat_object
from dalikit.storage.descriptors import Descriptor, RecentFiles
from dalikit.storage.information import change_between
from dalikit.storage.mapped import map_file, read_mapped
from dalikit.storage.remote import forget_stores
from dalikit.storage.spans import Span, plan_spans

Read = Callable[[Location], npt.NDArray[np.uint8]]
WAYS = ["by itself", "kept open", "mapped"]
CHANGED = (
    r"has changed since it was indexed: it had 1000 bytes of 20\d\d-\d\d-\d\dT.*Z, and has {now} bytes of .*; make the"
)


@pytest.fixture(params=WAYS)
def read_range(request: pytest.FixtureRequest) -> Read:
    """Reads ranges of local files in one of the ways that a loader does."""
    if request.param == "by itself":
        return lambda location: read_local(location, Arena())
    if request.param == "kept open":
        descriptors = RecentFiles(Descriptor)
        return lambda location: read_local(location, Arena(), descriptors=descriptors)
    files = RecentFiles(map_file)
    return lambda location: read_mapped(location, files)


@pytest.fixture
def located(tmp_path: Path) -> Location:
    """A range of a file of 1000 ones, as it is now."""
    path = tmp_path / "a.tar"
    path.write_bytes(b"1" * 1000)
    os.utime(path, ns=(10**18, 10**18 + 5))  # an age at which no clock's tick matters
    return Location(str(path), 10, 20, stat_object(str(path)))


@pytest.mark.parametrize("now", [1000, 1001])
def test_a_file_that_was_overwritten_in_place(located: Location, read_range: Read, now: int) -> None:
    """Under an open file; of equal size, only its time tells."""
    assert read_range(located).tobytes() == b"1" * 20
    with open(located.uri, "r+b") as file:
        file.write(b"2" * now)
    with pytest.raises(ReadError, match=CHANGED.format(now=now)):
        read_range(located)
    assert read_range(located._replace(version=None)).tobytes() == b"2" * 20
    assert read_range(located._replace(version=stat_object(located.uri))).tobytes() == b"2" * 20


def test_a_file_that_was_replaced(located: Location, read_range: Read) -> None:
    """Who has it open reads on in the old one, which is what was indexed; who opens it anew is told."""
    other = Path(located.uri + ".new")
    other.write_bytes(b"2" * 1000)
    expected = CHANGED.format(now=1000)
    kept = RecentFiles(Descriptor)
    read_local(located, Arena(), descriptors=kept)
    other.rename(located.uri)
    assert read_local(located, Arena(), descriptors=kept).tobytes() == b"1" * 20
    with pytest.raises(ReadError, match=expected):
        read_range(located)
    with pytest.raises(ReadError, match=expected):
        read_range(located._replace(version=pickle.loads(pickle.dumps(located.version))))


def test_a_file_that_was_cut(located: Location) -> None:
    """Is called changed, not short."""
    os.truncate(located.uri, 15)
    with pytest.raises(ReadError, match=CHANGED.format(now=15)):
        read_local(located, Arena())


def test_what_is_not_known_of_a_version_is_not_asked(located: Location, read_range: Read) -> None:
    """A size alone."""
    assert located.version is not None
    os.utime(located.uri)
    assert len(read_range(located._replace(version=ObjectInfo(located.uri, 1000)))) == 20


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """With one object."""
    with fault_server() as server:
        server.objects["/bucket/a.tar"] = b"1" * 1000
        use_server(monkeypatch, server.url, sign=False)
        yield server
    forget_stores()


@pytest.mark.parametrize("scheme", ["s3", "http"])
@pytest.mark.parametrize(("offset", "size"), [(10, 20), (10, None), (0, None)])
def test_an_object_that_was_replaced(server: FaultServer, scheme: str, offset: int, size: int | None) -> None:
    """Of equal size: its tag tells. The server is asked once, with that as the condition."""
    uri = "s3://bucket/a.tar" if scheme == "s3" else f"{server.url}/bucket/a.tar"
    location = Location(uri, offset, size, stat_object(uri))
    assert set(read(location, Arena()).tobytes()) == set(b"1")
    before = len(server.requests)
    server.objects["/bucket/a.tar"] = b"2" * 1000
    with pytest.raises(
        ReadError, match=r'has changed since it was indexed: it had 1000 bytes of .* with the tag "\w+"; make'
    ):
        read(location, Arena())
    assert len(server.requests) == before + 1
    assert set(read(location._replace(version=None), Arena()).tobytes()) == set(b"2")


def test_an_object_without_a_tag(server: FaultServer) -> None:
    """Is told by its size and its time, which come with each answer."""
    server.etags = False
    uri = "s3://bucket/a.tar"
    then = stat_object(uri)
    assert len(read(Location(uri, 0, 5, then), Arena())) == 5
    server.objects["/bucket/a.tar"] += b"2"
    expected = r"has changed since it was indexed: it had 1000 bytes of 2026-01-01T00:00:00Z, and has 1001 bytes of"
    with pytest.raises(ReadError, match=expected):
        read(Location(uri, 0, 5, then), Arena())
    older = ObjectInfo(uri, 1001, 0)
    with pytest.raises(ReadError, match="it had 1001 bytes of 1970-01-01T00:00:00Z, and has 1001 bytes of 2026"):
        read(Location(uri, 0, 5, older), Arena())


@pytest.mark.usefixtures("server")
def test_a_weak_tag_is_compared_here() -> None:
    """As a condition it would never hold."""
    uri = "s3://bucket/a.tar"
    weak = ObjectInfo(uri, 1000, None, 'W/"x"')
    with pytest.raises(ReadError, match=r'with the tag W/"x", and has 1000 bytes of .* with the tag "'):
        read(Location(uri, 0, 5, weak), Arena())


def test_a_span_is_of_one_version() -> None:
    """Equal ones are joined, and it is handed on; others are not."""
    one, same, other = (ObjectInfo("a", 100, None, tag) for tag in ("1", "1", "2"))
    locations = [Location("a", 0, 5, one), Location("a", 5, 5, other), Location("a", 10, 5, same), Location("a", 15, 5)]
    assert plan_spans([*locations, Location("a", 20, None, other)]) == [
        Span("a", 0, 15, [0, 2], one),
        Span("a", 5, 5, [1], other),
        Span("a", 15, 5, [3]),
        Span("a", 20, None, [4], other),
    ]


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (
            ObjectInfo("a", 5, 10**18),
            "had 5 bytes of 2001-09-09T01:46:40.000000001Z, and has 5 bytes of 2001-09-09T01:46:40Z",
        ),
        (ObjectInfo("a", 5, 10**30), "and has 5 bytes of 1000000000000000000000000000000 ns after 1970"),
        (ObjectInfo("a", 6), "and has 6 bytes; make the dataset anew"),
        (ObjectInfo("a", 5, 10**18 + 1, "y"), "0001Z with the tag x, and has 5 bytes of .*0001Z with the tag y; "),
    ],
)
def test_what_differs_is_said(now: ObjectInfo, words: str) -> None:
    """Times to the last digit, tags where both are known."""
    assert re.search(words, change_between(ObjectInfo("a", 5, 10**18 + 1, "x"), now))
