"""Addresses say where, never who: what they mean, what is refused, and what is not repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalikit.errors import ArgumentError, ReadError
from dalikit.storage import Arena, Location, read
from dalikit.storage.remote import forget_stores, stores
from dalikit.storage.remote.address import Address, parse_address, redact, redact_text
from dalikit.storage.remote.credentials import shared_credentials
from dalikit.storage.remote.failures import explain


@pytest.mark.parametrize(
    ("uri", "kind", "root", "key"),
    [
        ("s3://bucket/a/b.jpg", "s3", "s3://bucket", "a/b.jpg"),
        ("s3a://bucket/a/b.jpg", "s3", "s3://bucket", "a/b.jpg"),
        ("S3://bucket/a b%20#?.jpg", "s3", "s3://bucket", "a b%20#?.jpg"),
        ("gs://bucket/ö.jpg", "gs", "gs://bucket", "ö.jpg"),
        ("gcs://bucket/b.jpg", "gs", "gs://bucket", "b.jpg"),
        ("az://container/b.jpg", "az", "az://container", "b.jpg"),
        ("azure://container/b.jpg", "az", "az://container", "b.jpg"),
        ("abfs://container/b.jpg", "az", "az://container", "b.jpg"),
        (
            "abfss://container@account.dfs.core.windows.net/b.jpg",
            "az",
            "abfss://container@account.dfs.core.windows.net",
            "b.jpg",
        ),
        ("https://host/a%20b%25.jpg", "http", "https://host", "a b%.jpg"),
        ("https://host:8443/a.jpg#fragment", "http", "https://host:8443", "a.jpg"),
        ("http://127.0.0.1:80/a.jpg", "http", "http://127.0.0.1:80", "a.jpg"),
        ("http://[::1]:80/a.jpg", "http", "http://[::1]:80", "a.jpg"),
        ("http://localhost/a.jpg", "http", "http://localhost", "a.jpg"),
    ],
)
def test_addresses(uri: str, kind: str, root: str, key: str) -> None:
    """Store and key of every form."""
    address = parse_address(uri)
    assert (address.kind, address.root, address.key) == (kind, root, key)


def test_a_query_is_the_hosts_but_not_shown() -> None:
    """Of http(s); in a key a question mark is a letter."""
    assert parse_address("https://host/a.jpg?b=c&sig=d") == Address(
        "http", "https://host", "a.jpg", "b=c&sig=d", "https://host/a.jpg?..."
    )
    assert parse_address("s3://bucket/a.jpg?b") == Address("s3", "s3://bucket", "a.jpg?b", "", "s3://bucket/a.jpg?b")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://host/a", "'ftp://host/a' is no remote address: it begins with one of s3, s3a, gs"),
        ("bucket/a", "is no remote address"),
        ("s3://bucket", "'s3://bucket' names no object: write what is behind the bucket or host, too"),
        ("s3://bucket/", "names no object"),
        ("s3:///key", "'s3:///key' names no bucket: write s3://bucket/key"),
        (
            "s3://KEY:SECRET/key@bucket",
            "a s3:// address cannot be understood: its bucket is malformed; write s3://bucket/key",
        ),
        ("https://host", "names no object"),
        ("https:///a", "names no host: write https://host/path"),
        ("https://KEY:SECRET/key@host", "its host or port is malformed; write https://host:port/path"),
        ("s3://bucket/a//b", "a part of its name is empty, '.' or '..'; rename the object"),
        ("s3://bucket/a/../b", "a part of its name is empty"),
        ("https://host/a/%2e%2e/b", "a part of its name is empty"),
        ("http://example.com/a.jpg", "is not encrypted: write https://, or set DALIKIT_ALLOW_HTTP=1"),
        ("s3://KEY:SECRET@bucket/key", "a s3:// address holds a user name or password; credentials are taken from"),
        ("s3://SECRET@bucket/key", "holds a user name or password"),
        ("https://KEY:SECRET@host/key", "a https:// address holds a user name or password"),
        ("https://SECRET@host/key", "remove what is before the @"),
        ("abfss://KEY:SECRET@account.dfs.core.windows.net/key", "holds a user name or password"),
        ("ftp://KEY:SECRET@host/a?SECRET", "is no remote address"),
        ("https://host/a//b?X-Amz-Signature=SECRET", r"'https://host/a//b\?\.\.\.' cannot be read"),
    ],
)
def test_what_is_refused(uri: str, message: str) -> None:
    """With the reason, and without what is secret: as an argument, and as one bad sample of many."""
    with pytest.raises(ArgumentError, match=message) as caught:
        parse_address(uri)
    assert "SECRET" not in str(caught.value)
    if uri.startswith(("s3:", "https:", "abfss:")):
        with pytest.raises(ReadError, match=message) as unread:
            read(Location(uri), Arena())
        assert "SECRET" not in str(unread.value)


def test_http_is_allowed_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network that is trusted."""
    monkeypatch.setenv("DALIKIT_ALLOW_HTTP", "1")
    assert parse_address("http://example.com/a.jpg").root == "http://example.com"


def test_an_endpoint_is_encrypted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is this machine, or allowed as the store's own tools allow it."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ALLOW_HTTP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT", "http://KEY:SECRET@10.0.0.1:9000")
    address = parse_address("s3://bucket/key")
    forget_stores()
    with pytest.raises(
        ArgumentError, match=r"the endpoint 'http://\.\.\.@10\.0\.0\.1:9000' is not encrypted: use https://"
    ):
        stores.open_store(address)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert "bucket" in repr(stores.open_store(address))
    forget_stores()


@pytest.mark.parametrize(
    "uri", ["gs://bucket/a", "az://container/a", "abfss://container@account.dfs.core.windows.net/a"]
)
def test_stores_of_every_kind_are_made(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one asks nobody."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    forget_stores()
    assert stores.open_store(parse_address(uri)) is stores.open_store(parse_address(uri))
    forget_stores()


def test_a_store_that_cannot_be_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is an argument's error: every row would fail."""
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_USE_EMULATOR"):
        monkeypatch.delenv(name, raising=False)
    forget_stores()
    with pytest.raises(ArgumentError, match=r"the store of 'az://container/a' cannot be opened: .*[Aa]ccount"):
        stores.open_store(parse_address("az://container/a"))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ArgumentError, match=r"needs the package obstore: pip install 'dalikit\[remote\]'"):
        stores.check_remote_support()


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    """Never another exception, and parsing is idempotent in what it shows."""
    for uri in (text, "s3://" + text, "https://" + text, "abfss://" + text):
        try:
            address = parse_address(uri)
        except ArgumentError:
            continue
        assert address.key
        assert "\0" in uri or redact(address.shown) == address.shown


@given(st.text(alphabet=st.characters(exclude_characters="@/"), min_size=1, max_size=20))
def test_no_secret_is_shown(secret: str) -> None:
    """Wherever it stands in an address; in what is shown the word is not there."""
    secret = "s3cr3t" + secret
    for text in (
        f"https://user:{secret}@host/path",
        f"https://{secret}@host/path",
        f"s3://user:{secret}@bucket/path",
        f"https://host/path?X-Amz-Signature={secret}",
        f"s3://bucket/path?X-Amz-Signature={secret}",
        f"abfss://container:{secret}@account/path",
        f"GET https://host/path?sig={secret} failed",
    ):
        assert "s3cr3t" not in redact(text)


def test_texts_keep_their_words() -> None:
    """Only the addresses in a message are changed; names of objects stay as they are."""
    text = "both 'https://h/a?sig=x' and s3://b/c?d@e.jpg failed? https://h:80/f@g.jpg (s3://u:p@b/c)"
    shown = "both 'https://h/a?...' and s3://b/c?d@e.jpg failed? https://h:80/f@g.jpg (s3://...@b/c)"
    assert redact_text(text) == shown
    assert redact("./folder/what?.jpg") == "./folder/what?.jpg"


def test_shared_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the profile that is named; the environment's own come first."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = B%\n"
        "[lab]\naws_access_key_id = C\naws_secret_access_key = D\naws_session_token = E\n"
    )
    (tmp_path / "config").write_text("[default]\nregion = eu-central-1\n[profile lab]\nregion = us-west-2\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    default = {"access_key_id": "A", "secret_access_key": "B%", "region": "eu-central-1"}
    assert shared_credentials() == default
    monkeypatch.setenv("AWS_PROFILE", "lab")
    lab = {"access_key_id": "C", "secret_access_key": "D", "session_token": "E", "region": "us-west-2"}
    assert shared_credentials() == lab
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "1")
    assert shared_credentials() == {}


@pytest.mark.parametrize("content", [b"no section", b"\xff\xfe", b"[default]\naws_access_key_id = A\n"])
def test_files_without_credentials(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the chain is asked then."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "credentials").write_bytes(content)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "missing"))
    assert shared_credentials() == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            (
                "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 5s, after 2 "
                "retries, max_retries: 2, retry_timeout: 20s - HTTP error: error sending request"
            ),
            "no credentials were found: credentials come from .*AWS_SKIP_SIGNATURE=1",
        ),
        (
            (
                "Generic S3 error: Received redirect without LOCATION, this normally indicates an incorrectly "
                "configured region"
            ),
            "is elsewhere .*set AWS_REGION to the bucket's region",
        ),
        (
            (
                "Generic S3 error: Error performing GET https://h/b in 1ms - Server returned non-2xx status code: 400 "
                "Bad Request: <Error><Code>InvalidArgument</Code><Key>SECRET</Key></Error>"
            ),
            r"cannot be read \(answer 400 InvalidArgument\): Server returned non-2xx status code: 400 Bad Request$",
        ),
        (
            (
                "Generic S3 error: Error performing GET https://h/b in 1ms - HTTP error: error sending request\n\n"
                "Debug source:\nsource: 'dns error'"
            ),
            r"^HTTP error: error sending request \(the host's name is not known\)$",
        ),
        ("x https://h/b?sig=SECRET " + "y" * 500, r"^x https://h/b\?\.\.\. y+\.\.\.$"),
    ],
)
def test_what_the_client_says(text: str, reason: str) -> None:
    """Its words become a reason: what to do, and nothing secret. (These need a cloud to come about.)"""
    import re

    told = explain(OSError(text)).explained("s3")
    assert re.search(reason, told)
    assert "SECRET" not in told
    assert len(told) < 450


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("s3", ["AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE=1"]),
        ("gs", ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SKIP_SIGNATURE=1"]),
        ("az", ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_SKIP_SIGNATURE=1"]),
    ],
)
def test_each_store_names_its_own_variables(kind: str, names: list[str]) -> None:
    """And no other's, where credentials are wanted."""
    told = explain(PermissionError("Server returned non-2xx status code: 403 Forbidden: ")).explained(kind)
    assert all(name in told for name in names)
    assert [other for other in ("AWS", "GOOGLE", "AZURE") if other in told] == [names[0].partition("_")[0]]


def test_azure_wants_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which an az:// address does not name."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    forget_stores()
    with pytest.raises(ArgumentError, match=r"'az://container/a' cannot be opened.* AZURE_STORAGE_ACCOUNT_NAME, and"):
        stores.open_store(parse_address("az://container/a"))
