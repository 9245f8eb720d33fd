"""Batches that are read one after the other, by whoever asks: in this process, or in worker processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from dalikit.errors import ArgumentError
from dalikit.fetch.batch import ImageBatch, OtherBatch, Request
from dalikit.fetch.headers import HeaderRules, add_headers
from dalikit.fetch.reader import Reader
from dalikit.fetch.source import PushedSource
from dalikit.workers import JobCancelledError

__all__ = ["Feed", "FeedThread", "LocalFeed", "next_images"]


class Feed(Protocol):
    """The batches of one pass, in order. Used by one thread at a time."""

    def next(self, timeout: float | None = None) -> ImageBatch | OtherBatch | None:
        """The next batch; None: the pass is over.

        Raises:
            LoaderTimeoutError: it did not come within `timeout` seconds.
            JobCancelledError: `stop` came meanwhile.
        """

    def stop(self) -> None:
        """Ends a `next` that is being waited for. From any thread, at any moment: no locks."""

    def describe(self) -> str:
        """What is being waited for, for the report of a timeout. From any thread."""


class LocalFeed:
    """Reads on the thread that asks: the user's, as torch's DataLoader does without workers.

    Args:
        reader: reads.
        requests: the batches.
        lock: held while it reads.
    """

    def __init__(
        self,
        reader: Reader,
        requests: Iterator[Request],
        lock: AbstractContextManager[Any] = nullcontext(),  # noqa: B008 - it has no state
    ) -> None:
        self._lock = lock
        self._reader = reader
        self._requests = requests
        self._stopped = False
        self._request: Request | None = None
        """What is being read: an interrupt (Ctrl-C) loses no batch, the next call reads it again."""

    def next(self, timeout: float | None = None) -> ImageBatch | OtherBatch | None:
        """Reads the next batch; `timeout` has no effect, as nobody else is there to wait."""
        del timeout
        if self._stopped:
            raise JobCancelledError
        if self._request is None:
            self._request = next(self._requests, None)
        if self._request is None:
            return None
        with self._lock:
            batch = self._reader.read(self._request)
        self._request = None
        return batch

    def stop(self) -> None:
        """Reads no further batch."""
        self._stopped = True

    def describe(self) -> str:
        """Nothing is being waited for but the user's own thread."""
        return "stage=read, on the thread that iterates"


class FeedThread:
    """Takes batches from a feed and pushes them, as many as the engine asks for.

    Args:
        feed: where they come from.
        source: where they go.
        rules: how headers are read.
    """

    def __init__(self, feed: Feed, source: PushedSource, rules: HeaderRules) -> None:
        self._feed = feed
        self._source = source
        self._rules = rules
        self._thread = threading.Thread(target=self._work, name="dalikit-fetch", daemon=True)
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Waits for its end, some seconds at most. Stop the feed and the source first."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _work(self) -> None:
        try:
            batch: ImageBatch | None
            while self._source.wait_until_asked():
                batch = next_images(self._feed, self._rules)
                self._source.push(batch)
                if batch is None:
                    return
                del batch
        except JobCancelledError:
            self._source.stop()
        except BaseException as error:  # belongs to the user's thread
            self._source.push(error)


def next_images(feed: Feed, rules: HeaderRules) -> ImageBatch | None:
    """The next batch of a feed whose batches hold images, with their headers.

    Raises:
        ArgumentError: it holds none.
    """
    batch = feed.next()
    if isinstance(batch, OtherBatch):
        raise ArgumentError(
            "items of differing kinds: a batch without images came after batches with images; a dataset must give one "
            f"kind [{batch.show()}]"
        )
    if batch is not None:
        add_headers(batch, rules)
    return batch
