"""Names of members are split as webdataset splits them."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from dalikit.shards.names import is_metadata, split_name

NAMES = st.text(st.sampled_from("ab./_\n é"), max_size=14)


@given(NAMES)
@example("a/.b")
@example("a.b/.c")
@example("x//.c")
@example(".hidden")
@example("a\n.x/b/c.jpg")
@example("a/b\n/c.x.y")
def test_split_is_webdatasets(name: str) -> None:
    """Key and extension are those of `base_plus_ext`, in its odd corners too."""
    split = split_name(name.encode())
    key, extension = base_plus_ext(name)
    assert split == (None if key is None else (key.encode(), extension.encode()))


@given(NAMES)
@example("__a__\n")
@example("__a__/b.jpg")
@example("___")
@example("__/x.jpg")
def test_metadata_is_webdatasets(name: str) -> None:
    """What `tar_file_iterator` leaves out: its two conditions, written as it has them."""
    expected = ("/" not in name and name.startswith("__") and name.endswith("__")) or bool(
        re.match(r"__[^/]*__($|/)", name)
    )
    assert is_metadata(name.encode()) == expected


@pytest.mark.parametrize(
    ("name", "key", "extension"),
    [
        ("n01/img.JPEG", "n01/img", "JPEG"),
        ("a.b/c.seg.png", "a.b/c", "seg.png"),
        ("ünï/x y.jpg", "ünï/x y", "jpg"),
        ("key.", "key", ""),
    ],
)
def test_common_names(name: str, key: str, extension: str) -> None:
    """The split is at the first dot behind the last slash."""
    assert split_name(name.encode()) == (key.encode(), extension.encode())
