"""What a check finds, and what it says about it."""

from __future__ import annotations

import gzip
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from broken_folder import FINDINGS, FINE
from encoded_images import encode, photograph
from PIL import Image, ImageCms

from dalikit.checking import Limits, NativeMessages, ReportWriter, Summary, check_images
from dalikit.checking.complaints import HARMLESS
from dalikit.checking.duplicates import candidates
from dalikit.checking.summary import Tally
from dalikit.datasets import ImageFolder, WebDataset
from dalikit.errors import ArgumentError
from dalikit.exclusion import read_exclusion

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


class Given:
    """Rows of encoded bytes; what cannot be given is raised."""

    def __init__(self, rows: list[Any], targets: list[Any] | None = None) -> None:
        self.rows = rows
        self.targets = targets if targets is not None else [0] * len(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def get_image_data(self, index: int) -> bytes:
        row = self.rows[index]
        if isinstance(row, BaseException):
            raise row
        return bytes(row)

    def get_target(self, index: int) -> Any:
        target = self.targets[index]
        if isinstance(target, BaseException):
            raise target
        return target


def run(dataset: Any, path: Path, **limits: Any) -> tuple[Summary, list[dict[str, Any]]]:
    """Checks; gives the summary and the report's lines."""
    bounds = Limits(**limits)
    with NativeMessages() as messages, ReportWriter(path, dataset, bad=bounds.bad) as report:
        summary = check_images(dataset, report, bounds, num_threads=2, messages=messages)
    return summary, lines_of(path)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Of a report."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def found_in(lines: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Kind and row of each finding."""
    return [(line["kind"], line["index"]) for line in lines[1:-1]]


def test_every_fault_is_found_and_nothing_else(broken_folder: Path, tmp_path: Path) -> None:
    """In words that say what is wrong, at the very image."""
    dataset = ImageFolder(broken_folder)
    summary, lines = run(dataset, tmp_path / "report.jsonl", max_bytes=500_000)
    found: dict[str, list[tuple[str, str]]] = {}
    for line in lines[1:-1]:
        assert line["key"] == dataset.get_key(line["index"])
        assert line["file"] == str(broken_folder / line["key"])
        assert line["fingerprint"] == dataset.fingerprint
        found.setdefault(Path(line["key"]).name, []).append((line["kind"], line["error"]))
    assert found.keys() == FINDINGS.keys()
    for name, wanted in FINDINGS.items():
        assert [kind for kind, _ in found[name]] == [kind for kind, _ in wanted], name
        for (_, error), (_, words) in zip(found[name], wanted, strict=True):
            assert re.search(words, error), name
    assert len(dataset) == len(FINDINGS) + len(FINE)
    assert summary.complete
    assert summary.num_bad == 8


def test_the_report_excludes_what_is_bad(broken_folder: Path, tmp_path: Path) -> None:
    """By itself what no loader can use; with `exclude` other kinds too."""
    dataset = ImageFolder(broken_folder)
    path = tmp_path / "report.jsonl"
    run(dataset, path, max_bytes=500_000)
    assert read_exclusion(path, dataset).tolist() == [2, 3, 4, 7, 10, 11, 13, 14]
    run(dataset, path, max_bytes=500_000, exclude=frozenset({"tiny", "duplicate"}))
    assert read_exclusion(path, dataset).tolist() == [2, 3, 4, 7, 8, 10, 11, 12, 13, 14]


def test_the_first_and_the_last_line(fine_folder: Path, tmp_path: Path) -> None:
    """What was checked, and its sums; no finding in between."""
    dataset = ImageFolder(fine_folder)
    summary, (first, last) = run(dataset, tmp_path / "report.jsonl")
    assert (first["kind"], first["version"], first["length"]) == ("header", 1, 12)
    assert first["fingerprint"] == dataset.fingerprint
    assert (last["kind"], last["complete"], last["checked"], last["num_bad"]) == ("summary", True, 12, 0)
    assert last["formats"] == {"jpeg": 12}
    assert last["bytes"]["total"] == sum(os.path.getsize(path) for path, _ in dataset.samples)
    assert last == {"kind": "summary", **summary.to_dict()}
    assert list(tmp_path.iterdir()) == [tmp_path / "report.jsonl"]


def test_a_dataset_without_files_or_names(fine_folder: Path, tmp_path: Path) -> None:
    """Rows that it cannot give, and targets, are found; its own words are kept."""
    image = next(fine_folder.rglob("*.jpg")).read_bytes()
    dataset = Given([image, KeyError("lost"), b"", image], [0, 0, 0, LookupError("no label")])
    _, lines = run(dataset, tmp_path / "report.jsonl", duplicates=False)
    assert found_in(lines) == [("unreadable", 1), ("corrupt", 2), ("target", 3)]
    assert [line["error"] for line in lines[1:-1]] == [
        "KeyError: 'lost'",
        "no bytes: the file is empty",
        "LookupError: no label",
    ]
    assert lines[0]["fingerprint"] is None
    assert read_exclusion(tmp_path / "report.jsonl", dataset).tolist() == [1, 2, 3]


def test_only_equal_bytes_are_duplicates(fine_folder: Path, tmp_path: Path) -> None:
    """Of many equal ones all but the first; broken ones too, but not those that cannot be read."""
    one, two = (path.read_bytes() for path in sorted(fine_folder.rglob("*.jpg"))[:2])
    rows = [two, one, OSError("a"), one, two, OSError("a"), one, b"x", b"x", one[:-1] + b"\xd8"]
    _, lines = run(Given(rows), tmp_path / "report.jsonl")
    assert [(line["index"], line["of"]) for line in lines if line["kind"] == "duplicate"] == [
        (3, 1),
        (4, 0),
        (6, 1),
        (8, 7),
    ]


def test_equal_marks_are_not_enough(tmp_path: Path) -> None:
    """Two rows of one length and one CRC-32 are compared by what they hold."""
    rows = [bytes(12), _with_the_sum_of(bytes(12))]
    assert rows[0] != rows[1]
    assert zlib.crc32(rows[0]) == zlib.crc32(rows[1])
    summary, _ = run(Given(rows), tmp_path / "report.jsonl")
    assert "duplicate" not in summary.kinds


def _with_the_sum_of(data: bytes) -> bytes:
    """12 other bytes with the CRC-32 of `data`."""
    prefix = b"dalikit!"
    wanted = zlib.crc32(data)
    # Four bytes behind any prefix can make any sum: the columns of a regular 32x32 matrix over GF(2).
    start = zlib.crc32(prefix + bytes(4))
    columns = [zlib.crc32(prefix + (1 << bit).to_bytes(4, "little")) ^ start for bit in range(32)]
    return prefix + _solve(columns, wanted ^ start).to_bytes(4, "little")


def _solve(columns: list[int], wanted: int) -> int:
    """The set of columns, as bits, whose exclusive or is `wanted`."""
    basis: dict[int, tuple[int, int]] = {}
    for bit, column in enumerate(columns):
        vector, used = column, 1 << bit
        while vector and (top := vector.bit_length()) in basis:
            vector, used = vector ^ basis[top][0], used ^ basis[top][1]
        if vector:
            basis[vector.bit_length()] = (vector, used)
    chosen = 0
    while wanted:
        vector, used = basis[wanted.bit_length()]
        wanted, chosen = wanted ^ vector, chosen ^ used
    return chosen


def test_gzipped_rows_are_inflated(fine_folder: Path, tmp_path: Path) -> None:
    """Where the dataset says that they may be; a name's ".gz" is passed over."""
    place = tmp_path / "root" / "class"
    place.mkdir(parents=True)
    image = next(fine_folder.rglob("*.jpg")).read_bytes()
    (place / "a.jpg").write_bytes(gzip.compress(image))
    (place / "b.jpg").write_bytes(image)
    (place / "c.jpg").write_bytes(gzip.compress(image)[:-9])
    dataset = ImageFolder(tmp_path / "root")
    dataset.may_be_gzipped = True
    _, lines = run(dataset, tmp_path / "report.jsonl")
    assert found_in(lines) == [("unreadable", 2), ("duplicate", 1)]


def test_a_dataset_without_encoded_images_is_refused(tmp_path: Path) -> None:
    """It has nothing to decode."""
    with pytest.raises(ArgumentError, match="dataset list cannot be checked: it has no encoded images"):
        run([1, 2], tmp_path / "report.jsonl")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_side": -1}, "min_side=-1: must be a whole number, at least 0"),
        ({"max_pixels": 0}, "max_pixels=0: must be a whole number, at least 1"),
        ({"max_bytes": 0}, "max_bytes=0: must be"),
        ({"exclude": frozenset({"ugly"})}, "exclude=ugly: not known; there are unreadable, corrupt, "),
    ],
)
def test_limits_that_are_off_are_refused(limits: dict[str, Any], message: str) -> None:
    """Naming what came and what is allowed."""
    with pytest.raises(ArgumentError, match=message):
        Limits(**limits)


@pytest.mark.parametrize("make", [lambda path: path, lambda path: path / "nowhere" / "report.jsonl"])
def test_a_report_that_cannot_be_written_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Before anything is read: a folder, or one that is not there."""
    with pytest.raises(ArgumentError, match=r"report '.*' cannot be written: "):
        ReportWriter(make(tmp_path), Given([b""]), bad=frozenset())


def test_secrets_stay_out_of_the_report(tmp_path: Path) -> None:
    """User names, passwords and signatures in addresses."""
    path = tmp_path / "report.jsonl"
    with ReportWriter(
        path, Given([b""]), bad=frozenset(), description="X:root=https://me:pw@host/a?X-Amz-Sig=1"
    ) as out:
        out.finish(Summary.of([], length=1, checked=1, complete=True, num_bad=0, kinds={}, seconds=0.0))
    text = path.read_text()
    assert "host/a" in text
    assert "pw" not in text
    assert "Sig" not in text


def test_sizes_are_summed_up() -> None:
    """Over several threads; the median is the lower of two."""
    tallies = [Tally(), Tally(), Tally()]
    for number, (height, width) in enumerate([(10, 40), (20, 30), (30, 20), (40, 10)]):
        tallies[number % 2].add_image("jpeg", height, width, 3)
        tallies[number % 2].add_bytes(100 + number)
    found = Summary.of(tallies, length=4, checked=4, complete=True, num_bad=0, kinds={}, seconds=2.0).to_dict()
    assert found["height"] == {"min": 10, "median": 20, "max": 40}
    assert found["bytes"] == {"total": 406, "min": 100, "max": 103}
    assert found["images_per_second"] == 2.0


def test_native_messages_come_from_descriptor_2_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """What was written before and after, and by Python, is not among them, and arrives where it should."""
    os.write(2, b"before\n")
    with NativeMessages() as messages:
        start = messages.size
        os.write(2, b"\x1b[31mnative\x1b[0m\nnative\n\nmore\n")
        sys.stderr.write("python\n")
        assert messages.size > start
        assert messages.since(start) == "native; more"
        assert messages.since(messages.size) == ""
    os.write(2, b"after\n")
    assert "native" not in (written := capfd.readouterr().err)
    assert [line for line in written.split() if line != "python"] == ["before", "after"]


def test_python_still_writes_to_stderr_meanwhile() -> None:
    """In a process of its own, where nobody has replaced sys.stderr."""
    script = (
        "import os, sys; from dalikit.checking import NativeMessages\n"
        "with NativeMessages():\n    os.write(2, b'native'); print('python', file=sys.stderr)\n"
        "os.write(2, b'after')"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert result.stderr == "python\nafter"


def test_memory_that_runs_out_is_no_images_fault(tmp_path: Path) -> None:
    """It ends the check, whose report says how far it came."""
    path = tmp_path / "report.jsonl"
    with pytest.raises(MemoryError):
        run(Given([MemoryError()]), path)
    assert lines_of(tmp_path / "report.jsonl.part")[-1]["complete"] is False


def test_marks_of_rows_that_differ_differ() -> None:
    """What may be equal is what has one length and one sum."""
    marks = np.array([5, 0, 7, 5, 0, 9, 7, 7], dtype=np.uint64)
    assert candidates(marks).tolist() == [0, 2, 3, 6, 7]
    assert candidates(np.zeros(3, dtype=np.uint64)).tolist() == []
    assert candidates(np.zeros(0, dtype=np.uint64)).tolist() == []


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves it to the collector
def test_the_extension_of_a_shards_member_is_looked_at(tmp_path: Path, fine_folder: Path) -> None:
    """It is no part of the sample's key."""
    jpeg = min(fine_folder.rglob("*.jpg")).read_bytes()
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        writer.write({"__key__": "fine", "jpg": jpeg, "cls": b"0"})
        writer.write({"__key__": "not", "png": jpeg, "cls": b"0"})
    _, lines = run(WebDataset(tmp_path / "a.tar", progress=False), tmp_path / "report.jsonl", duplicates=False)
    (line,) = [line for line in lines if line["kind"] == "mislabelled"]
    assert (line["index"], line["key"]) == (1, "a.tar/not.png")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_complaints_that_cost_no_pixel_are_no_damage(photographs: list[Path], tmp_path: Path) -> None:
    """A gray PNG with the photograph's colour profile, as Pillow writes it; not half a JPEG."""
    photo = photograph(photographs[0]).convert("RGB")
    photo.info["icc_profile"] = ICC
    photo.convert("L").save(tmp_path / "gray.png")
    png, jpeg = encode(Image.new("RGB", (64, 64), "red"), "PNG"), encode(photo, "JPEG")
    start, scan = png.index(b"IDAT") - 4, jpeg.index(b"\xff\xda")
    bounds = scan + 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big")
    raw = zlib.decompress(png[start + 8 : -16])
    rows = [
        (tmp_path / "gray.png").read_bytes(),
        png[:33] + png_chunk(b"sRGB", b"\x09") + png[33:],
        png[:start] + png_chunk(b"IDAT", zlib.compress(raw) + b"more") + png_chunk(b"IEND", b""),
        png[:start] + png_chunk(b"IDAT", zlib.compress(raw + bytes(999))) + png_chunk(b"IEND", b""),
        jpeg.replace(b"JFIF\0\1", b"JFIF\0\7"),
        jpeg[:2] + b"\xff\xee\0\x0eAdobe\0d\0\0\0\0\7" + jpeg[20:],
        jpeg[: bounds - 3] + b"\1\x3f\0" + jpeg[bounds:],
        jpeg[: (scan + len(jpeg)) // 2] + jpeg[-2:],
    ]
    silent = Limits(duplicates=False)
    with NativeMessages() as messages, ReportWriter(tmp_path / "r", Given(rows), bad=silent.bad) as report:
        check_images(Given(rows), report, silent, num_threads=1, messages=messages)
        heard = os.pread(messages._file, 1 << 16, 0).decode()
    assert all(re.search(f"^{pattern}", heard, re.MULTILINE) for pattern in HARMLESS.values())
    assert found_in(lines_of(tmp_path / "r")) == [("damaged", 7)]
