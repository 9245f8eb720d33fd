"""What the tests of worker processes share. In a module of its own, so that spawned processes can import it."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from dalikit.errors import DecodeError, Place
from dalikit.fetch.batch import ImageBatch, OtherBatch, Request
from dalikit.fetch.task import ReadTask
from dalikit.processes.session import WorkerFeed, WorkerSession
from dalikit.processes.startup import Startup

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)
"""An image of one pixel."""


def requests(count: int, size: int = 2, passes: int = 0) -> Iterator[Request]:
    """Batches of rows in order: [0, 1], [2, 3], ..."""
    for number in range(count):
        rows = np.arange(number * size, (number + 1) * size)
        yield Request(rows, rows | np.int64(passes << 40), number + 1, passes, state={"number": number})


def streamed(count: int = 10**6, passes: int = 0) -> Iterator[Request]:
    """Batches of whatever an iterable dataset gives."""
    empty: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
    for number in range(count):
        yield Request(empty, empty, number + 1, passes)


def open_session(dataset: Any, startup: Startup | None = None, **options: Any) -> WorkerSession:
    """Two forked workers, unless it is said otherwise."""
    of_task = ("collate_fn", "encoded", "batch_size", "drop_last", "states", "transformed", "function", "seed")
    task: dict[str, Any] = {"seed": 1, "collate_fn": None, "transformed": False}
    task |= {name: options.pop(name) for name in of_task if name in options}
    return WorkerSession(
        ReadTask(dataset, **task), startup or Startup(), **{"num_workers": 2, "context": "fork", **options}
    )


def drain(feed: WorkerFeed) -> list[ImageBatch | OtherBatch]:
    """The batches that are left."""
    batches = []
    while (batch := feed.next(60)) is not None:
        batches.append(batch)
    return batches


def values(feed: WorkerFeed) -> list[Any]:
    """Of each batch that is left, what it holds, as lists."""
    return [batch.value.tolist() for batch in drain(feed) if isinstance(batch, OtherBatch)]


def children() -> list[psutil.Process]:
    """The worker processes that live; not the two that multiprocessing keeps for all."""
    me, found = psutil.Process(), []
    for child in me.children(recursive=True):
        try:
            words = " ".join(child.cmdline())
            server = child.ppid() == me.pid and ("resource_tracker" in words or "multiprocessing.forkserver" in words)
            if not server and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found


def await_no_children(seconds: float = 10) -> None:
    """Waits for the end of all. (psutil's own waiting would reap them before multiprocessing does.)"""
    deadline = time.monotonic() + seconds
    while children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert children() == []


class Numbers(Dataset[int]):
    """Row i is i."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> Any:
        return index


class Pids(Numbers):
    """Row i is (worker id, pid)."""

    def __getitem__(self, index: int) -> Any:
        info = get_worker_info()
        return torch.tensor([-1 if info is None else info.id, os.getpid()])


class Draws(Numbers):
    """What the generators were seeded with, before a reader seeds them by position: an init function notes it."""

    drawn: tuple[float, float, float, int]

    def __getitem__(self, index: int) -> Any:
        info = get_worker_info()
        assert info is not None
        return torch.tensor([*self.drawn, info.seed % 2**31], dtype=torch.float64)


def note_draws(worker_id: int) -> None:
    """A worker_init_fn."""
    info = get_worker_info()
    assert info is not None
    assert info.id == worker_id
    assert info.seed == torch.initial_seed()
    info.dataset.drawn = (random.random(), float(np.random.rand()), torch.rand(()).item(), worker_id)  # type: ignore[attr-defined]


class DrawingStream(IterableDataset[Any]):
    """Three draws of each generator, and the seed."""

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        assert info is not None
        for _ in range(3):
            yield torch.tensor([random.random(), np.random.rand(), torch.rand(()).item(), info.seed % 2**31])


class Share(IterableDataset[int]):
    """Worker w gives `counts[w]` numbers: 100 w, 100 w + 1, ..."""

    def __init__(self, counts: list[int]) -> None:
        self.counts = counts

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        assert info is not None
        yield from range(100 * info.id, 100 * info.id + self.counts[info.id])


class Sharded(Numbers):
    """The classic recipe: an init function tells each worker's copy which rows are its own."""

    mine = "nobody's"

    def __getitem__(self, index: int) -> Any:
        return index, self.mine


def claim(worker_id: int) -> None:
    """A worker_init_fn."""
    info = get_worker_info()
    assert info is not None
    dataset = info.dataset
    assert isinstance(dataset, Sharded)
    dataset.mine = f"worker {worker_id} of {info.num_workers}"


class Images(Numbers):
    """An image and its row, as torch's datasets have them; the image is bytes of growing length."""

    def __getitem__(self, index: int) -> Any:
        return PNG + bytes([index % 256]) * index, index


class Failing(Numbers):
    """Row 5 goes wrong, in one of several ways."""

    def __init__(self, how: str, row: int = 5) -> None:
        self.how = how
        self.row = row

    def __getitem__(self, index: int) -> Any:
        if index == self.row:
            getattr(self, self.how)()
        return index

    @staticmethod
    def raise_key_error() -> None:
        """A KeyError."""
        raise KeyError("mine")

    @staticmethod
    def raise_local() -> None:
        """An error whose class cannot be pickled."""

        class LocalError(Exception):
            pass

        raise LocalError("of a local class")

    @staticmethod
    def raise_sample_error() -> None:
        """An error of dalikit's, with a place."""
        raise DecodeError("cannot be read", Place(key="five", file="five.jpg"))

    @staticmethod
    def raise_odd_sample_error() -> None:
        """A subclass that does not pickle, as its constructor is another."""
        raise OddError(1, 2, 3)

    @staticmethod
    def stop_iteration() -> None:
        """Which must not end a loop."""
        raise StopIteration

    @staticmethod
    def leave() -> None:
        """sys.exit."""
        sys.exit(3)

    @staticmethod
    def die() -> None:
        """As if memory had run out."""
        os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def crash() -> None:
        """A segmentation fault."""
        ctypes.string_at(0)

    @staticmethod
    def sleep() -> None:
        """Far too long."""
        time.sleep(1000)

    @staticmethod
    def spin() -> None:
        """For ever."""
        while True:
            pass

    @staticmethod
    def ignore_and_sleep() -> None:
        """Far too long, and not to be talked to."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)


class OddError(DecodeError):
    """Its constructor takes what its arguments are not."""

    def __init__(self, one: int, two: int, three: int) -> None:
        super().__init__(f"odd {one} {two} {three}")


class Shared(Numbers):
    """Counts its reads in a value, and marks its rows in a tensor, both of which all processes share."""

    def __init__(self, value: Any, marks: torch.Tensor) -> None:
        self.value = value
        self.marks = marks

    def __getitem__(self, index: int) -> Any:
        with self.value.get_lock():
            self.value.value += 1
        self.marks[index] = 1
        return index


class Logged(Numbers):
    """Tells a file when it is loaded, and what it finds then."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        write(self.log, f"dataset {placed()}")


def placed() -> Any:
    """The global that a test gives its workers."""
    return vars(sys.modules["__main__"]).get("PLACED", "not yet")


def write(log: Path, line: str) -> None:
    """One line more, by whichever process."""
    with open(log, "a") as file:
        file.write(f"{line}\n")


class LoggedInit:
    """A worker_init_fn that tells when it is loaded and called."""

    def __init__(self, log: Path, touch: bool = False) -> None:
        self.log = log
        self.touch = touch

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        write(self.log, "init loaded")

    def __call__(self, worker_id: int) -> None:
        write(self.log, f"init {worker_id} {placed()} {random.random():.6f}")
        if self.touch:
            info = get_worker_info()
            assert info is not None
            write(self.log, f"touched {type(info.dataset).__name__}")
