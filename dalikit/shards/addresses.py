"""What tells one shard from another."""

from __future__ import annotations

import os
import re

from dalikit.storage import is_remote

__all__ = ["file_name", "plain_address"]

_HTTP = re.compile(r"https?://", re.IGNORECASE)


def plain_address(shard: str) -> str:
    """A file's path in full; an object's address. Of an address by http without what follows "?": signatures stand
    there, which differ from day to day, and are nobody else's business.
    """
    if _HTTP.match(shard):
        return shard.partition("?")[0]
    return shard if is_remote(shard) else os.path.abspath(shard)


def file_name(shard: str) -> str:
    """What stands behind the last slash."""
    return plain_address(shard).rpartition("/")[2]
