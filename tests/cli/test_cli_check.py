"""`dalikit check`, run as a user runs it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dalikit import DataLoader
from dalikit.cli import main
from dalikit.cli.photographs import make_photographs
from dalikit.datasets import ImageFolder

COMMAND = (sys.executable, "-m", "dalikit", "check")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photographs: row 0 is cut off, row 2 the twin of row 1."""
    root = make_photographs(tmp_path_factory.mktemp("check"), 8)
    first, second, third = sorted(root.rglob("*.jpg"))[:3]
    first.write_bytes(first.read_bytes()[:5000])
    third.write_bytes(second.read_bytes())
    return root


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs."""
    return make_photographs(tmp_path_factory.mktemp("fine"), 2)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`python -m dalikit check ...` in a process of its own."""
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def test_the_report_of_a_check_is_a_loaders_exclude(folder: Path, tmp_path: Path) -> None:
    """From the command line to the batch: the broken image stops the loader without it, and not with it."""
    report = tmp_path / "report.jsonl"
    result = run(f"ImageFolder:root={folder}", "--report", report, "--threads", 2)
    assert result.returncode == 1, result.stderr
    assert "corrupt              1" in result.stdout
    assert "duplicate            1" in result.stdout
    assert "bad rows             1" in result.stdout
    assert result.stderr == f"report: {report}\n"
    dataset = ImageFolder(folder)
    with (
        DataLoader(dataset, batch_size=8, device="cpu", seed=0) as loader,
        pytest.raises(RuntimeError, match="truncated JPEG"),
    ):
        next(iter(loader))
    with DataLoader(dataset, batch_size=8, device="cpu", seed=0, exclude=report) as loader:
        images, targets = next(iter(loader))
    assert len(dataset) == len(images) == len(targets) == 8


def test_nothing_bad_is_status_0(fine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A plain folder, without a report, with a summary for programs."""
    assert main(["check", str(fine), "--json", "--no-duplicates"]) == 0
    written = capfd.readouterr()
    summary = json.loads(written.out)
    assert (summary["length"], summary["checked"], summary["complete"], summary["num_bad"]) == (2, 2, True, 0)
    assert summary["kinds"] == {}
    assert written.err == ""


def test_other_kinds_can_be_bad(folder: Path, tmp_path: Path) -> None:
    """Duplicates: all but the first; and what is smaller or larger than the user likes."""
    report = tmp_path / "report.jsonl"
    options = ["--min-side", "10000", "--max-bytes", "1000000", "--max-pixels", "90000000", "--threads", "1"]
    assert main(["check", str(folder), "--report", str(report), "--exclude", "duplicate", *options]) == 1
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(line["index"], line["kind"]) for line in lines if line.get("bad") is True] == [
        (0, "corrupt"),
        (2, "duplicate"),
    ]
    assert sum(line["kind"] == "tiny" for line in lines) == 7
    assert lines[0]["dataset_string"] == f"ImageFolder:root={folder}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere/at/all"], "nowhere"),
        (["Nothing:root=/tmp"], "dataset 'Nothing' is not known"),
        (["ImageFolder:root=/nowhere"], "nowhere"),
        (["FINE", "--exclude", "ugly"], "exclude=ugly: not known; there are unreadable, corrupt"),
        (["FINE", "--report", "/nowhere/report.jsonl"], "report '/nowhere/report.jsonl' cannot be written"),
    ],
)
def test_what_cannot_be_checked_is_status_2(
    fine: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never 1, which says that something bad was found."""
    assert main(["check", *(str(fine) if text == "FINE" else text for text in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dalikit check: ")
    assert message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "the following arguments are required: dataset"),
        (["check", "x", "--threads", "0"], "argument --threads: must be a whole number, at least 1, got '0'"),
        (["check", "x", "--min-side", "-1"], "argument --min-side: must be a whole number, at least 0, got '-1'"),
        (["check", "x", "--max-bytes", "a"], "argument --max-bytes: must be a whole number, at least 1, got 'a'"),
        (["demo", "--seconds", "a"], "argument --seconds: must be a number of seconds above 0, got 'a'"),
        (["demo", "--seconds", "0"], "argument --seconds: must be a number of seconds above 0, got '0'"),
        (["demo", "--seconds", "inf"], "argument --seconds: must be a number of seconds above 0, got 'inf'"),
    ],
)
def test_arguments_that_are_off_are_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the usage, and what is allowed."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert f"usage: dalikit {arguments[0]}" in error
    assert message in error


def test_ctrl_c_ends_it_and_the_report_holds_what_was_found(folder: Path, tmp_path: Path) -> None:
    """Within a second, saying how far it came; what is there is a list for exclude. An earlier report stays."""
    place = tmp_path / "root" / "class"
    place.mkdir(parents=True)
    broken, fine = sorted(folder.rglob("*.jpg"))[:2]
    for number in range(4_000):
        (place / f"{number:05d}.jpg").symlink_to(fine if number else broken)
    report = tmp_path / "report.jsonl"
    report.write_text("complete")
    part = tmp_path / "report.jsonl.part"
    command = [*COMMAND, str(tmp_path / "root"), "--report", str(report), "--threads", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not (part.exists() and '"kind": "corrupt"' in part.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
        took = time.monotonic() - begun
    assert process.returncode == 130
    assert took < 5.0  # 0.6 s where nothing else is at work
    assert "Traceback" not in error
    assert report.read_text() == "complete"
    lines = [json.loads(line) for line in part.read_text().splitlines()]
    assert f"stopped after {lines[-1]['checked']:,} of 4,000 images; what was found is in {part}\n" in error
    assert [line["kind"] for line in lines] == ["header", "corrupt", "summary"]
    assert lines[-1]["complete"] is False
    assert 0 < lines[-1]["checked"] < 4_000


def test_a_report_on_standard_output_stands_before_the_summary(fine: Path, tmp_path: Path) -> None:
    """Through a pipe, and where a shell sends it to a file, which neither is cut off nor replaced."""
    out = tmp_path / "out.txt"
    with out.open("w") as file:
        command = [*COMMAND, str(fine), "--report", "/dev/stdout", "--json"]
        subprocess.run(command, stdout=file, timeout=60, check=True)
    for text in (out.read_text(), run(fine, "--report", "/dev/fd/1", "--json").stdout):
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line.get("kind") for line in lines] == ["header", "summary", None]
    assert os.listdir(tmp_path) == ["out.txt"]


def test_a_terminal_gets_a_progress_bar(fine: Path) -> None:
    """On stderr, which decoders' own messages would break up."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with subprocess.Popen([*COMMAND, str(fine), "--json"], stdout=subprocess.PIPE, stderr=theirs) as process:
        output, _ = process.communicate(timeout=60)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert json.loads(output)["checked"] == 2
    assert "checking" in shown
    assert "2.00/2.00" in shown


def test_a_row_of_gray_pixels_is_found_in_a_process_with_many_threads(tmp_path: Path) -> None:
    """Among many that are decoded at once the damaged ones are told from the others, each by itself."""
    place = tmp_path / "class"
    place.mkdir()
    rng = np.random.default_rng(0)
    for number in range(60):
        path = place / f"{number:02d}.jpg"
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
        if number % 7 == 3:
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    report = tmp_path / "report.jsonl"
    assert run(tmp_path, "--report", report, "--threads", 8).returncode == 0
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["index"] for line in lines if line["kind"] == "damaged"] == list(range(3, 60, 7))
    assert len(lines) == 2 + len(range(3, 60, 7))
