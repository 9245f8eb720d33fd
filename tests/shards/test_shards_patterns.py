"""Patterns name the shards that webdataset and the shell find by them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webdataset.shardlists import expand_urls

from dalikit.errors import ArgumentError, DalikitError, DatasetError, DatasetNotFoundError
from dalikit.shards import expand_shards
from dalikit.shards.patterns import _count, _translated


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


def test_a_folder_is_the_shards_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorted, with or without a slash at its end; not what lies deeper or is no tar file."""
    for name in ("b/2.tar", "b/10.tar", "b/x.index", "c/0.tar", "b/deep/3.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b/folder.tar").mkdir()
    within = [f"{tmp_path}/b/10.tar", f"{tmp_path}/b/2.tar"]
    assert expand_shards(f"{tmp_path}/b") == expand_shards(f"{tmp_path}/b/") == within
    assert expand_shards(f"{tmp_path}/{{c,b}}") == [f"{tmp_path}/c/0.tar", *within]
    monkeypatch.chdir(tmp_path)
    assert expand_shards("c/") == ["c/0.tar"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetNotFoundError, match=r"folder '.*/empty/' holds no file whose name ends in \.tar; name"):
        expand_shards(f"{tmp_path}/empty/")


def test_a_folder_that_may_not_be_read_is_not_called_empty(tmp_path: Path) -> None:
    """But by its name and the reason: for a pattern, for itself."""
    (tmp_path / "closed").mkdir(mode=0)
    everything = os.geteuid() == 0
    if everything:
        os.seteuid(65534)
    try:
        with pytest.raises(DatasetError, match=r"shards: folder '.*/closed' cannot be listed: Permission denied"):
            expand_shards(f"{tmp_path}/closed/a-*.tar")
    finally:
        if everything:
            os.seteuid(0)


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
        (
            "ftp://host/a.tar",
            ArgumentError,
            r"shards: an address that begins with 'ftp://' cannot .* one of s3://, s3a",
        ),
        ("hdfs://host/{0..3}.tar", ArgumentError, "shards: an address that begins with 'hdfs://' cannot be read"),
        ("/etc/passwd/*.tar", DatasetError, "shards: folder '/etc/passwd' cannot be listed: Not a directory"),
        ("https://host/", ArgumentError, "servers do not list their files; count them"),
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


def test_addresses_of_ipv6_hosts_are_not_torn() -> None:
    """A "::" joins, but not within brackets."""
    root = "http://[::1]:80/a.tar::http://[2001:db8::1]/b{0..1}.tar"
    assert expand_shards(root) == [
        "http://[::1]:80/a.tar",
        "http://[2001:db8::1]/b0.tar",
        "http://[2001:db8::1]/b1.tar",
    ]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{0..5}" * 2000, "names more than 1000000 files"),
        ("{a,{b,{0..99}{0..99}{0..99}}}{0..1}", "names more than 1000000 files"),
        ("{" * 3000, "stand more than 100 within each other"),
        ("{a," * 3000 + "}" * 3000, "stand more than 100 within each other"),
    ],
)
def test_too_many_names_are_counted_before_they_are_made(pattern: str, message: str) -> None:
    """At once, and without a RecursionError."""
    with pytest.raises(ArgumentError, match=message):
        expand_shards(pattern)


@given(st.text(st.sampled_from("ab{},.012"), max_size=10) | st.from_regex(r"a?\{[0-2]\.\.[4-9]\}(b\{(c|d,|e){1,3}\})?"))
def test_names_are_counted_right(text: str) -> None:
    """By the number of names that are made, where any can be."""
    from braceexpand import braceexpand

    try:
        made = list(braceexpand(text))
    except ValueError:
        return
    assert _count(text) >= len(made)


@given(st.text(st.sampled_from("ab{},.0123456789*?[]!\\:/-"), max_size=12))
def test_any_text_is_expanded_or_refused(text: str) -> None:
    """Only dalikit's errors come out."""
    try:
        found = expand_shards("/nowhere/" + text)
    except DalikitError:
        return
    assert found
