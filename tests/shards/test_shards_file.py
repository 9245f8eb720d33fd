"""The index file: whatever its bytes are, it is refused or lies within its bounds."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tar_shards import write_shards

from dalikit.errors import DatasetError, DatasetNotFoundError
from dalikit.shards import ShardIndex, build_index, read_index
from dalikit.shards import bounds as bounds_module
from dalikit.shards import file as file_module
from dalikit.shards.bounds import check_columns
from dalikit.shards.file import ForeignFileError, write_index
from dalikit.shards.index import COLUMNS
from dalikit.shards.merge import Part


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An index of two shards with 3 and 2 samples."""
    path = tmp_path / "the.index"
    build_index(write_shards(tmp_path / "d", [3, 2]), path)
    return path


def seal(path: Path) -> None:
    """Puts the checksum right, as a file has it that was written so."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 56, zlib.crc32(content[:56], zlib.crc32(content[64:])))
    path.write_bytes(content)


def change_json(path: Path, **changes: Any) -> None:
    """Writes the file with another JSON part, in the room of the old one."""
    content = bytearray(path.read_bytes())
    (size,) = struct.unpack_from("<Q", content, 16)
    header = json.loads(content[64 : 64 + size])
    for name, value in changes.items():
        header[name] = value(header[name])
    text = json.dumps(header, separators=(",", ":")).encode()
    assert len(text) <= size
    content[64 : 64 + size] = text.ljust(size)
    path.write_bytes(content)
    seal(path)


def change_column(path: Path, name: str, place: int, value: int) -> None:
    """Writes another number into a column."""
    index = read_index(path)
    column = getattr(index, name).copy()
    column[place] = value
    content = path.read_bytes()
    original = getattr(index, name).tobytes()
    start = content.index(original, 64)
    path.write_bytes(content[:start] + column.tobytes() + content[start + len(original) :])
    seal(path)


WRONG_COLUMNS = [
    ("shard_bounds", 1, 6, "shard_bounds goes back"),
    ("sample_bounds", 5, 11, "sample_bounds does not go from 0 to 10 in 6 entries"),
    ("sample_bounds", 1, 4, "sample_bounds goes back"),
    ("key_bounds", 2, 1, "key_bounds goes back"),
    ("member_offset", 3, 600, "a member overlaps the one before it"),
    ("member_offset", 0, 100, "a member overlaps the one before it"),
    ("member_offset", 9, 1 << 40, "a member ends behind its shard"),
    ("member_offset", 9, 1 << 63, "a member lies further out than any file is long"),
    ("member_size", 5, 1 << 50, "a member ends behind its shard"),
    ("member_extension", 4, 2, "a member has an extension that is not one of 2"),
]


@pytest.mark.parametrize(("name", "place", "value", "message"), WRONG_COLUMNS)
def test_columns_that_do_not_fit_together(path: Path, name: str, place: int, value: int, message: str) -> None:
    """Every bound is checked at the opening."""
    change_column(path, name, place, value)
    with pytest.raises(DatasetError, match=message):
        read_index(path)


WRONG_HEADERS: list[tuple[dict[str, Any], str]] = [
    ({"columns": lambda columns: columns | {"keys": {}}}, "is broken"),
    ({"columns": lambda columns: columns | {"keys": columns["keys"] | {"offset": 1}}}, "column 'keys' is not inside"),
    (
        {"columns": lambda columns: columns | {"keys": columns["keys"] | {"length": 9999}}},
        "column 'keys' is not inside",
    ),
    ({"columns": lambda columns: columns | {"keys": columns["keys"] | {"length": -1}}}, "-1 is no whole number"),
    ({"columns": lambda columns: columns | {"keys": columns["keys"] | {"type": "|O"}}}, "column 'keys' is not inside"),
    ({"columns": lambda columns: columns | {"keys": columns["keys"] | {"length": 3}}}, "key_bounds does not go from 0"),
    ({"columns": lambda _: []}, "is broken"),
    ({"extensions": lambda _: [1, 2]}, "1 is no text"),
    ({"shards": lambda shards: shards[:1]}, "shard_bounds does not go from 0 to 5 in 2 entries"),
    ({"shards": lambda shards: [shards[0] | {"size": 10}, shards[1]]}, "a member ends behind its shard"),
    ({"shards": lambda shards: [shards[0] | {"size": 1.5}, shards[1]]}, "1.5 is no whole number"),
    ({"shards": lambda _: 3}, "is broken"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_HEADERS)
def test_headers_that_do_not_fit(path: Path, changes: dict[str, Any], message: str) -> None:
    """Types, places and lengths are checked before anything is read by them."""
    change_json(path, **changes)
    with pytest.raises(DatasetError, match=message):
        read_index(path)


def test_other_files(path: Path, tmp_path: Path) -> None:
    """None, something else, another version, a part, too much."""
    with pytest.raises(DatasetNotFoundError, match=r"gone' does not exist"):
        read_index(tmp_path / "gone")
    content = path.read_bytes()
    for foreign in (b"", b"short", b"v1.2 3\n" * 99):
        path.write_bytes(foreign)
        with pytest.raises(ForeignFileError, match=r"the\.index' is no index of shards"):
            read_index(path)
    path.write_bytes(content[:8] + b"\1" + content[9:])
    with pytest.raises(DatasetError, match="it has version 1, this dalikit reads version 2"):
        read_index(path)
    for wrong in (content[:-1], content + b"x", content[:64]):
        path.write_bytes(wrong)
        with pytest.raises(DatasetError, match=rf"it should have {len(content)} bytes, it has {len(wrong)}"):
            read_index(path)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="it is of 2 shards, not of 1"):
        read_index(path, shards=["a.tar"])


def test_digest_finds_what_fits_but_is_not_what_was_written(path: Path) -> None:
    """A class that changed, under a checksum that was made to fit: no bound tells."""
    change_column(path, "sample_class", 0, 5)
    assert read_index(path).sample_class[0] == 5
    with pytest.raises(DatasetError, match="its columns are not those that were written"):
        read_index(path, digest=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_are_refused_or_within_bounds(path: Path, data: st.DataObject) -> None:
    """A real index with bytes changed, cut off or added: only DatasetError, else every row can be asked for."""
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    changed = path.with_name("changed.index")
    changed.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    if changed.stat().st_size >= 64:
        seal(changed)  # else nothing else would be looked at
    try:
        index = read_index(changed)
    except DatasetError:
        return
    touch_everything(index)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_flipped_bits_give_other_rows(path: Path, data: st.DataObject) -> None:
    """Up to three anywhere: the file is refused, or says what it said."""
    whole, content = read_index(path), bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 8 * len(content) - 1), min_size=1, max_size=3, unique=True)):
        content[place // 8] ^= 1 << place % 8
    flipped = path.with_name("flipped.index")
    flipped.write_bytes(content)
    try:
        index = read_index(flipped, shards=whole.shards)
    except DatasetError:
        return
    assert (index.fingerprint, index.versions, index.extensions) == (
        whole.fingerprint,
        whole.versions,
        whole.extensions,
    )
    assert all(np.array_equal(getattr(index, name), getattr(whole, name)) for name in COLUMNS)


def test_a_flipped_bit_is_found_in_a_map_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large index is mapped; only who was told by the first reader that it is whole does not look again."""
    monkeypatch.setattr(file_module, "_IN_MEMORY", 0)
    pickled, content = pickle.dumps(read_index(path)), bytearray(path.read_bytes())
    content[-9] ^= 4
    path.write_bytes(content)
    for read in (lambda: read_index(path), lambda: pickle.loads(pickled)):
        with pytest.raises(DatasetError, match="its bytes are not those that were written; remove it, and it is made"):
            read()
    monkeypatch.setattr(file_module, "_CHECKED_AGAIN", 0)
    assert len(pickle.loads(pickled)) == 5


def test_an_index_that_is_written_over_kills_nobody(path: Path) -> None:
    """As `cp` does it. Up to 32 MiB are in memory: a map would end the process by SIGBUS."""
    index = read_index(path)
    path.write_bytes(b"")
    touch_everything(index)


def test_shards_from_before_1970(tmp_path: Path) -> None:
    """Archives of archives have such times."""
    shard = write_shards(tmp_path / "d", [1])[0]
    os.utime(shard, ns=(-5, -5_000_000_003))
    built = build_index([shard], tmp_path / "old.index")
    assert read_index(tmp_path / "old.index").versions == built.versions
    assert built.versions[0].mtime_ns == -5_000_000_003


def many_members(firsts: list[int]) -> dict[str, Any]:
    """Columns of more members than are looked at together, of one sample each, in shards with these first samples."""
    count = bounds_module._STEP + 20
    numbers = np.arange(count + 1, dtype=np.uint64)
    starts = np.array(firsts, np.uint64)[np.searchsorted(firsts, numbers[:-1], side="right") - 1]
    return {
        "shard_bounds": np.array([*firsts, count], np.uint64),
        "sample_bounds": numbers,
        "sample_class": np.zeros(count, np.int64),
        "key_bounds": numbers,
        "keys": np.full(count, 97, np.uint8),
        "member_extension": np.zeros(count, np.uint16),
        "member_offset": (numbers[:-1] - starts) * np.uint64(1024) + np.uint64(512),
        "member_size": np.full(count, 512, np.uint64),
        **{f"member_{name}": np.zeros(count, COLUMNS[f"member_{name}"]) for name in ("height", "width", "orientation")},
    }


@pytest.mark.parametrize("later", [[], [7], [bounds_module._STEP], [bounds_module._STEP + 5]])
def test_bounds_of_many_members(later: list[int]) -> None:
    """Members are looked at 2**18 at a time: a shard may begin anywhere, and none may overlap the one before it."""
    shards = tuple(f"{number}.tar" for number in range(1 + len(later)))
    columns = many_members([0, *later])
    check_columns(ShardIndex(shards, ("jpg",), fingerprint="", **columns))
    for place in (3, bounds_module._STEP - 1, bounds_module._STEP + 10):
        sizes = columns["member_size"].copy()
        sizes[place] = 513
        changed = ShardIndex(shards, ("jpg",), fingerprint="", **columns | {"member_size": sizes})
        if place + 1 in later:
            check_columns(changed)  # the next one lies in another shard
        else:
            with pytest.raises(ValueError, match="a member overlaps the one before it"):
                check_columns(changed)


def touch_everything(index: ShardIndex) -> None:
    """Asks for all that a dataset asks for."""
    for row in range(len(index)):
        assert isinstance(index.key(row), str)
        shard = index.shard_of(row)
        for member in range(*index.sample_bounds[row : row + 2].tolist()):
            end = int(index.member_offset[member]) + int(index.member_size[member])
            assert 512 <= index.member_offset[member] <= end <= index.versions[shard].size
            assert index.extensions[index.member_extension[member]] is not None


def test_a_failed_write_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full in the middle: the old file stays whole, and nothing else is left."""
    content = path.read_bytes()
    before = sorted(os.listdir(path.parent))

    def fail(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    index = read_index(path)
    monkeypatch.setattr(file_module, "column_pieces", fail)
    with pytest.raises(OSError, match="No space left"):
        write_index(path, [Part(index, 0, 2)])
    assert path.read_bytes() == content
    assert sorted(os.listdir(path.parent)) == before


def test_parts_are_joined_in_any_order(path: Path, tmp_path: Path) -> None:
    """Ranges of an index, joined again, are the index; in another order their samples follow it."""
    index = read_index(path)
    write_index(tmp_path / "again.index", [Part(index, 0, 1), Part(index, 1, 2)])
    assert read_index(tmp_path / "again.index", digest=True).fingerprint == index.fingerprint
    write_index(tmp_path / "turned.index", [Part(index, 1, 2), Part(index, 0, 1)])
    turned = read_index(tmp_path / "turned.index")
    assert [turned.key(row) for row in range(5)] == ["s00003", "s00004", "s00000", "s00001", "s00002"]
    np.testing.assert_array_equal(turned.sample_class, index.sample_class[[3, 4, 0, 1, 2]])


def test_addresses_lose_their_signature(tmp_path: Path, path: Path) -> None:
    """What follows "?" in an address may be a password: it is not written."""
    index = read_index(path, shards=["https://host/a.tar?X-Signature=secret", "s3://bucket/b.tar"])
    write_index(tmp_path / "remote.index", [Part(index, 0, 2)])
    assert b"secret" not in (tmp_path / "remote.index").read_bytes()
    assert read_index(tmp_path / "remote.index").shards == ("https://host/a.tar", "s3://bucket/b.tar")
