"""What the address of a remote object means."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from dalikit.errors import ArgumentError
from dalikit.storage.location import SCHEMES, is_remote

__all__ = ["TRUE", "Address", "check_host", "is_loopback", "parse_address", "redact", "redact_text"]

_KINDS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az", "abfs": "az", "abfss": "az"}
_QUERY = re.compile(r"\?.*", re.DOTALL)
_SIGNED = re.compile(r"\?.*(x-amz-|x-goog-|sig=|signature=|token=)", re.IGNORECASE)
_USERINFO = re.compile(  # abfs://container@account is a place, and so is a port
    r"((?<!abfs)(?<!abfss)://(?=[^/@]*@)|://[^/@:]*:(?!\d+/))[^@]*@"
)
_NAMED = re.compile(rf"(?:{'|'.join(_KINDS)})://", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z0-9]+://[^\s'\"<>]+", re.IGNORECASE)
TRUE = ("1", "true", "yes", "on")
"""What environment variables say, in small letters, for yes."""


class Address(NamedTuple):
    """An address, taken apart."""

    kind: str
    """"s3", "gs", "az" or "http"."""
    root: str
    """What one store serves: "s3://bucket", "az://container", "https://host:port"."""
    key: str
    """The object within it, as its name is: nothing is percent-encoded."""
    query: str
    """Of http(s): what is behind the question mark (a signature, often)."""
    shown: str
    """For messages and logs: the address without its query."""


def parse_address(uri: str, *, folder: bool = False) -> Address:
    """Takes an address apart.

    The key of "s3://", "gs://" and "az://" is the object's name, letter by letter: "%20", "#" and "?" in it stand for
    themselves, as in the stores' own command lines. http(s) addresses are percent-encoded, as everywhere.

    Args:
        uri: "s3://bucket/key" ("s3a"), "gs://" ("gcs"), "az://container/key" ("azure", "abfs", "abfss"; also
            "abfss://container@account.dfs.core.windows.net/key"), "http://host/path", "https://".
        folder: it is a prefix: the key may be empty.

    Raises:
        ArgumentError: it is no such address, holds a user name or password, or is http to another machine.
    """
    scheme, separator, rest = uri.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in SCHEMES:
        raise ArgumentError(f"{redact(uri)!r} is no remote address: it begins with one of {', '.join(SCHEMES)} and ://")
    if scheme in ("http", "https"):
        return _http_address(scheme, uri)
    host, _, key = rest.partition("/")
    account = _check_bucket(scheme, host)
    if not host:
        raise ArgumentError(f"{redact(uri)!r} names no bucket: write {scheme}://bucket/key")
    key = key.strip("/") if folder else key.lstrip("/")
    _check_key(key, redact(uri), folder)
    kind = _KINDS[scheme]
    return Address(kind, f"{scheme if account else kind}://{host}", key, "", redact(uri))


def check_host(uri: str) -> str:
    """Refuses what is secret in an address before that is kept, shown or pickled. Asks nobody.

    Args:
        uri: an address or a path of the local file system.

    Returns:
        It, as it was.

    Raises:
        ArgumentError: it is an address that holds a user name or password, or whose bucket or host is malformed, which
            may be one. The message does not repeat it.
    """
    if is_remote(uri):
        scheme, _, rest = uri.partition("://")
        if scheme.lower() in ("http", "https"):
            _split_http(scheme.lower(), uri)
        else:
            _check_bucket(scheme.lower(), rest.partition("/")[0])
    return uri


def redact(uri: str) -> str:
    """An address without what may be secret: user name, password, and everything behind a question mark, unless that
    is a letter of an object's name. A path of the local file system is as it was.
    """
    if "://" not in uri:
        return uri
    uri = _USERINFO.sub(r"\1...@", uri)
    if _NAMED.match(uri) and not _SIGNED.search(uri):
        return uri
    return _QUERY.sub("?...", uri)


def redact_text(text: str) -> str:
    """A message with every address in it redacted."""
    return _ADDRESS.sub(lambda found: redact(found[0]), text)


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _http_address(scheme: str, uri: str) -> Address:
    parts = _split_http(scheme, uri)
    host, port = parts.hostname, parts.port
    if not host:
        raise ArgumentError(f"{redact(uri)!r} names no host: write {scheme}://host/path")
    allowed = os.environ.get("DALIKIT_ALLOW_HTTP", "").lower() in TRUE
    if scheme == "http" and not is_loopback(host) and not allowed:
        raise ArgumentError(
            f"{redact(uri)!r} is not encrypted: write https://, or set DALIKIT_ALLOW_HTTP=1 if the network is trusted"
        )
    shown_host = f"[{host}]" if ":" in host else host
    root = f"{scheme}://{shown_host}" + ("" if port is None else f":{port}")
    key = unquote(parts.path, errors="surrogateescape").lstrip("/")
    shown = redact(uri.partition("#")[0])
    _check_key(key, shown, folder=False)
    return Address("http", root, key, parts.query, shown)


def _split_http(scheme: str, uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018 - raises if it is no number
    except ValueError:
        raise _malformed_error(scheme) from None
    if "@" in parts.netloc:
        raise _userinfo_error(scheme)
    return parts


def _check_bucket(scheme: str, host: str) -> bool:
    """Whether a bucket stands before the name of its account: abfs://container@account."""
    account = scheme.startswith("abfs") and ":" not in host and host.count("@") == 1
    if "@" in host and not account:
        raise _userinfo_error(scheme)
    if ":" in host:
        raise _malformed_error(scheme)
    return account


def _check_key(key: str, shown: str, folder: bool) -> None:
    """Refuses what object_store cannot name."""
    if not key:
        if folder:
            return
        raise ArgumentError(f"{shown!r} names no object: write what is behind the bucket or host, too")
    if any(part in ("", ".", "..") for part in key.split("/")):
        raise ArgumentError(f"{shown!r} cannot be read: a part of its name is empty, '.' or '..'; rename the object")


def _userinfo_error(scheme: str) -> ArgumentError:
    return ArgumentError(
        f"a {scheme}:// address holds a user name or password; credentials are taken from the environment, the "
        "store's own configuration or the machine's role, never from addresses: remove what is before the @"
    )


def _malformed_error(scheme: str) -> ArgumentError:
    """Does not repeat the address: what is behind the colon may be a password."""
    place = "host or port" if scheme.startswith("http") else "bucket"
    return ArgumentError(
        f"a {scheme}:// address cannot be understood: its {place} is malformed; write {scheme}://"
        + ("host:port/path" if scheme.startswith("http") else "bucket/key")
    )
