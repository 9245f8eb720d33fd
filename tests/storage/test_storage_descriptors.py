"""Files that stay open: which, how long, and what is read from them; mapped or not."""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from dalikit.errors import ReadError
from dalikit.storage import Arena, Location, read_local
from dalikit.storage.descriptors import MAX_OPEN, Descriptor, RecentFiles, default_limit
from dalikit.storage.mapped import map_file, read_mapped

CONTENT = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Eight files; file i holds the number i, and then all the same."""
    paths = [tmp_path / f"{number}.tar" for number in range(8)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) + CONTENT)
    return [str(path) for path in paths]


def open_paths(files: list[str]) -> list[str]:
    """Those of the files that this process has open."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except FileNotFoundError:  # the one of this listing
            continue
    return sorted(path for path in found if path in files)


def test_a_descriptor_closes_itself(files: list[str]) -> None:
    file = Descriptor(files[0])
    assert os.pread(file.number, 2, 0) == b"\0" + CONTENT[:1]
    assert open_paths(files) == [files[0]]
    del file
    assert open_paths(files) == []


def test_the_last_used_stay_open(files: list[str]) -> None:
    """The one that was not used for longest goes first."""
    recent = RecentFiles(Descriptor, limit=3)
    for number in (0, 1, 2, 0, 3):
        recent.get(files[number])
    assert open_paths(files) == [files[0], files[2], files[3]]
    assert len(recent) == 3
    first = recent.get(files[0])
    assert recent.get(files[0]) is first
    del recent, first
    assert open_paths(files) == []


def test_a_file_in_use_stays_open(files: list[str]) -> None:
    """Whoever reads from it holds it; it is closed after that."""
    recent = RecentFiles(Descriptor, limit=1)
    held = recent.get(files[1])
    recent.get(files[2])
    assert os.pread(held.number, 1, 0) == b"\1"
    assert open_paths(files) == [files[1], files[2]]
    del held
    assert open_paths(files) == [files[2]]


def test_a_file_that_was_replaced_is_the_old_one(files: list[str]) -> None:
    """As the index was made from it; whoever begins anew reads the new one."""
    recent = RecentFiles(Descriptor)
    location = Location(files[3], 0, 1)
    assert read_local(location, Arena(), descriptors=recent).tolist() == [3]
    Path(files[3] + ".new").write_bytes(b"\xff")
    os.replace(files[3] + ".new", files[3])
    assert read_local(location, Arena(), descriptors=recent).tolist() == [3]
    assert read_local(location, Arena(), descriptors=RecentFiles(Descriptor)).tolist() == [255]


def test_only_files_that_are_read_in_ranges_stay_open(files: list[str]) -> None:
    recent = RecentFiles(Descriptor)
    assert read_local(Location(files[0], 1), Arena(), descriptors=recent).tobytes() == CONTENT
    assert len(recent) == 0
    assert read_local(Location(files[0], 11, 20), Arena(), descriptors=recent).tobytes() == CONTENT[10:30]
    assert len(recent) == 1
    assert open_paths(files) == [files[0]]


@pytest.mark.parametrize(
    ("offset", "size", "message"),
    [
        (4990, 20, r"short read: expected 20 bytes, got 11; the file was cut .*offset=4990"),
        (0, 0, "nothing to read: offset 0, size 0"),
        (-1, 5, "nothing to read: offset -1, size 5"),
        (7000, 5, "short read: expected 5 bytes, got 0"),
    ],
)
def test_a_range_that_is_not_there(files: list[str], offset: int, size: int, message: str) -> None:
    """As of files that are opened each time."""
    for descriptors in (None, RecentFiles(Descriptor)):
        with pytest.raises(ReadError, match=message) as caught:
            read_local(Location(files[0], offset, size), Arena(), descriptors=descriptors)
        assert caught.value.place.file == files[0]


def test_a_range_larger_than_allowed_takes_no_memory(files: list[str]) -> None:
    arena = Arena(chunk_size=1)
    with pytest.raises(ReadError, match="900 bytes are more than the limit of 899"):
        read_local(Location(files[0], 0, 900), arena, max_size=899, descriptors=RecentFiles(Descriptor))
    assert arena.capacity == 0


@pytest.mark.parametrize(
    ("path", "message"), [("missing.tar", "cannot be read: No such file"), ("a\0b", "cannot be read: embedded null")]
)
def test_a_file_that_cannot_be_opened(tmp_path: Path, path: str, message: str) -> None:
    recent = RecentFiles(Descriptor)
    with pytest.raises(ReadError, match=message):
        read_local(Location(str(tmp_path / path), 0, 5), Arena(), descriptors=recent)
    assert len(recent) == 0


def test_many_threads_with_few_files_open(files: list[str]) -> None:
    """Each gets its own file's bytes while others close and open; in the end only as many as allowed are open."""
    recent, wrong = RecentFiles(Descriptor, limit=2), []

    def read(start: int) -> None:
        arena = Arena()
        for count in range(2000):
            number = (start + count * 3) % len(files)
            if read_local(Location(files[number], 0, 1), arena, descriptors=recent).tolist() != [number]:
                wrong.append(number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=read, args=(start,)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
    assert len(recent) <= 2
    assert len(open_paths(files)) == len(recent)


def test_a_forked_process_reads_on(files: list[str]) -> None:
    """From the same open files, without disturbing the other process."""
    recent = RecentFiles(Descriptor, limit=2)
    recent.get(files[5])
    child = os.fork()
    if child == 0:
        good = all(
            read_local(Location(files[number], 0, 1), Arena(), descriptors=recent).tolist() == [number]
            for number in (5, 6, 7, 5)
        )
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert read_local(Location(files[5], 0, 1), Arena(), descriptors=recent).tolist() == [5]


def test_how_many_files_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """An eighth of what the process may open, within bounds."""
    for allowed, expected in ((1024, 128), (4, 1), (1 << 20, MAX_OPEN), (resource.RLIM_INFINITY, MAX_OPEN)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, allowed=allowed: (allowed, allowed))
        assert default_limit() == expected


# Mapped files


def test_a_range_of_a_mapped_file_is_a_view(files: list[str]) -> None:
    """Two ranges are of one mapping; it lasts as long as they, and nobody may write to it."""
    recent = RecentFiles(map_file, limit=1)
    first, second = (read_mapped(Location(files[2], offset, 1000), recent) for offset in (1, 501))
    assert np.shares_memory(first, second)
    recent.get(files[3])
    assert first.tobytes() == CONTENT[:1000]
    assert second.tobytes() == CONTENT[500:1500]
    assert not first.flags.writeable
    assert len(recent) == 1


@pytest.mark.parametrize(
    ("offset", "size", "message"),
    [
        (4990, 20, r"short read: expected 20 bytes, the file ends at 5001; it was cut \[.*offset=4990, stage=read"),
        (0, 0, "nothing to read: offset 0, size 0"),
        (-1, 5, "nothing to read: offset -1, size 5"),
        (0, None, "nothing to read: offset 0, size None"),
    ],
)
def test_a_range_that_is_not_in_a_mapped_file(files: list[str], offset: int, size: int | None, message: str) -> None:
    with pytest.raises(ReadError, match=message):
        read_mapped(Location(files[0], offset, size), RecentFiles(map_file))


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing", "cannot be mapped: No such file"), ("empty", "cannot be mapped: cannot mmap an empty file")],
)
def test_a_file_that_cannot_be_mapped(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ReadError, match=message):
        read_mapped(Location(str(tmp_path / name), 0, 5), RecentFiles(map_file))
