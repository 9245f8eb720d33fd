"""What a loader keeps from one iteration to the next: threads that read, worker processes, and the engine."""

from __future__ import annotations

import multiprocessing
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import default_collate

from dalikit.datasets.traits import lies_remotely
from dalikit.ending import close_at_exit, closed, come_first_at_exit
from dalikit.engine import Engine, Executor
from dalikit.errors import ArgumentError, LoaderClosedError
from dalikit.fetch import (
    HeaderRules,
    ImageBatch,
    LocalFeed,
    ReadTask,
    Request,
    Source,
    ThreadFetcher,
    ThreadSource,
    add_headers,
)
from dalikit.fetch.reader import Reader, is_iterable, make_reader
from dalikit.options import LoaderOptions
from dalikit.pipe import FedPipe, Pipe
from dalikit.processes import Startup, WorkerSession
from dalikit.repair import Mender
from dalikit.stream import BatchStream
from dalikit.transforms.recipe import Recipe

__all__ = ["Plan", "Supply", "check_context"]

_READING_THREADS = 4  # at most: they wait for storage; with warm page cache one alone reads 40,000 images/s
_REMOTE_THREADS = 32
"""Of remote storage, however many cores there are: a thread has one request in flight, which takes 20 to 50 ms to begin
with, so these get 600 to 1,600 single images a second, and more where spans hold several."""
_MORE_UNDER_WAY = 2  # batches being read or worked on beside those that are finished
_CLOSE_SECONDS = 2.0  # how long worker processes may take to end by themselves


def check_context(source: Any, context: Any, num_workers: int) -> Any:
    """How worker processes are to be started: as the user says, else as Python does by default; but not forked if the
    dataset lies in remote storage, whose connections and threads do not survive a fork.

    Args:
        source: the dataset.
        context: None, the name of a start method, or a multiprocessing context.
        num_workers: without any it does not matter.

    Raises:
        ArgumentError: a fork was asked for.
    """
    if not num_workers or not lies_remotely(source):
        return context
    if context is None:
        return "forkserver" if multiprocessing.get_start_method(allow_none=True) in (None, "fork") else None
    if (context if isinstance(context, str) else context.get_start_method()) == "fork":
        raise ArgumentError(
            f"multiprocessing_context='fork': {type(source).__name__} lies in remote storage, whose connections do not "
            "survive a fork; give None, 'forkserver' or 'spawn', or num_workers=0, which reads on threads"
        )
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done, decided when the loader was made."""

    task: ReadTask
    recipe: Recipe
    options: LoaderOptions
    batch_size: int
    """The largest batch that is expected."""
    source: Any
    """The dataset, or the view that stands for a Subset of one with encoded images."""
    on_threads: bool
    """It gives encoded bytes and is read by threads of this process."""
    num_workers: int = 0
    prefetch_factor: int | None = None
    context: Any = None
    persistent: bool = False
    startup: Startup | None = None
    mender: Mender | None = None

    @property
    def under_way(self) -> int:
        """Batches from their reading on to their being taken, beside those that worker processes have in hand."""
        return self.options.prefetch_batches + _MORE_UNDER_WAY

    @property
    def header_rules(self) -> HeaderRules:
        """Sizes that the dataset knows are held against the headers when the images are read, but with the host
        executor: that does so when it decodes; DALI's pipelines give crops alone, of which nobody can tell. So sizes
        that are known beforehand save time (some 4 us an image) with the host executor only.
        """
        return HeaderRules(
            adjust_orientation=self.recipe.decode.adjust_orientation,
            compare_sizes=self.options.executor != "host",
            limits=self.options.limits,
            accept_truncated=self.options.truncated == "accept",
            tolerant=self.task.tolerant,
        )

    @property
    def ahead(self) -> int:
        """How many batches may be asked for before the first is taken."""
        return self.under_way + self.num_workers * (self.prefetch_factor or 0) + 1


class Supply:
    """Opens the pipes of a loader's iterations. Belongs to the process that made it.

    Args:
        plan: what is to be done.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._process = os.getpid()
        self._closed = False
        self._opening = threading.Lock()
        self._reading = threading.Lock()
        self._engine: Engine | None = None
        self._fetcher: ThreadFetcher | None = None
        self._reader: Reader | None = None
        self._persistent: WorkerSession | None = None
        self._pipes: weakref.WeakSet[FedPipe] = weakref.WeakSet()
        self._sessions: weakref.WeakKeyDictionary[FedPipe, WorkerSession] = weakref.WeakKeyDictionary()
        """Of the iterations that there are: one that is dropped takes its worker processes along."""
        close_at_exit(self)

    @property
    def usable(self) -> bool:
        """Whether pipes can be opened: not after `stop`, nor in a forked child, which has none of the threads."""
        return not self._closed and self._process == os.getpid()

    def open(
        self,
        requests: Iterator[Request],
        passes: int,
        *,
        states: Mapping[int, Any] | None = None,
        first_worker: int = 0,
    ) -> Pipe:
        """Starts an iteration. Worker processes start here, on the calling thread.

        Args:
            requests: its batches.
            passes: the pass.
            states: where the workers' iterable datasets go on; None: they begin.
            first_worker: which of them gives the first batch.
        """
        plan = self._plan
        task = plan.task if states is None else replace(plan.task, states=states)
        if plan.on_threads:
            return self._start(ThreadSource(self._get_fetcher(), requests))
        with self._opening:
            session = None
            if plan.num_workers:
                session = self._get_session(task)
                feed: Any = session.begin(requests, passes, first_worker=first_worker)
            else:
                feed = LocalFeed(self._get_reader(task), requests, self._reading)
            pipe = FedPipe(
                feed,
                self._start,
                local=session is None,
                ahead=plan.under_way,
                rules=plan.header_rules,
                report=plan.options.return_parameters,
                reread=self._reread,
            )
            self._pipes.add(pipe)
            if session is not None:
                self._sessions[pipe] = session
            return pipe

    def _start(self, source: Source) -> BatchStream:
        """Has the engine work on a source. From any thread that iterates."""
        with self._opening:
            if self._closed:
                raise LoaderClosedError("the loader was closed during this iteration; iterate over it anew")
            return self._get_engine().start(source)

    def finish(self, pipe: Pipe) -> None:
        """An iteration came to its end: what worked for it alone ends too."""
        if not isinstance(pipe, FedPipe) or self._process != os.getpid():
            return
        pipe.stop()
        session = self._sessions.pop(pipe, None)
        if session is not None and session is not self._persistent:
            pipe.join()
            session.close(_CLOSE_SECONDS)

    def _get_session(self, task: ReadTask) -> WorkerSession:
        """The persistent one, unless it is at work for another iteration; else a new one."""
        plan = self._plan
        if self._persistent is not None and self._persistent not in self._sessions.values():
            if task.states is None:
                return self._persistent
            self._persistent.close(_CLOSE_SECONDS)  # those that go on in the middle of a pass begin with that
            self._persistent = None
        assert plan.startup is not None
        session = WorkerSession(
            task,
            plan.startup,
            num_workers=plan.num_workers,
            prefetch_factor=plan.prefetch_factor,
            context=plan.context,
            persistent=plan.persistent and self._persistent is None,
        )
        if session.persistent:
            self._persistent = session
        return session

    def _get_reader(self, task: ReadTask) -> Reader:
        """One for all iterations, as it learns about the dataset; iterable ones are iterated by a new one each time."""
        if is_iterable(task.dataset):
            return make_reader(task)
        if self._reader is None:
            self._reader = make_reader(task)
        return self._reader

    def _reread(self, request: Request, decoded: bool) -> ImageBatch:
        """Rows that stand in for bad ones, read in this process, on the user's thread. Not while another thread of
        theirs reads: a dataset need not be thread-safe.
        """
        task = self._plan.task
        if not decoded and task.encoded is None:  # bytes are images, which a broken one alone would not show
            task = replace(task, encoded=True)
        with self._reading:
            batch = make_reader(task).read(request)
        if not isinstance(batch, ImageBatch):
            raise ArgumentError(f"items of differing kinds: those of {request.show()} hold no image")
        add_headers(batch, self._plan.header_rules)
        return batch

    def _get_engine(self) -> Engine:
        if self._engine is None:
            plan = self._plan
            make_executor = _executor_maker(plan)
            come_first_at_exit()  # DALI was imported now
            self._engine = Engine(
                make_executor=make_executor,
                recipe=plan.recipe,
                seed=plan.task.seed,
                collate_targets=default_collate if plan.task.collate_fn is None else list,
                report=plan.options.return_parameters,
                mender=plan.mender,
                window=plan.under_way,
            )
        return self._engine

    def _get_fetcher(self) -> ThreadFetcher:
        if self._fetcher is None:
            plan = self._plan
            local = min(_READING_THREADS, plan.options.num_threads or 1)
            self._fetcher = ThreadFetcher(
                plan.source,
                num_threads=_REMOTE_THREADS if lies_remotely(plan.source) else local,
                rules=plan.header_rules,
                function=plan.task.function,
                tolerant=plan.task.tolerant,
                max_idle_arenas=plan.under_way,
            )
        return self._fetcher

    def stop(self) -> None:
        """Tells all threads and processes to end, and does not wait. From any thread, at any moment: no locks."""
        self._closed = True
        if self._process != os.getpid():
            return
        for pipe in tuple(self._pipes):
            pipe.stop()
        for session in tuple(self._sessions.values()):
            session.stop()
        if self._persistent is not None:
            self._persistent.stop()
        if self._engine is not None:
            self._engine.stop()
        if self._fetcher is not None:
            self._fetcher.stop()

    def close(self) -> None:
        """Ends everything and waits for it. May be called again."""
        self.stop()
        closed(self)
        if self._process != os.getpid():
            return
        for pipe in tuple(self._sessions):
            self.finish(pipe)
        if self._persistent is not None:
            self._persistent.close(_CLOSE_SECONDS)
        if self._engine is not None:
            self._engine.close()
        if self._fetcher is not None:
            self._fetcher.close()


def _executor_maker(plan: Plan) -> Callable[[bool], Executor]:
    """Imports the executor that was asked for, and nothing of the other one."""
    options, recipe = plan.options, plan.recipe
    shared: dict[str, Any] = {
        "num_threads": options.num_threads,
        "dtype": options.dtype,
        "channels_last": options.channels_last,
        "max_idle_outputs": plan.under_way,
    }
    if options.executor == "host":
        from dalikit.host import HostExecutor

        return lambda _decoded: HostExecutor(recipe, resize=options.resize, **shared)  # takes both kinds
    from dalikit.graph import GraphExecutor

    shared |= {"batch_size": plan.batch_size, "device": options.torch_device}
    return lambda decoded: GraphExecutor(recipe, decoded=decoded, **shared)
