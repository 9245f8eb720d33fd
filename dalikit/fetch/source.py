"""Where a stream's batches come from, as the engine's thread sees it."""

from __future__ import annotations

from typing import Protocol

from dalikit.fetch.batch import ImageBatch

__all__ = ["Pending", "Source"]


class Pending(Protocol):
    """A batch that was asked for."""

    @property
    def done(self) -> bool:
        """Whether `result` would return at once."""

    def result(self) -> ImageBatch | None:
        """Waits for the batch: to be called once. None: there is no further batch.

        Raises:
            JobCancelledError: the source was stopped.
        """

    def cancel(self) -> None:
        """Ends a `result` that is being waited for. From any thread, at any moment: no locks."""


class Source(Protocol):
    """The batches of one pass, in order. Driven by the engine's thread."""

    def request(self) -> Pending | None:
        """Asks for the next batch, and returns at once. None: there is none."""

    def recycle(self, batch: ImageBatch) -> None:
        """Takes back the memory of a batch whose bytes nobody reads any more."""

    def describe(self) -> str:
        """What is being waited for, for the report of a timeout. From any thread."""
