"""ImageFolder has torchvision's rows in torchvision's order."""

from __future__ import annotations

import fnmatch
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from dataset_contract import DatasetContract
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dalikit.datasets import ImageFolder, listing
from dalikit.datasets.listing import EXTENSIONS
from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError, DecodeError, EmptyDatasetError, ReadError


def write_images(root, names=("cat/1.jpg", "cat/b/2.png", "dog/10.jpg", "dog/9.JPEG", "dog/z.webp")):
    for number, name in enumerate(names):
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "PNG" if name.endswith("png") else "WEBP" if name.endswith("webp") else "JPEG"
        Image.new("RGB" if number % 2 else "L", (8 + number, 6), 20 * number).save(path, kind)
    return root


def touch(root, *names):
    for name in names:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass


def torchvision_samples(directory, follow_links=True):
    """torchvision.datasets.folder.make_dataset, written out."""
    classes = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    samples = []
    for target, name in enumerate(classes):
        for root, _, files in sorted(os.walk(os.path.join(directory, name), followlinks=follow_links)):
            for file in sorted(files):
                path = os.path.join(root, file)
                if path.lower().endswith(EXTENSIONS):
                    samples.append((path, target))
    return classes, samples


def assert_like_torchvision(root, **options):
    dataset = ImageFolder(root, **options)
    classes, samples = torchvision_samples(root, **options)
    assert dataset.classes == classes
    assert list(dataset.samples) == samples
    assert dataset.targets.tolist() == [target for _, target in samples]
    return dataset


class TestImageFolder(DatasetContract):
    @pytest.fixture
    def dataset(self, tmp_path):
        return ImageFolder(write_images(tmp_path / "one"))

    @pytest.fixture
    def twin(self, tmp_path):
        return ImageFolder(write_images(tmp_path / "other" / "place"))

    def test_attributes_are_torchvisions(self, dataset, tmp_path):
        assert dataset.root == str(tmp_path / "one")
        assert dataset.classes == ["cat", "dog"]
        assert dataset.class_to_idx == {"cat": 0, "dog": 1}
        assert (dataset.targets.dtype, dataset.targets.tolist()) == (np.int64, [0, 0, 1, 1, 1])
        assert dataset.samples[-1] == dataset.imgs[4] == (f"{tmp_path}/one/dog/z.webp", 1)
        assert dataset.samples[1:3] == [(f"{tmp_path}/one/cat/b/2.png", 0), (f"{tmp_path}/one/dog/10.jpg", 1)]
        assert dataset.get_key(0) == "cat/1.jpg"
        assert type(dataset.get_target(0)) is int

    def test_samples_are_a_sequence(self, dataset):
        assert len(dataset.samples) == 5
        assert dataset.samples[0] in dataset.samples
        with pytest.raises(IndexError, match="index 5 is out of range for ImageFolder of 5 samples"):
            dataset.samples[5]

    def test_targets_cannot_be_changed_behind_its_back(self, dataset):
        with pytest.raises(ValueError, match="read-only"):
            dataset.targets[0] = 1

    def test_repr(self, dataset):
        assert repr(dataset) == f"ImageFolder(root={dataset.root!r}, num_samples=5, num_classes=2)"

    def test_a_row_that_cannot_be_read_says_which(self, dataset):
        Path(dataset.samples[3][0]).write_bytes(b"")
        match = r"empty file \[dataset=ImageFolder, index=3, key=dog/9.JPEG, file=.*9.JPEG, stage=read\]"
        with pytest.raises(ReadError, match=match):
            dataset[-2]

    @pytest.mark.parametrize("keep", [0.7, 0])
    def test_a_row_that_cannot_be_decoded_says_which(self, dataset, keep):
        path = Path(dataset.samples[1][0])
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)] or b"no image")
        match = r"Pillow cannot decode it: .* \[dataset=ImageFolder, index=1, key=cat/b/2.png, .*stage=decode\]"
        with pytest.raises(DecodeError, match=match):
            dataset[1]


class TestOrder:
    def test_folders_are_sorted_by_the_whole_path_not_level_by_level(self, tmp_path):
        touch(tmp_path, "c/a/1.jpg", "c/a/b/1.jpg", "c/a b/1.jpg", "c/a.b/1.jpg", "c/a-b/1.jpg", "c/1.jpg", "c/z.jpg")
        dataset = assert_like_torchvision(tmp_path)
        assert [dataset.get_key(row) for row in range(4)] == ["c/1.jpg", "c/z.jpg", "c/a/1.jpg", "c/a b/1.jpg"]

    def test_names_are_sorted_by_code_point(self, tmp_path):
        touch(tmp_path, *(f"{name}/x.jpg" for name in ("b", "B", "10", "9", "é", "_", "😀", "\ufffd")))
        touch(tmp_path, *(f"b/{name}.jpg" for name in ("b", "B", "10", "9", "é", "e\u0301", "😀", "\ufffd")))
        assert_like_torchvision(tmp_path)

    def test_weird_names(self, tmp_path):
        odd = [
            b"\xff\xfe",
            b"\xc3",
            "\U0001f600".encode(),
            b" ",
            b"a\nb",
            b"a:b=c",
            b"a=b",
            b'"',
            b"'",
            b"\\",
            b"%s",
            b"~",
        ]
        touch(tmp_path, *(name + b"/" + other + b".jpg" for name in odd for other in odd))
        dataset = assert_like_torchvision(tmp_path)
        assert len(dataset) == len(odd) ** 2
        assert all(os.path.exists(path) for path, _ in dataset.samples)

    def test_only_files_with_known_endings_in_any_case(self, tmp_path):
        touch(tmp_path, "c/a.JPG", "c/b.Jpeg", "c/.jpg", "c/jpg", "c/x.txt", "c/x.jpg.txt", "c/._a.jpg", "c/x.gif")
        touch(tmp_path, *(f"c/all{ending}" for ending in EXTENSIONS))
        dataset = assert_like_torchvision(tmp_path)
        assert len(dataset) == 4 + len(EXTENSIONS)
        assert not fnmatch.filter([key for key, _ in dataset.samples], "*.txt")

    def test_a_folder_named_like_an_image_is_a_folder(self, tmp_path):
        touch(tmp_path, "c/a.jpg/b.jpg", "c.jpg/d.jpg")
        assert len(assert_like_torchvision(tmp_path)) == 2

    def test_files_at_the_top_do_not_count(self, tmp_path):
        touch(tmp_path, "top.jpg", "c/a.jpg")
        assert len(assert_like_torchvision(tmp_path)) == 1

    @pytest.mark.parametrize("ending", ["", "/", "//", "/."])
    def test_the_root_may_be_written_in_many_ways(self, tmp_path, ending):
        touch(tmp_path, "c/a.jpg")
        assert_like_torchvision(f"{tmp_path}{ending}")

    def test_a_relative_root_stays_relative(self, tmp_path, monkeypatch):
        touch(tmp_path, "data/c/a.jpg")
        monkeypatch.chdir(tmp_path)
        assert assert_like_torchvision("data").samples[0] == ("data/c/a.jpg", 0)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert ImageFolder("~/data").root == f"{tmp_path}/data"

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        names=st.lists(
            st.lists(st.text("aB.-/ é😀", min_size=1, max_size=4), min_size=2, max_size=4), min_size=1, max_size=15
        )
    )
    def test_any_tree(self, tmp_path, names):
        root = tmp_path / "tree"
        shutil.rmtree(root, ignore_errors=True)
        touch(root, "a class/x.jpg")
        for parts in names:
            safe = [part.replace("/", "s").replace(".", "d") for part in parts]
            touch(root, "/".join(["a class", *safe]) + ".jpg")
            touch(root, "/".join(safe) + ".jpg")
        assert_like_torchvision(root)

    def test_the_number_of_threads_does_not_show(self, tmp_path, monkeypatch):
        touch(tmp_path, *(f"{number % 37}/{number % 3}/{number}.jpg" for number in range(500)))
        fingerprints = set()
        for threads in (1, 2, 16):
            monkeypatch.setattr(listing, "NUM_THREADS", threads)
            fingerprints.add(assert_like_torchvision(tmp_path).fingerprint)
        assert len(fingerprints) == 1

    def test_twenty_thousand_files(self, tmp_path):
        touch(tmp_path, *(f"{number % 50:03}/{number * 7919 % 20_011}.jpg" for number in range(20_000)))
        dataset = assert_like_torchvision(tmp_path)
        assert len(dataset) == 20_000
        assert dataset.get_key(19_999) == dataset.samples[-1][0].removeprefix(f"{tmp_path}/")


class TestLinks:
    @pytest.fixture
    def root(self, tmp_path):
        touch(tmp_path, "elsewhere/deep/1.jpg", "elsewhere/2.jpg", "root/a/0.jpg", "root/b/0.jpg")
        (tmp_path / "root/a/link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "root/c").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "root/b/linked.jpg").symlink_to(tmp_path / "elsewhere/2.jpg")
        (tmp_path / "root/b/broken.jpg").symlink_to(tmp_path / "gone.jpg")
        (tmp_path / "root/b/loop.jpg").symlink_to(tmp_path / "root/b/loop.jpg")
        return tmp_path / "root"

    @pytest.mark.parametrize(("follow_links", "count"), [(True, 9), (False, 7)])
    def test_linked_folders(self, root, follow_links, count):
        assert len(assert_like_torchvision(root, follow_links=follow_links)) == count

    def test_a_link_to_a_folder_above_is_left_out_with_a_warning(self, root, caplog):
        before = ImageFolder(root).fingerprint
        (root / "a/up").symlink_to(root)
        (root / "a/self").symlink_to(root / "a")
        with caplog.at_level(logging.WARNING):
            assert ImageFolder(root).fingerprint == before
        assert "left out" in caplog.text
        assert f"left out '{root}/a/self': it links to a folder above itself" in caplog.text
        assert f"left out '{root}/a/up'" in caplog.text


class TestErrors:
    def test_a_missing_root(self, tmp_path):
        with pytest.raises(DatasetNotFoundError, match=r"root '.*gone' does not exist"):
            ImageFolder(tmp_path / "gone")
        with pytest.raises(FileNotFoundError, match="root"):
            ImageFolder(tmp_path / "gone")

    def test_a_root_that_is_a_file(self, tmp_path):
        touch(tmp_path, "file")
        with pytest.raises(DatasetError, match=r"root '.*file' is a file; a folder of class folders is wanted"):
            ImageFolder(tmp_path / "file")

    @pytest.mark.parametrize("root", ["", b"bytes", None, 3, "a\0b"])
    def test_a_root_that_is_no_path(self, root):
        with pytest.raises(ArgumentError, match="root must be the path of a folder, got"):
            ImageFolder(root)

    def test_a_root_whose_path_is_too_long(self):
        with pytest.raises(DatasetError, match=r"root '.*' cannot be listed: File name too long"):
            ImageFolder("a" * 5000)

    @pytest.mark.parametrize(
        ("names", "found"), [((), "0 files"), (("1.jpg",), "1 file "), (("1", "2", "3"), "3 files")]
    )
    def test_no_class_folders(self, tmp_path, names, found):
        touch(tmp_path, *names)
        with pytest.raises(
            EmptyDatasetError, match=rf"found {found}.*at the top; ImageFolder wants root/class/image.jpg"
        ):
            ImageFolder(tmp_path)

    def test_classes_without_an_image_are_named(self, tmp_path):
        touch(tmp_path, "full/1.jpg", "empty/1.txt", ".git/config")
        with pytest.raises(EmptyDatasetError, match=r"no image file for the classes '\.git', 'empty'; .*\.jpeg \.jpg"):
            ImageFolder(tmp_path)
        with pytest.raises(FileNotFoundError, match="root"):
            ImageFolder(tmp_path)

    def test_ten_of_them_at_most(self, tmp_path):
        touch(tmp_path, *(f"c{number:02}/1.txt" for number in range(25)))
        with pytest.raises(EmptyDatasetError, match=r"'c08', 'c09' and 15 more; names must end"):
            ImageFolder(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
    def test_a_folder_that_cannot_be_listed_is_not_passed_over(self, tmp_path):
        touch(tmp_path, "c/1.jpg", "c/closed/2.jpg")
        (tmp_path / "c/closed").chmod(0)
        try:
            with pytest.raises(DatasetError, match=r"folder '.*closed' cannot be listed: Permission denied"):
                ImageFolder(tmp_path)
        finally:
            (tmp_path / "c/closed").chmod(0o700)

    def test_a_folder_that_vanishes_while_listing(self, tmp_path, monkeypatch):
        touch(tmp_path, "c/1.jpg")
        monkeypatch.setattr("dalikit.datasets.folder.find_classes", lambda _: ["c", "gone"])
        with pytest.raises(DatasetError, match=r"folder '.*gone' cannot be listed: No such file"):
            ImageFolder(tmp_path)

    def test_a_folder_that_fails_while_listing(self, tmp_path, monkeypatch):
        touch(tmp_path, "c/1.jpg")
        whole = os.scandir

        def fails(path):
            if path.endswith("/c"):
                raise PermissionError(13, "Permission denied")
            return whole(path)

        monkeypatch.setattr(listing.os, "scandir", fails)
        with pytest.raises(DatasetError, match=r"folder '.*/c' cannot be listed: Permission denied"):
            ImageFolder(tmp_path)


class TestFingerprint:
    def test_it_is_pinned(self, tmp_path):
        touch(tmp_path, "a/1.jpg", "b/2.jpg")
        assert ImageFolder(tmp_path).fingerprint == "585996d3709ef538"

    @pytest.mark.parametrize(
        "other",
        [
            ("a/1.jpg", "b/2.jpg", "b/3.jpg"),
            ("a/1.jpg", "b/3.jpg"),
            ("a/1.jpg", "c/2.jpg"),
            ("a/1.jpg", "a/2.jpg", "b/2.jpg"),
            ("a/b/1.jpg", "b/2.jpg"),
        ],
    )
    def test_another_folder_has_another(self, tmp_path, other):
        touch(tmp_path, "x/a/1.jpg", "x/b/2.jpg")
        touch(tmp_path, *(f"y/{name}" for name in other))
        assert ImageFolder(tmp_path / "x").fingerprint != ImageFolder(tmp_path / "y").fingerprint


class TestProgress:
    def test_on_stderr_if_it_is_wanted(self, tmp_path, capsys):
        touch(tmp_path, *(f"c/{number}.jpg" for number in range(12)))
        ImageFolder(tmp_path, progress=True)
        captured = capsys.readouterr()
        assert "listing" in captured.err
        assert "12.0 files" in captured.err
        assert captured.out == ""

    @pytest.mark.parametrize("progress", [None, False])
    def test_not_into_a_file(self, tmp_path, capsys, progress):
        touch(tmp_path, "c/1.jpg")
        ImageFolder(tmp_path, progress=progress)
        assert capsys.readouterr().err == ""
