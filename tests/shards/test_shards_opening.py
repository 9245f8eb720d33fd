"""An index is used while it fits, and made anew where a shard changed."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tar_shards import samples, write_shards, write_tar

from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError
from dalikit.shards import ShardIndex, build_index, open_index, read_index
from dalikit.shards.index import COLUMNS


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder."""
    monkeypatch.setenv("DALIKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(one: ShardIndex, other: ShardIndex) -> bool:
    """Whether two indexes say the same."""
    columns = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS)
    return columns and (one.shards, one.extensions, one.fingerprint) == (
        other.shards,
        other.extensions,
        other.fingerprint,
    )


def test_the_second_opening_walks_over_nothing(tmp_path: Path, walked: list[str]) -> None:
    """The index lies beside the shards, and says what it said."""
    shards = write_shards(tmp_path / "d", [3, 1, 2])
    first = open_index(shards)
    assert sorted(walked) == ["shard-000.tar", "shard-001.tar", "shard-002.tar"]
    second = open_index(shards)
    assert len(walked) == 3
    assert same(first, second)
    assert first.path is not None
    assert Path(first.path).parent == tmp_path / "d"
    assert sorted(os.listdir(tmp_path / "d")) == sorted([*map(os.path.basename, shards), Path(first.path).name])
    assert [first.key(row) for row in range(6)] == [f"s{row:05d}" for row in range(6)]
    assert [first.shard_of(row) for row in range(6)] == [0, 0, 0, 1, 2, 2]
    assert first.member_width[::2].tolist() == [1, 2, 3, 4, 5, 6]
    assert first.sample_class.tolist() == [0, 1, 2, 3, 4, 5]


def test_only_a_changed_shard_is_walked_again(tmp_path: Path, walked: list[str]) -> None:
    """By its size, or by its time alone; and never read by the old index."""
    shards = write_shards(tmp_path / "d", [2, 2, 2])
    before = open_index(shards)
    walked.clear()
    write_tar(Path(shards[1]), [("new.png", b"x")])
    after = open_index(shards)
    assert walked == ["shard-001.tar"]
    assert [after.key(row) for row in range(len(after))] == ["s00000", "s00001", "new", "s00004", "s00005"]
    assert after.extensions == ("cls", "jpg", "png")
    assert same(after, build_index(shards, tmp_path / "fresh.index"))
    assert before.fingerprint != after.fingerprint
    walked.clear()
    os.utime(shards[2], ns=(1, 1))
    assert same(open_index(shards), after)
    assert walked == ["shard-002.tar"]


def test_a_shard_more_or_less_takes_over_the_others(tmp_path: Path, walked: list[str]) -> None:
    """With the index named, shards that it knows are not walked over; extensions that are gone are forgotten."""
    shards = write_shards(tmp_path / "d", [2, 2])
    shards.append(str(write_tar(tmp_path / "d" / "z.tar", [("z.png", b"")])))
    path = tmp_path / "the.index"
    assert open_index(shards[:2], index=path).path == str(path)
    assert open_index(shards, index=path).extensions == ("cls", "jpg", "png")
    assert walked.count("z.tar") == 1
    walked.clear()
    fewer = open_index([shards[1], shards[0]], index=path)
    assert walked == []
    assert fewer.extensions == ("cls", "jpg")
    assert [fewer.key(row) for row in range(4)] == ["s00002", "s00003", "s00000", "s00001"]


def test_a_shard_listed_twice_has_its_samples_twice(tmp_path: Path, walked: list[str]) -> None:
    """As in webdataset; it is walked over once."""
    shards = write_shards(tmp_path / "d", [2])
    index = open_index(shards * 2)
    assert walked == ["shard-000.tar"]
    assert [index.key(row) for row in range(4)] == ["s00000", "s00001"] * 2
    assert same(index, open_index(shards * 2))


def test_moved_together_the_index_still_fits(tmp_path: Path, walked: list[str]) -> None:
    """Names beside the index are relative to it; the fingerprint does not know the folder."""
    shards = write_shards(tmp_path / "d", [2, 1])
    first = open_index(shards)
    walked.clear()
    (tmp_path / "d").rename(tmp_path / "e")
    moved = open_index([shard.replace("/d/", "/e/") for shard in shards])
    assert walked == []
    assert moved.fingerprint == first.fingerprint
    assert moved.shards[0] == str(tmp_path / "e" / "shard-000.tar")


def test_shards_of_several_folders_have_their_index_in_the_cache(
    tmp_path: Path, cache: Path, walked: list[str]
) -> None:
    """There is no folder that is theirs."""
    shards = write_shards(tmp_path / "d", [1]) + write_shards(tmp_path / "e", [1])
    index = open_index(shards)
    assert index.path is not None
    assert Path(index.path).parent == cache
    walked.clear()
    assert same(open_index(shards), index)
    assert walked == []


def test_where_nothing_can_be_written_it_works_from_memory(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning that says so. A file stands where the cache folder would be, and access is denied beside."""
    shards = write_shards(tmp_path / "d", [2, 1])
    cache.write_text("no folder")
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "d" and allowed(path, mode))
    with caplog.at_level(logging.WARNING, "dalikit"):
        index = open_index(shards)
    assert index.path is None
    assert "cannot be written" in caplog.text
    assert "It stays in memory" in caplog.text
    again = pickle.loads(pickle.dumps(index))
    assert same(index, again)


def test_pickles_as_its_path(tmp_path: Path) -> None:
    """A worker process maps the file again, instead of getting a copy of every column."""
    index = open_index(write_shards(tmp_path / "d", [40]))
    pickled = pickle.dumps(index)
    assert len(pickled) < 600
    assert same(pickle.loads(pickled), index)


def test_another_index_in_its_place_is_not_taken(tmp_path: Path) -> None:
    """What was pickled is of other samples."""
    shards = write_shards(tmp_path / "d", [2])
    path = tmp_path / "the.index"
    pickled = pickle.dumps(open_index(shards, index=path))
    write_tar(Path(shards[0]), samples(3))
    open_index(shards, index=path)
    with pytest.raises(DatasetError, match=r"the\.index' was made anew while it was in use: open the dataset again"):
        pickle.loads(pickled)


def test_an_index_that_another_process_puts_in_its_place_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two datasets with one `index=`, made at the same moment: each has its own rows, whoever was the last to write."""
    path, other = tmp_path / "the.index", tmp_path / "other.index"
    shards, others = write_shards(tmp_path / "d", [2, 1]), write_shards(tmp_path / "e", [2, 2])
    build_index(others, other)
    put = Path.replace

    def replace_twice(self: Path, target: Path) -> Path:
        put(self, target)
        return put(other, target) if target == path else target

    monkeypatch.setattr(Path, "replace", replace_twice)
    index = open_index(shards, index=path)
    assert (len(index), index.shards) == (3, tuple(shards))
    assert len(read_index(path)) == 4
    with pytest.raises(DatasetError, match="datasets of other shards need an index of their own"):
        pickle.loads(pickle.dumps(index))


def test_the_same_samples_at_other_places_are_not_taken(tmp_path: Path) -> None:
    """Their fingerprint is the same; where they lie is not."""
    shard, path = tmp_path / "a.tar", tmp_path / "the.index"
    write_tar(shard, samples(2))
    first = open_index([str(shard)], index=path)
    pickled = pickle.dumps(first)
    write_tar(shard, [("README", b"x" * 600), *samples(2)])
    assert open_index([str(shard)], index=path).fingerprint == first.fingerprint
    with pytest.raises(DatasetError, match="was made anew while it was in use"):
        pickle.loads(pickled)


def test_an_index_of_other_shards_of_the_same_size_and_time_is_not_used(tmp_path: Path, walked: list[str]) -> None:
    """As copies are that were made by `cp -p`, or shards that were packed at once."""
    shards = [str(write_tar(tmp_path / f"{name}.tar", [(f"{name}.cls", b"1")])) for name in "ab"]
    for shard in shards:
        os.utime(shard, ns=(10**18, 10**18))
    path = tmp_path / "the.index"
    assert open_index(shards[:1], index=path).key(0) == "a"
    assert open_index(shards[1:], index=path).key(0) == "b"
    assert walked == ["a.tar", "b.tar"]


def test_a_shard_of_another_size_and_the_same_time_is_walked_again(tmp_path: Path, walked: list[str]) -> None:
    """Its time was put back."""
    shard = write_shards(tmp_path / "d", [2])[0]
    os.utime(shard, ns=(10**18, 10**18))
    assert len(open_index([shard])) == 2
    write_tar(Path(shard), samples(30))
    os.utime(shard, ns=(10**18, 10**18))
    assert len(open_index([shard])) == 30
    assert len(walked) == 2


def test_where_an_index_may_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A "~" is the home folder, also of a folder of foreign indexes; an address is refused."""
    shards = write_shards(tmp_path / "d", [1])
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "idx").mkdir()
    with pytest.raises(DatasetNotFoundError, match="has no index of shard"):
        open_index(shards, index="~/idx")
    assert open_index(shards, index="~/my.index").path == str(tmp_path / "my.index")
    assert build_index(shards, "~/own.index").path == str(tmp_path / "own.index")
    monkeypatch.chdir(tmp_path)
    for address in ("s3://bucket/a.index", Path("s3://bucket/a.index"), "https://host/a.index?sig=SECRET"):
        for make in (lambda: open_index(shards, index=address), lambda: build_index(shards, address)):  # noqa: B023
            with pytest.raises(ArgumentError, match="must be a local file, not an address") as caught:
                make()
            assert "SECRET" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["d", "idx", "my.index", "own.index"]


def test_a_broken_index_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a warning."""
    shards = write_shards(tmp_path / "d", [2])
    path = tmp_path / "the.index"
    first = open_index(shards, index=path)
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING, "dalikit"):
        assert same(open_index(shards, index=path), first)
    assert "the.index' is broken: it should have" in caplog.text
    assert same(read_index(path, digest=True), first)


def test_what_is_no_index_is_not_overwritten(tmp_path: Path) -> None:
    """A slip must not cost a file of labels."""
    shards = write_shards(tmp_path / "d", [1])
    labels = tmp_path / "labels.csv"
    labels.write_text("a,1\n" * 99)
    with pytest.raises(ArgumentError, match=r"index must be the path of an index.*labels\.csv' is no index of shards"):
        open_index(shards, index=labels)
    assert labels.read_text() == "a,1\n" * 99


def test_arguments_that_cannot_be_meant(tmp_path: Path) -> None:
    """Nothing, a text, a missing shard."""
    with pytest.raises(ArgumentError, match=r"shards must be a list of at least one path or address, got \[\]"):
        open_index([])
    with pytest.raises(ArgumentError, match=r"got 'a\.tar'"):
        open_index("a.tar")
    with pytest.raises(ArgumentError, match="num_threads must be at least 1, got 0"):
        open_index(["a.tar"], num_threads=0)
    with pytest.raises(DatasetNotFoundError, match=r"gone\.tar' does not exist"):
        open_index([*write_shards(tmp_path / "d", [1]), str(tmp_path / "gone.tar")])


def test_a_broken_shard_is_named(tmp_path: Path) -> None:
    """Among others."""
    shards = write_shards(tmp_path / "d", [1, 1])
    content = Path(shards[1]).read_bytes()
    Path(shards[1]).write_bytes(content[:1500])
    with pytest.raises(DatasetError, match=r"shard '.*shard-001\.tar' is cut off after 1500 bytes"):
        open_index(shards)


OPEN = "import sys; from dalikit.shards import open_index; print(open_index(sys.argv[1:], num_threads=1).fingerprint)"


def test_processes_that_open_at_once_agree(tmp_path: Path) -> None:
    """Each gets a whole index, and one file is left."""
    shards = write_shards(tmp_path / "d", [5] * 12)

    def run(_: int) -> str:
        done = subprocess.run([sys.executable, "-c", OPEN, *shards], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(run, range(4))) == {open_index(shards).fingerprint + "\n"}
    assert len(os.listdir(tmp_path / "d")) == 13


def test_many_shards_open_without_a_python_object_for_each_sample(tmp_path: Path) -> None:
    """What an open index costs does not grow with its samples: all columns lie in one map."""
    index = open_index(write_shards(tmp_path / "d", [50, 50]))
    bases = set()
    for name in COLUMNS:
        base = getattr(index, name)
        while isinstance(base, np.ndarray) and base.base is not None:
            base = base.base
        bases.add(id(base.obj if isinstance(base, memoryview) else base))
        assert not getattr(index, name).flags.writeable
    assert len(bases) == 1


def test_an_index_that_is_named_and_not_there_is_made_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A slip in its name shows; the second time all is as it should be."""
    shards, place = write_shards(tmp_path / "d", [3, 2]), tmp_path / "tpyo.index"
    open_index(shards, index=place)
    assert f"made index '{place}': 2 shards, 5 samples" in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()
    open_index(shards, index=place)
    open_index(shards)
    assert caplog.text == ""
