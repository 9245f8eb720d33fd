"""Datasets, collate functions and worker_init_fns of the contract's tests. Spawned workers import them from here."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

LONG = 30.0
"""Seconds after which a wait that should have been short is given up."""


class Numbers(Dataset[int]):
    """Item i is i."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self.count:
            raise IndexError(f"index {index} is not there")
        return index

    def __len__(self) -> int:
        return self.count


class Made(Dataset[Any]):
    """Item i is what a function makes of i."""

    def __init__(self, count: int, function: Callable[[int], Any]) -> None:
        self.count = count
        self.function = function

    def __getitem__(self, index: int) -> Any:
        return self.function(index)

    def __len__(self) -> int:
        return self.count


class Keyed:
    """Items by name; without a length, and no Dataset of torch's."""

    def __init__(self, items: Mapping[Any, Any]) -> None:
        self.items = dict(items)

    def __getitem__(self, key: Any) -> Any:
        return self.items[key]


class InBatches(Numbers):
    """Reads a whole batch at once; single items may not be asked for."""

    def __getitem__(self, index: int) -> int:
        raise AssertionError(f"asked for item {index} alone")

    def __getitems__(self, indices: list[int]) -> list[int]:
        return [index * 10 + len(indices) for index in indices]


class Place(NamedTuple):
    """Where an item was read."""

    item: int
    worker: int
    num_workers: int
    pid: int
    main_thread: bool


def place_of(index: int) -> Place:
    """Item: where it is read; worker -1 of 0 is the user's own process."""
    info = get_worker_info()
    worker, count = (-1, 0) if info is None else (info.id, info.num_workers)
    return Place(index, worker, count, os.getpid(), threading.current_thread() is threading.main_thread())


def draws_of(_: int) -> list[float]:
    """Item: one draw of each global generator."""
    return [random.random(), float(np.random.random()), float(torch.rand((), dtype=torch.float64))]


class Noted(Dataset[Any]):
    """Every item is what `note_in_worker` has left in this copy of the dataset."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.note: Any = None

    def __getitem__(self, index: int) -> Any:
        return self.note

    def __len__(self) -> int:
        return self.count


def note_in_worker(worker_id: int) -> None:
    """worker_init_fn: leaves in the worker's dataset what the worker knows of itself, and a draw of each generator."""
    info = get_worker_info()
    assert info is not None
    dataset: Any = info.dataset
    dataset.note = {
        "argument": worker_id,
        "id": info.id,
        "num_workers": info.num_workers,
        "seed": info.seed,
        "initial_seed": torch.initial_seed(),
        "draws": draws_of(0),
    }


class CountCalls:
    """worker_init_fn: one line a call, the process's id, in a file named by the worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, worker_id: int) -> None:
        with (self.folder / str(worker_id)).open("a") as file:
            file.write(f"{os.getpid()}\n")

    def calls(self) -> dict[int, list[int]]:
        """The processes that called, by worker."""
        return {int(path.name): [int(line) for line in path.read_text().split()] for path in self.folder.iterdir()}


class InPairs(Dataset[int]):
    """Reads every fourth item only after the next one, which another worker has to read."""

    def __init__(self, count: int, context: Any) -> None:
        self.count = count
        self.read = [context.Event() for _ in range(count)]

    def __getitem__(self, index: int) -> int:
        if index % 4 == 0 and index + 1 < self.count and not self.read[index + 1].wait(LONG):
            raise AssertionError(f"nobody reads item {index + 1}")
        self.read[index].set()
        return index

    def __len__(self) -> int:
        return self.count


class Hanging(Dataset[int]):
    """Item `bad` comes only once it is let go."""

    def __init__(self, count: int, bad: int, let_go: Any) -> None:
        self.count = count
        self.bad = bad
        self.let_go = let_go

    def __getitem__(self, index: int) -> int:
        if index == self.bad:
            self.let_go.wait(LONG)
        return index

    def __len__(self) -> int:
        return self.count


class OddError(Exception):
    """Cannot be made of a text alone."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(first, second)


class MessageError(Exception):
    """Takes its text by name, and carries it as an attribute, as errors of some libraries do."""

    message = "something is wrong"

    def __init__(self, *, message: str) -> None:
        super().__init__(message)


class Failing(Dataset[int]):
    """Item `bad` fails."""

    def __init__(self, count: int, bad: int, error: Callable[[int], BaseException]) -> None:
        self.count = count
        self.bad = bad
        self.error = error

    def __getitem__(self, index: int) -> int:
        if index == self.bad:
            raise self.error(index)
        return index

    def __len__(self) -> int:
        return self.count


def bad_value(index: int) -> ValueError:
    """An ordinary error."""
    return ValueError(f"item {index} is bad")


def bad_key(index: int) -> KeyError:
    """Shows its argument by repr."""
    return KeyError(f"item {index} is missing")


def odd_error(index: int) -> OddError:
    """An error of two numbers."""
    return OddError(index, index)


def message_error(index: int) -> MessageError:
    """An error with a message."""
    return MessageError(message=f"item {index} has a message")


def leave(index: int) -> SystemExit:
    """The program wants to end."""
    return SystemExit(index)


class Killing(Numbers):
    """The process that reads item `bad` is killed."""

    def __init__(self, count: int, bad: int) -> None:
        super().__init__(count)
        self.bad = bad

    def __getitem__(self, index: int) -> int:
        if index == self.bad:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


class Stream(IterableDataset[int]):
    """Numbers, start to stop; shared out among workers if `shared`, with or without a length."""

    def __init__(self, stop: int, *, shared: bool = True) -> None:
        self.start, self.stop, self.step = 0, stop, 1
        self.shared = shared

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        if info is not None and self.shared:
            return iter(range(self.start + info.id, self.stop, info.num_workers))
        return iter(range(self.start, self.stop, self.step))


class SizedStream(Stream):
    """A stream that says how long it is."""

    def __init__(self, stop: int, length: int) -> None:
        super().__init__(stop)
        self.length = length

    def __len__(self) -> int:
        return self.length


class Shards(IterableDataset[Any]):
    """Worker w gives (w, 0), (w, 1), ... as many as its length says; alone, the process gives all."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = list(lengths)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        info = get_worker_info()
        mine = range(len(self.lengths)) if info is None else [info.id]
        for worker in mine:
            for place in range(self.lengths[worker]):
                yield worker, place


class FailingStream(IterableDataset[int]):
    """Fails before item `bad`; at -1 not while it is read, but already in `__iter__`."""

    def __init__(self, bad: int) -> None:
        self.bad = bad

    def __iter__(self) -> Iterator[int]:
        if self.bad < 0:
            raise bad_value(self.bad)
        return self._read()

    def _read(self) -> Iterator[int]:
        yield from range(self.bad)
        raise bad_value(self.bad)


def share_out(worker_id: int) -> None:
    """worker_init_fn: gives each worker its own numbers of a stream."""
    info = get_worker_info()
    assert info is not None
    stream: Any = info.dataset
    assert isinstance(stream, Stream)
    stream.start, stream.step = worker_id, info.num_workers


def with_pid(samples: list[Any]) -> tuple[list[Any], int]:
    """collate_fn: the samples as they are, and the process that collates."""
    return samples, os.getpid()


def cannot_collate(samples: list[Any]) -> Any:
    """collate_fn: fails."""
    raise ValueError(f"cannot collate {len(samples)}")


def cannot_begin(worker_id: int) -> None:
    """worker_init_fn: fails in worker 1."""
    if worker_id == 1:
        raise ValueError(f"worker {worker_id} cannot begin")


def exit_at_once(_: int) -> None:
    """worker_init_fn: ends the process."""
    sys.exit(3)
