"""What of an address tells one shard from another."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalikit.errors import ArgumentError
from dalikit.shards.addresses import check_distinct, file_name, plain_address

HOST = "https://host/a.tar"


@pytest.mark.parametrize(
    "signature",
    [
        "X-Amz-Algorithm=AWS4&X-Amz-Credential=a%2Fb&X-Amz-Signature=c",
        "AWSAccessKeyId=a&Signature=b&Expires=1",
        "X-Goog-Signature=a",
        "sv=2024&st=a&se=b&sr=b&sp=r&skoid=c&sig=d",
        "Policy=a&Key-Pair-Id=b&Signature=c",
        "token=a",
        "&",
    ],
)
def test_signatures_are_no_part_of_a_shard(signature: str) -> None:
    """Of any store; with other parameters beside them, those remain."""
    assert plain_address(f"{HOST}?{signature}") == HOST
    assert plain_address(f"{HOST}?{signature}&id=5") == plain_address(f"{HOST}?id=5") != HOST


@pytest.mark.parametrize("query", ["id=1.tar", "sp=1", "versionId=a", "download", "query=0123"])
def test_other_parameters_are_but_are_not_written(query: str) -> None:
    """Azure's short ones count as such only beside its signature."""
    plain = plain_address(f"{HOST}?{query}")
    assert plain.startswith(f"{HOST}?query=")
    assert query not in plain
    assert plain != plain_address(f"{HOST}?{query}2")
    assert file_name(f"{HOST}?{query}") == plain.removeprefix("https://host/")


@pytest.mark.parametrize("address", ["s3://bucket/a?x=1.tar", "gs://b/sig=?.tar", "/data/a?b.tar"])
def test_names_keep_their_question_marks(address: str) -> None:
    """Outside of http nothing is a query."""
    assert plain_address(address) == address
    assert file_name(address) == address.rpartition("/")[2]


@given(st.text(st.sampled_from("abs=&?#/%."), max_size=12))
def test_a_plain_address_is_its_own(query: str) -> None:
    """It is what an index calls the shard, and is compared with the address of today."""
    for address in (f"{HOST}?{query}", f"s3://bucket/{query}", f"/data/{query}"):
        plain = plain_address(address)
        assert plain_address(plain) == plain


def test_shards_that_cannot_be_told_apart() -> None:
    """The same one may be listed twice; by two signatures it may not. No message tells them."""
    check_distinct([HOST, HOST, f"{HOST}?id=1", f"{HOST}?id=2", os.path.abspath("a.tar")])
    with pytest.raises(ArgumentError, match=r"two addresses of 'https://host/a\.tar\?\.\.\.' differ only in") as caught:
        check_distinct([f"{HOST}?id=1&sig=SECRET", f"{HOST}?id=1&sig=OTHER"])
    assert "SECRET" not in str(caught.value)
