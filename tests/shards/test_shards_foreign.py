"""Indexes of other programs are used once checked, and DALI reads ours."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nvidia.dali import fn, pipeline_def
from tar_shards import write_shards, write_tar

from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError
from dalikit.shards import (
    NO_CLASS,
    ShardIndex,
    build_index,
    open_index,
    read_dali_index,
    read_energon_index,
    write_dali_index,
)
from dalikit.shards import foreign as foreign_module
from dalikit.shards.index import COLUMNS


@pytest.fixture
def shard(tmp_path: Path) -> str:
    """A shard with 4 samples."""
    return write_shards(tmp_path / "d", [4])[0]


@pytest.fixture
def index(shard: str, tmp_path: Path) -> ShardIndex:
    """Of that shard, by its own walk."""
    return build_index([shard], tmp_path / "own.index")


def equal(one: ShardIndex, other: ShardIndex) -> bool:
    """Whether all columns are equal."""
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS)


def wds2idx(shard: str, path: Path) -> Path:
    """The index that DALI's own program makes."""
    script = shutil.which("wds2idx", path=f"{Path(sys.executable).parent}")
    assert script is not None
    subprocess.run([sys.executable, script, shard, str(path)], check=True, capture_output=True)
    return path


def test_dalis_program_is_read(shard: str, index: ShardIndex, tmp_path: Path) -> None:
    """What wds2idx made says the same as the walk, sizes of images and classes too."""
    assert equal(read_dali_index(wds2idx(shard, tmp_path / "x.idx"), shard), index)


def test_dalis_program_reads_long_names_of_gnu_wrongly(tmp_path: Path) -> None:
    """It points at the record with the name instead of at the member: refused."""
    shard = str(write_tar(tmp_path / "x.tar", [("l" * 150 + ".jpg", b"x" * 700)], "gnu"))
    with pytest.raises(DatasetError, match=r"is not of shard .*the header before offset 512 .* of kind b'L'"):
        read_dali_index(wds2idx(shard, tmp_path / "x.idx"), shard)


def test_written_index_is_dalis(shard: str, index: ShardIndex, tmp_path: Path) -> None:
    """Byte for byte what wds2idx writes; and DALI reads the shard by it."""
    write_dali_index(index, 0, tmp_path / "ours.idx")
    assert (tmp_path / "ours.idx").read_bytes() == wds2idx(shard, tmp_path / "its.idx").read_bytes()

    @pipeline_def(batch_size=4, num_threads=1, device_id=None, exec_dynamic=False)
    def pipeline():  # type: ignore[no-untyped-def]
        return tuple(fn.readers.webdataset(paths=[shard], index_paths=[str(tmp_path / "ours.idx")], ext=["jpg", "cls"]))

    pipe = pipeline()
    pipe.build()
    images, classes = pipe.run()
    content = Path(shard).read_bytes()
    for row in range(4):
        start, size = int(index.member_offset[2 * row]), int(index.member_size[2 * row])
        assert images.at(row).tobytes() == content[start : start + size]
        assert int(classes.at(row).tobytes()) == index.sample_class[row]


def test_version_without_names(shard: str, index: ShardIndex, tmp_path: Path) -> None:
    """Version 1.1: the names are those of the headers, unless they are too long for them."""
    write_dali_index(index, 0, tmp_path / "x.idx")
    lines = [line.split() for line in (tmp_path / "x.idx").read_text().splitlines()[1:]]
    rows = (" ".join(field for n, field in enumerate(line) if n % 4 < 3) for line in lines)
    (tmp_path / "old.idx").write_text("\n".join(["v1.1 4", *rows]) + "\n")
    assert equal(read_dali_index(tmp_path / "old.idx", shard), index)
    long = str(write_tar(tmp_path / "long.tar", [("l" * 150 + ".jpg", b"x")], "pax"))
    offset = int(build_index([long], tmp_path / "long.index").member_offset[0])
    (tmp_path / "long.idx").write_text(f"v1.1 1\njpg {offset} 1\n")
    with pytest.raises(DatasetError, match=r"version 1\.1 has no names, and those in the shard are too long"):
        read_dali_index(tmp_path / "long.idx", long)


WRONG = [
    ("v1.2 1\njpg 512 99999999 a.jpg\n", "a member of 99999999 bytes at offset 512 is not between the one before it"),
    ("v1.2 1\njpg 0 1 a.jpg\n", "a member of 1 bytes at offset 0 is not between"),
    ("v1.2 1\njpg 1024 1 a.jpg\n", "no tar header|is no octal number|the header before offset"),
    ("v1.2 1\njpg 512 5 a.jpg\n", r"the header before offset 512 says \d+ bytes, the index 5"),
    (
        "v1.2 1\npng 512 {size} s00000.jpg\n",
        r"the member b's00000\.jpg' at offset 512 does not have the extension b'png'",
    ),
    ("v1.2 1\njpg 512 {size} with space.jpg\n", "line 2 does not have 4 fields a member"),
    ("v1.2 1\njpg -512 1 a.jpg\n", "b'-512' is no offset or size"),
    ("v1.2 1\njpg 9{nines} 1 a.jpg\n", "b'99.*' is no offset or size"),
    ("v1.2 2\njpg 512 {size} s00000.jpg\n", "it should have 2 samples, it has 1"),
    ("v1.3 1\n", "its first line is not that of a DALI index of version 1.1 or 1.2"),
    ("v1.2 1\n\n", "line 2 does not have 4 fields"),
    ("v1.2 1\n" + "x " * (1 << 20), "line 2 does not have 4 fields"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong_entries_are_refused(shard: str, index: ShardIndex, tmp_path: Path, text: str, message: str) -> None:
    """Each is checked against the shard, and the message says which."""
    path = tmp_path / "x.idx"
    path.write_text(text.replace("{size}", str(index.member_size[0])).replace("{nines}", "9" * 30))
    with pytest.raises(DatasetError, match=message):
        read_dali_index(path, shard)


def energon(index: ShardIndex) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Where samples begin, and where the last one ends, padded."""
    starts = index.member_offset[index.sample_bounds[:-1]] - np.uint64(512)
    end = (int(index.member_offset[-1] + index.member_size[-1]) + 511) // 512 * 512
    return np.append(starts, np.uint64(end)).astype("<u8")


def test_energons_index_is_read(shard: str, index: ShardIndex, tmp_path: Path) -> None:
    """Its samples are those of the walk; each part's place and size is found in them."""
    path = tmp_path / "x.tar.idx"
    energon(index).tofile(path)
    assert equal(read_energon_index(path, shard), index)


def test_energons_index_of_another_shard(shard: str, index: ShardIndex, tmp_path: Path) -> None:
    """Another number of samples, other places, a broken file."""
    path = tmp_path / "x.tar.idx"
    right = energon(index)
    wrong = {"it has 3 samples, the shard 4": right[:-1], "go back, or out of the shard": right[::-1]}
    moved = right.copy()
    moved[2] += 512
    wrong[r"sample 2 \('s00002'\) does not lie in"] = moved
    for message, bounds in wrong.items():
        bounds.tofile(path)
        with pytest.raises(DatasetError, match=message):
            read_energon_index(path, shard)
    path.write_bytes(b"12345")
    with pytest.raises(DatasetError, match="is neither DALI's nor Energon's: it is no column of uint64"):
        read_energon_index(path, shard)
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match="it has 0 samples, the shard 4"):
        read_energon_index(path, shard)


def test_a_folder_of_indexes_opens_the_dataset(tmp_path: Path) -> None:
    """DALI's by the shard's name without its ending, Energon's by the whole name; nothing is written."""
    shards = write_shards(tmp_path / "d", [3, 2])
    own = build_index(shards, tmp_path / "own.index")
    (tmp_path / "idx").mkdir()
    write_dali_index(own, 0, tmp_path / "idx" / "shard-000.idx")
    energon(build_index(shards[1:], tmp_path / "second.index")).tofile(tmp_path / "idx" / "shard-001.tar.idx")
    opened = open_index(shards, index=tmp_path / "idx")
    assert equal(opened, own)
    assert opened.fingerprint == own.fingerprint
    assert opened.path is None
    assert equal(
        open_index(shards[:1], index=tmp_path / "idx" / "shard-000.idx"), build_index(shards[:1], tmp_path / "x")
    )


def test_indexes_that_are_not_there(tmp_path: Path) -> None:
    """One for two shards, none in the folder, none at all."""
    shards = write_shards(tmp_path / "d", [1, 1])
    with pytest.raises(ArgumentError, match=r"x\.idx' is of one shard; of 2 shards name the folder of their indexes"):
        open_index(shards, index=tmp_path / "x.idx")
    with pytest.raises(
        DatasetNotFoundError, match=r"has no index of shard .*shard-000\.tar': no 'shard-000\.tar\.idx'"
    ):
        open_index(shards, index=tmp_path)
    with pytest.raises(DatasetNotFoundError, match=r"x\.idx' does not exist"):
        open_index(shards[:1], index=tmp_path / "x.idx")


def test_names_with_spaces_cannot_be_written(tmp_path: Path) -> None:
    """DALI's fields are separated by them. Nothing is left behind."""
    shard = str(write_tar(tmp_path / "x.tar", [("a b.jpg", b"x")]))
    index = build_index([shard], tmp_path / "own.index")
    with pytest.raises(ArgumentError, match=r"the name 'a b\.jpg' cannot stand in a DALI index"):
        write_dali_index(index, 0, tmp_path / "x.idx")
    with pytest.raises(ArgumentError, match="shard_number must be one of 1 shards, got 1"):
        write_dali_index(index, 1, tmp_path / "x.idx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.index", "x.tar"]


def test_remote_shards_are_not_streamed(
    shard: str, index: ShardIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some headers are looked at; classes and sizes stay unknown."""
    monkeypatch.setattr(foreign_module, "is_remote", lambda _: True)
    path = wds2idx(shard, tmp_path / "x.idx")
    found = read_dali_index(path, shard)
    np.testing.assert_array_equal(found.member_offset, index.member_offset)
    assert found.sample_class.tolist() == [NO_CLASS] * 4
    assert found.member_height.tolist() == [0] * 8
    path.write_text(path.read_text().replace(f" {index.member_size[0]} ", f" {index.member_size[0] - 1} ", 1))
    with pytest.raises(DatasetError, match="the header before offset 512 says"):
        read_dali_index(path, shard)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_are_refused_or_right(shard: str, index: ShardIndex, tmp_path: Path, data: st.DataObject) -> None:
    """A DALI index with bytes changed: only DatasetError, or entries that the shard confirms."""
    path = tmp_path / "fuzz.idx"
    if not (tmp_path / "right.idx").exists():
        write_dali_index(index, 0, tmp_path / "right.idx")
    content = bytearray((tmp_path / "right.idx").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.sampled_from(b"0123456789 \nv.jpgcls\xff\0")
        )
    path.write_bytes(content)
    try:
        found = read_dali_index(path, shard)
    except DatasetError:
        return
    places = set(zip(index.member_offset.tolist(), index.member_size.tolist(), strict=True))
    assert places.issuperset(zip(found.member_offset.tolist(), found.member_size.tolist(), strict=True))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9000), max_size=7))
def test_any_numbers_are_refused_or_right(shard: str, tmp_path: Path, numbers: list[int]) -> None:
    """An Energon index of any numbers."""
    path = tmp_path / "fuzz.tar.idx"
    path.write_bytes(struct.pack(f"<{len(numbers)}Q", *numbers))
    try:
        found = read_energon_index(path, shard)
    except DatasetError:
        return
    assert len(found) == len(numbers) - 1
