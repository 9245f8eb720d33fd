"""Reads one byte range of a remote object."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError, Place, ReadError
from dalikit.storage.information import ObjectInfo, change_between, change_since
from dalikit.storage.location import Location
from dalikit.storage.remote.address import Address, parse_address, redact
from dalikit.storage.remote.attempts import attempt
from dalikit.storage.remote.failures import RemoteError
from dalikit.storage.remote.stores import open_store
from dalikit.storage.remote.waiting import call
from dalikit.storage.remote.whole import told_of

__all__ = ["read_remote"]


def read_remote(location: Location, *, max_size: int | None = None) -> npt.NDArray[np.uint8]:
    """Reads a byte range of a remote object. Thread-safe: as many requests are in flight as threads call.

    All threads share one connection pool for every bucket or host. Other threads run while one waits. On the main
    thread Ctrl-C is answered at once; elsewhere a request ends with its timeouts (stores.py).

    Args:
        location: `uri` is an address; `size` None reads to the end of the object.
        max_size: refuse more bytes than this, before they are read. None: no limit.

    Returns:
        uint8 (size,), at least one byte, not writable: the very memory that the answer was received into.

    Raises:
        ReadError: the address cannot be meant; the object is not there, may not be read, ends too early, holds no byte
            or is larger than `max_size`; or is not of the location's version any more; or the server did not answer
            well in several attempts.
        ArgumentError: obstore is missing or cannot be configured, or this process was forked from one that used remote
            storage.
    """
    try:
        address = parse_address(location.uri)
    except ArgumentError as error:  # one bad line of a list is one bad sample
        raise ReadError(str(error), Place(file=redact(location.uri), stage="read")) from None
    try:
        _check_range(location, max_size)
        return call(lambda: attempt(lambda: _request(address, location, max_size)))
    except RemoteError as error:
        changed = error.changed and location.version is not None
        reason = change_since(location.version) if changed and location.version else error.explained(address.kind)
        raise _error(address, location, reason) from None


def _check_range(location: Location, max_size: int | None) -> None:
    _, offset, size, _ = location
    if offset < 0 or (size is not None and size <= 0):
        raise RemoteError(f"nothing to read: offset {offset}, size {size}")
    if size is not None and max_size is not None and size > max_size:
        raise RemoteError(f"{size} bytes are more than the limit of {max_size}")


def _view(received: Any) -> npt.NDArray[np.uint8]:
    """obstore's buffer as an array, without a copy."""
    return np.frombuffer(received, dtype=np.uint8)


def _request(address: Address, location: Location, max_size: int | None) -> npt.NDArray[np.uint8]:
    """One attempt."""
    store = open_store(address)
    _, offset, size, version = location
    if size is None:
        return _request_rest(store, address.key, offset, max_size, version)
    if version is None:
        data = _view(store.get_range(address.key, start=offset, length=size))
    else:
        answer = store.get(address.key, options=_options({"range": (offset, offset + size)}, version))
        _check_version(answer, version)
        data = _view(answer.bytes())
    if len(data) != size:
        raise RemoteError(f"short reply: expected {size} bytes, got {len(data)}; the object was cut", again=True)
    return data


def _options(options: dict[str, Any], version: ObjectInfo | None) -> Any:
    """With the condition that the object is of a version. A weak tag is never equal to another (RFC 9110, 13.1.1)."""
    if version is not None and version.etag is not None and not version.etag.startswith("W/"):
        options["if_match"] = version.etag
    return options or None


def _check_version(answer: Any, version: ObjectInfo) -> None:
    """The answer's head is asked, too: there are servers without tags, and such as know of no conditions."""
    now = told_of(version.uri, answer.meta)
    then, found = (version.etag, now.etag) if version.etag and now.etag else (version.mtime_ns, now.mtime_ns)
    if now.size != version.size or (None not in (then, found) and then != found):
        raise RemoteError(change_between(version, now))


def _request_rest(
    store: Any, key: str, offset: int, max_size: int | None, version: ObjectInfo | None
) -> npt.NDArray[np.uint8]:
    """From `offset` to the object's end, whose place the answer's head says."""
    answer = store.get(key, options=_options({"range": {"offset": offset}} if offset else {}, version))
    if version is not None:
        _check_version(answer, version)
    start, stop = answer.range
    if stop <= start:
        raise RemoteError("empty object")
    if max_size is not None and stop - start > max_size:
        raise RemoteError(f"{stop - start} bytes are more than the limit of {max_size}")
    data = _view(answer.bytes())
    if len(data) != stop - start:
        raise RemoteError(f"short reply: expected {stop - start} bytes, got {len(data)}", again=True)
    return data


def _error(address: Address, location: Location, reason: str) -> ReadError:
    return ReadError(reason, Place(file=address.shown, offset=location.offset or None, stage="read"))
