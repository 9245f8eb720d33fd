"""One connection pool for every bucket or host, made at its first use."""

from __future__ import annotations

import importlib.util
import os
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from dalikit.errors import ArgumentError
from dalikit.storage.remote.address import TRUE, Address, is_loopback, redact
from dalikit.storage.remote.credentials import shared_credentials

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

__all__ = ["Store", "check_remote_support", "forget_stores", "open_store", "remote_was_used"]

Store: TypeAlias = "S3Store | GCSStore | AzureStore | HTTPStore"

CONNECT_TIMEOUT_S = 5.0
"""A machine that does not answer in this time is down, or its name is wrong."""
READ_TIMEOUT_S = 10.0
"""A connection on which nothing came for this long is stalled."""
REQUEST_TIMEOUT_S = 60.0
"""One request with its body. The largest span, 8 MiB, then comes through at 140 kB/s."""
MAX_RETRIES = 10
"""Of one request that could not connect or was answered 5xx (slow down, internal error)."""
BACKOFF_S = 0.1
"""Before the first retry, then each time a little longer, at random: about 4 s for all ten."""
RETRY_TIMEOUT_S = 20.0
"""No further retry is begun after this long."""
MAX_STORES = 64
"""Open at once; the oldest goes. Only addresses with signatures in their queries, each a store, ever come to this."""

_lock = threading.Lock()
_stores: dict[tuple[str, str], Store] = {}
_pid: int | None = None


def check_remote_support() -> None:
    """Raises an error if the package that reads remote objects is missing.

    Raises:
        ArgumentError: it is.
    """
    if importlib.util.find_spec("obstore") is None:
        raise ArgumentError("remote data needs the package obstore: pip install 'dalikit[remote]'")


def remote_was_used() -> bool:
    """Whether this process, or the one that it was forked from, has opened a remote store: it must not fork then."""
    return _pid is not None


def open_store(address: Address) -> Store:
    """The store that serves an address: one for every bucket or host in this process. Thread-safe.

    Raises:
        ArgumentError: the package is missing, this process was forked from one that used remote storage, or the
            store cannot be configured.
    """
    _check_process()
    store = _stores.get((address.root, address.query))
    if store is None:
        with _lock:
            store = _stores.get((address.root, address.query))
            if store is None:
                check_remote_support()
                if len(_stores) >= MAX_STORES:
                    del _stores[next(iter(_stores))]  # requests under way keep it alive
                store = _stores[address.root, address.query] = _make_store(address)
    return store


def forget_stores() -> None:
    """The next use opens its stores anew: after the environment (endpoint, credentials) was changed."""
    with _lock:
        _stores.clear()


def _check_process() -> None:
    """Records the process at the first use; refuses another: obstore's threads do not survive a fork, it would hang."""
    global _pid
    pid = os.getpid()
    if _pid is None:
        _pid = pid
    elif _pid != pid:
        raise ArgumentError(
            f"process {pid} was forked from process {_pid} after that had used remote storage, which does not survive "
            "a fork: pass multiprocessing_context='forkserver' or 'spawn', or num_workers=0 (reads on threads)"
        )


def _make_store(address: Address) -> Store:
    from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

    options: Any = {
        "client_options": _client_options(_endpoint(address)),
        "retry_config": {
            "max_retries": MAX_RETRIES,
            "retry_timeout": timedelta(seconds=RETRY_TIMEOUT_S),
            "backoff": {"init_backoff": timedelta(seconds=BACKOFF_S), "max_backoff": timedelta(seconds=15), "base": 2},
        },
    }
    name = address.root.partition("://")[2]
    try:
        if address.kind == "http":
            return HTTPStore(address.root + (f"?{address.query}" if address.query else ""), **options)
        if address.kind == "s3":
            return S3Store(name, **(options | shared_credentials()))
        if address.kind == "gs":
            return GCSStore(name, **options)
        return AzureStore.from_url(address.root, **options)
    except Exception as error:
        cause = str(error).partition("\n")[0]
        if address.kind == "az" and not os.environ.get("AZURE_STORAGE_ACCOUNT_NAME"):
            cause += "; name it in AZURE_STORAGE_ACCOUNT_NAME, and its key in AZURE_STORAGE_ACCOUNT_KEY"
        raise ArgumentError(f"the store of {address.shown!r} cannot be opened: {cause}") from None


def _endpoint(address: Address) -> str | None:
    """Where requests go, if not to the store's own hosts."""
    if address.kind == "http":
        return address.root
    if address.kind == "s3":
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
        return next((os.environ[name] for name in names if os.environ.get(name)), None)
    return None


def _client_options(endpoint: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
        "read_timeout": timedelta(seconds=READ_TIMEOUT_S),
        "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
    }
    if endpoint is None:
        return options
    parts = urlsplit(endpoint)
    local = is_loopback(parts.hostname)
    if parts.scheme == "http":
        if not local and not _allows_http():
            raise ArgumentError(
                f"the endpoint {redact(endpoint)!r} is not encrypted: use https://, or set AWS_ALLOW_HTTP=1 if the "
                "network is trusted"
            )
        options["allow_http"] = True
    if local:  # only a proxy that is named keeps the environment's away; it serves nobody
        options["proxy_url"] = endpoint
        options["proxy_excludes"] = "localhost,127.0.0.0/8,::1"
    return options


def _allows_http() -> bool:
    return any(os.environ.get(name, "").lower() in TRUE for name in ("AWS_ALLOW_HTTP", "DALIKIT_ALLOW_HTTP"))
