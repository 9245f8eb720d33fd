"""What runs in a worker process: it starts as the user wants, then reads one whole batch for each ticket it gets."""

from __future__ import annotations

import io
import os
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum, unique
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import ForkingPickler
from multiprocessing.util import Finalize
from typing import Any, NamedTuple

import torch
from torch._utils import ExceptionWrapper
from torch.utils.data._utils import worker as torch_worker

from dalikit.callables import seed_generators
from dalikit.errors import ArgumentError, SampleError
from dalikit.fetch.batch import Request
from dalikit.fetch.reader import Reader, is_iterable, make_reader
from dalikit.fetch.task import ReadTask
from dalikit.processes.blocks import BlockPool, BlockReference
from dalikit.processes.board import Board
from dalikit.processes.inheritance import keep_inherited
from dalikit.processes.orphans import end_with_parent
from dalikit.processes.packing import PackedImages, PackedOther, Sealed, Unreadable, pack, seal
from dalikit.processes.stacks import StackFolder, answer_with_stacks
from dalikit.processes.startup import Startup
from dalikit.transforms.purposes import Purpose

__all__ = ["Answer", "Kind", "LazyWorkerInfo", "Ticket", "WorkerDataset", "WorkerPlace", "show"]

_ID_BITS = 24  # of worker ids, in the key of their seeds


class Ticket(NamedTuple):
    """What a worker process is asked for."""

    number: int
    """Counts all tickets; ticket n goes to torch's worker n % num_workers, and answers come back in this order."""
    tag: int
    """Counts the passes that these processes serve, those that are cut short among them."""
    passes: int
    """The pass, as the loader counts."""
    request: Request | None
    """None: nothing is wanted; the ticket only makes torch hand over an earlier answer."""


@unique
class Kind(Enum):
    """What an answer holds."""

    SKIPPED = "nothing: none was wanted"
    BATCH = "a packed batch"
    END = "nothing: the worker's iterable dataset is at its end"
    SAMPLE_ERROR = "an error that carries the sample's place"
    FAILURE = "any other error, wrapped by torch"


class Answer(NamedTuple):
    """What comes back for a ticket."""

    kind: Kind
    content: Any = None
    block: Any = None
    """Where a batch's images lie, if in a block: sealed by itself, so that the block is free again even if the rest
    cannot be unpickled."""


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """What a worker process has to know beside its work."""

    num_workers: int
    tag: int
    """Of the pass that the processes are started for: see Ticket."""
    passes: int
    first_worker: int
    """The worker that gives the first batch: torch's worker 0 is this one."""
    board: Board
    stacks: StackFolder
    """Where workers write their stacks."""


class LazyWorkerInfo(torch_worker.WorkerInfo):
    """What `torch.utils.data.get_worker_info()` gives: the user's own dataset, which is loaded when it is asked for.

    Args:
        info: torch's own, for all else that it knows.
        known: what is to be replaced in it.
        load: gives the dataset.
    """

    __slots__ = ("_load",)

    _load: Callable[[], Any]

    def __init__(self, info: torch_worker.WorkerInfo, known: dict[str, Any], load: Callable[[], Any]) -> None:
        object.__setattr__(self, "_load", load)
        for field in fields(torch_worker.WorkerInfo):
            if field.name != "dataset":
                object.__setattr__(self, field.name, known.get(field.name, getattr(info, field.name)))

    @property
    def dataset(self) -> Any:
        """The worker's copy of the user's dataset."""
        return self._load()


class WorkerDataset:
    """The dataset that torch's DataLoader sees: its indices are tickets, its items are answers.

    In the loader's process it only holds what workers need. Forked workers inherit it. For spawned ones it is pickled,
    its parts each by themselves, so that they are loaded one after the other when their time has come: a dataset may
    need what `worker_packages`, `worker_globals` and `worker_init_fn` brought.

    Args:
        task: what is read, and how.
        startup: what comes before.
        place: what else is to be known.
    """

    def __init__(self, task: ReadTask, startup: Startup, place: WorkerPlace) -> None:
        self._task: ReadTask | None = task
        self._startup = startup
        self._place = place
        self._sent: dict[str, bytes] = {}
        self._seed = task.seed
        self._iterable = is_iterable(task.dataset)
        # In a worker:
        self._id = 0
        self._tag = place.tag
        self._reader: Reader | None = None
        self._blocks = BlockPool()
        self._failure: Sealed | None = None
        self._stack_file: Any = None

    # Being sent. Torch pickles its arguments while it starts a process, so this runs then, when locks, shared values
    # and tensors can be pickled too.

    def __getstate__(self) -> dict[str, Any]:
        task, init = self._task, self._startup.worker_init_fn
        if task is None:
            return {**self.__dict__}
        try:
            sent = {"task": _dumps(task)}
        except Exception as error:
            parts = {"dataset": task.dataset, "collate_fn": task.collate_fn, "transform": task.function}
            raise _unsendable(parts, error) from error
        try:
            sent["init"] = _dumps(init)
        except Exception as error:
            raise _unsendable({"worker_init_fn": init}, error) from error
        startup = replace(self._startup, worker_init_fn=None)
        return {**self.__dict__, "_task": None, "_startup": startup, "_sent": sent}

    # In a worker process

    def start(self, worker_id: int) -> None:
        """Starts the worker: torch calls it first, as `worker_init_fn`.

        In this order: generators seeded, packages imported, globals placed, the user's worker_init_fn, the dataset.
        What fails is told in answer to the first ticket, and to all others.
        """
        keep_inherited()
        end_with_parent()
        Finalize(None, self._blocks.clear, exitpriority=0)
        place = self._place
        self._id = (worker_id + place.first_worker) % place.num_workers
        self._stack_file = answer_with_stacks(place.stacks.file(self._id))
        try:
            self._seed_generators(place.passes)
            self._startup.prepare(self._id)
            init = self._startup.worker_init_fn
            if "init" in self._sent:
                init = pickle.loads(self._sent.pop("init"))
            if init is not None:
                init(self._id)
            self._make_reader()
        except Exception as error:
            error.add_note(f"in worker process {self._id} (pid {os.getpid()}), before it read anything")
            if isinstance(error, AttributeError) and "__main__" in str(error):
                error.add_note(
                    "a process that is not forked imports the script by its name: define what it needs in a module (in "
                    "a notebook or with python -c nothing can be imported), or give multiprocessing_context='fork'"
                )
            self._failure = self._wrap(error)
        place.board.put_down(self._id)

    def _seed_generators(self, passes: int) -> None:
        """The seeds follow from (seed, pass, worker): they differ, and are the same again after a resume."""
        seed_generators(self._seed, passes << _ID_BITS | self._id, Purpose.WORKER)
        known = {"id": self._id, "num_workers": self._place.num_workers, "seed": torch.initial_seed()}
        info = torch_worker._worker_info
        assert info is not None
        torch_worker._worker_info = LazyWorkerInfo(info, known, lambda: self._get_task().dataset)

    def _get_task(self) -> ReadTask:
        if self._task is None:
            self._task = pickle.loads(self._sent["task"])
            del self._sent["task"]
        return self._task

    def _make_reader(self) -> None:
        self._reader = make_reader(self._get_task(), self._id, self._place.num_workers)

    def __getitem__(self, ticket: Ticket | Unreadable) -> Answer:
        """Reads a batch. Whatever goes wrong is an answer too."""
        board = self._place.board
        if isinstance(ticket, Unreadable):
            ticket.error.add_note(f"in worker process {self._id} (pid {os.getpid()}), from what the sampler yielded")
            return Answer(Kind.FAILURE, self._wrap(ticket.error))
        if ticket.request is None or not board.counts(ticket.tag):
            return Answer(Kind.SKIPPED)
        if self._failure is not None:
            return Answer(Kind.FAILURE, self._failure)
        board.take(self._id, ticket.number)
        answer = self._read(ticket, ticket.request)
        board.put_down(self._id)  # not if the process ends in the middle: then it tells what it was at
        return answer

    def _read(self, ticket: Ticket, request: Request) -> Answer:
        try:
            self._enter(ticket)
            assert self._reader is not None
            batch = self._reader.read(request)
            if batch is None:
                return Answer(Kind.END)
            return self._seal(pack(batch, with_rows=self._iterable, blocks=self._blocks))
        except SampleError as error:
            return self._tell(error)
        except Exception as error:
            error.add_note(
                f"in worker process {self._id} (pid {os.getpid()}), which was reading {show(request, self._iterable)}"
            )
            return Answer(Kind.FAILURE, self._wrap(error))

    def _seal(self, packed: PackedImages | PackedOther) -> Answer:
        if not isinstance(packed, PackedImages) or not isinstance(packed.memory, BlockReference):
            return Answer(Kind.BATCH, seal(packed))
        try:
            return Answer(Kind.BATCH, seal(packed._replace(memory=None)), seal(packed.memory))
        except Exception:
            self._blocks.give_back(packed.memory)
            raise

    def _enter(self, ticket: Ticket) -> None:
        """Begins another pass, if this is its first ticket, as a new process would."""
        if ticket.tag == self._tag:
            return
        self._tag = ticket.tag
        self._seed_generators(ticket.passes)
        if self._iterable:
            self._task = replace(self._get_task(), states=None)  # those were of the first pass
            self._make_reader()

    def _tell(self, error: SampleError) -> Answer:
        """A sample's error goes as it is, with its place; its traceback, which does not pickle, as a note."""
        trace = "".join(traceback.format_exception(error)).rstrip()
        error.add_note(f"in worker process {self._id} (pid {os.getpid()}):\n{trace}")
        try:
            data = pickle.dumps(error)
            if type(pickle.loads(data)) is type(error):
                return Answer(Kind.SAMPLE_ERROR, Sealed(data))
        except Exception:  # a subclass that does not pickle: as any other error
            pass
        return Answer(Kind.FAILURE, self._wrap(error))

    def _wrap(self, error: Exception) -> Sealed:
        """As torch sends errors. One whose class does not pickle arrives as a RuntimeError with the same text."""
        caught, where = (type(error), error, error.__traceback__), f"in DataLoader worker process {self._id}"
        wrapper = ExceptionWrapper(caught, where)  # type: ignore[no-untyped-call]
        try:
            return seal(wrapper)
        except Exception:
            wrapper.exc_type = RuntimeError
            return seal(wrapper)


def show(request: Request, iterable: bool) -> str:
    """What a ticket wants of an iterable dataset or of another, for messages."""
    return "the next batch of its iterable dataset" if iterable else request.show()


def _dumps(value: Any) -> bytes:
    buffer = io.BytesIO()
    ForkingPickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def _unsendable(parts: dict[str, Any], error: Exception) -> ArgumentError:
    """Which of them it was, and what can be done. Torch warns of pickle's own errors, so it is none."""
    name, value = next(iter(parts.items()))
    for each, part in parts.items():
        try:
            _dumps(part)
        except Exception as own:
            name, value, error = each, part, own
            break
    shown = getattr(value, "__qualname__", type(value).__name__)
    method = getattr(get_spawning_popen(), "method", "spawn")
    return ArgumentError(
        f"{name}={shown}: cannot be sent to worker processes started by {method!r}: {type(error).__name__}: {error}; "
        "make it picklable, or give multiprocessing_context='fork'"
    )
