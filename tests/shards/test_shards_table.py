"""Samples are those that webdataset reads, with their classes and sizes."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from tar_shards import jpeg, samples, write_tar
from webdataset.tariterators import group_by_keys, tar_file_expander

from dalikit.errors import DatasetError
from dalikit.shards import NO_CLASS, ShardIndex
from dalikit.shards import table as table_module
from dalikit.shards.table import ShardTable, index_shard
from dalikit.storage import stat_object


def index_of(path: Path, **options: Any) -> ShardIndex:
    return index_shard(stat_object(str(path)), **options)


def contents(index: ShardIndex, path: Path) -> list[dict[str, Any]]:
    """All samples, as webdataset gives them, read at the index's offsets."""
    data = path.read_bytes()
    found = []
    for sample in range(len(index)):
        members = range(*index.sample_bounds[sample : sample + 2].tolist())
        one: dict[str, Any] = {"__key__": index.key(sample)}
        for number in members:
            start = int(index.member_offset[number])
            extension = index.extensions[index.member_extension[number]]
            one[extension] = data[start : start + int(index.member_size[number])]
        found.append(one)
    return found


def webdatasets(path: Path) -> list[dict[str, Any]]:
    """All samples that webdataset reads."""
    with path.open("rb") as stream:
        read = group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}]))
        return [{key: value for key, value in sample.items() if key != "__url__"} for sample in read]


@pytest.mark.parametrize("format_name", ["USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT"])
def test_samples_of_webdatasets_writer(tmp_path: Path, format_name: str) -> None:
    """A shard that webdataset wrote, read by webdataset and by the index: the same samples, byte for byte."""
    path = tmp_path / "x.tar"
    keys = ["a", "dir.x/b", "c d", "ü", "new\nline"] + (["l" * 150] if format_name != "USTAR_FORMAT" else [])
    with webdataset.TarWriter(str(path)) as writer:
        writer.tarstream.format = getattr(tarfile, format_name)  # its own argument for this has no effect
        for number, key in enumerate(keys):
            writer.write(
                {"__key__": key, "jpg": jpeg(3 + number, 2), "cls": number, "JSON": {"n": number}, "seg.png": b""}
            )
    index = index_of(path)
    assert contents(index, path) == webdatasets(path)
    assert index.sample_class.tolist() == list(range(len(keys)))
    images = index.member_height > 0
    assert index.member_width[images].tolist() == list(range(3, 3 + len(keys)))


NAMES = st.lists(
    st.builds(
        lambda key, extension: f"{key}{extension}",
        st.sampled_from(["a", "b", "d/a", "d.e/a", "d/", "__m__", "__m__/a", "ü", ""]),
        st.sampled_from(["", ".jpg", ".JPG", ".cls", ".seg.png", ".", ".x y", ".é"]),
    ).filter(bool),
    max_size=8,
)


@given(NAMES)
def test_any_names_are_grouped_as_webdataset_groups_them(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    """Either both give the same samples, or the index refuses: webdataset's duplicates, and keys that come again."""
    path = write_tar(tmp_path_factory.mktemp("names") / "x.tar", [(name, b"%d" % n) for n, name in enumerate(names)])
    try:
        expected: list[dict[str, Any]] | None = webdatasets(path)
    except ValueError:
        expected = None
    keys = [sample["__key__"] for sample in expected or []]
    if expected is None or len(set(keys)) < len(keys):
        with pytest.raises(DatasetError, match=r"member .* at offset"):
            index_of(path)
    else:
        assert contents(index_of(path), path) == expected


def test_stream_and_file_give_the_same(tmp_path: Path) -> None:
    """A shard that is read once from end to end, as remote ones are."""
    members = [*samples(30), ("big.jpg", jpeg(40, 30, 6) + bytes(9_000_000)), ("big.cls", b"5")]
    path = write_tar(tmp_path / "x.tar", members)
    one, other = index_of(path), index_of(path, stream=True)
    assert one.fingerprint == other.fingerprint
    for name in ("member_offset", "member_height", "member_width", "member_orientation", "sample_class"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert other.member_orientation[-2] == 6


def test_without_sizes_no_content_is_read(tmp_path: Path) -> None:
    """Sizes and classes are unknown then."""
    index = index_of(write_tar(tmp_path / "x.tar", samples(2)), sizes=False)
    assert index.member_height.tolist() == [0] * 4
    assert index.sample_class.tolist() == [NO_CLASS] * 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"7", 7),
        (b" -12\n", -12),
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", NO_CLASS),
        (b"", NO_CLASS),
        (b"cat", NO_CLASS),
        (b"1.5", NO_CLASS),
        (b"\0", NO_CLASS),
        (b"1" * 65, NO_CLASS),
    ],
)
def test_classes_are_whole_numbers(tmp_path: Path, content: bytes, expected: int) -> None:
    """What webdataset's `int(data)` reads, if it fits; else the sample has no class."""
    index = index_of(write_tar(tmp_path / "x.tar", [("a.cls", content)]))
    assert index.sample_class.tolist() == [expected]


def test_duplicates_name_both_places(tmp_path: Path) -> None:
    """The same extension twice in a sample, also in other letters."""
    path = write_tar(tmp_path / "x.tar", [("a.jpg", b"1"), ("a.txt", b""), ("a.JPG", b"2")])
    with pytest.raises(
        DatasetError, match=r"the member 'a\.JPG' at offset 2048 has .* the one at offset 512: a sample"
    ):
        index_of(path)


def test_a_key_that_comes_again_names_both_places(tmp_path: Path) -> None:
    """Its sample would be torn into two, of which one has no image."""
    path = write_tar(tmp_path / "x.tar", [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.cls", b"3")])
    message = r"the key 'a' of the member at offset 2560 was there before, at offset 512, with other keys between"
    with pytest.raises(DatasetError, match=message):
        index_of(path)


def test_too_many_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbered names with a dot before the number: every sample would be one of its own extension."""
    monkeypatch.setattr(table_module, "MAX_EXTENSIONS", 3)
    table = ShardTable("x.tar")
    for number in range(3):
        table.add(b"img.%d" % number, 512 * (1 + number), 0)
    with pytest.raises(
        DatasetError, match=r"more than 3 different extensions, '3' among them: names are split at their"
    ):
        table.add(b"img.3", 2048, 0)


def test_an_empty_archive_has_no_samples(tmp_path: Path) -> None:
    """Nor has one whose members have no key."""
    for members in ([], [("README", b"x"), ("__meta__.json", b""), ("__x__/a.jpg", b"")]):
        index = index_of(write_tar(tmp_path / "x.tar", members))
        assert (len(index), index.extensions, index.shard_bounds.tolist()) in [
            (0, (), [0, 0]),
            (1, ("json",), [0, 1]),  # webdataset leaves out "__meta__", but not "__meta__.json"
        ]


def test_what_is_no_file(tmp_path: Path) -> None:
    """A folder, a missing file."""
    import os

    with pytest.raises(DatasetError, match="is not a regular file"):
        index_of(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="is not a regular file"):
        index_of(tmp_path / "pipe")
