"""Patterns name the shards that webdataset and the shell find by them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webdataset.shardlists import expand_urls

from dalikit.errors import ArgumentError, DalikitError, DatasetNotFoundError
from dalikit.shards import expand_shards
from dalikit.shards.patterns import _translated


@pytest.mark.parametrize(
    "text",
    [
        "/d/a-{00000..00012}.tar",
        "/d/{train,val}-{0..3}.tar",
        "/d/a-{03..00}.tar",
        "/d/x.tar::/e/{a..c}.tar",
        "s3://bucket/{000..002}.tar",
        "https://host/a.tar?X=1*2",
        "/d/{a,{b,c}1}.tar",
    ],
)
def test_braces_are_webdatasets(text: str) -> None:
    """Ranges with their zeros, lists, nesting, and several joined by colons."""
    assert expand_shards(text) == list(expand_urls(text))


def test_wildcards_are_sorted(tmp_path: Path) -> None:
    """Each wildcard's matches in order, and patterns in the order given; folders are left out."""
    for name in ("b-10.tar", "b-2.tar", "a-1.tar", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "d.tar").mkdir()
    (tmp_path / "d.tar" / "e.tar").touch()
    assert expand_shards(f"{tmp_path}/b-*.tar") == [f"{tmp_path}/b-10.tar", f"{tmp_path}/b-2.tar"]
    assert expand_shards([f"{tmp_path}/[b]-?.tar", f"{tmp_path}/a*.tar"]) == [
        f"{tmp_path}/b-2.tar",
        f"{tmp_path}/a-1.tar",
    ]
    assert expand_shards(f"{tmp_path}/{{b,a}}-*.tar")[-1] == f"{tmp_path}/a-1.tar"
    assert f"{tmp_path}/d.tar/e.tar" in expand_shards(f"{tmp_path}/**/*.tar")


def test_home_and_file_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home folder, and the "file:" addresses that webdataset takes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_shards("~/a-{0..1}.tar") == [f"{tmp_path}/a-0.tar", f"{tmp_path}/a-1.tar"]
    assert expand_shards(["file:/d/a.tar", "file:///d/b.tar", "file:c.tar"]) == ["/d/a.tar", "/d/b.tar", "c.tar"]


def test_a_path_that_exists_is_taken_as_it_is(tmp_path: Path) -> None:
    """Whatever characters it holds."""
    path = tmp_path / "a{0..1}[x].tar"
    path.touch()
    assert expand_shards(str(path)) == [str(path)]


@pytest.mark.parametrize(
    ("root", "error", "message"),
    [
        ("", ArgumentError, "shards must be paths or addresses of tar files, got ''"),
        ("/a.tar::", ArgumentError, "got '' in '/a.tar::'"),
        ([], ArgumentError, "shards must name at least one tar file, got none"),
        ([3], ArgumentError, "got 3 in"),
        ("/nowhere/*.tar", DatasetNotFoundError, r"nothing matches '/nowhere/\*\.tar'"),
        ("/a-{0..99999999}.tar", ArgumentError, "names more than 1000000 files"),
        ("/a-" + "{0..999}" * 3, ArgumentError, "names more than 1000000 files"),
        ("/a-{0..3.tar", ArgumentError, "the braces of '/a-{0..3.tar' cannot be expanded"),
        ("/tmp", ArgumentError, r"'/tmp' is a folder; name the tar files in it, as in /tmp/\*\.tar"),
        ("https://host/a-*.tar?sig=x", ArgumentError, "servers do not list their files; count them"),
    ],
)
def test_what_names_nothing_is_refused(root: str | list[str], error: type[DalikitError], message: str) -> None:
    """With what came and what to do."""
    with pytest.raises(error, match=message):
        expand_shards(root)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("s3://b/a-*.tar", ["s3://b/a-1.tar", "s3://b/a-.tar"], ["s3://b/a-1/x.tar", "s3://b/a-1.tarx"]),
        ("s3://b/**/x.tar", ["s3://b/x.tar", "s3://b/c/d/x.tar"], ["s3://b/cx.tar"]),
        ("s3://b/[a-c]?.tar", ["s3://b/b1.tar"], ["s3://b/d1.tar", "s3://b/b/.tar"]),
        ("s3://b/[!a].tar", ["s3://b/b.tar"], ["s3://b/a.tar", "s3://b//.tar"]),
    ],
)
def test_wildcards_of_objects(pattern: str, matching: list[str], others: list[str]) -> None:
    """As the shell's: what stands for one name does not cross a slash."""
    import re

    matches = re.compile(_translated(pattern)).fullmatch
    assert all(map(matches, matching))
    assert not any(map(matches, others))


@given(st.text(st.sampled_from("ab{},.0123456789*?[]!\\:/-"), max_size=12))
def test_any_text_is_expanded_or_refused(text: str) -> None:
    """Only dalikit's errors come out."""
    try:
        found = expand_shards("/nowhere/" + text)
    except DalikitError:
        return
    assert found
