"""Hints to the kernel: they bring what will be read into the page cache, and are given while the disk is at work."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from dalikit.storage import Arena, Location, read_local
from dalikit.storage.descriptors import Descriptor, RecentFiles
from dalikit.storage.hints import DiskWatch, will_need

SIZE = 4 << 20
PAGE = 4096


@pytest.fixture
def cold(tmp_path: Path) -> str:
    """A file of 4 MiB of which no page is cached."""
    path = tmp_path / "cold.tar"
    path.write_bytes(np.random.default_rng(0).bytes(SIZE))
    drop(str(path))
    if cached(str(path), 0):
        pytest.skip("this file system keeps all in memory, or does not tell")
    return str(path)


def drop(path: str) -> None:
    """Has the kernel forget a file's pages."""
    file = Descriptor(path)
    os.fsync(file.number)
    os.posix_fadvise(file.number, 0, 0, os.POSIX_FADV_DONTNEED)


def cached(path: str, offset: int) -> bool:
    """Whether a byte can be read without the disk."""
    file = Descriptor(path)
    try:
        return os.preadv(file.number, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except OSError:
        return False


def wait_until_cached(path: str, offset: int) -> None:
    """The kernel does what it was told meanwhile: a moment's work of the disk."""
    deadline = time.monotonic() + 5.0
    while not cached(path, offset):
        assert time.monotonic() < deadline, f"{path}: offset {offset} is still on the disk only"
        os.sched_yield()


def test_a_hint_brings_the_range_into_memory(cold: str) -> None:
    """That range, and not the whole file; without reading it."""
    will_need(Location(cold, 1 << 20, 64 << 10), RecentFiles(Descriptor))
    for offset in range(1 << 20, (1 << 20) + (64 << 10), PAGE):
        wait_until_cached(cold, offset)
    assert not cached(cold, 3 << 20)


def test_a_hint_of_a_whole_file(cold: str) -> None:
    """The file is open no longer."""
    recent = RecentFiles(Descriptor)
    will_need(Location(cold), recent)
    wait_until_cached(cold, 0)
    assert len(recent) == 0


@pytest.mark.parametrize("location", [Location("/nowhere/x"), Location("/nowhere/x", 1, 5), Location("a\0b", 1, 5)])
def test_a_hint_of_what_is_not_there_says_nothing(location: Location) -> None:
    """Reading it will."""
    recent = RecentFiles(Descriptor)
    will_need(location, recent)
    assert len(recent) == 0


def test_the_disk_is_seen_at_work(cold: str) -> None:
    """While pages come from it, hinted or read; not while all is cached."""
    watch, recent, arena = DiskWatch(), RecentFiles(Descriptor), Arena()
    locations = [Location(cold, number * 256 << 10, 100_000) for number in range(16)]
    for location in locations[:8]:
        read_local(location, arena, descriptors=recent)
    assert watch.is_cold(8)
    for location in locations[8:]:
        will_need(location, recent)
    assert watch.is_cold(8)
    for location in locations:
        read_local(location, arena, descriptors=recent)
    watch.is_cold(16)
    for location in locations:
        read_local(location, arena, descriptors=recent)
    assert not watch.is_cold(16)
