"""What worker processes are asked for, one ticket after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from dalikit.errors import ArgumentError
from dalikit.fetch.batch import Request
from dalikit.processes.packing import Sealed, seal
from dalikit.processes.worker import Ticket

__all__ = ["Tickets"]


class Tickets(Iterator[Sealed]):
    """The sampler that torch's DataLoader draws from: the requests of a pass, or of one pass after the other.

    Torch draws a ticket for each answer that it hands over, before it does. So where processes serve several passes,
    a pass is followed by tickets that want nothing, as many as it takes to get its last answers out:

        drawn:      r0 r1 r2 r3 r4  -  -  -  - | r0 r1 ...
        answered:               r0 r1 r2 r3 r4 | -  -  -  -  r0 ...

    Never raises what the requests raise: torch would lose the answer that it is about to hand over.

    Args:
        num_workers: how many there are.
        endless: whether another pass may follow.
    """

    def __init__(self, num_workers: int, *, endless: bool) -> None:
        self._num_workers = num_workers
        self._endless = endless
        self._requests: Iterator[Request] | None = None
        self._number = 0
        self._passes = 0
        self._first = 0
        self._waiting = False  # for the first worker's turn
        self.tag = -1
        """Of the pass that is under way: counts passes."""
        self.out: deque[Ticket] = deque()
        """The tickets that were not answered yet, the oldest first."""
        self.awaited = 0
        """How many of them belong to the pass under way, and want a batch."""
        self.failure: Exception | None = None
        """What the requests raised; their batches come before it."""

    @property
    def exhausted(self) -> bool:
        """Whether the pass under way has no further request."""
        return self._requests is None

    def begin(self, requests: Iterator[Request], passes: int, first: int = 0) -> int:
        """Goes over to another pass. Gives its tag.

        Args:
            requests: its batches.
            passes: which it is, as the loader counts.
            first: which of torch's workers gets the first ticket, so that passes do not depend on those before.
        """
        self.tag += 1
        self._requests, self._passes, self._first = requests, passes, first
        self._waiting = True
        self.awaited, self.failure = 0, None
        return self.tag

    def finish(self) -> None:
        """Draws nothing more from the pass under way."""
        self._requests = None

    def __next__(self) -> Sealed:
        request = self._draw()
        sealed = None if request is None else self._seal(request)
        if sealed is None:
            if not self._endless:
                raise StopIteration
            request, sealed = None, seal(self._ticket(None))
        self.out.append(self._ticket(request))
        self._number += 1
        self.awaited += request is not None
        return sealed

    def _ticket(self, request: Request | None) -> Ticket:
        return Ticket(self._number, self.tag, self._passes, request)

    def _seal(self, request: Request) -> Sealed | None:
        """What is sent; without what the worker has no need of. None: it cannot be sent, and the pass ends there."""
        try:
            return seal(self._ticket(request._replace(state=None)))
        except Exception as error:
            self.finish()
            self.failure = ArgumentError(
                f"the batch with {request.show()} cannot be sent to worker processes: {type(error).__name__}: {error}; "
                "the sampler must yield what pickles, or give num_workers=0"
            )
            self.failure.__cause__ = error
            return None

    def _draw(self) -> Request | None:
        if self._requests is None:
            return None
        if self._waiting and self._number % self._num_workers != self._first:
            return None  # another worker's turn
        self._waiting = False
        try:
            request = next(self._requests, None)
        except Exception as error:
            self.failure = error
            request = None
        if request is None:
            self._requests = None
        return request

    def answered(self) -> Ticket:
        """Takes the oldest ticket off: its answer came."""
        ticket = self.out.popleft()
        self.awaited -= ticket.tag == self.tag and ticket.request is not None
        return ticket
