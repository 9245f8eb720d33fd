"""Lists that would be misread without a word are refused: headers, delimiters, slips among targets, equal names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from dalikit.datasets.manifest import Manifest
from dalikit.errors import ArgumentError, DatasetError


def listed(tmp_path: Path, text: str, name: str = "l.csv", **options: Any) -> Manifest:
    """A list with this content."""
    (tmp_path / name).write_text(text)
    return Manifest(tmp_path / name, root=tmp_path, **options)


NUMBERS = "".join(f"{row}.jpg,{row}\n" for row in range(20))
FLOATS = "".join(f"{row}.jpg,{row}.5\n" for row in range(20))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "shot,animal\na.jpg,cat\n",
            DatasetError,
            r"line 1: 'shot', 'animal' looks like a header, .*the next one's is \('a.jpg'\)\. Say which .* image=",
        ),
        ("\nshot\na.JPEG\n", DatasetError, "line 2: 'shot' looks like a header"),
        ("shot,animal\nhttps://h/a.png?sig=1,cat\n", DatasetError, "line 1: 'shot', 'animal' looks like a header"),
        ("path;label\na.jpg;cat\n", DatasetError, "line 1: 'path;label' has no comma, but .*semicolons must become"),
        ("a.jpg\t1\nb.jpg\t2\n", DatasetError, r"line 1: 'a.jpg\\t1' has no comma, but a tab.* Say kind=\"tsv\""),
        (
            NUMBERS + "a.jpg,NA\nb.jpg,NA\n",
            DatasetError,
            "line 21: target 'NA' is no number, and 20 of the 21 different targets are; correct the row, or leave it",
        ),
        ("path,label\n" + FLOATS + "a.jpg,-\n", DatasetError, "line 22: target '-' is no number, and 20 of the 21"),
        ("path,label,Label\na,1,2\n", ArgumentError, "2 columns are called 'label'; which is meant. Rename the others"),
        ("path,path,label\na,b,2\n", ArgumentError, "2 columns are called 'path'; which is meant"),
    ],
)
def test_what_would_be_misread_is_refused(tmp_path: Path, text: str, kind: type[Exception], message: str) -> None:
    """By its line, with what to do."""
    with pytest.raises(kind, match=message):
        listed(tmp_path, text)


@pytest.mark.parametrize(("option", "name"), [("image", "A"), ("target", "b"), ("offset", "o"), ("size", "o")])
def test_a_name_that_two_columns_have_cannot_be_asked_for(tmp_path: Path, option: str, name: str) -> None:
    """Whatever it is for."""
    options = {"image": "x", "target": "none", "offset": "p", "size": "p", option: name}
    with pytest.raises(ArgumentError, match=f"2 columns are called '{name}'; which is meant"):
        listed(tmp_path, "x,A,a,A,b,b,o,o,p\n1,2,3,4,5,6,7,8,9\n", **options)


@pytest.mark.parametrize(
    ("text", "options", "paths", "targets"),
    [
        ("photo,species\na.jpg,cat\n", {}, ["a.jpg"], [0]),
        ("a.jpg,cat\nb,dog\n", {}, ["a.jpg", "b"], [0, 1]),
        ("a,cat\nb,dog\n", {}, ["a", "b"], [0, 1]),
        ("shot,animal\na.jpg,cat\n", {"image": "shot", "target": "animal"}, ["a.jpg"], [0]),
        ("path\na;b.jpg\n", {}, ["a;b.jpg"], [(), ()]),
        ("a;b.jpg\n", {"kind": "text"}, ["a;b.jpg"], [()]),
        ("a;b.jpg,1\nc\td.jpg,2\n", {}, ["a;b.jpg", "c\td.jpg"], [1, 2]),
        ("path,label,Label\na,1,2\n", {"target": "Label"}, ["a"], [2]),
        ("path,label,x,x\na,1,2,3\n", {}, ["a"], [1]),
        ("a,1\nb,2\nc,x\n", {}, ["a", "b", "c"], [0, 1, 2]),
    ],
)
def test_what_can_be_meant_is_read(
    tmp_path: Path, text: str, options: dict[str, Any], paths: list[str], targets: list[Any]
) -> None:
    """Equal names in columns that nobody asks for too."""
    dataset = listed(tmp_path, text, **options)
    assert [dataset.get_key(row) for row in range(len(dataset))] == paths
    assert [dataset.get_target(row) for row in range(len(paths))] == targets[: len(paths)]


def test_a_null_character_in_a_parquets_target_is_refused(tmp_path: Path) -> None:
    """It would shift the targets of the rows behind it."""
    table = pyarrow.table({"path": ["a", "b", "c"], "label": ["x", "y\0z", "y"]})
    parquet.write_table(table, tmp_path / "l.parquet")
    with pytest.raises(DatasetError, match=r"row 1: target 'y\\x00z' holds a null character"):
        Manifest(tmp_path / "l.parquet", root=tmp_path)


def test_two_columns_of_a_parquet_with_one_name(tmp_path: Path) -> None:
    """Either might be meant."""
    columns = [pyarrow.array(["a"]), pyarrow.array([1]), pyarrow.array([2])]
    table = pyarrow.Table.from_arrays(columns, names=["path", "label", "label"])
    parquet.write_table(table, tmp_path / "l.parquet")
    with pytest.raises(ArgumentError, match="2 columns are called 'label'"):
        Manifest(tmp_path / "l.parquet", root=tmp_path)


def test_a_long_line_is_refused_before_it_is_in_memory(tmp_path: Path) -> None:
    """Its pieces are counted together; many lines in many pieces are none."""
    from dalikit.datasets.manifest.rows import _MAX_LINE, _Stream

    (tmp_path / "l.txt").write_text("a\n")
    stream = _Stream(str(tmp_path / "l.txt"))
    piece = b"x" * (_MAX_LINE // 4)
    for _ in range(12):
        stream._check(piece + b"\n")
    for _ in range(4):
        stream._check(piece)
    with pytest.raises(DatasetError, match="a line has more than 1048576 bytes"):
        stream._check(b"x")
