"""`dalikit index`, on real tar shards."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from dalikit.cli import main

SHARDS = 3
SAMPLES = 4  # of each shard


def write_shard(path: Path, number: int) -> None:
    """SAMPLES samples of a "jpg" and a "cls" member; what is in them is of no matter here."""
    with tarfile.open(path, "w") as shard:
        for sample in range(SAMPLES):
            for extension, content in (("jpg", bytes([number + 1]) * (100 + sample)), ("cls", str(sample).encode())):
                member = tarfile.TarInfo(f"{number:02d}{sample:02d}.{extension}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder of SHARDS shards."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(SHARDS):
        write_shard(folder / f"{number:03d}.tar", number)
    return folder


def test_build_says_what_is_in_the_shards(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Samples, shards, extensions with their counts and sizes; the index lies where datasets look for it."""
    assert main(["index", "build", f"{shards}/{{000..002}}.tar"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    (index,) = shards.glob("*.index")
    assert first == f"12 samples in 3 shards, index in {index}"
    assert sorted(line.split()[:3] for line in rest) == [["cls", "12", "members"], ["jpg", "12", "members"]]


def test_build_prints_json_and_writes_where_it_is_told(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several patterns are one index, in their order."""
    out = tmp_path / "my.index"
    arguments = [f"{shards}/002.tar", f"{shards}/00[01].tar", "--processes", "1", "--restart", "--json"]
    assert main(["index", "build", *arguments, "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert out.exists()
    assert len(found.pop("fingerprint")) == 16
    sizes = {"jpg": {"members": 12, "bytes": SHARDS * (100 + 101 + 102 + 103)}, "cls": {"members": 12, "bytes": 12}}
    assert found == {"index": str(out), "samples": 12, "shards": 3, "extensions": sizes}


def test_verify_is_silent_about_what_is_right(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Quickly, and to the last member."""
    pattern = f"{shards}/*.tar"
    assert main(["index", "build", pattern]) == 0
    capsys.readouterr()
    assert main(["index", "verify", pattern]) == 0
    assert ": 12 samples in 3 shards, " in capsys.readouterr().out
    assert main(["index", "verify", pattern, "--full", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["samples"], found["shards"], found["faults"]) == (12, 3, [])


def test_verify_names_a_shard_that_was_changed(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, and what to do."""
    pattern = f"{shards}/*.tar"
    assert main(["index", "build", pattern]) == 0
    write_shard(shards / "001.tar", 9)
    capsys.readouterr()
    assert main(["index", "verify", pattern]) == 1
    written = capsys.readouterr()
    assert "001.tar" in written.out
    assert "000.tar" not in written.out
    assert "build it anew: dalikit index build" in written.err
    assert main(["index", "verify", pattern, "--json"]) == 1
    assert any("001.tar" in fault for fault in json.loads(capsys.readouterr().out)["faults"])


def test_verify_needs_an_index(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It makes none."""
    monkeypatch.setenv("DALIKIT_CACHE", str(tmp_path / "cache"))
    assert main(["index", "verify", f"{shards}/*.tar"]) == 1
    assert "there is no index at " in capsys.readouterr().err


def test_convert_writes_a_file_for_each_shard(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the form that DALI's readers take: a line that counts, then one for each sample."""
    out = tmp_path / "dali"
    assert main(["index", "convert", "--to", "dali", f"{shards}/*.tar", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"3 files in {out}\n"
    assert sorted(path.name for path in out.iterdir()) == ["000.idx", "001.idx", "002.idx"]
    first, *samples = (out / "001.idx").read_text().splitlines()
    assert first == f"v1.2 {SAMPLES}"
    assert [sample.split()[0::4] for sample in samples] == [["jpg", "cls"]] * SAMPLES
    offset, size = map(int, samples[2].split()[1:3])
    assert (shards / "001.tar").read_bytes()[offset : offset + size] == bytes([2]) * 102


def test_convert_refuses_two_shards_of_one_name(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One would take the other's place."""
    other = tmp_path / "other"
    other.mkdir()
    write_shard(other / "001.tar", 5)
    arguments = [f"{shards}/*.tar", f"{other}/001.tar", "--out", str(tmp_path / "dali")]
    assert main(["index", "convert", "--to", "dali", *arguments]) == 2
    assert "several shards would write '001.idx'" in capsys.readouterr().err


def test_a_broken_shard_is_status_1_and_one_line(shards: Path) -> None:
    """In a process of its own: no traceback."""
    path = shards / "001.tar"
    path.write_bytes(path.read_bytes()[:1000])
    command = [sys.executable, "-m", "dalikit", "index", "build", f"{shards}/*.tar"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("dalikit index: ")
    assert "001.tar" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["burn"],
        ["build"],
        ["build", "x", "--processes", "0"],
        ["convert", "x", "--out", "y"],
        ["convert", "x", "--to", "dali"],
    ],
)
def test_arguments_that_are_off_show_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2."""
    with pytest.raises(SystemExit) as caught:
        main(["index", *arguments])
    assert caught.value.code == 2
    assert "usage: dalikit index" in capsys.readouterr().err
