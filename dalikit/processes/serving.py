"""One set of worker processes, from their start to their end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

from dalikit.datasets.wrapped import unwrap
from dalikit.fetch.batch import Request
from dalikit.fetch.reader import is_iterable
from dalikit.fetch.task import ReadTask
from dalikit.processes.blocks import KnownBlocks
from dalikit.processes.board import Board
from dalikit.processes.packing import PackedImages, Unreadable
from dalikit.processes.stacks import StackFolder, worker_stacks
from dalikit.processes.startup import Startup
from dalikit.processes.tickets import Tickets
from dalikit.processes.torch_processes import WorkerProcesses, start_workers
from dalikit.processes.worker import Answer, Ticket, WorkerDataset, WorkerPlace, show

__all__ = ["Serving"]

_SHOWN_STACKS = 4  # workers; the others seldom hang in another place


class Serving:
    """One set of worker processes, and what they were asked for. Used by one thread at a time, but for what is said
    otherwise.

    Args:
        task: what is read, and how.
        startup: what each process does before.
        num_workers: how many processes.
        endless: whether they may serve more than one pass.
    """

    def __init__(self, task: ReadTask, startup: Startup, num_workers: int, *, endless: bool) -> None:
        self._task = task
        self._source = unwrap(task.dataset, task.adapt)
        self._iterable = is_iterable(task.dataset)
        self._startup = startup
        self._passes = 0
        self.num_workers = num_workers
        self.tickets = Tickets(num_workers, endless=endless)
        self.board = Board(num_workers)
        self._blocks = KnownBlocks()
        self.broken = False
        """A worker died, or waiting was interrupted in the middle of an answer."""
        self._folder = StackFolder()
        self._shift = 0  # torch's worker 0 has this id
        self._processes: WorkerProcesses | None = None

    @property
    def dataset(self) -> Any:
        """Whose samples the batches are of, for messages."""
        return self._source

    @property
    def started(self) -> bool:
        """Whether there are processes."""
        return self._processes is not None

    def enter(self, requests: Iterator[Request], passes: int, first_worker: int) -> int:
        """Goes over to a pass. Gives its tag."""
        if not self.started:
            self._shift = first_worker
        tag = self.tickets.begin(requests, passes, (first_worker - self._shift) % self.num_workers)
        self.board.retire(tag - 1)
        self._passes = passes
        return tag

    def start(self, prefetch_factor: int, context: Any) -> None:
        """Starts the processes."""
        place = WorkerPlace(self.num_workers, self.tickets.tag, self._passes, self._shift, self.board, self._folder)
        try:
            self._processes = start_workers(
                WorkerDataset(self._task, self._startup, place),
                self.tickets,
                num_workers=self.num_workers,
                prefetch_factor=prefetch_factor,
                context=context,
            )
        except BaseException:
            self.broken = True
            raise

    def receive(self) -> tuple[Ticket, Answer] | None:
        """The next answer; None: there was none for a while.

        Raises:
            RuntimeError: torch's: a worker has died. Its message says what it was reading, too.
        """
        processes = self._processes
        assert processes is not None
        try:
            answer = processes.poll()
            if answer is None:
                return None
            ticket = self.tickets.answered()
            return ticket, self._with_block(ticket, answer)
        except BaseException as error:
            self.broken = True
            if isinstance(error, RuntimeError):
                raise RuntimeError(f"{error}: {self._describe_dead(processes)}") from error
            raise

    def _with_block(self, ticket: Ticket, answer: Answer) -> Answer:
        """The answer with a lease of its block, which is over when whoever has the answer lets go of it."""
        content, reference = answer.content, answer.block
        if reference is None:
            return answer
        if isinstance(reference, Unreadable):
            return answer._replace(content=reference)
        lease = self._blocks.open(self.worker_of(ticket), reference)
        if not isinstance(content, PackedImages):  # it cannot be read: the lease is over at once
            return answer
        return answer._replace(content=content._replace(memory=lease))

    def end(self, grace: float = 0.5, idle_grace: float = 5.0) -> None:
        """Ends the processes and waits for that.

        Args:
            grace: of WorkerProcesses.end, if a worker is at work and may hang.
            idle_grace: if none is: torch's five seconds; a spawned process takes some tenths of a second to end.
        """
        self.broken = True
        self.board.retire()
        self.tickets.finish()
        if self._processes is not None:
            idle = all(map(self.board.is_idle, range(self.num_workers)))
            self._processes.end(idle_grace if idle else grace, grace)
        self._folder.remove()

    # What is said of it, from any thread

    def worker_of(self, ticket: Ticket) -> int:
        """The id of the worker that has a ticket."""
        return (ticket.number + self._shift) % self.num_workers

    def _pid(self, worker_id: int) -> int:
        assert self._processes is not None
        return self._processes.pids[(worker_id - self._shift) % self.num_workers]

    def _describe_dead(self, processes: WorkerProcesses) -> str:
        parts = []
        for place, code in enumerate(processes.exit_codes()):
            if code is not None:
                worker_id = (place + self._shift) % self.num_workers
                how = f"exit status {code}" if code >= 0 else f"ended by signal {signal.Signals(-code).name}"
                parts.append(f"worker process {worker_id} (pid {self._pid(worker_id)}), {how}: {self._at(worker_id)}")
        return "; ".join(parts) if parts else self.describe()

    def _at(self, worker_id: int) -> str:
        """What a worker is reading, or was when it died."""
        number = self.board.in_hand(worker_id)
        if number is None:
            return "starting" if self.board.is_starting(worker_id) else "idle: its answer is on its way"
        for ticket in tuple(self.tickets.out):
            if ticket.number == number and ticket.request is not None:
                return f"reading {self.show(ticket.request)}"
        return "between two batches"

    def show(self, request: Request) -> str:
        """What was asked for."""
        return show(request, self._iterable)

    def describe(self) -> str:
        """Which batches are outstanding, and what the workers are reading."""
        tag = self.tickets.tag
        waited = [ticket for ticket in tuple(self.tickets.out) if ticket.tag == tag and ticket.request is not None]
        if not waited:
            return "stage=read in worker processes, no batch is outstanding"
        oldest = waited[0]
        assert oldest.request is not None
        worker_id = self.worker_of(oldest)
        return (
            f"stage=read in worker processes, {len(waited)} batches outstanding, the oldest with "
            f"{self.show(oldest.request)} at worker {worker_id} (pid {self._pid(worker_id)}), which is "
            f"{self._at(worker_id)}"
        )

    def stacks(self) -> str:
        """Where the workers that are at work are in their Python code, first the one whose batch is waited for. Takes
        up to 0.5 s.
        """
        first = self.worker_of(self.tickets.out[0]) if self.tickets.out else 0
        ids = [(first + offset) % self.num_workers for offset in range(self.num_workers)]
        busy = [worker_id for worker_id in ids if not self.board.is_idle(worker_id)]
        text = worker_stacks((each, self._pid(each), self._folder.file(each)) for each in busy[:_SHOWN_STACKS])
        left = len(busy) - _SHOWN_STACKS
        return text if left <= 0 else f"{text}\n({left} further workers)"
