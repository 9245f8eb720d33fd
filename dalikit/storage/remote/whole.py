"""Whole remote objects: what there is, and their bytes one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError
from dalikit.storage.information import ObjectInfo
from dalikit.storage.remote.address import Address, parse_address
from dalikit.storage.remote.attempts import attempt
from dalikit.storage.remote.failures import RemoteError
from dalikit.storage.remote.stores import open_store
from dalikit.storage.remote.waiting import Pending, call

__all__ = ["list_remote", "stat_remote", "stream_remote", "told_of"]

Result = TypeVar("Result")
STREAM_AHEAD = 4
"""Pieces of a stream that are asked for at once: one connection alone gives 50 to 100 MB/s."""

_LIST_CHUNK = 10_000  # names handed over at once; the stores themselves send 1000 a request


def stat_remote(uri: str) -> ObjectInfo:
    """Size and version of a remote object.

    Raises:
        DatasetNotFoundError: it is not there.
        DatasetError: it cannot be asked for.
        ArgumentError: the address cannot be meant.
    """
    address = parse_address(uri)
    try:
        return told_of(uri, _ask(address, lambda: open_store(address).head(address.key)))
    except DatasetNotFoundError:
        if address.kind != "http":  # this answer has no body to say whether the bucket is missing; that of a GET has
            _ask(address, lambda: open_store(address).get_range(address.key, start=0, length=1))
        raise


def told_of(uri: str, found: Any) -> ObjectInfo:
    """What an answer's head says of an object, as obstore has it."""
    modified = found["last_modified"]
    mtime_ns = None if modified is None else int(modified.timestamp()) * 1_000_000_000
    return ObjectInfo(uri, found["size"], mtime_ns, found["e_tag"])


def stream_remote(
    uri: str, *, offset: int = 0, chunk_size: int, stopped: Callable[[], bool] | None = None
) -> Iterator[bytes]:
    """The bytes of a remote object from `offset` on, in pieces of at most `chunk_size`.

    Every piece is a request of its own, so that one which breaks off is asked for again; `STREAM_AHEAD` are under way,
    which is what bounds the memory. If the store has etags, all are of one version of the object.

    Args:
        uri: the address.
        offset: of the first byte.
        chunk_size: in bytes.
        stopped: asked several times a second while a piece is waited for: whether to give up.

    Raises:
        DatasetNotFoundError: it is not there.
        DatasetError: it cannot be read, or changes meanwhile, or it was `stopped`.
        ArgumentError: the address cannot be meant.
    """
    if offset < 0 or chunk_size < 1:
        raise ArgumentError(f"offset must not be negative and chunk_size at least 1, got {offset} and {chunk_size}")
    address = parse_address(uri)
    info = stat_remote(uri)
    ahead: deque[Pending[bytes]] = deque()
    asked = stopped or (lambda: False)

    def take() -> bytes:
        piece = ahead.popleft()
        return _answer(address, lambda: piece.result(asked))

    for start in range(offset, info.size, chunk_size):
        stop = min(start + chunk_size, info.size)
        ahead.append(Pending(partial(attempt, partial(_piece, address, start, stop, info.etag))))
        if len(ahead) == STREAM_AHEAD:
            yield take()
    while ahead:
        yield take()


def list_remote(prefix_uri: str) -> list[str]:
    """The addresses of all objects below a prefix, sorted. A prefix ends at a slash: "s3://bucket/a" is not of "ab".

    Raises:
        DatasetError: the store cannot be asked.
        ArgumentError: the address cannot be meant, or is http(s): its servers have no common way to list.
    """
    address = parse_address(prefix_uri, folder=True)
    if address.kind == "http":
        raise ArgumentError(f"{address.shown!r} cannot be listed: an http server has no list of its files; name them")
    scheme, _, rest = prefix_uri.partition("://")
    root = f"{scheme}://{rest.partition('/')[0]}"

    def names() -> list[str]:
        chunks = open_store(address).list(address.key or None, chunk_size=_LIST_CHUNK)
        return [found["path"] for chunk in chunks for found in chunk]

    return sorted(f"{root}/{name}" for name in _ask(address, names))


def _piece(address: Address, start: int, stop: int, etag: str | None) -> bytes:
    options: Any = {"range": (start, stop)}
    weak = etag is not None and etag.startswith("W/")
    if etag is not None and not weak:  # a weak tag never matches: RFC 9110, 13.1.1
        options["if_match"] = etag
    answer = open_store(address).get(address.key, options=options)
    if weak and answer.meta["e_tag"] != etag:
        raise RemoteError("has changed while it was read: read it again from the start", changed=True)
    data = answer.bytes().to_bytes()
    if len(data) != stop - start:
        raise RemoteError(f"short reply at {start}: expected {stop - start} bytes, got {len(data)}", again=True)
    return data


def _ask(address: Address, request: Callable[[], Result]) -> Result:
    """The result of a request, asked for several times."""
    return _answer(address, lambda: call(lambda: attempt(request)))


def _answer(address: Address, ask: Callable[[], Result]) -> Result:
    """What `ask` returns; its failure as a dataset's error."""
    try:
        return ask()
    except RemoteError as error:
        failed = DatasetNotFoundError if error.missing else DatasetError
        raise failed(f"object {address.shown!r} {error.explained(address.kind)}") from None
