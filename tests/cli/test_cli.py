"""The command line, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dalikit
from dalikit.cli import main
from dalikit.cli.photographs import make_photographs


def run(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m dalikit ...` in a process of its own, with further environment variables."""
    command = [sys.executable, "-m", "dalikit", *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=cwd, env=environment)


def test_demo_shows_what_it_promises(tmp_path: Path) -> None:
    """Throughput of both loaders, an exact resume, a contact sheet that is a picture."""
    photographs = make_photographs(tmp_path / "mine", 16)
    result = run("demo", "--data", str(photographs), "--seconds", "0.2", "--batch-size", "8", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "16 images in" in result.stdout
    assert "dalikit (host):" in result.stdout or "dalikit (dali):" in result.stdout
    assert "torch DataLoader + Pillow:" in result.stdout
    assert "the same batch, bit for bit" in result.stdout
    assert "streaming" in result.stderr
    with Image.open(tmp_path / "dalikit-demo" / "contact-sheet.png") as sheet:
        assert sheet.size == (8 * 230 + 6, 244 + 6)
        assert np.asarray(sheet).std() > 20


def test_bench_prints_a_table(tmp_path: Path) -> None:
    """All loaders, with ratios to DALI's own pipeline."""
    photographs = make_photographs(tmp_path, 16)
    result = run("bench", "--data", str(photographs), "--seconds", "0.1", "--rounds", "2", "--batch-size", "4")
    assert result.returncode == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[:3]] == [
        "loader",
        "torch DataLoader + Pillow",
        "DALI reader pipeline",
    ]
    assert "| 1.00 |" in rows[2]


def test_bench_measures_dinos_crops(tmp_path: Path) -> None:
    """DINOv2's own augmentation on torchvision, with ratios to it."""
    photographs = make_photographs(tmp_path, 8)
    arguments = ("--workload", "dino", "--seconds", "0.1", "--rounds", "1", "--batch-size", "2")
    result = run("bench", "--data", str(photographs), *arguments)
    assert result.returncode == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if line.startswith("| ")]
    assert rows[1].startswith("| torch DataLoader + torchvision |")
    assert "| 1.00 |" in rows[1]
    assert any(row.startswith("| dalikit (") for row in rows[2:])


def tables(output: str) -> dict[str, list[tuple[str, str]]]:
    """Of each table its title: loaders and ratios."""
    found: dict[str, list[tuple[str, str]]] = {}
    title = ""
    for line in output.splitlines():
        if ": batch " in line:
            title = line
        elif line.startswith("| ") and not line.startswith("| loader"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.setdefault(title, []).append((cells[0], cells[3]))
    return found


def test_bench_measures_a_plain_dataset_of_bytes(tmp_path: Path) -> None:
    """Beside torch's loader and the built-in dataset, which the ratios are to."""
    photographs = make_photographs(tmp_path, 8)
    arguments = ("--workload", "bytes", "--seconds", "0.05", "--rounds", "1", "--batch-size", "2", "--threads", "2")
    result = run("bench", "--data", str(photographs), *arguments)
    assert result.returncode == 0, result.stderr
    (found,) = tables(result.stdout).values()
    assert [name for name, _ in found] == [
        "torch DataLoader, Pillow, 2 workers",
        "dalikit, plain dataset, 2 workers",
        "dalikit, plain dataset, 0 workers",
        "dalikit, ImageFolder, 0 workers",
    ]
    assert found[3][1] == "1.00"


def test_bench_measures_tar_shards(tmp_path: Path) -> None:
    """At random, beside DALI's reader of them, which goes in order, and loose files; the shards are gone after."""
    photographs = make_photographs(tmp_path / "photographs", 8)
    arguments = ("--workload", "shards", "--seconds", "0.05", "--rounds", "1", "--batch-size", "2", "--threads", "2")
    result = run("bench", "--data", str(photographs), *arguments, "--device", "cpu", TMPDIR=str(tmp_path))
    assert result.returncode == 0, result.stderr
    (found,) = tables(result.stdout).values()
    assert [name for name, _ in found] == [
        "DALI webdataset reader, in order",
        "dalikit, shards (dali)",
        "dalikit, files (dali)",
        "dalikit, shards (host)",
        "dalikit, files (host)",
    ]
    assert found[0][1] == "1.00"
    assert list(tmp_path.glob("dalikit-shards-*")) == []


def test_bench_measures_items_of_any_kind(tmp_path: Path) -> None:
    """Decoded images, tensors and tiny ones, each beside torch's loader with as many worker processes."""
    photographs = make_photographs(tmp_path, 8)
    arguments = ("--workload", "items", "--seconds", "0.05", "--rounds", "1", "--batch-size", "2", "--threads", "2")
    result = run("bench", "--data", str(photographs), *arguments)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("items, ")]
    assert [line.split(": batch")[0] for line in lines] == [
        "items, decoded images",
        "items, tensors (3, 64, 64), worker processes",
        "items, tensors (3, 64, 64), no worker processes",
        "items, 16 numbers each, worker processes",
        "items, 16 numbers each, no worker processes",
    ]
    rows = [row for found in tables(result.stdout).values() for row in found]
    assert len(rows) == 10
    for theirs, ours in zip(rows[::2], rows[1::2], strict=True):
        assert theirs[0].startswith("torch DataLoader, ")
        assert theirs[1] == "1.00"
        assert ours[0].startswith("dalikit, ")
        assert ours[0].split(", ")[-1] == theirs[0].split(", ")[-1]


def size_and_mode(path: Path) -> tuple[tuple[int, int], str]:
    """What Pillow says of an image."""
    with Image.open(path) as image:
        return image.size, image.mode


def test_photographs_are_like_imagenets_and_always_the_same(tmp_path: Path) -> None:
    """Sizes and bytes near ImageNet's; a share is gray; a second run makes the same bytes."""
    paths = sorted(make_photographs(tmp_path / "a", 40).rglob("*.jpg"))
    again = sorted(make_photographs(tmp_path / "b", 40).rglob("*.jpg"))
    assert len(paths) == 40
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    sizes, modes = zip(*map(size_and_mode, paths), strict=True)
    assert 380 <= np.mean(sizes) <= 520
    assert 60_000 <= np.mean([path.stat().st_size for path in paths]) <= 160_000
    assert set(modes) == {"RGB", "L"}


def test_errors_are_one_line_and_status_1(tmp_path: Path) -> None:
    """No traceback for what a user can cause."""
    result = run("demo", "--data", str(tmp_path / "nowhere"))
    assert result.returncode == 1
    assert result.stderr.startswith("dalikit demo: ")
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [[], ["dance"], ["bench"], ["demo", "--seconds", "-1"]])
def test_arguments_that_are_off_are_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With the usage."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: dalikit" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`dalikit --version`."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"dalikit {dalikit.__version__}\n"
