"""Contract: worker processes: what they know of themselves, and how they are started."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from contract_datasets import CountCalls, Made, Noted, Numbers, Stream, draws_of, note_in_worker, place_of
from contract_loader import Make, numbers, wait_for_no_children, worker_processes
from torch.utils.data import get_worker_info


def notes(make: Make, num_workers: int = 3, **named: Any) -> dict[int, dict[str, Any]]:
    """What each worker knows of itself."""
    named = {"batch_size": None, "num_workers": num_workers, "worker_init_fn": note_in_worker, **named}
    return {note["id"]: note for note in make(Noted(2 * num_workers), **named)}


def test_worker_info(make: Make) -> None:
    """Each worker has its own id and seed, and a copy of the dataset that worker_init_fn may change.

    torch counts the seeds up; dalikit hashes them, so that neighbours have nothing in common.
    """
    found = notes(make)
    assert sorted(found) == [0, 1, 2]
    assert all(note["argument"] == worker and note["num_workers"] == 3 for worker, note in found.items())
    assert len({note["seed"] for note in found.values()}) == 3


def test_the_users_dataset_is_not_changed(make: Make) -> None:
    """The workers have copies."""
    dataset = Noted(4)
    for note in make(dataset, batch_size=None, num_workers=2, worker_init_fn=note_in_worker):
        assert note is not None
    assert dataset.note is None


def test_seeds_when_a_worker_begins(make: Make) -> None:
    """torch's generator has the worker's seed; those of random, numpy and torch differ from worker to worker."""
    found = notes(make)
    assert all(note["initial_seed"] == note["seed"] for note in found.values())
    assert len({draw for note in found.values() for draw in note["draws"]}) == 9


def test_seeds_follow_the_global_generator(make: Make) -> None:
    """torch.manual_seed decides them, and another pass has others."""
    found = []
    for _ in range(2):
        torch.manual_seed(4)
        found.append(notes(make, 2))
    assert found[0] == found[1]
    assert notes(make, 2)[0]["seed"] != found[0][0]["seed"]


def test_seeds_follow_a_generator(make: Make) -> None:
    """`generator=` decides them, if given."""
    found = [notes(make, 2, generator=torch.Generator().manual_seed(6)) for _ in range(2)]
    assert found[0] == found[1]


def test_no_worker_info_in_the_users_process(make: Make) -> None:
    """Neither without workers nor while they are at work."""
    assert list(make(Made(2, lambda _: get_worker_info()), batch_size=None)) == [None, None]
    for _ in make(Numbers(2), num_workers=1):
        assert get_worker_info() is None


def test_init_fn_is_called_once_a_worker_and_pass(make: Make, tmp_path: Path) -> None:
    """In new processes each pass."""
    counted = CountCalls(tmp_path)
    loader = make(Numbers(6), num_workers=2, worker_init_fn=counted)
    list(loader)
    list(loader)
    calls = counted.calls()
    assert sorted(calls) == [0, 1]
    pids = calls[0] + calls[1]
    assert len(pids) == len(set(pids)) == 4
    assert os.getpid() not in pids


def test_persistent_workers_stay(make: Make, tmp_path: Path) -> None:
    """One call a worker for all passes; the processes that read stay the same."""
    counted = CountCalls(tmp_path)
    named: dict[str, Any] = {"num_workers": 2, "persistent_workers": True, "worker_init_fn": counted}
    loader = make(Made(6, place_of), batch_size=None, **named)
    passes = [{place.pid for place in loader} for _ in range(3)]
    assert passes[0] == passes[1] == passes[2]
    assert {pid for pids in counted.calls().values() for pid in pids} == passes[0]
    assert [len(pids) for pids in counted.calls().values()] == [1, 1]
    assert {process.pid for process in worker_processes()} >= passes[0]


def test_other_workers_end_with_their_pass(make: Make) -> None:
    """Without persistent_workers each pass has processes of its own, and none is left after it."""
    loader = make(Made(6, place_of), batch_size=None, num_workers=2)
    passes = [{place.pid for place in loader} for _ in range(2)]
    assert len(passes[0] | passes[1]) == 4
    assert wait_for_no_children(seconds=5) == []


def test_init_fn_is_not_called_without_workers(make: Make, tmp_path: Path) -> None:
    """num_workers=0."""
    counted = CountCalls(tmp_path)
    assert len(list(make(Numbers(2), worker_init_fn=counted))) == 2
    assert counted.calls() == {}


def test_more_workers_than_batches(make: Make, tmp_path: Path) -> None:
    """All are started; those without work do no harm."""
    counted = CountCalls(tmp_path)
    assert numbers(make(Numbers(2), num_workers=4, worker_init_fn=counted)) == [[0], [1]]
    assert sorted(counted.calls()) == [0, 1, 2, 3]


def test_workers_of_an_empty_dataset(make: Make) -> None:
    """Nothing to do for them."""
    assert list(make([], num_workers=2)) == []


def test_dataset_changes_between_passes(make: Make) -> None:
    """Workers that are started anew see them, persistent ones do not."""
    for persistent, expected in ((False, [1, 1]), (True, [None, None])):
        dataset = Noted(2)
        named: dict[str, Any] = {"batch_size": None, "num_workers": 1, "persistent_workers": persistent}
        loader = make(dataset, **named)
        assert list(loader) == [None, None]
        dataset.note = 1
        assert list(loader) == expected


def test_one_thread_a_worker(make: Make) -> None:
    """torch computes on one thread in a worker, so that workers do not crowd the cores; here nothing changes."""
    before = torch.get_num_threads()
    assert list(make(Made(2, lambda _: torch.get_num_threads()), batch_size=None, num_workers=1)) == [1, 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("dataset", [Made(4, draws_of), Stream(4)], ids=["map", "stream"])
def test_spawned_workers(make: Make, dataset: Any) -> None:
    """By name: everything travels by pickle, the iterable's part by worker_init_fn too."""
    loader = make(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    items = list(loader)
    assert len(items) == 4
    assert items == [0, 1, 2, 3] or len({draw for draws in items for draw in draws}) == 12


def test_workers_of_a_fork_server(make: Make) -> None:
    """By context object; worker_init_fn and its changes to the dataset as everywhere."""
    context = multiprocessing.get_context("forkserver")
    found = notes(make, 2, multiprocessing_context=context)
    assert sorted(found) == [0, 1]
    assert len({note["seed"] for note in found.values()}) == 2


@pytest.mark.parametrize("context", ["fork", multiprocessing.get_context("fork")], ids=["name", "object"])
def test_forked_workers(make: Make, context: Any) -> None:
    """By name and by object; what cannot be pickled is there all the same."""
    offset = 10
    loader = make(Made(4, lambda index: index + offset), num_workers=2, multiprocessing_context=context)
    assert numbers(loader) == [[10], [11], [12], [13]]


def test_spawn_needs_what_can_be_pickled(make: Make) -> None:
    """A lambda cannot: an error at once, and no process left."""
    with pytest.raises(Exception, match=r"[Pp]ickle"):
        list(make(Made(4, lambda index: index), num_workers=1, multiprocessing_context="spawn"))
    assert wait_for_no_children(seconds=5) == []
