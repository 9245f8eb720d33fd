"""Which shards a text names."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from itertools import islice

from dalikit.errors import ArgumentError, DatasetNotFoundError
from dalikit.storage import is_remote, list_objects

__all__ = ["MAX_SHARDS", "expand_shards"]

MAX_SHARDS = 1_000_000
"""A pattern that names more is a slip, as {0..99999999} is: it would fill the memory with names."""

_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)(?:\.\.-?\d+)?\}")
_FILE = re.compile(r"^file:(//(localhost)?(?=/))?")  # webdataset takes such addresses for paths
_HTTP = re.compile(r"https?://", re.IGNORECASE)
_WILDCARD = re.compile(r"[*?[]")
_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]")
_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def expand_shards(root: str | Sequence[str]) -> list[str]:
    """The shards that a text names, in webdataset's order: as they are written; what a wildcard matches sorted.

        "/data/train-{000..146}.tar"       braces count up, with the zeros as written, or list: "{train,val}-0.tar"
        "/data/train-*.tar"                wildcards: * ? [...], and ** for any folders below
        "s3://bucket/train-*.tar"          the same over the objects of a store (not over http)
        "/a/{0..3}.tar::/b/{0..9}.tar"     several, joined by "::"

    Args:
        root: one such text, or several. A leading "~" is the home folder. A path that exists as it is written is taken
            so, whatever characters it holds.

    Raises:
        ArgumentError: a text is empty or cannot be meant.
        DatasetNotFoundError: a wildcard matches nothing. (Whether a named file is there shows at its opening.)
    """
    texts = root.split("::") if isinstance(root, str) else list(root)
    if not texts:
        raise ArgumentError("shards must name at least one tar file, got none")
    found: list[str] = []
    for text in texts:
        if not isinstance(text, str) or not text or "\0" in text:
            raise ArgumentError(f"shards must be paths or addresses of tar files, got {text!r} in {root!r}")
        found.extend(_expand(text))
    return found


def _expand(text: str) -> list[str]:
    """What one text names."""
    expanded = text if is_remote(text) else os.path.expanduser(_FILE.sub("", text))
    if not is_remote(expanded) and os.path.exists(expanded):
        if os.path.isdir(expanded):
            raise ArgumentError(
                f"shards: {text!r} is a folder; name the tar files in it, as in {text.rstrip('/')}/*.tar"
            )
        return [expanded]
    found: list[str] = []
    for pattern in _braces(expanded):
        found.extend(_matching(pattern) if _has_wildcard(pattern) else [pattern])
    return found


def _braces(text: str) -> list[str]:
    """Expands braces, by the package that webdataset expands them with."""
    from braceexpand import braceexpand

    too_many = ArgumentError(f"shards: {text!r} names more than {MAX_SHARDS} files")
    if any(abs(int(last[:20]) - int(first[:20])) >= MAX_SHARDS for first, last in _RANGE.findall(text)):
        raise too_many
    try:
        found = list(islice(braceexpand(text), MAX_SHARDS + 1))
    except ValueError as error:  # braces without their other half, a range from a letter to a number
        raise ArgumentError(f"shards: the braces of {text!r} cannot be expanded: {error}") from None
    if len(found) > MAX_SHARDS:
        raise too_many
    return found


def _has_wildcard(text: str) -> bool:
    """In an address only the path counts: a host may be "[::1]"; and over http "?" begins a query."""
    if is_remote(text):
        text = text.partition("?")[0] if _HTTP.match(text) else text
        text = text.partition("://")[2].partition("/")[2]
    return _WILDCARD.search(text) is not None


def _matching(pattern: str) -> list[str]:
    """The files or objects that a pattern with wildcards matches, sorted."""
    if _HTTP.match(pattern):
        raise ArgumentError(
            f"shards: {pattern!r} has a wildcard, but servers do not list their files; count them: a-{{000..146}}.tar"
        )
    if not is_remote(pattern):
        found = sorted(path for path in glob.iglob(pattern, recursive=True) if not os.path.isdir(path))
    else:
        found = _matching_objects(pattern)
    if not found:
        raise DatasetNotFoundError(f"shards: nothing matches {pattern!r}")
    return found


def _matching_objects(pattern: str) -> list[str]:
    """Objects of a store: those below the last folder that is named without a wildcard are listed."""
    root = pattern.index("/", pattern.index("://") + 3) + 1
    wildcard = _WILDCARD.search(pattern, root)
    folder = pattern[: pattern.rindex("/", 0, wildcard.start() if wildcard else None) + 1]
    matches = re.compile(_translated(pattern)).fullmatch
    return sorted(address for address in list_objects(folder) if matches(address))


def _translated(pattern: str) -> str:
    """A regular expression for a pattern: "*" and "?" stop at slashes, "**" does not."""
    pieces = []
    place = 0
    for found in _TOKENS.finditer(pattern):
        pieces.append(re.escape(pattern[place : found.start()]))
        pieces.append(_WILD.get(found.group()) or _one_of(found.group()))
        place = found.end()
    return "(?s:" + "".join(pieces) + re.escape(pattern[place:]) + ")"


def _one_of(token: str) -> str:
    """A regular expression for "[abc]" or "[!a-z]"."""
    inverse = token[1] == "!"
    characters = re.escape(token[2 if inverse else 1 : -1]).replace("\\-", "-")
    return f"(?!/)[{'^' if inverse else ''}{characters}]"
