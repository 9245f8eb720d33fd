"""No dataset keeps, shows or pickles a password that stands in an address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dalikit.datasets import ImageFolder, ImageNet, ImageNet22k, create_dataset
from dalikit.datasets.dino.ade20k import ADE20K
from dalikit.datasets.dino.coco_captions import CocoCaptions
from dalikit.datasets.dino.nyu import NYU
from dalikit.datasets.manifest import Manifest
from dalikit.datasets.webdataset import WebDataset
from dalikit.errors import ArgumentError, DalikitError, DatasetNotFoundError

ROOT = "s3://user:SECRET@bucket/train"


def opened_list(root: str, folder: Path) -> Manifest:
    """A local list of images elsewhere."""
    (folder / "list.csv").write_text("path,label\na.jpg,1\n")
    return Manifest(folder / "list.csv", root=root)


@pytest.mark.parametrize(
    "make",
    [
        lambda root, _: ImageFolder(root),
        lambda root, folder: ImageNet(split="TRAIN", root=root, extra=folder),
        lambda root, folder: ImageNet22k(root=root, extra=folder),
        lambda root, _: ADE20K("VAL", root),
        lambda root, _: NYU(split="VAL", root=root),
        lambda root, _: CocoCaptions(split="VAL", root=root),
        lambda root, _: WebDataset(f"{root}/0.tar"),
        lambda root, _: Manifest(f"{root}/list.csv"),
        opened_list,
        lambda root, folder: create_dataset(f"ImageNet:split=VAL:root={root}:extra={folder}"),
    ],
)
@pytest.mark.parametrize("root", [ROOT, "https://user:SECRET@host/train", "abfss://user:SECRET@host/train"])
def test_addresses_with_passwords_are_refused(make: Callable[[str, Path], Any], root: str, tmp_path: Path) -> None:
    """When the dataset is made, whatever it is."""
    with pytest.raises(ArgumentError, match=r"a \w+:// address holds a user name or password") as caught:
        make(root, tmp_path)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda folder: ImageNet(split="VAL", root=folder, extra=ROOT),
            ArgumentError,
            r"got 's3://\.\.\.@bucket/train'",
        ),
        (
            lambda _: create_dataset(f"HuggingFace:path={ROOT}"),
            DatasetNotFoundError,
            r"path 's3://\.\.\.@bucket/train'",
        ),
        (lambda _: ImageFolder("ftp://user:SECRET@host"), ArgumentError, "begins with 'ftp://' cannot be read"),
        (lambda _: create_dataset("X:r3://a:SECRET@h"), ArgumentError, r"dataset string .* is not of the form"),
        (lambda _: create_dataset(f"X:a=1:a={ROOT}"), ArgumentError, "gives 'a' twice"),
        (lambda _: create_dataset(f"1X:a={ROOT}"), ArgumentError, "must start with a dataset's name"),
        (lambda _: create_dataset(f'X:a="{ROOT}'), ArgumentError, "must end in a double quote"),
    ],
)
def test_other_messages_do_not_repeat_them(
    make: Callable[[Path], Any], error: type[DalikitError], message: str, tmp_path: Path
) -> None:
    """What is wrong is said all the same."""
    with pytest.raises(error, match=message) as caught:
        make(tmp_path)
    assert "SECRET" not in str(caught.value)


def test_signatures_are_not_shown(tmp_path: Path) -> None:
    """They may be given, and are needed to read."""
    dataset = ImageNet(split="VAL", root="https://host/a?sig=SECRET", extra=tmp_path)
    assert "root='https://host/a?...'" in repr(dataset)
