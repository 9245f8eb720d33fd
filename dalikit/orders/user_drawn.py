"""Batches that must be drawn on the user's thread, for other threads to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue

from dalikit.fetch import Request
from dalikit.workers import JobCancelledError

__all__ = ["UserDrawn"]


@dataclass(frozen=True, slots=True)
class _End:
    """No more is drawn."""

    error: BaseException | None = None


class UserDrawn(Iterator[Request]):
    """Requests that the user's thread draws, some ahead, and one other thread takes by iterating.

    The sampler behind them thus runs where torch would run it: it may draw from the global generators, or keep a
    database open that belongs to one thread.

        user's thread:  top_up() -> draws ->  |queue|  -> next() : a thread of the loader
                        took()  one more may be drawn

    Args:
        requests: advanced in `top_up` alone.
        ahead: how many may be drawn and not yet be marked as taken; at least as many as the other thread asks for
            before the user gets the first, else it waits for the user.
    """

    def __init__(self, requests: Iterator[Request], ahead: int) -> None:
        self._requests = requests
        self._missing = ahead  # read and written on the user's thread alone
        self._queue: SimpleQueue[Request | _End] = SimpleQueue()
        self._drawing = True
        self._stopped = False

    # The user's side

    def top_up(self) -> None:
        """Draws until as many are ahead as there may be, or there are no more.

        What the sampler raises is raised on the other thread, after the requests before it; an interrupt (Ctrl-C) here,
        too.
        """
        while self._drawing and self._missing > 0 and not self._stopped:
            try:
                request = next(self._requests, None)
            except Exception as error:
                self._end(error)
            except BaseException as interrupt:
                self._end(interrupt)
                raise
            else:
                if request is None:
                    self._end(None)
                else:
                    self._missing -= 1
                    self._queue.put(request)

    def took(self) -> None:
        """Marks one more as taken by the user."""
        self._missing += 1

    def _end(self, error: BaseException | None) -> None:
        self._drawing = False
        self._requests = iter(())  # whatever the sampler holds is let go of on the user's thread
        self._queue.put(_End(error))

    # The other thread's side

    def __next__(self) -> Request:
        """The next one; waits until it is drawn.

        Raises:
            StopIteration: there are no more.
            JobCancelledError: `stop` came.
        """
        item = self._queue.get()
        if self._stopped:
            self._queue.put(item)  # for whoever asks again
            raise JobCancelledError
        if isinstance(item, _End):
            self._queue.put(_End())
            if item.error is not None:
                raise item.error
            raise StopIteration
        return item

    def stop(self) -> None:
        """Ends a `next` that is being waited for, and all later ones. From any thread, at any moment: no locks."""
        self._stopped = True
        self._queue.put(_End())
