"""Manifest reads lists of images of all kinds, and misreads none."""

from __future__ import annotations

import csv
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from dataset_contract import DatasetContract
from fault_server import fault_server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

import dalikit.transforms as T
from dalikit import DataLoader
from dalikit.datasets import create_dataset
from dalikit.datasets.manifest import Manifest
from dalikit.errors import ArgumentError, DalikitError, DatasetError, DatasetNotFoundError, EmptyDatasetError
from dalikit.storage import Location


def images(root: Path) -> Path:
    """Three of them."""
    for number, name in enumerate(("cat/1.png", "cat/a b.png", "dog/1.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (80 * number, 0, 0)).save(root / name)
    return root


def listed(tmp_path: Path, text: str | bytes, name: str = "list.csv", **options: Any) -> Manifest:
    """A list with this content."""
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return Manifest(tmp_path / name, **{"root": tmp_path} | options)


def rows(dataset: Manifest) -> list[tuple[str, Any]]:
    """Path as listed, and target."""
    return [(dataset._paths[row], dataset.get_target(row)) for row in range(len(dataset))]


class TestManifest(DatasetContract):
    """Keeps what built-in datasets keep; a path may come twice."""

    text = "path,label\ncat/1.png,cat\ncat/a b.png,cat\ndog/1.png,dog\ncat/1.png,dog\n"

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Any:
        return listed(images(tmp_path / "here"), self.text)

    @pytest.fixture
    def twin(self, tmp_path: Path) -> Any:
        return listed(tmp_path, self.text, root=images(tmp_path / "there"))

    def test_attributes(self, dataset: Manifest, tmp_path: Path) -> None:
        assert dataset.root == f"{tmp_path}/here"
        assert dataset.classes == ["cat", "dog"]
        assert dataset.class_to_idx == {"cat": 0, "dog": 1}
        assert dataset.targets is not None
        assert (dataset.targets.dtype, dataset.targets.tolist()) == (np.int64, [0, 0, 1, 1])
        assert type(dataset.get_target(0)) is int
        assert [dataset.get_key(row) for row in (0, 1, 3)] == ["cat/1.png", "cat/a b.png", "cat/1.png#3"]
        expected = f"Manifest(file={dataset.file!r}, root={dataset.root!r}, num_samples=4, num_classes=2)"
        assert repr(dataset) == expected
        with pytest.raises(ValueError, match="read-only"):
            dataset.targets[0] = 1


class TestManifestWithByteRanges(DatasetContract):
    """So does one whose images lie within large files; two in one file."""

    def make(self, root: Path) -> Manifest:
        data = [path.read_bytes() for path in sorted(images(root).rglob("*.png"))]
        (root / "all.bin").write_bytes(b"xx" + b"".join(data[:2]))
        text = "f\to\ts\n" + "".join(
            f"{name}\t{offset}\t{len(each)}\n"
            for name, offset, each in zip(
                ("all.bin", "all.bin", "dog/1.png"), (2, 2 + len(data[0]), 0), data, strict=True
            )
        )
        return listed(root, text, "list.tsv", image="f", offset="o", size="s", target="none")

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Any:
        return self.make(tmp_path / "here")

    @pytest.fixture
    def twin(self, tmp_path: Path) -> Any:
        return self.make(tmp_path / "there")


# Forms

BOTH = [("a.jpg", 3), ("b c.jpg", -4)]


@pytest.mark.parametrize(
    ("name", "text", "options", "expected"),
    [
        ("l.csv", "a.jpg,3\nb c.jpg,-4\n", {}, BOTH),
        ("l.csv", "a.jpg,3\r\n\r\nb c.jpg, -4", {}, BOTH),
        ("l.csv", "\ufeffpath,label\na.jpg,3\nb c.jpg,-4\n", {}, BOTH),
        ("l.csv", "label,other,File_Name\n3,x,a.jpg\n-4,y,b c.jpg\n", {}, BOTH),
        ("l.csv", "label,other,Where\n3,5,a.jpg\n-4,6,b c.jpg\n", {"image": "where", "target": "label"}, BOTH),
        ("l.csv", "x,y\na.jpg,3\nb c.jpg,-4\n", {"image": "x", "target": "y"}, BOTH),
        ("l.csv", "path,x\na.jpg,3\n", {"target": "none"}, [("a.jpg", ())]),
        ("l.csv", "a.jpg,3\n", {"target": "none"}, [("a.jpg", ())]),
        ("l.csv", "a.jpg\nb c.jpg\n", {}, [("a.jpg", ()), ("b c.jpg", ())]),
        ("l.csv", "path\na.jpg\n", {}, [("a.jpg", ())]),
        ("l.csv", 'a.jpg,3\n"b,""c"".jpg",4\n"d\ne.jpg",5\n', {}, [("a.jpg", 3), ('b,"c".jpg', 4), ("d\ne.jpg", 5)]),
        ("l.tsv", "a.jpg\t3\nb c.jpg\t-4\n", {}, BOTH),
        ("l.txt", "a.jpg\t3\nb c.jpg\t-4\n", {}, BOTH),
        ("l.txt", "a.jpg 3\nb c.jpg -4 \n\n", {}, BOTH),
        ("l", "a.jpg 3\r\nb c.jpg -4", {}, BOTH),
        ("l.csv", "a.jpg 3\nb c.jpg -4\n", {"kind": "text"}, BOTH),
        ("l.txt", "a.jpg,3\nb c.jpg,-4\n", {"kind": "csv"}, BOTH),
        ("l.txt", "a b.jpg\nc, d.jpg\n", {}, [("a b.jpg", ()), ("c, d.jpg", ())]),
        ("l.txt", "a 1\nb\n", {"target": "None"}, [("a 1", ()), ("b", ())]),
        ("l.txt", "\n\n3\n4\n", {}, [("3", ()), ("4", ())]),
        ("l.csv", "a,1\nb,2.5\nc,-.5e1\nd,inf\n", {}, [("a", 1.0), ("b", 2.5), ("c", -5.0), ("d", float("inf"))]),
        ("l.csv", "a,10\nb,9\nc,x\n", {}, [("a", 0), ("b", 1), ("c", 2)]),
        ("l.csv", "a,cat\nb, cat\nc,Ärger\n", {}, [("a", 0), ("b", 0), ("c", 1)]),
        ("l.csv", "a,1_0\nb,٣\n", {}, [("a", 0), ("b", 1)]),
        ("l.csv", "a,007\nb,+8\n", {}, [("a", 7), ("b", 8)]),
        ("l.csv", "a,-9223372036854775808\n", {}, [("a", -(2**63))]),
    ],
)
def test_forms(tmp_path: Path, name: str, text: str, options: dict[str, Any], expected: list[Any]) -> None:
    """Every kind of list, with and without a header."""
    dataset = listed(tmp_path, text, name, **options)
    assert rows(dataset) == expected
    assert all(type(mine[1]) is type(theirs[1]) for mine, theirs in zip(rows(dataset), expected, strict=True))
    assert (dataset.targets is None) == (expected[0][1] == ())


def test_classes_are_sorted_over_the_whole_list(tmp_path: Path) -> None:
    """However many blocks it has; numbers before the first name are names too."""
    count = 20_000
    dataset = listed(tmp_path, "".join(f"{row}.jpg,{row % 7}\n" for row in range(count)) + "x.jpg,bird\n")
    assert dataset.classes == ["0", "1", "2", "3", "4", "5", "6", "bird"]
    assert dataset.targets is not None
    assert dataset.targets.tolist() == [*(row % 7 for row in range(count)), 7]


def test_a_path_may_be_any_bytes(tmp_path: Path) -> None:
    """As file systems allow; the image is read."""
    name = b"\xff\xe9.png"
    Image.new("RGB", (4, 4)).save(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)), "PNG")
    for form, text in (("l.csv", name + b",3\n"), ("l.txt", name + b"\t3\n")):
        dataset = listed(tmp_path, text, form)
        assert dataset[0][0].size == (4, 4)
        assert os.fsencode(dataset.get_key(0)) == name
        assert pickle.loads(pickle.dumps(dataset)).get_location(0) == dataset.get_location(0)


@pytest.mark.parametrize(
    ("root", "path", "uri"),
    [
        (None, "a/b.jpg", "{tmp}/a/b.jpg"),
        (None, "/data/b.jpg", "/data/b.jpg"),
        (None, "s3://bucket/b.jpg", "s3://bucket/b.jpg"),
        ("/data/", "b.jpg", "/data/b.jpg"),
        ("rel", "b.jpg", "rel/b.jpg"),
        ("/", "b.jpg", "/b.jpg"),
        ("https://host/x", "../b.jpg", "https://host/x/../b.jpg"),
        ("~/data", "b.jpg", "{home}/data/b.jpg"),
    ],
)
def test_where_images_lie(tmp_path: Path, root: str | None, path: str, uri: str) -> None:
    """Relative to the root, which is the list's folder."""
    if uri.startswith("{tmp}"):
        image = tmp_path / path
        image.parent.mkdir()
        image.touch()
    dataset = listed(tmp_path, f"{path}\n", root=root)
    assert dataset.get_location(0) == Location(uri.format(tmp=tmp_path, home=os.path.expanduser("~")))
    assert dataset.remote is ("://" in uri)
    assert dataset.get_key(0) == path


def test_a_list_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images are named as they are listed."""
    (tmp_path / "list.txt").write_text("a.jpg\n")
    (tmp_path / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    dataset = Manifest("list.txt")
    assert (dataset.root, dataset.get_location(0).uri) == ("", "a.jpg")


def test_keys_are_unique_whatever_paths_are_called(tmp_path: Path) -> None:
    """A path may look like a repeated one."""
    dataset = listed(tmp_path, "a\na#2\na\na##7\n", "l.txt")
    keys = [dataset.get_key(row) for row in range(4)]
    assert keys == ["a", "a#2", "a###2", "a##7"]
    assert listed(tmp_path, "a\nb\na\n", "l.txt").get_key(2) == "a#2"


@given(st.lists(st.sampled_from(["a", "b", "a#1", "b#2", "a##1", "c"]), min_size=1, max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_keys_are_unique(tmp_path: Path, paths: list[str]) -> None:
    dataset = listed(tmp_path, "".join(f"{path}\n" for path in paths), "l.txt")
    keys = [dataset.get_key(row) for row in range(len(paths))]
    assert len(set(keys)) == len(keys)
    for row, path in enumerate(paths):
        assert keys[row] == path if path not in paths[:row] else keys[row].startswith(f"{path}#")


def test_the_fingerprint_tells_lists_apart(tmp_path: Path) -> None:
    """Paths, targets and their kind, classes, offsets."""
    texts = ["a,1\nb,2\n", "a,1\nb,3\n", "b,1\na,2\n", "a,1\nb,2.0\n", "a,x\nb,y\n", "a,x\nb,z\n", "a\nb\n"]
    prints = [listed(tmp_path, text).fingerprint for text in texts]
    header = "path,label,offset,size\n"
    columns = {"offset": "offset", "size": "size"}
    cells = ("0,5", "1,5", "0,6")
    prints += [listed(tmp_path, f"{header}a,1,{each}\nb,2,0,5\n", **columns).fingerprint for each in cells]
    assert len(set(prints)) == len(prints)
    assert listed(tmp_path, "path\tlabel\na\t1\nb\t2\n", "l.tsv").fingerprint == prints[0]


# Parquet


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 1], [3, 1]),
        (pyarrow.array([3, 1], pyarrow.uint8()), [3, 1]),
        ([0.5, 1.5], [0.5, 1.5]),
        ([True, False], [1, 0]),
        (["dog", "cat"], [1, 0]),
        (pyarrow.array(["dog", "cat"]).dictionary_encode(), [1, 0]),
        (["10", "9"], [10, 9]),
    ],
)
def test_parquet(tmp_path: Path, values: Any, expected: list[Any]) -> None:
    """Columns by name; targets of every type."""
    table = pyarrow.table({"label": values, "other": [[1], [2]], "path": ["a.jpg", "b.jpg"], "o": [5, 6], "s": [7, 8]})
    parquet.write_table(table, tmp_path / "l.parquet")
    dataset = Manifest(tmp_path / "l.parquet", root=tmp_path, offset="o", size="s")
    assert rows(dataset) == list(zip(("a.jpg", "b.jpg"), expected, strict=True))
    assert dataset.get_location(1) == Location(f"{tmp_path}/b.jpg", 6, 8)
    same = "path,label,o,s\n" + "".join(
        f"{path},{value},{o},7\n" for path, value, o in zip("ab", expected, (5, 6), strict=True)
    )
    assert type(dataset.get_target(0)) is type(listed(tmp_path, same, offset="o", size="s").get_target(0))


@pytest.mark.parametrize(
    ("columns", "options", "kind", "message"),
    [
        ({"path": [b"x"]}, {}, DatasetError, "image column 'path' holds binary; paths are wanted, as text"),
        ({"image": [{"bytes": b"x"}]}, {}, DatasetError, "image column 'image' holds struct.*Hugging Face's datasets"),
        ({"path": ["a", None]}, {}, DatasetError, r"l.parquet', row 1: column 'path' holds a null"),
        ({"path": ["a"], "label": [None]}, {}, DatasetError, "target column 'label' holds null; numbers or texts"),
        ({"path": ["a"], "label": [[1]]}, {}, DatasetError, "target column 'label' holds list"),
        ({"path": ["a", "b"], "label": [1, None]}, {}, DatasetError, "row 1: column 'label' holds a null"),
        (
            {"path": ["a"], "label": np.array([2**63], np.uint64)},
            {},
            DatasetError,
            "row 0: target 9223372036854775808 has more than 64 bits",
        ),
        (
            {"path": ["a"], "o": ["1"]},
            {"offset": "o", "size": "o", "target": "none"},
            DatasetError,
            "'o' holds string; whole numbers",
        ),
        (
            {"path": ["a"], "o": [-1]},
            {"offset": "o", "size": "o"},
            DatasetError,
            "row 0: offset must be .* at least 0, got '-1'",
        ),
        ({"path": ["a", ""]}, {}, DatasetError, "row 1: '' cannot be the path of an image"),
        ({"path": ["a\0b"]}, {}, DatasetError, r"row 0: 'a\\x00b' cannot be the path of an image"),
        ({"x": ["a"]}, {}, ArgumentError, "which column is the image's. Say image=; the first row is 'x'"),
        ({"path": ["a"]}, {"image": "y"}, ArgumentError, "image column 'y' is not there; the first row is 'path'"),
    ],
)
def test_parquet_that_cannot_be_meant(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    parquet.write_table(pyarrow.table(columns), tmp_path / "l.parquet")
    with pytest.raises(kind, match=message):
        Manifest(tmp_path / "l.parquet", **options)


def test_what_is_no_parquet_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"l.parquet' cannot be read as Parquet: "):
        listed(tmp_path, "a,b\n" * 9, "l.parquet")
    with pytest.raises(DatasetNotFoundError, match=r"nothing.parquet' does not exist"):
        Manifest(tmp_path / "nothing.parquet")


def test_without_pyarrow_the_package_is_named(tmp_path: Path) -> None:
    """In an interpreter that cannot import it; lists of other kinds do not need it."""
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from dalikit.datasets.manifest import Manifest\n"
        f"(open({str(tmp_path / 'l.csv')!r}, 'w').write('/a'), Manifest({str(tmp_path / 'l.csv')!r}))\n"
        "Manifest('/l.parquet')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (
        "ArgumentError: Manifest '/l.parquet' needs the package pyarrow: pip install 'dalikit[parquet]'" in done.stderr
    )


# Refusals


@pytest.mark.parametrize(
    ("name", "text", "options", "kind", "message"),
    [
        ("l.csv", "", {}, EmptyDatasetError, r"Manifest '.*/l.csv' has no rows"),
        ("l.csv", "path,label\n", {}, EmptyDatasetError, "has no rows"),
        ("l.txt", "\n\n", {}, EmptyDatasetError, "has no rows"),
        ("l.csv", "a,1\nb\n", {}, DatasetError, r"l.csv', line 2: has 1 fields, the first row 2: 'b'"),
        (
            "l.csv",
            '"a\r\nb",1\n\n"c\nd",2\ne,3,4\n',
            {},
            DatasetError,
            "line 6: has 3 fields, the first row 2: 'e', '3'",
        ),
        ("l.csv", "a,1\n" * 9000 + "b,\n", {}, DatasetError, "line 9001: the target is empty"),
        ("l.csv", "a,1\n,2\n", {}, DatasetError, "line 2: '' cannot be the path of an image"),
        ("l.csv", 'a,1\nb,"2"x\n', {}, DatasetError, "l.csv', line 2: .*; a quote within a field is doubled"),
        ("l.csv", 'a,1\n"b', {}, DatasetError, "l.csv', line 2: unexpected end of data"),
        ("l.csv", 'a,1\n"' + "b\n" * 99_999, {}, DatasetError, "field larger than field limit"),
        ("l.csv", f"a,1\nb,{2**63}\n", {}, DatasetError, "line 2: target 9223372036854775808 has more than 64 bits"),
        ("l.csv", f"a,1\nb,2\nc,{'9' * 5000}\n", {}, DatasetError, "line 3: target 9{50} has more than 64 bits"),
        (
            "l.csv",
            "shot,animal\na,1\nb,2\n",
            {},
            ArgumentError,
            "first line looks like a header: its target is 'anim",
        ),
        ("l.csv", "a,b,c\n", {}, ArgumentError, "has 3 columns, and no known name in its first row: 'a', 'b', 'c'"),
        ("l.csv", "path,x\na,b\n", {}, ArgumentError, r"which column is the target's\? Say target= .*'path', 'x'"),
        ("l.csv", "x,label\na,b\n", {"target": "label"}, ArgumentError, r"which column is the image's\? Say image="),
        ("l.csv", "path,x\na,b\n", {"target": "y"}, ArgumentError, "target column 'y' is not there; .*'path', 'x'"),
        (
            "l.csv",
            "path,o\na,x\n",
            {"offset": "o", "size": "o"},
            DatasetError,
            "line 2: offset must be a whole number of at least 0",
        ),
        (
            "l.csv",
            "path,s\na,0\n",
            {"size": "s", "offset": "s"},
            DatasetError,
            "line 2: size must be a whole number of at least 1, got '0'",
        ),
        (
            "l.csv",
            f"path,o,s\na,0,{2**63}\n",
            {"offset": "o", "size": "s"},
            DatasetError,
            "size must .* got '9223372036854775808'",
        ),
        ("l.csv", b"a\0b,1\n", {}, DatasetError, r"l.csv': holds a null byte: it is no text.* A list is text"),
        (
            "l.csv",
            "path,label\na,1\n".encode("utf-16"),
            {},
            DatasetError,
            "is UTF-16 text. A list is text, CSV, TSV or",
        ),
        (
            "l.csv",
            "path,label\na,1\n".encode("utf-16-le"),
            {},
            DatasetError,
            "holds a null byte: it is no text, or UTF-16",
        ),
        ("l.xlsx", b"PK\x03\x04abc", {}, DatasetError, r"l.xlsx' is a zip file \(xlsx, ods, npz\). A list is text"),
        ("l.csv.gz", b"\x1f\x8b\x08abc", {}, DatasetError, "is a gzip file. A list is text"),
        ("l.list", b"PAR1abc", {}, DatasetError, "is a Parquet file. .* kind= says which"),
        ("l.jsonl", '{"path": "a.jpg", "label": 1}\n', {}, DatasetError, "is JSON. A list is text"),
        ("l.json", '[\n {"path": "a.jpg"}]', {}, DatasetError, "is JSON. A list is text"),
        ("l.csv", "<!DOCTYPE html><html>", {}, DatasetError, "is a web page. A list is text"),
        ("l.csv", "path,o\na,1\n", {"offset": "o"}, ArgumentError, "offset='o' without size: give both"),
        ("l.csv", "path,s\na,1\n", {"size": "s"}, ArgumentError, "size='s' without offset: give both"),
        ("l.txt", b"x" * 3_000_000, {}, DatasetError, "a line has more than 1048576 bytes; this is no list of images"),
        ("l.csv", b"a\n" + b"x" * 3_000_000, {}, DatasetError, "a line has more than 1048576 bytes"),
        ("l.txt", "a\t1\nb 2\n", {}, DatasetError, "line 2: 'b 2' is not of the form .*, which is path, tab, target"),
        ("l.txt", "a\t1\nb\t2\t3\n", {}, DatasetError, "line 2: .* is not of the form"),
        ("l.txt", "0\t1\ta\n", {}, DatasetError, "line 1: .* is not of the form"),
        ("l.txt", "a 1\nb c\n", {}, DatasetError, "line 2: 'b c' is not .*which is path, space, whole number. Put one"),
        ("l.txt", "a\nb 1\n", {}, DatasetError, "line 2: 'b 1' is not .* which is a path alone. .* say target=none"),
        ("l.txt", "a 1\n", {"image": "x"}, ArgumentError, "a text has no named columns, but image='x' was given"),
        ("l.txt", "a 1\n", {"target": "x"}, ArgumentError, "a text has no named columns, but target='x' was given"),
        (
            "l.txt",
            "a",
            {"kind": "xml"},
            ArgumentError,
            "kind must be one of csv, tsv, parquet, text, or None, got 'xml'",
        ),
        ("l.csv", "a", {"image": ""}, ArgumentError, "image must be the name of a column, or None, got ''"),
        ("l.csv", "a", {"root": ""}, ArgumentError, "root must be a path or an address, got ''"),
    ],
)
def test_lists_that_cannot_be_meant(
    tmp_path: Path, name: str, text: str | bytes, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        listed(tmp_path, text, name, **options)


def test_a_list_that_is_not_where_its_images_are(tmp_path: Path) -> None:
    """It says root=, when none of the first files is there; one of them that is missing is a bad row."""
    text = "".join(f"{row}.jpg\n" for row in range(20))
    with pytest.raises(DatasetNotFoundError, match=r"/0\.jpg' is not there, nor is any of the first 8\. Say root= if"):
        listed(tmp_path, text, root=None)
    (tmp_path / "7.jpg").touch()
    assert len(listed(tmp_path, text, root=None)) == 20


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "path,label\na.jpg,1\ns3://KEY:SECRET@bucket/a.jpg,2\n", "line 3: a s3:// address holds a user name"),
        (
            "l.txt",
            "https://h:90/a 1\n\nhttps://h:90/b 1\nhttps://SECRET@h:90/b 1\n",
            "line 4: a https:// address holds",
        ),
        ("l.txt", "s3://KEY:SECRET/key@bucket/a\n", "line 1: a s3:// address cannot be understood"),
        ("l.txt", "a\t1\ns3://KEY:SECRET@bucket/a b\n", "line 2: 's3://...@bucket/a b' is not of the form"),
        ("l.csv", "a,1\ns3://KEY:SECRET@bucket/a,b,c\n", "line 2: has 3 fields, the first row 2: 's3://...@bucket/a"),
        ("l.csv", "s3://KEY:SECRET@bucket/a,b,c\n", "has 3 columns"),
    ],
)
def test_rows_with_passwords(tmp_path: Path, name: str, text: str, message: str) -> None:
    """They are refused before a key or a pickle holds them, by their line."""
    with pytest.raises(DalikitError, match=message) as caught:
        listed(tmp_path, text, name)
    assert "SECRET" not in str(caught.value)


def test_hosts_may_have_ports_and_containers_accounts(tmp_path: Path) -> None:
    """And a local path may hold anything."""
    paths = [
        "https://host:90/a.jpg",
        "https://host:90/b@c.jpg",
        "abfss://c@account.dfs.core.windows.net/a",
        "a/x://b:c@d",
    ]
    dataset = listed(tmp_path, "".join(f"{path}\n" for path in paths))
    assert [dataset.get_key(row) for row in range(4)] == paths


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    for name in ("l.csv", "l.txt"):
        with pytest.raises(DatasetNotFoundError, match=f"{name}' does not exist"):
            Manifest(tmp_path / name)
    with pytest.raises(DatasetError, match="cannot be read: Is a directory"):
        Manifest(tmp_path)
    with pytest.raises(ArgumentError, match="file must be a path or an address, got 3"):
        Manifest(3)  # type: ignore[arg-type]


@given(
    st.one_of(st.binary(max_size=60), st.text('a1,\t" \n\r.-é', max_size=40).map(str.encode)),
    st.sampled_from(["csv", "tsv", "text", "parquet"]),
    st.sampled_from([None, "none", "a"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds(tmp_path: Path, data: bytes, kind: str, target: str | None) -> None:
    """Rows, or one of dalikit's errors."""
    try:
        dataset = listed(tmp_path, data, kind=kind, target=target)
    except DalikitError:
        return
    assert len(dataset) > 0
    for row in range(len(dataset)):
        assert dataset.get_location(row).uri
        assert isinstance(dataset.get_target(row), int | float | tuple)
        assert dataset.get_key(row)


FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@given(
    st.lists(st.tuples(FIELDS, st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=6),
    st.sampled_from(["csv", "tsv"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_pythons_csv_writes_is_read(tmp_path: Path, table: list[tuple[str, int]], kind: str) -> None:
    """Any text as a path."""
    with open(tmp_path / "l", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="," if kind == "csv" else "\t")
        writer.writerow(["path", "target"])
        writer.writerows(table)
    assert rows(Manifest(tmp_path / "l", root=tmp_path, kind=kind)) == table


# Large, remote, and in a loader


@pytest.mark.parametrize("name", ["l.csv", "l.txt"])
def test_many_rows_take_little_time(tmp_path: Path, name: str) -> None:
    """A fifth of a million; memory is that of the paths and 8 bytes a target."""
    separator, count = ("," if name == "l.csv" else " "), 200_000
    text = "".join(f"n{row % 1000:08d}/{row}.JPEG{separator}{row % 1000}\n" for row in range(count))
    (tmp_path / name).write_text(text)
    start = time.process_time()
    dataset = Manifest(tmp_path / name, root=tmp_path)
    assert time.process_time() - start < 1.5
    assert dataset.get_key(count - 1) == f"n{(count - 1) % 1000:08d}/{count - 1}.JPEG"
    assert len(pickle.dumps(dataset)) < len(text) + 17 * count


@pytest.mark.parametrize("name", ["l.csv", "l.parquet"])
def test_a_remote_list_of_remote_images(tmp_path: Path, name: str) -> None:
    """Paths are names below the list's address; what a query holds is no one's business."""
    names = [path.relative_to(tmp_path).as_posix() for path in sorted(images(tmp_path).rglob("*.png"))]
    parquet.write_table(pyarrow.table({"path": names, "label": [3, 4, 5]}), tmp_path / "l.parquet")
    (tmp_path / "l.csv").write_text("".join(f"{path},{3 + row}\n" for row, path in enumerate(names)))
    with fault_server() as server:
        for path in [*names, name]:
            server.objects[f"/data/{path}"] = (tmp_path / path).read_bytes()
        dataset = Manifest(f"{server.url}/data/{name}?sig=secret", transform=T.CenterCrop(4))
        assert dataset.remote
        assert dataset.get_location(1).uri == f"{server.url}/data/cat/a%20b.png"
        assert dataset.get_image_data(1) == (tmp_path / "cat/a b.png").read_bytes()
        with DataLoader(dataset, batch_size=3, device="cpu") as loader:
            [(pixels, targets)] = loader
        assert (pixels[:, 0, 0, 0].tolist(), targets.tolist()) == ([0, 80, 160], [3, 4, 5])
        assert "secret" not in repr(dataset)
        server.objects[f"/data/{name}"] = b"a,1\n,2\n"
        with pytest.raises(DatasetError, match=rf"Manifest '{server.url}/data/{name}\?\.\.\.'") as caught:
            Manifest(f"{server.url}/data/{name}?sig=secret")
        assert "secret" not in str(caught.value)


def test_a_loader_reads_a_list(tmp_path: Path) -> None:
    """By name; targets are joined."""
    (images(tmp_path) / "l.csv").write_text("img,y\ncat/1.png,cat\ncat/a b.png,cat\ndog/1.png,dog\n")
    dataset = create_dataset(f"Manifest:file={tmp_path}/l.csv:image=img:target=y", T.CenterCrop(4))
    with DataLoader(dataset, batch_size=3, device="cpu") as loader:
        [(pixels, targets)] = loader
    assert pixels[:, 0, 0, 0].tolist() == [0, 80, 160]
    assert torch.equal(targets, torch.tensor([0, 0, 1]))
    bare = create_dataset(f"Manifest:file={tmp_path}/l.csv:image=img:target=none", T.CenterCrop(4))
    with DataLoader(bare, batch_size=2, device="cpu") as loader:
        assert [targets for _, targets in loader] == [[], []]
