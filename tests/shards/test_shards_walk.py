"""The walk finds what tarfile finds, and refuses what is broken, whatever its bytes are."""

from __future__ import annotations

import gzip
import io
import logging
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tar_shards import END, FORMATS, header, member, pax_header

from dalikit.errors import DatasetError
from dalikit.shards import walk
from dalikit.shards.headers import HeaderError, parse_header, parse_pax
from dalikit.shards.source import Window
from dalikit.shards.walk import MAX_EXTENDED, Member, walk_members


class Bytes:
    """A shard in memory, which notes how much is asked for at once."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.most = 0

    def read(self, offset: int, size: int) -> bytes:
        self.most = max(self.most, size)
        return self.content[offset : offset + size]

    def close(self) -> None:
        pass


def walk_bytes(content: bytes) -> list[Member]:
    """The members of a shard."""
    return list(walk_members("x.tar", Window(Bytes(content)), len(content)))


NAMES = [
    "plain.jpg",
    "with space.jpg",
    "new\nline.jpg",
    "ünïcödé/日本.jpg",
    "d" * 90 + "/" + "e" * 90 + ".jpg",
    "f" * 98 + ".j",
    "raw\udcff.jpg",
]
LONG = ["g" * 150 + ".jpg", "h/" * 150 + "i.jpg", "ü" * 80 + ".jpg"]


@pytest.mark.parametrize("format_name", FORMATS)
def test_members_are_tarfiles(tmp_path: Path, format_name: str) -> None:
    """Names, offsets and contents of regular files, among folders, links and devices, in all three formats."""
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=FORMATS[format_name]) as archive:
        for number, name in enumerate(NAMES + (LONG if format_name != "ustar" else [])):
            for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
                other = tarfile.TarInfo(f"other{number}")
                other.type, other.linkname = kind, "l" * (50 if format_name == "ustar" else 150)
                archive.addfile(other)
            info = tarfile.TarInfo(name)
            info.size = 700 * number
            archive.addfile(info, io.BytesIO(bytes([number]) * info.size))
    with tarfile.open(path) as archive:
        expected = [(m.name, m.offset_data, m.size) for m in archive.getmembers() if m.isreg()]
    content = path.read_bytes()
    found = walk_bytes(content)
    assert [(m.name.decode("utf-8", "surrogateescape"), m.offset, m.size) for m in found] == expected
    assert all(content[m.offset : m.offset + m.size] == bytes([n]) * m.size for n, m in enumerate(found))


def test_names_of_old_formats() -> None:
    """A prefix counts in ustar, not in GNU's format, which keeps times there; a slash marks a V7 folder."""
    content = (
        header(b"a.jpg", 0, prefix=b"dir")
        + header(b"b.jpg", 0, magic=b"ustar  \0", prefix=b"13000000000")
        + header(b"folder/", 0, b"\0", magic=bytes(8))
        + header(b"c.jpg", 0, b"\0", magic=bytes(8))
        + header(b"d.jpg", 0, b"7")
        + END
    )
    assert [m.name for m in walk_bytes(content)] == [b"dir/a.jpg", b"b.jpg", b"c.jpg", b"d.jpg"]


def test_pax_size_and_path_win() -> None:
    """What an extended header says stands above the header's own fields; a global comment changes nothing."""
    content = pax_header({b"comment": b"made by git"}, b"g")
    content += pax_header({b"path": "ü.jpg".encode(), b"size": b"3", b"mtime": b"1.5"})
    content += header(b"short", 0) + b"abc" + bytes(509) + member(b"next.jpg", b"z") + END
    assert [(m.name.decode(), m.size) for m in walk_bytes(content)] == [("ü.jpg", 3), ("next.jpg", 1)]


def test_base_256_size() -> None:
    """Sizes of GNU's that do not fit into octal digits."""
    content = header(b"a.jpg", b"\x80" + (5).to_bytes(11, "big")) + b"hello" + bytes(507) + END
    assert walk_bytes(content) == [Member(b"a.jpg", 512, 5)]


def test_signed_checksum() -> None:
    """Old writers summed signed bytes."""
    block = bytearray(header(b"\xff\xfe.jpg", 0))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % (sum(block) - 512)
    assert parse_header(bytes(block)).name == b"\xff\xfe.jpg"


def test_large_checksum() -> None:
    """Sums past 65521, where Adler-32 starts again."""
    block = header(b"\xff" * 100, 0, b"0", prefix=b"\xfe" * 155, magic=b"ustar\x0000")
    full = bytearray(block)
    full[157:257] = b"\xff" * 100
    full[265:345] = b"\xff" * 80
    full[148:156] = b" " * 8
    assert sum(full) > 65521
    full[148:156] = b"%06o\0 " % sum(full)
    assert len(parse_header(bytes(full)).name) == 256
    full[20] = 0xFD
    with pytest.raises(HeaderError, match="its checksum is wrong"):
        parse_header(bytes(full))


@pytest.mark.parametrize("padding", [0, 10240 - 1024 - 1024])
def test_a_second_archive_behind_the_first(padding: int, caplog: pytest.LogCaptureFixture) -> None:
    """Archives joined with cat: webdataset ends at the first end, and so does the walk, with a warning."""
    one = member(b"a.jpg", b"x") + END + bytes(padding)
    with caplog.at_level(logging.WARNING, "dalikit"):
        assert [m.name for m in walk_bytes(one + member(b"b.jpg", b"y") + END)] == [b"a.jpg"]
        assert f"holds a second archive behind the end of the first, at offset {len(one)}" in caplog.text
        caplog.clear()
        walk_bytes(one + bytes(20480))
    assert caplog.text == ""


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
@pytest.mark.parametrize("format_name", ["gnu", "posix"])
def test_sparse_files_of_gnu_tar_are_refused(tmp_path: Path, format_name: str) -> None:
    """A real sparse file, packed with --sparse: what its header says is not where its bytes lie."""
    with (tmp_path / "hole.jpg").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"x" * 4096)
    command = ["tar", "--sparse", f"--format={format_name}", "-cf", "x.tar", "hole.jpg"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with pytest.raises(DatasetError, match="offset 0: sparse files are not supported: write the shard without them"):
        walk_bytes((tmp_path / "x.tar").read_bytes())


SPARSE = pax_header({b"GNU.sparse.major": b"1"}) + member(b"a.jpg", b"") + END
BROKEN = {
    "cut in a member": (
        member(b"a.jpg", b"x" * 600)[:1000],
        r"cut off after 1000 bytes: the member 'a\.jpg' at offset 0 has",
    ),
    "cut before its end": (member(b"a.jpg", b"x"), r"cut off after 1024 bytes: at offset 1024 neither a header nor"),
    "cut in a header": (member(b"a.jpg", b"x") + bytes(100), "at offset 1024 neither a header nor the end"),
    "empty": (b"", "is empty: not even the end"),
    "short": (b"hello", "is no tar archive: it has 5 bytes"),
    "text": (b"hello\n" * 1000, "offset 0: "),
    "checksum": (header(b"a", 0, checksum=b"000001\0 ") + END, "offset 0: no tar header: its checksum is wrong"),
    "later": (member(b"a.jpg", b"x") + b"\1" * 1024, "offset 1024: "),
    "negative": (header(b"a", b"\xff" * 12) + END, r"offset 0: negative or unknown size b'\\xff"),
    "unreadable size": (header(b"a", b"0x123456789\0") + END, "offset 0: b'0x123456789.x00' is no octal number"),
    "signed size": (header(b"a", b"-0000000001\0") + END, "is no octal number"),
    "larger than the shard": (header(b"a.jpg", 1 << 30) + END, "at offset 0 has 1073741824 bytes"),
    "astronomic": (header(b"a.jpg", b"\x80" + b"\xff" * 11) + END, "cut off after"),
    "extended bomb": (
        header(b"a", MAX_EXTENDED + 1, b"x") + bytes(MAX_EXTENDED + 512) + END,
        "an extended header of 1048577 bytes; the limit",
    ),
    "long name bomb": (header(b"a", 8 << 30, b"L") + END, "cut off after"),
    "two long names": (
        member(b"L", b"a.jpg\0", b"L") * 2 + member(b"a", b"") + END,
        "two extended headers for one member",
    ),
    "global path": (
        pax_header({b"path": b"a.jpg"}, b"g") + member(b"a", b"") + END,
        "a global header that gives every",
    ),
    "pax record": (member(b"x", b"12 path", b"x") + member(b"a", b"") + END, "broken pax record at byte 0"),
    "pax record without =": (
        member(b"x", b"6 abc\n", b"x") + member(b"a", b"") + END,
        "pax record without '=' at byte 0",
    ),
    "pax size": (
        pax_header({b"size": b"-1"}) + member(b"a", b"") + END,
        "pax header: size b'-1' is no number of bytes",
    ),
    "nothing extended": (pax_header({b"path": b"a.jpg"}) + END, "ends at offset 1024 after an extended header"),
    "sparse": (header(b"a", 0, b"S") + END, "sparse files are not supported"),
    "pax sparse": (SPARSE, "sparse files are not supported"),
    "name": (pax_header({b"path": b"a" * 5000}) + member(b"a", b"") + END, "a member's name of 5000 bytes"),
    "gzip": (gzip.compress(member(b"a.jpg", b"x") * 99), "is compressed with gzip: compressed shards have no random"),
    "short gzip": (gzip.compress(b"x"), "is compressed with gzip.* Repack it as a plain tar"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(900), "is compressed with zstd"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_shards_are_named(name: str) -> None:
    """The message says which shard, where, and what is wrong; and little was read for it."""
    content, message = BROKEN[name]
    source = Bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        list(walk_members("the.tar", Window(source), len(content)))
    assert "shard 'the.tar'" in str(caught.value)
    assert source.most <= MAX_EXTENDED


BLOCKS = st.lists(
    st.one_of(
        st.binary(max_size=700),
        st.builds(
            member, st.binary(max_size=20), st.binary(max_size=600), st.sampled_from([b"0", b"5", b"L", b"x", b"g"])
        ),
        st.builds(
            header, st.binary(max_size=20), st.binary(min_size=12, max_size=12), st.binary(min_size=1, max_size=1)
        ),
        st.builds(
            pax_header, st.dictionaries(st.sampled_from([b"path", b"size", b"x"]), st.binary(max_size=9), max_size=2)
        ),
        st.just(bytes(512)),
    ),
    max_size=8,
)


@given(BLOCKS)
def test_any_bytes_end(blocks: list[bytes]) -> None:
    """Only DatasetError comes out, and members lie one behind the other inside the shard."""
    content = b"".join(blocks)
    try:
        found = walk_bytes(content)
    except DatasetError:
        return
    end = 0
    for one in found:
        assert one.offset >= end + 512
        end = one.offset + one.size
    assert end <= len(content)


@given(st.data())
def test_flipped_bytes_of_a_real_tar(data: st.DataObject) -> None:
    """A shard with a few bytes changed is walked over or refused."""
    content = bytearray(member(b"a.jpg", b"x" * 700) + pax_header({b"path": b"p.jpg"}) + member(b"b", b"y") + END)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = walk_bytes(bytes(content))
    except DatasetError:
        return
    assert all(one.offset + one.size <= len(content) for one in found)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"12 path=abc\n" + tail))
@example(b"123\n")
@example(b" 5 a=\n")
@example(b"0 a=\n")
@example(b"2 \n")
def test_any_pax_records(records: bytes) -> None:
    """Only HeaderError comes out of broken records."""
    try:
        found = parse_pax(records)
    except HeaderError:
        return
    assert sum(len(key) + len(value) + 3 for key, value in found.items()) <= len(records)


def test_pax_header_of_many_records_is_linear() -> None:
    """A megabyte of the shortest records takes less than 2 s: no record is copied with all that follow it."""
    records = b"5 a=\n" * (MAX_EXTENDED // 5)
    assert parse_pax(records) == {b"a": b""}


def test_limits_are_what_they_say() -> None:
    """The limits of the walk, which its messages name."""
    assert (walk.MAX_EXTENDED, walk.MAX_NAME) == (1 << 20, 4096)
