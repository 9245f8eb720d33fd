"""Makes loaders of both kinds, and asks what is left of their processes."""

from __future__ import annotations

import re
import time
import traceback
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from contract_compare import assert_same
from torch.utils.data import DataLoader

import dalikit
from dalikit.errors import ArgumentError

SERVERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Processes of Python's own, which stay as long as the program."""


class Make:
    """Makes loaders of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._made: list[weakref.ref[Any]] = []  # weak, as some tests delete their loader in the middle

    @property
    def is_torch(self) -> bool:
        """Whether they are torch's own."""
        return self.kind == "torch"

    @property
    def argument_error(self) -> type[Exception]:
        """What wrong arguments raise: torch's ValueError; dalikit's ArgumentError, which is one."""
        return ValueError if self.is_torch else ArgumentError

    def __call__(self, dataset: Any, *arguments: Any, **named: Any) -> Any:
        """A loader, with torch's arguments."""
        if self.is_torch:
            loader: Any = DataLoader(dataset, *arguments, **named)
        else:
            made: Any = dalikit.DataLoader
            loader = made(dataset, *arguments, device="cpu", num_threads=1, **named)
        self._made.append(weakref.ref(loader))
        return loader

    def close(self) -> None:
        """Closes those of dalikit that are still there; torch's have nothing to close."""
        for reference in self._made:
            loader = reference()
            if loader is not None and hasattr(loader, "close"):
                loader.close()


class Caught:
    """What `raises` has caught."""

    value: BaseException


@contextmanager
def raises(kind: type[BaseException], match: str) -> Iterator[Caught]:
    """As pytest.raises, but it lets go of the frames, so that an iterator ends as soon as its test lets go of it.

    torch's iterators need that: collected in a cycle they wait five seconds for every worker.
    """
    caught = Caught()
    try:
        yield caught
    except kind as error:
        caught.value = error
    else:
        pytest.fail(f"no {kind.__name__} was raised")
    inner: BaseException | None = caught.value
    while inner is not None:
        traceback.clear_frames(inner.__traceback__)
        inner.__traceback__ = None
        inner = inner.__context__
    assert re.search(match, str(caught.value)) is not None, f"{match!r} is not in {str(caught.value)!r}"


@contextmanager
def refuses(make: Make, words: str) -> Iterator[None]:
    """The block raises an error of arguments, a ValueError, that has torch's words in it."""
    with raises(make.argument_error, re.escape(words)) as caught:
        yield
    assert isinstance(caught.value, ValueError)


def assert_as_torch(make: Make, dataset: Any, **arguments: Any) -> list[Any]:
    """One pass gives what torch's loader gives, types and all; returns it."""
    batches = list(make(dataset, **arguments))
    assert_same(batches, list(DataLoader(dataset, **arguments)))
    return batches


def numbers(batches: Any) -> list[Any]:
    """Batches of numbers as lists."""
    return [batch.tolist() for batch in batches]


def flat(batches: Any) -> list[Any]:
    """All numbers of batches."""
    return list(chain.from_iterable(numbers(batches)))


def worker_processes() -> list[psutil.Process]:
    """The children of this process, and theirs, but for Python's own servers."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
            alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            continue
        if alive and not any(server in command for server in SERVERS):
            found.append(process)
    return found


def wait_for_no_children(*, seconds: float) -> list[psutil.Process]:
    """Waits for the workers to be gone; returns those that are not."""
    end = time.monotonic() + seconds
    while (left := worker_processes()) and time.monotonic() < end:
        psutil.wait_procs(left, timeout=0.05)
    return left
