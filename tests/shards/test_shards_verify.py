"""An index is held against its shards."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tar_shards import header, write_shards, write_tar

from dalikit.shards import ShardIndex, build_index, verify_index


@pytest.fixture
def index(tmp_path: Path) -> ShardIndex:
    """Of three shards, one of them empty."""
    return build_index(write_shards(tmp_path / "d", [30, 0, 2]), tmp_path / "the.index")


@pytest.mark.parametrize("full", [False, True])
def test_a_right_index_has_no_faults(index: ShardIndex, full: bool) -> None:
    """Whether some members are looked at or all."""
    assert verify_index(index, full=full) == []


def test_changed_and_missing_shards_are_named(index: ShardIndex) -> None:
    """By size, by time, and by their absence."""
    write_tar(Path(index.shards[0]), [])
    os.utime(index.shards[1], ns=(1, 1))
    os.unlink(index.shards[2])
    first, second, third = verify_index(index)
    assert "shard-000.tar' has changed since it was indexed: it had" in first
    assert re.search(
        r"shard-001.tar' has changed since it was indexed: it had (\d+) bytes of 20\d\d-.*Z, and has \1 bytes of "
        r"1970-01-01T00:00:00\.000000001Z; make the index anew",
        second,
    )
    assert third == f"shard {index.shards[2]!r} is missing"


def test_entries_that_point_elsewhere_are_named(index: ShardIndex) -> None:
    """A slipped offset, a wrong size; with the offset."""
    offsets = index.member_offset.copy()
    offsets[0] += 512
    sizes = index.member_size.copy()
    sizes[-1] += 1
    faults = verify_index(replace(index, member_offset=offsets, member_size=sizes, path=None))
    assert len(faults) == 2
    assert "shard-000.tar', offset 1024: " in faults[0]
    assert "says 1 bytes, the index 2" in faults[1]


def test_full_finds_what_a_sample_of_entries_misses(index: ShardIndex) -> None:
    """One of sixty members, whose size was altered in its header; the shard's time was put back."""
    path = Path(index.shards[0])
    content = bytearray(path.read_bytes())
    status = path.stat()
    for member in range(60):
        start = int(index.member_offset[member]) - 512
        changed = bytearray(content)
        changed[start : start + 512] = header(b"other.jpg", int(index.member_size[member]) + 3)
        path.write_bytes(changed)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert len(verify_index(index, full=True)) == 1
        if not verify_index(index):
            return
    pytest.fail("every member is looked at without full=True")


def test_an_altered_file_is_found(index: ShardIndex) -> None:
    """By its checksum."""
    assert index.path is not None
    path = Path(index.path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (fault,) = verify_index(index)
    assert "its bytes are not those that were written" in fault


def test_no_more_than_ten_faults_of_a_shard_are_named(index: ShardIndex) -> None:
    """A slip moves all that follow."""
    moved = replace(index, member_offset=index.member_offset + index.member_offset.dtype.type(512), path=None)
    assert len([fault for fault in verify_index(moved, full=True) if "shard-000" in fault]) == 10
