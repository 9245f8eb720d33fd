"""Contract: errors of the user's code, in this process and in workers; workers that die or hang."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from contract_datasets import (
    Failing,
    Hanging,
    Keyed,
    Killing,
    Made,
    MessageError,
    Numbers,
    OddError,
    bad_key,
    bad_value,
    cannot_begin,
    exit_at_once,
    leave,
    message_error,
    odd_error,
    place_of,
)
from contract_loader import Make, numbers, raises, wait_for_no_children

from dalikit.errors import LoaderTimeoutError

DEAD = r"DataLoader worker \(pid"
SOON = 5.0
"""Seconds within which a dead worker is noticed: torch looks every five at the latest, and at once on Linux."""


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (bad_value, ValueError, "^item 2 is bad$"),
        (bad_key, KeyError, "^'item 2 is missing'$"),
        (odd_error, OddError, r"^\(2, 2\)$"),
        (message_error, MessageError, "^item 2 has a message$"),
        (lambda _: KeyboardInterrupt("stop"), KeyboardInterrupt, "^stop$"),
        (leave, SystemExit, "^2$"),
    ],
    ids=["value", "key", "odd", "message", "interrupt", "exit"],
)
def test_in_this_process(make: Make, error: Any, kind: type[BaseException], words: str) -> None:
    """The user's own error, untouched, after the batches before it."""
    batches = iter(make(Failing(5, 2, error)))
    assert numbers([next(batches), next(batches)]) == [[0], [1]]
    with raises(kind, words) as caught:
        next(batches)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [(bad_value, ValueError), (bad_key, KeyError), (odd_error, RuntimeError), (message_error, MessageError)],
    ids=["value", "key", "odd", "message"],
)
def test_in_a_worker(make: Make, error: Callable[[int], Exception], kind: type[Exception]) -> None:
    """Its type, if it can be made of a text, and a text that names the worker and holds its traceback, in lines."""
    thrown = error(3)
    batches = iter(make(Failing(6, 3, error), num_workers=2))
    assert numbers([next(batches) for _ in range(3)]) == [[0], [1], [2]]
    words = rf"^Caught {type(thrown).__name__} in DataLoader worker process 1\.\nOriginal Traceback \(most recent call"
    with raises(kind, words) as caught:
        next(batches)
    assert type(caught.value) is kind
    assert "in __getitem__\n" in str(caught.value)
    assert f"{type(thrown).__name__}: {thrown}\n" in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_new_pass_after_an_error(make: Make, num_workers: int) -> None:
    """Works; one bad item spoils one batch."""
    loader = make(Failing(4, 3, bad_value), num_workers=num_workers)
    for _ in range(2):
        batches = iter(loader)
        assert numbers([next(batches) for _ in range(3)]) == [[0], [1], [2]]
        with raises(ValueError, "item 3 is bad"):
            next(batches)


def test_a_new_pass_of_persistent_workers_after_an_error(make: Make) -> None:
    """The same processes go on."""
    dataset = Made(4, lambda index: place_of(10 // (3 - index)))
    loader = make(dataset, batch_size=None, num_workers=2, persistent_workers=True)
    pids = []
    for _ in range(2):
        batches = iter(loader)
        pids.append({next(batches).pid for _ in range(3)})
        with raises(ZeroDivisionError, "(?s)^Caught ZeroDivisionError in DataLoader worker process 1.*division"):
            next(batches)
        del batches
    assert pids[0] == pids[1]


def test_a_missing_key(make: Make) -> None:
    """KeyError's text is readable from a worker: lines are lines."""
    with raises(KeyError, r"^Caught KeyError in DataLoader worker process 0\.\n(.*\n)+KeyError: 'c'"):
        list(make(Keyed({"a": 1}), sampler=["a", "c"], num_workers=1))


@pytest.mark.parametrize("persistent", [False, True], ids=["", "persistent"])
def test_in_worker_init_fn(make: Make, persistent: bool) -> None:
    """Comes with the worker's first batch."""
    named: dict[str, Any] = {"num_workers": 2, "worker_init_fn": cannot_begin, "persistent_workers": persistent}
    with raises(ValueError, "(?s)^Caught ValueError in DataLoader worker process 1.*worker 1 cannot begin"):
        list(make(Numbers(4), **named))


DYING: dict[str, tuple[Any, dict[str, Any]]] = {
    "exit": (Failing(6, 3, leave), {}),
    "killed": (Killing(6, 3), {}),
    "killed, persistent": (Killing(6, 3), {"persistent_workers": True}),
    "exit at once": (Numbers(6), {"worker_init_fn": exit_at_once}),
}


@pytest.mark.parametrize("name", DYING)
def test_a_dying_worker(make: Make, name: str) -> None:
    """A RuntimeError that names the process, soon; no process is left.

    torch's may also be the EOFError or ConnectionResetError of a tensor that was on its way; hence no tensors there.
    """
    dataset, named = DYING[name]
    if make.is_torch:
        named = {**named, "collate_fn": list}
    begin = time.monotonic()
    with raises(RuntimeError, DEAD):
        list(make(dataset, num_workers=2, **named))
    assert time.monotonic() - begin < SOON
    assert wait_for_no_children(seconds=10) == []


def test_a_worker_that_is_killed_from_outside(make: Make) -> None:
    """By the kernel for its memory, say, while the user waits for it."""
    let_go = multiprocessing.get_context("fork").Event()
    batches = iter(make(PidFirst(6, let_go), batch_size=None, num_workers=1))
    os.kill(next(batches), signal.SIGKILL)
    begin = time.monotonic()
    with raises(RuntimeError, DEAD) as caught:
        list(batches)
    assert time.monotonic() - begin < SOON
    assert re.search(r"pid\W", str(caught.value)) is not None
    del batches
    assert wait_for_no_children(seconds=10) == []


class PidFirst(Hanging):
    """Item 0 is the worker's pid; item 1 hangs."""

    def __init__(self, count: int, let_go: Any) -> None:
        super().__init__(count, 1, let_go)

    def __getitem__(self, index: int) -> int:
        return os.getpid() if index == 0 else super().__getitem__(index)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_timeout(make: Make, num_workers: int) -> None:
    """A batch that does not come in time; those before it do.

    torch's is a RuntimeError, dalikit's a LoaderTimeoutError, which is one too; the text begins as torch's.
    """
    let_go = multiprocessing.get_context("fork").Event()
    batches = iter(make(Hanging(6, 2, let_go), num_workers=num_workers, timeout=2))
    assert numbers([next(batches), next(batches)]) == [[0], [1]]
    begin = time.monotonic()
    with raises(RuntimeError, "^DataLoader timed out after 2 seconds") as caught:
        next(batches)
    assert 1.9 < time.monotonic() - begin < 20  # torch's clock begins again when another worker has a batch
    assert make.is_torch or isinstance(caught.value, LoaderTimeoutError)
    let_go.set()


def test_no_timeout_while_batches_come(make: Make) -> None:
    """The clock runs for each batch anew, and not while the user is busy."""
    loader = make(Numbers(20), num_workers=2, timeout=5, batch_size=4)
    assert len(list(loader)) == 5
