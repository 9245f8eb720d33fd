"""Indexes are made shard by shard, in processes, and from where they were left off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tar_shards import samples, write_shards, write_tar

from dalikit.errors import ArgumentError, DatasetError
from dalikit.shards import ShardIndex, build_index, read_index
from dalikit.shards import build as build_module
from dalikit.shards import versions as versions_module
from dalikit.shards.index import COLUMNS
from dalikit.shards.partial import PartialFolder
from dalikit.shards.versions import index_settled
from dalikit.shards.walker import Walker
from dalikit.storage import ObjectInfo, stat_object


def equal(one: ShardIndex, other: ShardIndex) -> bool:
    """Whether all columns are equal."""
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS)


def test_processes_make_the_same_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, walked: list[str]) -> None:
    """However many walk, and whichever is done first; what was kept meanwhile is removed."""
    shards = write_shards(tmp_path / "d", [3, 0, 8, 1, 2, 5])
    alone = build_index(shards, tmp_path / "alone.index", num_processes=1)
    assert len(walked) == 6
    walked.clear()
    monkeypatch.setattr(build_module, "ALONE_SECONDS", 0.0)
    together = build_index(shards, tmp_path / "together.index", num_processes=3)
    assert walked == []
    assert equal(alone, together)
    assert alone.fingerprint == together.fingerprint
    assert sorted(os.listdir(tmp_path)) == ["alone.index", "d", "together.index"]


def test_streams_make_the_same_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads walk where shards are remote."""
    shards = write_shards(tmp_path / "d", [3, 2, 1])
    alone = build_index(shards, tmp_path / "alone.index", num_processes=1)
    monkeypatch.setattr(build_module, "is_remote", lambda _: True)
    assert equal(alone, build_index(shards, tmp_path / "threads.index"))


def test_an_interrupted_build_goes_on(tmp_path: Path, walked: list[str]) -> None:
    """A broken shard ends it; once that is repaired, only it and those after it are walked over."""
    shards = write_shards(tmp_path / "d", [2] * 6)
    content = Path(shards[4]).read_bytes()
    Path(shards[4]).write_bytes(content[:700])
    path = tmp_path / "the.index"
    with pytest.raises(DatasetError, match=r"shard-004\.tar' is cut off"):
        build_index(shards, path, num_processes=1)
    done = set(walked) - {"shard-004.tar"}
    assert not path.exists()
    assert len(os.listdir(tmp_path / "the.index.partial")) == len(done)
    walked.clear()
    Path(shards[4]).write_bytes(content)
    index = build_index(shards, path, num_processes=1)
    assert set(walked) == {os.path.basename(shard) for shard in shards} - done
    assert sorted(os.listdir(tmp_path)) == ["d", "the.index"]
    assert equal(index, build_index(shards, tmp_path / "fresh.index"))


def test_without_resume_it_begins_again(tmp_path: Path, walked: list[str]) -> None:
    """And what was left is removed in the end."""
    shards = write_shards(tmp_path / "d", [1, 1])
    path = tmp_path / "the.index"
    kept = PartialFolder(f"{path}.partial")
    for shard in shards:
        os.makedirs(f"{path}.partial", exist_ok=True)
        Path(kept.path(shard)).write_bytes(b"something else")
    build_index(shards, path, num_processes=1, resume=False)
    assert len(walked) == 2
    assert sorted(os.listdir(tmp_path)) == ["d", "the.index"]


def test_what_was_left_of_a_changed_shard_is_not_used(tmp_path: Path, walked: list[str]) -> None:
    """Nor a file that a crash left in part."""
    shards = write_shards(tmp_path / "d", [1, 1, 1])
    path = tmp_path / "the.index"
    folder = PartialFolder(f"{path}.partial")
    os.makedirs(f"{path}.partial")
    for shard in shards:
        build_index([shard], folder.path(shard))
    walked.clear()
    write_tar(Path(shards[0]), samples(2, 50))
    torn = Path(folder.path(shards[1]))
    content = torn.read_bytes()
    torn.write_bytes(content[:-4] + bytes(4))  # as after a loss of power: the last page was not written
    index = build_index(shards, path, num_processes=1)
    assert sorted(walked) == ["shard-000.tar", "shard-001.tar"]
    assert index.key(1) == "s00051"


BUILD = """
import sys
from dalikit.shards import build_index, build
build.ALONE_SECONDS = 0.0
print(len(build_index(sys.argv[2:], sys.argv[1], num_processes=2)))
"""


def test_a_killed_build_leaves_no_half_file_and_goes_on(tmp_path: Path) -> None:
    """SIGKILL in the middle; the processes that it had started end by themselves."""
    shards = write_shards(tmp_path / "d", [60] * 8)
    path = tmp_path / "the.index"
    build = subprocess.Popen([sys.executable, "-c", BUILD, str(path), *shards], stdout=subprocess.PIPE)
    partial = Path(f"{path}.partial")
    while build.poll() is None and not (
        partial.is_dir() and any(name.endswith(".index") for name in os.listdir(partial))
    ):
        pass
    build.send_signal(signal.SIGKILL)
    assert build.stdout is not None
    build.stdout.read()  # ends once nobody is left who could write
    build.stdout.close()
    build.wait()
    if path.exists():  # it was quicker than the signal
        read_index(path, digest=True)
    index = build_index(shards, path)
    assert len(index) == 480
    assert not partial.exists()


def test_a_walker_that_is_killed_is_named(tmp_path: Path) -> None:
    """The error says which shard, and what was kept."""
    shard = write_shards(tmp_path / "d", [1])[0]
    walker = Walker()
    walker.index(shard, str(tmp_path / "x.index"))
    walker.kill()
    with pytest.raises(
        DatasetError, match=r"the process that indexed shard '.*shard-000\.tar' ended with exit code -9"
    ):
        walker.index(shard, str(tmp_path / "x.index"))
    walker.close()


def test_errors_of_a_walker_are_those_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their type and text."""
    shards = write_shards(tmp_path / "d", [1, 1])
    Path(shards[0]).write_bytes(b"hello" * 1000)
    Path(shards[1]).write_bytes(b"hello" * 1000)
    monkeypatch.setattr(build_module, "ALONE_SECONDS", 0.0)
    with pytest.raises(DatasetError, match=r"shard '.*\.tar', offset 0: ") as caught:
        build_index(shards, tmp_path / "the.index", num_processes=2)
    assert type(caught.value) is DatasetError


def test_a_shard_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody still writes to it."""
    shard = write_shards(tmp_path / "d", [2])[0]
    whole = versions_module.index_shard

    def meanwhile(version: ObjectInfo, **options: Any) -> ShardIndex:
        index = whole(version, **options)
        with open(shard, "ab") as file:
            file.write(bytes(512))
        return index

    monkeypatch.setattr(versions_module, "index_shard", meanwhile)
    with pytest.raises(DatasetError, match=r"was changed while it was indexed: it had .* and now has"):
        index_settled(shard)


def test_a_change_of_the_same_size_while_it_is_read_shows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its time."""
    shard = write_shards(tmp_path / "d", [2])[0]
    whole = versions_module.index_shard

    def meanwhile(version: ObjectInfo, **options: Any) -> ShardIndex:
        index = whole(version, **options)
        os.utime(shard, ns=(10**18, 10**18))
        return index

    monkeypatch.setattr(versions_module, "index_shard", meanwhile)
    with pytest.raises(DatasetError, match="was changed while it was indexed"):
        index_settled(shard)


def test_a_shard_of_this_moment_is_waited_for(tmp_path: Path) -> None:
    """So that a change within the same tick of the clock would show: the recorded time is past when it is read."""
    shard = write_shards(tmp_path / "d", [1])[0]
    os.utime(shard)
    version = index_settled(shard).versions[0]
    write_tar(Path(shard), samples(1))
    assert stat_object(shard).mtime_ns != version.mtime_ns


def test_what_is_found_goes_to_a_file_when_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a gigabyte is not held in memory; the index is the same."""
    shards = write_shards(tmp_path / "d", [3, 2, 1, 4])
    alone = build_index(shards, tmp_path / "alone.index", num_processes=1)
    monkeypatch.setattr(build_module, "HELD_BYTES", 300)
    assert equal(alone, build_index(shards, tmp_path / "joined.index", num_processes=1))
    assert sorted(os.listdir(tmp_path)) == ["alone.index", "d", "joined.index"]


def test_another_process_that_is_done_first_is_made_use_of(tmp_path: Path, walked: list[str]) -> None:
    """It has put the index in place and removed the folder: nothing is walked over again."""
    shards = write_shards(tmp_path / "d", [1, 2])
    path = tmp_path / "the.index"
    folder = PartialFolder(str(tmp_path / "the.index.partial"), index=str(path))
    made = build_index(shards, path, num_processes=1)
    walked.clear()
    parts = [folder.load(stat_object(shard)) for shard in shards]
    assert walked == []
    assert [part is not None and part.samples for part in parts] == [slice(0, 1), slice(1, 3)]
    assert len(made) == 3


def test_threads_that_build_at_once_do_no_harm(tmp_path: Path) -> None:
    """The same file, the same folder of parts, begun together."""
    shards = write_shards(tmp_path / "d", [4] * 10)
    path = tmp_path / "the.index"
    begin = threading.Barrier(3)
    made: list[ShardIndex] = []

    def build() -> None:
        begin.wait()
        made.append(build_index(shards, path, num_processes=1))

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 3
    assert all(equal(index, made[0]) for index in made)
    assert len(read_index(path, digest=True)) == 40


def test_arguments(tmp_path: Path) -> None:
    """Nothing to index, no process, no place."""
    with pytest.raises(ArgumentError, match="shards must name at least one shard, got none"):
        build_index([], tmp_path / "x")
    with pytest.raises(ArgumentError, match="num_processes must be at least 1, got 0"):
        build_index(["a"], tmp_path / "x", num_processes=0)
    (tmp_path / "file").touch()
    for counts in ([1], [1, 1]):
        with pytest.raises(DatasetError, match=r"index '.*/file/x' cannot be written: "):
            build_index(write_shards(tmp_path / "d", counts), tmp_path / "file" / "x")


def test_a_progress_bar_is_shown_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr."""
    build_index(write_shards(tmp_path / "d", [1, 1]), tmp_path / "x", progress=True)
    shown = capsys.readouterr()
    assert "indexing" in shown.err
    assert "2/2" in shown.err
    assert shown.out == ""
