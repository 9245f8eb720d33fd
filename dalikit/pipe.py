"""How the batches of one iteration reach the user's thread: worked out by the engine, or, if they hold no images, as
they were read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dalikit.errors import ArgumentError
from dalikit.fetch import (
    Feed,
    FeedThread,
    HeaderRules,
    ImageBatch,
    OtherBatch,
    PushedSource,
    Request,
    Source,
    add_headers,
    next_images,
)
from dalikit.stream import BatchStream, FinishedBatch, StreamEnd, Wake
from dalikit.workers import JobCancelledError

__all__ = ["FedPipe", "Pipe"]

_JOIN_SECONDS = 2.0


class Pipe(Protocol):
    """The batches of one iteration. A BatchStream is one."""

    def take(self, timeout: float | None = None) -> FinishedBatch | OtherBatch | StreamEnd:
        """The next batch, or how it ended; not to be called after that.

        Raises:
            LoaderTimeoutError: it did not come within `timeout` seconds; may be called again.
        """

    def stop(self) -> None:
        """Tells whatever works for it to end, and does not wait. From any thread, at any moment: no locks."""


class FedPipe:
    """Batches of a feed, of which the first tells what they are.

    Images: the feed is handed over, with that first batch, to a thread that keeps the engine supplied; or, if the feed
    reads on the user's thread, it goes on doing so, some batches ahead. Anything else: the user's thread takes from the
    feed, one batch at a time, as torch's DataLoader does.

        feed --first batch--> OtherBatch: user's thread <-- feed
                          `-> ImageBatch: user's thread <-- engine <-- thread <-- feed

    Args:
        feed: reads.
        start: has the engine work on a source; called when images are found.
        local: whether the feed reads on the thread that asks.
        ahead: how many batches of images a local feed is to be ahead of the user.
        rules: how headers are read.
        report: whether batches are to tell what was drawn, so that they must hold images.
        reread: reads rows that stand in for bad ones, with their headers; on the user's thread, whoever reads the
            batches. It is told whether images come decoded.
    """

    def __init__(
        self,
        feed: Feed,
        start: Callable[[Source], BatchStream],
        *,
        local: bool,
        ahead: int,
        rules: HeaderRules,
        report: bool,
        reread: Callable[[Request, bool], ImageBatch] | None = None,
    ) -> None:
        self._reread = reread
        self._feed = feed
        self._start_stream = start
        self._local = local
        self._ahead = ahead
        self._rules = rules
        self._report = report
        self._others = 0  # batches without images that were taken
        self._pushed = 0  # batches ahead of the user, of a local feed
        self._exhausted = False
        self._decoded = False
        self._source: PushedSource | None = None
        self._stream: BatchStream | None = None
        self._thread: FeedThread | None = None

    def take(self, timeout: float | None = None) -> FinishedBatch | OtherBatch | StreamEnd:
        """The next batch, or how the iteration ended."""
        if self._stream is None:
            try:
                batch = self._feed.next(timeout)
            except JobCancelledError:
                return StreamEnd(stopped=True)
            if batch is None:
                return StreamEnd()
            if isinstance(batch, OtherBatch):
                return self._other(batch)
            self._stream = self._start(batch)
        return self._take_images(self._stream, timeout)

    def _other(self, batch: OtherBatch) -> OtherBatch:
        if self._report:
            raise ArgumentError("return_parameters=True: the items hold no image, so nothing is drawn; give False")
        self._others += 1
        return batch

    def _start(self, batch: ImageBatch) -> BatchStream:
        """Hands the feed over to the engine."""
        if self._others:
            raise ArgumentError(
                "items of differing kinds: a batch with images came after batches without; a dataset must give one kind"
            )
        add_headers(batch, self._rules)
        self._decoded = batch.decoded
        self._source = source = PushedSource(self._feed.describe, paced=not self._local)
        source.push(batch)
        self._pushed = 1
        stream = self._start_stream(source)
        source.wake_by(stream.wake)
        if not self._local:
            source.wait_until_asked()  # for the first batch
            self._thread = FeedThread(self._feed, source, self._rules)
        return stream

    def _take_images(self, stream: BatchStream, timeout: float | None) -> FinishedBatch | StreamEnd:
        while True:
            self._read_further()
            assert self._source is not None
            self._pushed -= self._source.take_skipped()
            if self._local:
                self._push_ahead()
            item = stream.take_or_wake(timeout)
            if not isinstance(item, Wake):
                self._pushed -= 1
                return item

    def _read_further(self) -> None:
        """Reads what stands in for bad samples, if the engine has asked for some."""
        assert self._source is not None
        reread, decoded = self._reread, self._decoded
        if reread is not None:
            self._source.read_further(lambda request: reread(request, decoded))

    def _push_ahead(self) -> None:
        """Reads on the user's thread what is to be ahead. What fails comes after the good batches before it."""
        assert self._source is not None
        while self._pushed < self._ahead and not self._exhausted:
            item: ImageBatch | Exception | None
            try:
                item = next_images(self._feed, self._rules)
            except JobCancelledError:
                return  # the stream was stopped too
            except Exception as error:
                item = error
            self._exhausted = not isinstance(item, ImageBatch)
            self._source.push(item)
            self._pushed += 1

    def stop(self) -> None:
        """Tells the feed, the thread and the engine's stream to end."""
        self._feed.stop()
        if self._source is not None:
            self._source.stop()
        if self._stream is not None:
            self._stream.stop()

    def join(self) -> None:
        """Waits for the thread that takes from the feed. Call `stop` first."""
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)
