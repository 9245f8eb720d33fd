"""What is known of a file or object without reading it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["ObjectInfo", "change_between", "change_since"]

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What tells one version of a file or object from another."""

    uri: str
    size: int
    """In bytes."""
    mtime_ns: int | None = None
    """When a file was last changed, ns since the epoch; of an object when it was stored, if its store says so."""
    etag: str | None = None
    """An object's, if its store has any."""


_REMEDY = "make the dataset anew"


def change_between(then: ObjectInfo, now: ObjectInfo, remedy: str = _REMEDY) -> str:
    """What an error says of a file or object that is another now: sizes and times, and the tags if they tell."""
    tags = then.etag is not None and now.etag is not None and then.etag != now.etag
    before, after = (_words(info, tag=tags) for info in (then, now))
    return f"has changed since it was indexed: it had {before}, and has {after}; {remedy}"


def change_since(then: ObjectInfo) -> str:
    """The same, if nobody knows what it is now."""
    return f"has changed since it was indexed: it had {_words(then, tag=True)}; {_REMEDY}"


def _words(info: ObjectInfo, *, tag: bool) -> str:
    text = f"{info.size} bytes"
    if info.mtime_ns is not None:
        text += f" of {_iso_time(info.mtime_ns)}"
    if tag and info.etag is not None:
        text += f" with the tag {info.etag}"
    return text


def _iso_time(time_ns: int) -> str:
    """By ISO 8601, in UTC; with all that tells two times apart."""
    seconds, rest = divmod(time_ns, _SECOND)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, OSError, ValueError):  # not in the years 1 to 9999
        return f"{time_ns} ns after 1970"
    return text + (f".{rest:09d}Z" if rest else "Z")
