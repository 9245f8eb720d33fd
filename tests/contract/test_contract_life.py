"""Contract: several iterations at once, broken off, deleted; the end of the program; forks."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import subprocess
import sys
from typing import Any

import pytest
from contract_datasets import Numbers, Stream
from contract_loader import Make, numbers, wait_for_no_children

WORKERS: list[dict[str, Any]] = [{}, {"num_workers": 2}, {"num_workers": 1, "persistent_workers": True}]


@pytest.mark.parametrize("named", WORKERS, ids=str)
def test_two_loaders_at_once(make: Make, named: dict[str, Any]) -> None:
    """Batch by batch in turn."""
    training, validation = make(Numbers(6), batch_size=2, **named), make(range(10, 16), batch_size=2, **named)
    for _ in range(2):
        pairs = [numbers(pair) for pair in zip(training, validation, strict=True)]
        assert pairs == [[[0, 1], [10, 11]], [[2, 3], [12, 13]], [[4, 5], [14, 15]]]


@pytest.mark.parametrize("named", WORKERS, ids=str)
def test_validation_within_training(make: Make, named: dict[str, Any]) -> None:
    """A whole pass of one loader between two batches of another."""
    training, validation = make(Numbers(6), batch_size=2, **named), make(Numbers(4), batch_size=2, **named)
    seen = []
    for batch in training:
        seen.append(batch.tolist())
        assert numbers(validation) == [[0, 1], [2, 3]]
    assert seen == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("named", WORKERS, ids=str)
@pytest.mark.parametrize("dataset", [Numbers(3), Stream(3)], ids=["map", "stream"])
def test_a_loader_within_itself(make: Make, dataset: Any, named: dict[str, Any]) -> None:
    """Two iterations of one loader do not disturb each other.

    With persistent workers torch restarts the outer one; it says nowhere what should be.
    """
    if make.is_torch and "persistent_workers" in named:
        pytest.skip("not defined there")
    loader = make(dataset, batch_size=None, **named)
    assert [(a, b) for a in loader for b in loader] == list(itertools.product(range(3), repeat=2))


@pytest.mark.parametrize("named", [*WORKERS, {"num_workers": 2, "persistent_workers": True}], ids=str)
@pytest.mark.parametrize("dataset", [Numbers(9), Stream(9)], ids=["map", "stream"])
def test_broken_off_and_begun_again(make: Make, dataset: Any, named: dict[str, Any]) -> None:
    """What was read ahead is thrown away; the next pass is whole."""
    loader = make(dataset, batch_size=None, **named)
    for taken in (1, 4, 0):
        for _ in itertools.islice(loader, taken):
            pass
        assert list(loader) == list(range(9))


@pytest.mark.parametrize("named", WORKERS, ids=str)
def test_deleted_in_the_middle(make: Make, named: dict[str, Any]) -> None:
    """The loader first: its iterator goes on. Then the iterator: no process is left."""
    loader = make(Numbers(6), batch_size=None, **named)
    batches = iter(loader)
    assert next(batches) == 0
    del loader
    assert list(itertools.islice(batches, 3)) == [1, 2, 3]
    del batches
    gc.collect()
    assert wait_for_no_children(seconds=10) == []


@pytest.mark.parametrize("named", WORKERS, ids=str)
def test_only_the_iterator_is_kept(make: Make, named: dict[str, Any]) -> None:
    """`iter(DataLoader(...))` is a pass like any other."""
    batches = iter(make(Numbers(5), batch_size=2, **named))
    gc.collect()
    assert numbers(batches) == [[0, 1], [2, 3], [4]]


def test_made_and_never_iterated(make: Make) -> None:
    """Starts nothing."""
    loader = make(Numbers(5), num_workers=2, persistent_workers=True)
    assert wait_for_no_children(seconds=0) == []
    assert len(loader) == 5


def test_an_iterator_is_its_own(make: Make) -> None:
    """iter(iter(loader)) is the iterator itself."""
    batches = iter(make(Numbers(3)))
    assert iter(batches) is batches
    assert numbers(batches) == [[0], [1], [2]]


SCRIPT = """
import sys
from torch.utils.data import DataLoader
import dalikit

def work():
    items = list(range(1000))
    if {kind!r} == "dalikit":
        loader = dalikit.DataLoader(items, device="cpu", num_threads=1, **{named!r})
    else:
        loader = DataLoader(items, **{named!r})
    return loader, iter(loader)

loader, batches = work()
print(next(batches).tolist(), flush=True)
{end}
"""

ENDS = {
    "the end": ("", 0, {"num_workers": 2}),
    "exit": ("sys.exit(3)", 3, {"num_workers": 1, "persistent_workers": True}),
    "no workers": ("", 0, {}),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_program_ends_with_work_in_flight(make: Make, name: str) -> None:
    """With its own exit code, without a word on stderr, and soon."""
    end, code, named = ENDS[name]
    script = SCRIPT.format(kind=make.kind, named=named, end=end)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "[0]\n", "")


def iterate_in_child(make: Make, loader: Any, connection: Any) -> None:
    """In a forked process: a loader of its own, and its parent's."""
    own = make(Numbers(4), batch_size=2, num_workers=1)
    connection.send([numbers(own), numbers(loader), numbers(loader)])
    connection.close()


@pytest.mark.parametrize("named", [{}, {"num_workers": 2}], ids=str)
def test_forked_after_use(make: Make, named: dict[str, Any]) -> None:
    """A child process can iterate a loader that its parent has used, and one of its own; the parent goes on."""
    loader = make(Numbers(3), batch_size=2, **named)
    batches = iter(loader)
    assert next(batches).tolist() == [0, 1]
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=iterate_in_child, args=(make, loader, sender))
    child.start()
    sender.close()
    assert receiver.poll(30)
    assert receiver.recv() == [[[0, 1], [2, 3]], [[0, 1], [2]], [[0, 1], [2]]]
    child.join(30)
    assert child.exitcode == 0
    receiver.close()
    assert numbers(batches) == [[2]]
    assert numbers(loader) == [[0, 1], [2]]
