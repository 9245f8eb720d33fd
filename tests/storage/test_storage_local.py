"""Local files are read whole or not at all, and an error says which file and why."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalikit.errors import ReadError
from dalikit.storage import Arena, Location, local, read_local

CONTENT = np.random.default_rng(0).integers(0, 256, 10_000, dtype=np.uint8).tobytes()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(CONTENT)
    return str(path)


@pytest.fixture(scope="module")
def lasting_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("local") / "image.jpg"
    path.write_bytes(CONTENT)
    return str(path)


def num_open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


class TestReadLocal:
    def test_a_location_is_a_whole_file_unless_said_otherwise(self):
        assert Location("a") == ("a", 0, None, None)

    def test_a_whole_file(self, file):
        view = read_local(Location(file), Arena())
        assert (view.shape, view.dtype, view.tobytes()) == ((len(CONTENT),), np.uint8, CONTENT)

    def test_the_bytes_lie_in_the_arena(self, file):
        arena = Arena(chunk_size=20_000)
        before = arena.allocate(1)
        view = read_local(Location(file), arena)
        assert view.base is before.base

    @given(offset=st.integers(0, 9999), size=st.one_of(st.none(), st.integers(1, 10_000)))
    def test_a_range_is_the_bytes_of_the_range_or_a_short_read(self, lasting_file, offset, size):
        location = Location(lasting_file, offset, size)
        expected = CONTENT[offset:] if size is None else CONTENT[offset : offset + size]
        if size is None or len(expected) == size:
            assert read_local(location, Arena(1000)).tobytes() == expected
        else:
            with pytest.raises(ReadError, match=rf"short read: expected {size} bytes, got {len(expected)};"):
                read_local(location, Arena(1000))

    def test_partial_reads_go_on(self, file, monkeypatch):
        whole = os.preadv

        def piecewise(descriptor, buffers, offset):
            return whole(descriptor, [memoryview(buffers[0])[:777]], offset)

        monkeypatch.setattr(local.os, "preadv", piecewise)
        assert read_local(Location(file, 3), Arena()).tobytes() == CONTENT[3:]

    def test_a_file_cut_while_it_is_read_is_a_short_read_with_its_place(self, file, monkeypatch):
        whole = os.fstat

        def cut(descriptor):
            status = whole(descriptor)
            os.truncate(file, 5000)
            return status

        monkeypatch.setattr(local.os, "fstat", cut)
        with pytest.raises(ReadError, match="short read: expected 9000 bytes, got 4000") as caught:
            read_local(Location(file, 1000), Arena())
        place = caught.value.place
        assert (place.file, place.offset, place.stage) == (file, 1000, "read")

    def test_names_that_are_no_text(self, tmp_path):
        path = os.fsencode(tmp_path) + b"/\xff\xfe: a=b\n.jpg"
        with open(path, "wb") as stream:
            stream.write(b"123")
        assert read_local(Location(os.fsdecode(path)), Arena()).tobytes() == b"123"

    def test_eight_threads_read_into_one_arena(self, tmp_path):
        generator = np.random.default_rng(1)
        contents = [generator.bytes(int(size)) for size in generator.integers(1, 30_000, 200)]
        for number, content in enumerate(contents):
            (tmp_path / str(number)).write_bytes(content)
        arena = Arena(chunk_size=50_000)
        for _ in range(3):
            with ThreadPoolExecutor(8) as threads:
                views = list(threads.map(lambda n: read_local(Location(f"{tmp_path}/{n}"), arena), range(200)))
            assert [view.tobytes() for view in views] == contents
            arena.reset()


class TestFailures:
    @pytest.mark.parametrize(
        ("offset", "size", "message"),
        [
            (10_000, None, "offset 10000 is not before the end of the file, at 10000"),
            (20_000, None, "offset 20000 is not before the end of the file, at 10000"),
            (-1, None, "nothing to read: offset -1, size None"),
            (-1, 5, "nothing to read: offset -1, size 5"),
            (0, 0, "nothing to read: offset 0, size 0"),
            (0, -3, "nothing to read: offset 0, size -3"),
        ],
    )
    def test_ranges_that_cannot_be(self, file, offset, size, message):
        with pytest.raises(ReadError, match=message):
            read_local(Location(file, offset, size), Arena())

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "empty.jpg").touch()
        with pytest.raises(ReadError, match=r"empty file \[file=.*empty\.jpg, stage=read\]"):
            read_local(Location(f"{tmp_path}/empty.jpg"), Arena())

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(ReadError, match=r"cannot be read: No such file or directory \[file=.*/gone\.jpg"):
            read_local(Location(f"{tmp_path}/gone.jpg"), Arena())

    def test_a_folder(self, tmp_path):
        with pytest.raises(ReadError, match="cannot be read: Is a directory"):
            read_local(Location(str(tmp_path)), Arena())

    def test_a_folder_that_the_file_system_calls_empty(self, tmp_path, monkeypatch):
        whole = os.fstat
        monkeypatch.setattr(local.os, "fstat", lambda fd: os.stat_result((*whole(fd)[:6], 0, *whole(fd)[7:])))
        with pytest.raises(ReadError, match="is a folder, not a file"):
            read_local(Location(str(tmp_path)), Arena())

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_that_may_not_be_read(self, file):
        os.chmod(file, 0)
        with pytest.raises(ReadError, match="Permission denied"):
            read_local(Location(file), Arena())

    def test_an_error_of_the_device(self, file, monkeypatch):
        def fails(*_):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(local.os, "preadv", fails)
        with pytest.raises(ReadError, match=r"cannot be read: Input/output error \[file="):
            read_local(Location(file), Arena())

    def test_a_null_character_in_the_path(self):
        with pytest.raises(ReadError, match="cannot be read: embedded null"):
            read_local(Location("a\0b"), Arena())

    def test_more_than_the_limit_is_refused_before_memory_is_taken(self, file):
        arena = Arena()
        with pytest.raises(ReadError, match="10000 bytes are more than the limit of 9999"):
            read_local(Location(file), arena, max_size=9999)
        with pytest.raises(ReadError, match="1152921504606846976 bytes are more than the limit"):
            read_local(Location(file, 0, 1 << 60), arena, max_size=1 << 30)
        assert arena.capacity == 0
        assert len(read_local(Location(file), arena, max_size=10_000)) == 10_000

    def test_it_is_an_os_error_too(self):
        assert issubclass(ReadError, OSError)

    def test_no_file_stays_open(self, file, tmp_path):
        before = num_open_files()
        for location in (Location(file), Location(file, 0, 20_000), Location(file, -1), Location(str(tmp_path))):
            with contextlib.suppress(ReadError):
                read_local(location, Arena())
        with pytest.raises(MemoryError):
            read_local(Location(file, 0, 1 << 60), Arena())
        assert num_open_files() == before


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """Nobody writes to it: opening it must not wait."""
    os.mkfifo(tmp_path / "x.jpg")
    for size, message in ((None, "is no regular file, but a pipe, socket or device"), (10, "cannot be read")):
        with pytest.raises(ReadError, match=message):
            read_local(Location(f"{tmp_path}/x.jpg", 0, size), Arena())
