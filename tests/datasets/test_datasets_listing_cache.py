"""A cached listing is the listing, or is not used."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dalikit.datasets import ImageFolder, folder, listing_cache
from dalikit.errors import ArgumentError

NAMES = ["a/1.jpg", "a/sub/2.jpg", "b/3.jpg", "b/\udcff\n:.jpg", "ünï/4.jpg"]


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "listing.npz"


@pytest.fixture
def listings(monkeypatch):
    """Counts how often folders are listed."""
    calls = []
    whole = folder.list_folder

    def counted(*args, **options):
        calls.append(args)
        return whole(*args, **options)

    monkeypatch.setattr(folder, "list_folder", counted)
    return calls


def samples(root, cache=None, **options):
    return list(ImageFolder(root, cache=cache, **options).samples)


class TestCache:
    def test_the_second_open_lists_nothing_and_gives_the_same(self, root, cache, listings):
        first, second, uncached = ImageFolder(root, cache=cache), ImageFolder(root, cache=str(cache)), ImageFolder(root)
        assert len(listings) == 2  # the first and the one without a cache
        for dataset in (first, second):
            assert list(dataset.samples) == list(uncached.samples)
            assert dataset.classes == uncached.classes
            assert dataset.fingerprint == uncached.fingerprint
            assert dataset.targets.tolist() == uncached.targets.tolist()

    @pytest.mark.parametrize(
        "change",
        [
            lambda root: (root / "a/5.jpg").touch(),
            lambda root: (root / "a/sub/5.jpg").touch(),
            lambda root: (root / "a/sub/2.jpg").rename(root / "a/sub/1.jpg"),
            lambda root: (root / "a/1.jpg").unlink(),
            lambda root: (root / "a/new").mkdir(),
            lambda root: (root / "b").rename(root / "c"),
            lambda root: [(root / "d").mkdir(), (root / "d/1.jpg").touch()],
            lambda root: [(root / "a/sub/2.jpg").unlink(), (root / "a/sub").rmdir()],
            lambda root: [path.unlink() for path in (root / "b").iterdir()] and (root / "b").rmdir(),
        ],
    )
    def test_any_change_of_names_is_noticed(self, root, cache, listings, change):
        before = samples(root, cache)
        change(root)
        after = samples(root, cache)
        assert after == samples(root)
        assert after != before or (root / "a/new").exists()
        count = len(listings)
        assert samples(root, cache) == after  # it was written anew
        assert len(listings) == count

    def test_a_change_right_after_listing_is_noticed(self, root, cache):
        for number in range(5):
            (root / f"a/new{number}.jpg").touch()
            samples(root, cache)
            (root / f"a/later{number}.jpg").touch()  # within the same tick of the file system's clock
            assert samples(root, cache) == samples(root)

    def test_a_folder_stamped_in_whole_seconds_is_waited_for(self, root, cache):
        second = time.time_ns() // 10**9 * 10**9
        os.utime(root / "a", ns=(second, second))
        samples(root, cache)
        assert time.time_ns() - second >= 2 * 10**9

    def test_a_cache_in_the_root_stays_valid(self, root, listings):
        for _ in range(3):
            samples(root, root / "listing.npz")
        assert len(listings) == 1

    def test_a_time_in_the_future_is_taken_as_it_is(self, root, cache, listings):
        os.utime(root / "a", (2e9 * 2, 2e9 * 2))
        assert samples(root, cache) == samples(root, cache)
        assert len(listings) == 1

    def test_no_unfinished_file_is_left(self, root, cache):
        samples(root, cache)
        assert [path.name for path in cache.parent.iterdir() if path != root] == [cache.name]

    def test_it_is_readable_as_far_as_the_umask_lets_it(self, root, cache):
        samples(root, cache)
        (root.parent / "plain").touch()
        assert cache.stat().st_mode == (root.parent / "plain").stat().st_mode

    def test_it_is_written_whole_before_it_gets_its_name(self, root, cache, monkeypatch):
        samples(root, cache)
        before = cache.read_bytes()
        (root / "a/5.jpg").touch()
        monkeypatch.setattr(listing_cache.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
        samples(root, cache)
        assert cache.read_bytes() == before


class TestUnusable:
    @pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + b"\0" * 100])
    def test_a_foreign_file_is_ignored_with_a_warning_and_rewritten(self, root, cache, caplog, listings, content):
        cache.write_bytes(content)
        assert samples(root, cache) == samples(root)
        assert "cannot be used and is written anew" in caplog.text
        assert str(cache) in caplog.text
        samples(root, cache)
        assert len(listings) == 2

    def test_a_cut_file(self, root, cache, caplog):
        samples(root, cache)
        whole = cache.read_bytes()
        for size in range(0, len(whole), 97):
            cache.write_bytes(whole[:size])
            caplog.clear()
            assert listing_cache.load_listing(cache, str(root), ["a", "b", "ünï"], follow_links=True) is None
            assert "cannot be used" in caplog.text

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_a_broken_file_is_never_believed(self, root, cache, data):
        expected = samples(root)
        if not cache.exists():
            samples(root, cache)
            cache.with_suffix(".whole").write_bytes(cache.read_bytes())
        broken = bytearray(cache.with_suffix(".whole").read_bytes())
        broken[data.draw(st.integers(0, len(broken) - 1))] ^= data.draw(st.integers(1, 255))
        cache.write_bytes(broken)
        assert samples(root, cache) == expected

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"header": np.array(["x"])}, "it is no listing of an image folder"),
            ({"header": np.array(3)}, "it is no listing of an image folder"),
            ({"counts": np.array([2, 2, 0])}, "its parts do not fit together"),
            ({"counts": np.array([2, 2])}, "its parts do not fit together"),
            ({"counts": np.array([2, 3, 1])}, "its parts do not fit together"),
            ({"mtimes": np.array([1])}, "its parts do not fit together"),
            ({"counts": np.array([2.0, 2.0, 1.0])}, "a column of numbers is broken"),
            ({"paths": np.array([1, 2], dtype=np.uint8)}, "a block of names is broken"),
            ({"paths": np.array([[0]], dtype=np.uint8)}, "a block of names is broken"),
            ({"paths": np.array([object()])}, "pickle"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, root, cache, caplog, change, message):
        samples(root, cache)
        with np.load(cache) as arrays:
            changed = {**arrays, **change}
        np.savez(cache, **changed)
        assert samples(root, cache) == samples(root)
        assert message in caplog.text

    @pytest.mark.parametrize(("place", "name"), [(1, "version"), (2, "root"), (3, "extensions"), (4, "follow_links")])
    def test_what_was_made_otherwise_is_refused(self, root, cache, caplog, place, name):
        samples(root, cache)
        with np.load(cache) as arrays:
            changed = {**arrays}
        changed["header"][place] = "other"
        np.savez(cache, **changed)
        assert samples(root, cache) == samples(root)
        assert f"it was made with another {name}" in caplog.text

    def test_links_followed_or_not_are_different_listings(self, root, cache):
        (root / "a/link").symlink_to(root / "b")
        assert len(samples(root, cache)) == 7
        assert len(samples(root, cache, follow_links=False)) == 5

    def test_another_folders_cache(self, root, cache, caplog, tmp_path):
        samples(root, cache)
        root.rename(tmp_path / "moved")
        assert samples(tmp_path / "moved", cache) == samples(tmp_path / "moved")
        assert "it was made with another root" in caplog.text

    def test_a_cache_that_cannot_be_written_is_a_warning(self, root, tmp_path, caplog):
        assert samples(root, tmp_path / "no/such/folder.npz") == samples(root)
        assert "cannot be written: No such file or directory" in caplog.text

    def test_a_folder_in_its_place(self, root, cache, caplog):
        cache.mkdir()
        assert samples(root, cache) == samples(root)
        assert "cannot be used" in caplog.text
        assert "cannot be written" in caplog.text
        assert [path.name for path in cache.parent.iterdir() if path != root] == [cache.name]

    @pytest.mark.parametrize("name", ["labels.csv", "listing", "listing.npz.bak", ""])
    def test_it_must_not_be_taken_for_another_file(self, root, name):
        with pytest.raises(ArgumentError, match=r"cache must be the path of a file that ends in \.npz, got"):
            ImageFolder(root, cache=name)

    def test_an_up_to_date_cache_warns_of_nothing(self, root, cache, caplog):
        with caplog.at_level(logging.INFO):
            samples(root, cache)
            samples(root, Path(cache))
        assert caplog.text == ""
