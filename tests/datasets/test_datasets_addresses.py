"""An address that nothing can read is refused as one, not taken for a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from dalikit.datasets import ImageFolder, create_dataset
from dalikit.errors import ArgumentError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ImageFolder:root=ftp://example.com/data", "root"),
        ("WebDataset:root=ftp://example.com/a-{0..3}.tar", "shards"),
        ("Manifest:file=ftp://example.com/train.csv", "file"),
        ("Manifest:file={folder}/train.csv:root=ftp://example.com/", "root"),
        ("ImageNet:split=TRAIN:root=ftp://example.com/:extra=/nowhere", "root"),
    ],
)
def test_unknown_schemes_are_refused(tmp_path: Path, text: str, name: str) -> None:
    """By every dataset that has a place, with the schemes that are known."""
    (tmp_path / "train.csv").write_text("path,label\na.jpg,1\n")
    with pytest.raises(
        ArgumentError, match=f"{name}: an address that begins with 'ftp://' cannot .*one of s3://, s3a://"
    ):
        create_dataset(text.replace("{folder}", str(tmp_path)))


def test_what_is_secret_in_them_is_not_told() -> None:
    """A user name and a password."""
    with pytest.raises(ArgumentError) as caught:
        ImageFolder("sftp://user:SECRET@example.com/data")
    assert "SECRET" not in str(caught.value)
