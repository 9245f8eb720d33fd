"""What tells one shard from another."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable

from dalikit.errors import ArgumentError
from dalikit.storage import is_remote
from dalikit.storage.remote.address import redact

__all__ = ["check_distinct", "file_name", "plain_address"]

_HTTP = re.compile(r"https?://", re.IGNORECASE)
_SIGNATURES = re.compile(
    r"(x-amz-.*|awsaccesskeyid"  # S3, version 4 and 2
    r"|x-goog-.*|googleaccessid"  # Google Cloud Storage
    r"|policy|key-pair-id|hdnea|hdnts"  # CloudFront, Akamai
    r"|(x-)?signature|expires|expiry|sig|(access_?|auth_?)?token|api_?key"
    r"|response-content-(type|disposition))",
    re.IGNORECASE,
)
"""Parameters that say who may read and until when, not what: they differ from day to day."""
_AZURE = re.compile(r"s[a-z]{1,4}", re.IGNORECASE)
"""Azure's (sv, st, se, sr, sp, skoid, ...), which are so short that they count only beside its "sig"."""
_HASHED = re.compile(r"query=[0-9a-f]{16}")


def plain_address(shard: str) -> str:
    """A file's path in full; an object's address. Of an address by http what follows "?" tells shards apart
    ("/get?id=1"), but signatures stand there too: those that are known are left out, and of the rest a hash is taken,
    as anything else there may be secret. The plain address of a plain address is itself.
    """
    if not _HTTP.match(shard):
        return shard if is_remote(shard) else os.path.abspath(shard)
    path, _, query = shard.partition("#")[0].partition("?")
    if not query or _HASHED.fullmatch(query):
        return f"{path}?{query}" if query else path
    parameters = query.split("&")
    names = [parameter.partition("=")[0] for parameter in parameters]
    azure = "sig" in map(str.lower, names)
    kept = [
        parameter
        for parameter, name in zip(parameters, names, strict=True)
        if parameter and not _SIGNATURES.fullmatch(name) and not (azure and _AZURE.fullmatch(name))
    ]
    if not kept:
        return path
    return f"{path}?query={hashlib.blake2b(os.fsencode('&'.join(kept)), digest_size=8).hexdigest()}"


def file_name(shard: str) -> str:
    """What stands behind the last slash."""
    path, mark, query = plain_address(shard).partition("?") if _HTTP.match(shard) else (plain_address(shard), "", "")
    return path.rpartition("/")[2] + mark + query


def check_distinct(shards: Iterable[str]) -> None:
    """Refuses shards that an index could not tell apart.

    Raises:
        ArgumentError: two addresses differ in their signatures alone.
    """
    found: dict[str, str] = {}
    for shard in shards:
        plain = plain_address(shard)
        if found.setdefault(plain, shard) != shard:
            raise ArgumentError(
                f"shards: two addresses of {redact(plain)!r} differ only in what looks like a signature (parameters "
                "such as sig=, Expires=, X-Amz-...): name a shard once, or by one address"
            )
