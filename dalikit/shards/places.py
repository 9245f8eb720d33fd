"""Where the index of a set of shards lies if nobody says so."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from dalikit.errors import ArgumentError
from dalikit.shards.addresses import plain_address
from dalikit.storage import is_remote
from dalikit.storage.remote.address import redact

__all__ = ["cache_folder", "default_places", "index_place"]

_REMOTE = re.compile(r"(\w+):/(?=[^/])")  # what a Path makes of an address


def cache_folder() -> Path:
    """Where dalikit keeps what it can make again: $DALIKIT_CACHE, else ~/.cache/dalikit."""
    return Path(os.environ.get("DALIKIT_CACHE") or "~/.cache/dalikit").expanduser()


def default_places(shards: Sequence[str]) -> list[Path]:
    """The best first: beside the shards, if all lie in one local folder; then in the cache folder.

    The name beside the shards is made from theirs without the folder, so that both can be moved or copied together.
    """
    addresses = [plain_address(shard) for shard in shards]
    places = []
    if not any(map(is_remote, shards)):
        folders = {os.path.dirname(address) for address in addresses}
        if len(folders) == 1:
            names = [os.path.basename(address) for address in addresses]
            places.append(Path(folders.pop()) / f"dalikit-{_hash(names)}.index")
    places.append(cache_folder() / f"shards-{_hash(addresses)}.index")
    return places


def index_place(index: str | os.PathLike[str]) -> Path:
    """Where an index is to lie that the user names: "~" is the home folder.

    Raises:
        ArgumentError: it is an address: indexes are files.
    """
    text = os.fspath(index)
    if is_remote(_REMOTE.sub(r"\1://", text)):
        raise ArgumentError(
            f"index {redact(text)!r} must be a local file, not an address: that of remote shards lies in the cache "
            "folder ($DALIKIT_CACHE), or where you name a path"
        )
    return Path(text).expanduser()


def _hash(names: Sequence[str]) -> str:
    joined = b"\0".join(os.fsencode(name) for name in names)
    return hashlib.blake2b(joined, digest_size=8).hexdigest()
