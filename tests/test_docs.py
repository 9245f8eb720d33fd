"""The pages in docs say what the code does: rows, numbers, what is refused; and their examples run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

import dalikit
import dalikit.transforms as T
from dalikit.errors import ArgumentError
from dalikit.transforms import operations as op
from dalikit.transforms.accuracy import EXECUTORS, MEASURED

DOCS = Path(dalikit.__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS))
from transform_measuring import Measured, executor_makers, measure, squares  # noqa: E402
from transform_page import cells_of  # noqa: E402
from transform_pictures import DINO_PICTURE, PICTURED_KINDS  # noqa: E402
from transform_reference import v2  # noqa: E402
from transform_rows import KINDS, ROWS, Row, measured_key, operation_names  # noqa: E402

PAGE = (DOCS / "transforms.md").read_text()
NUMBERS = re.compile(r"exact|[\d.]+ / (<0.001|[\d.]+) / (<0.001|[\d.]+) %")


def cells(line: str) -> list[str]:
    """Those of a line of a table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def table(heading: str) -> list[list[str]]:
    """The lines of the first table below a heading, without its titles."""
    _, _, text = PAGE.partition(f"\n{heading}\n")
    assert text, f"no heading {heading!r}"
    lines = [line for line in text.split("\n#")[0].splitlines() if line.startswith("|")]
    return [cells(line) for line in lines[2:]]


def rows_of(kind: str) -> list[Row]:
    return [row for row in ROWS if row.kind == kind]


# Rows


def test_every_transform_has_a_row() -> None:
    text = " ".join(f"{row.label} {row.code}" for row in ROWS)
    for name in T.__all__:
        thing = getattr(T, name)
        if isinstance(thing, type) and issubclass(thing, T.Transform) and thing is not T.Transform:
            assert re.search(rf"\b{name}\b", text), f"docs/transform_rows.py has no row for {name}"


def test_no_two_rows_have_one_name() -> None:
    assert len({row.label for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("kind", KINDS)
def test_operations_and_operators_are_the_codes(kind: str) -> None:
    """`make docs` has to be run again where this fails: the numbers are of another graph."""
    found = table(f"### {KINDS[kind]}")
    assert [line[:3] for line in found] == [cells_of(row) for row in rows_of(kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_has_numbers_or_a_reason(kind: str) -> None:
    for line, row in zip(table(f"### {KINDS[kind]}"), rows_of(kind), strict=True):
        numbers, note = line[3:-1], line[-1]
        assert len(numbers) >= len(EXECUTORS)
        if row.reason:
            assert (set(numbers), note) == ({""}, row.reason)
        else:
            assert all(NUMBERS.fullmatch(number) for number in numbers), line


# Numbers


def test_every_operation_is_measured_in_both_executors() -> None:
    names = {kind.__name__ for kind in get_args(op.Operation)} - {"Select"}  # which is its cases
    assert {key.split(".")[0] for key in MEASURED} == names | {"Decode", "Erase", "Output"}
    assert all(errors[name] is not None for errors in MEASURED.values() for name in EXECUTORS)


def test_every_operation_has_rows_that_consist_of_it_alone() -> None:
    assert {measured_key(row) for row in ROWS if not row.reason} - {None} == set(MEASURED)
    assert operation_names(T.RandomResizedCrop(9, antialias=False)) == ["Crop", "Resize.bilinear antialias=False"]
    assert operation_names(T.Compose([])) == ["Decode"]


def test_the_table_of_operations_is_what_describe_says() -> None:
    """Largest and mean difference; a mean that is too small to tell is cut short on the page."""
    found = {line[0]: line[1:] for line in table("## Single operations")}
    assert set(found) == set(MEASURED)
    for key, errors in MEASURED.items():
        for name, told in zip(EXECUTORS, found[key], strict=False):
            largest, mean = errors[name] or (0.0, 0.0)
            shown = "<0.001" if mean < 0.001 else f"{mean:g}"
            assert told == "exact" if largest == 0 else told.startswith(f"{largest:g} / {shown} / ")


def test_measuring_finds_what_is_equal_and_what_is_not(photographs: list[Path], tmp_path: Path) -> None:
    paths = squares(photographs[:3], tmp_path, 64)
    makers = executor_makers(None)
    assert set(makers) == set(EXECUTORS)
    same = Row("levels", "same", T.RandomInvert(1.0), "RandomInvert(p=1.0)", drawn=False)
    other = Row("levels", "other", T.RandomInvert(1.0), "RandomSolarize(255, p=1.0)", drawn=False)
    assert measure(same, paths, makers) == dict.fromkeys(EXECUTORS, Measured(0.0, 0.0, 0.0))
    for found in measure(other, paths, makers).values():
        assert found.largest > 200
        assert found.mean > 20
        assert 0.5 < found.share <= 1.0


def test_floating_outputs_are_compared_in_levels(photographs: list[Path], tmp_path: Path) -> None:
    paths = squares(photographs[:2], tmp_path, 32)
    normalized = T.Compose([T.RandomInvert(1.0), T.ToTensor(), T.Normalize([0.5] * 3, [0.25] * 3)])
    code = "Compose([RandomInvert(p=1.0), ToTensor(), Normalize([0.5] * 3, [0.25 * 128 / 127] * 3)])"
    row = Row("output", "another std", normalized, code, drawn=False)
    for found in measure(row, paths, executor_makers(None)).values():
        assert 0.5 < found.largest < 1.1  # 1 / 128 of the distance from the middle, at most 127.5 levels
        assert found.share == 0


# What else the page says


def test_the_text_is_the_templates() -> None:
    for part in re.split(r"\[\[[A-Z]+\]\]", (DOCS / "transforms.in.md").read_text()):
        assert part in PAGE, "docs/transforms.md is generated: write into transforms.in.md and run make docs"


def test_it_says_with_what_it_was_made() -> None:
    for module in ("dalikit", "Python", "torch", "torchvision", "pillow", "nvidia-dali-cuda120", "numpy"):
        assert re.search(rf"\b{module} \d+\.\d+", PAGE), module
    assert re.search(r"Measured on \d+ photographs", PAGE)


def refusals() -> list[tuple[str, str]]:
    """Code that is refused, and what the page says to write instead."""
    lines = table("## What is refused, and what to write instead")
    return [tuple(re.findall(r"`([^`]+)`", line[0])[:1] + re.findall(r"`([^`]+)`", line[2])) for line in lines]


@pytest.mark.parametrize(("refused", "instead"), refusals())
def test_what_it_calls_refused_is_refused_and_what_it_advises_is_not(refused: str, instead: str) -> None:
    names: dict[str, Any] = {"T": T, "v2": v2}
    with pytest.raises(ArgumentError, match=r"."):
        eval(refused, names)
    assert isinstance(eval(instead, names), T.Transform)


def test_every_picture_is_there_and_small() -> None:
    names = sorted(f"{name}.jpg" for name in (*PICTURED_KINDS, DINO_PICTURE))
    assert sorted(path.name for path in (DOCS / "transforms").iterdir()) == names
    assert sorted(re.findall(r"\]\(transforms/([^)]+)\)", PAGE)) == names
    for name in names:
        path = DOCS / "transforms" / name
        assert path.stat().st_size < 300_000
        with Image.open(path) as picture:
            assert picture.width <= 1200


# Examples


def examples(page: str) -> list[str]:
    """Its pieces of Python, each a script of its own."""
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def promised(example: str) -> list[str]:
    """What it says that it prints: behind each print, or in lines of their own."""
    return re.findall(r"^ *(?:print\(.*\)  # |# prints: )(.+)$", example, re.MULTILINE)


def test_what_an_example_promises_is_found() -> None:
    """Both forms, in order, and no other comment."""
    example = "print(1)  # 1\nx = 2  # a number\nfor x in 'ab':\n    print(x)\n# prints: a\n    # prints: b\n"
    assert promised(example) == ["1", "a", "b"]


@pytest.mark.parametrize("number", range(len(examples("workers.md"))))
def test_examples_with_workers_print_what_they_say(number: int, photograph_root: Path, tmp_path: Path) -> None:
    """Run as a script, beside a folder of images; without a warning, and in a minute."""
    example = examples("workers.md")[number]
    assert promised(example)
    (tmp_path / "images").symlink_to(photograph_root)
    (tmp_path / "example.py").write_text(example)
    result = subprocess.run(
        [sys.executable, "-W", "error", "example.py"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == promised(example)
    assert result.stderr == ""
