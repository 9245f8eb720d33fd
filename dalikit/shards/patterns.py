"""Which shards a text names."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from itertools import islice

from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError
from dalikit.storage import check_scheme, is_remote, list_objects
from dalikit.storage.remote.address import redact

__all__ = ["MAX_SHARDS", "expand_shards"]

MAX_SHARDS = 1_000_000
"""A pattern that names more is a slip, as {0..99999999} is: it would fill the memory with names."""

_JOINT = re.compile(r"::(?![^\[\]]*\])")  # not the one within "[::1]"
_BRACES = re.compile(r"\\.|\{(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(?:\.\.(-?\d+))?\}|[{},]", re.DOTALL)
_DEEPEST = 100  # braces within braces
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
        "/data/shards", "s3://bucket/a/"   a folder (in a store: with a slash at its end): all *.tar right in it, sorted
        "/a/{0..3}.tar::/b/{0..9}.tar"     several, joined by "::"

    Args:
        root: one such text, or several. A leading "~" is the home folder. A path that exists as it is written is taken
            so, whatever characters it holds.

    Raises:
        ArgumentError: a text is empty or cannot be meant.
        DatasetNotFoundError: a wildcard matches nothing, or there is no shard in a folder. (Whether a named file is
            there shows at its opening.)
        DatasetError: a folder cannot be listed.
    """
    texts = _JOINT.split(root) if isinstance(root, str) else list(root)
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
        return _in_folder(expanded) if os.path.isdir(expanded) else [expanded]
    check_scheme("shards", expanded)
    found: list[str] = []
    for pattern in _braces(expanded):
        if _has_wildcard(pattern):
            found.extend(_matching(pattern))
        else:
            found.extend(_in_folder(pattern) if _is_folder(pattern) else [pattern])
    return found


def _is_folder(place: str) -> bool:
    """Whether a path or address is that of a folder. In stores there are none: who means one says so by a slash."""
    if is_remote(place):
        place = place.partition("?")[0] if _HTTP.match(place) else place
        return place.endswith("/") or "/" not in place.partition("://")[2]
    return os.path.isdir(place)


def _in_folder(folder: str) -> list[str]:
    """The shards right in a folder, or right below a prefix, sorted."""
    if _HTTP.match(folder):
        raise ArgumentError(
            f"shards: {redact(folder)!r} is a folder, but servers do not list their files; count them: "
            "a-{000..146}.tar"
        )
    within = folder.rstrip("/") + "/"
    if is_remote(folder):
        found = [uri for uri in list_objects(folder) if "/" not in uri.removeprefix(within)]
    else:
        found = [entry.path for entry in _entries(folder) if not entry.is_dir()]
    found = sorted(path for path in found if path.endswith(".tar"))
    if not found:
        raise DatasetNotFoundError(
            f"shards: folder {redact(folder)!r} holds no file whose name ends in .tar; name another folder, or the "
            f"shards themselves, as in {redact(within)}**/*.tar"
        )
    return found


def _entries(folder: str, *, missing_ok: bool = False) -> list[os.DirEntry[str]]:
    """What is in a local folder; nothing, if that may be missing and is.

    Raises:
        DatasetError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        if missing_ok and isinstance(error, FileNotFoundError):
            return []
        raise DatasetError(f"shards: folder {folder!r} cannot be listed: {error.strerror}") from error


def _braces(text: str) -> list[str]:
    """Expands braces, by the package that webdataset expands them with."""
    from braceexpand import braceexpand

    too_many = ArgumentError(f"shards: {text!r} names more than {MAX_SHARDS} files")
    if _count(text) > MAX_SHARDS:
        raise too_many
    try:
        found = list(islice(braceexpand(text), MAX_SHARDS + 1))
    except ValueError as error:  # braces without their other half, a range from a letter to a number
        raise ArgumentError(f"shards: the braces of {text!r} cannot be expanded: {error}") from None
    if len(found) > MAX_SHARDS:
        raise too_many
    return found


def _count(text: str) -> int:
    """How many names the braces of a text give, at least about: before any of them is made."""
    names, above = 1, []  # of the sequence at hand; of those that it stands in, and of the alternatives before it
    for found in _BRACES.finditer(text):
        first, last, step = found.groups()
        if first is not None:
            names *= _length(first, last, step)
        elif found[0] == "{":
            above.append((names, 0))
            names = 1
            if len(above) > _DEEPEST:
                raise ArgumentError(
                    f"shards: the braces of {text[:80]!r}... stand more than {_DEEPEST} within each other"
                )
        elif above and found[0] == ",":
            before, alternatives = above[-1]
            above[-1] = before, alternatives + names
            names = 1
        elif above and found[0] == "}":
            before, alternatives = above.pop()
            names = before * (alternatives + names)
        if names > MAX_SHARDS:
            break
    return names


def _length(first: str, last: str, step: str | None) -> int:
    """How many numbers or letters a range has. Of very long numbers the first digits tell that it is too many."""
    if first.isalpha() or last.isalpha():
        width = abs(ord(first[0]) - ord(last[0]))
    else:
        width = abs(int(last[:20]) - int(first[:20]))
    return width // max(1, abs(int((step or "1")[:20]))) + 1


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
        _look_into_folder(pattern)
        raise DatasetNotFoundError(f"shards: nothing matches {pattern!r}")
    return found


def _look_into_folder(pattern: str) -> None:
    """Lists the last local folder that is named without a wildcard: to a pattern, one that may not be read is empty.

    Raises:
        DatasetError: it cannot be listed.
    """
    wildcard = _WILDCARD.search(pattern)
    folder = os.path.dirname(pattern[: wildcard.start() if wildcard else None]) or "."
    if not is_remote(pattern):
        _entries(folder, missing_ok=True)


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
