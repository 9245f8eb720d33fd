"""How a worker process starts: what it finds, in which order, and with which seeds."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from worker_datasets import (
    DrawingStream,
    Draws,
    Logged,
    LoggedInit,
    Numbers,
    Sharded,
    Shared,
    children,
    claim,
    drain,
    note_draws,
    requests,
    streamed,
    values,
)

from dalikit.errors import ArgumentError
from dalikit.fetch.batch import OtherBatch
from dalikit.fetch.on_cpu import HostFunction
from dalikit.processes.session import WorkerSession
from dalikit.processes.startup import make_startup

FORK, SPAWN = (torch.multiprocessing.get_context(name) for name in ("fork", "spawn"))


PACKAGE = """
import random, sys
from pathlib import Path
with open(Path(__file__).with_name("log.txt"), "a") as log:
    placed = vars(sys.modules["__main__"]).get("PLACED", "not yet")
    log.write(f"package {'torch' in sys.modules} {placed} {random.getstate()[1][0]}\\n")
"""


LOADED = ["init loaded", "init 0 placed", "dataset placed"]
TOUCHED = ["init loaded", "init 0 placed", "dataset placed", "touched Logged"]


@pytest.mark.parametrize(
    ("context", "touch", "expected"),
    [
        ("fork", False, LOADED[1:2]),  # all is there already
        ("fork", True, TOUCHED[1::2]),
        ("forkserver", False, LOADED),
        ("spawn", True, TOUCHED),
    ],
)
def test_the_order_of_a_start(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: str, touch: bool, expected: list[str]
) -> None:
    """Torch, packages, globals, the init function, the dataset; before it only if the init function asks for it."""
    log = tmp_path / "log.txt"
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "logging_package.py").write_text(PACKAGE)
    startup = make_startup(LoggedInit(log, touch), {"PLACED": "placed"}, ["logging_package"])
    session = opened(Logged(log), startup, num_workers=1, context=context)
    assert values(session.begin(requests(2), 0)) == [[0, 1], [2, 3]]
    lines = log.read_text().splitlines()
    assert lines[0].startswith("package True not yet ")
    assert [" ".join(line.split()[:3]) for line in lines[1:]] == expected
    assert "logging_package" not in sys.modules
    assert not hasattr(sys.modules["__main__"], "PLACED")


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_packages_find_the_generators_seeded(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: str
) -> None:
    """The first thing of all."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "logging_package.py").write_text(PACKAGE)
    for _ in range(2):
        session = opened(Numbers(), make_startup(worker_packages="logging_package"), num_workers=1, context=context)
        values(session.begin(requests(1), 0))
    first, second = (tmp_path / "log.txt").read_text().splitlines()
    assert first == second


def seeds(session: WorkerSession, passes: int) -> list[list[float]]:
    """What each of two workers drew when it started, and its seed."""
    return [batch[0] for batch in values(session.begin(requests(2, passes=passes), passes))]


def test_seeds_of_workers_and_passes(opened: Any) -> None:
    """All differ, and are the same whenever that pass of that seed is run, however the workers are started."""
    startup = make_startup(note_draws)
    first = seeds(opened(Draws(), startup, seed=3, context="spawn"), 0)
    seen = [first, seeds(opened(Draws(), startup, seed=3), 1), seeds(opened(Draws(), startup, seed=4), 0)]
    draws = [number for each in seen for worker in each for number in (*worker[:3], worker[4])]
    assert len(set(draws)) == len(draws) == 24
    assert [worker[3] for worker in first] == [0, 1]
    assert seeds(opened(Draws(), startup, seed=3), 0) == first


def test_persistent_workers_are_seeded_anew(opened: Any) -> None:
    """For each pass, as if they had been started for it; the init function is not called again."""
    dataset, startup = Draws(), make_startup(note_draws)
    session = opened(dataset, startup, persistent=True)
    first, second = seeds(session, 0), seeds(session, 1)
    assert [worker[:4] for worker in second] == [worker[:4] for worker in first]
    fresh = seeds(opened(dataset, startup), 1)
    assert [worker[4] for worker in second] == [worker[4] for worker in fresh]
    assert [worker[4] for worker in second] != [worker[4] for worker in first]


def test_iterable_datasets_draw_from_the_workers_seeds(opened: Any) -> None:
    """In persistent workers as in new ones; also when a pass is begun anew."""
    persistent = opened(DrawingStream(), persistent=True)
    new = [values(opened(DrawingStream()).begin(streamed(passes=passes), passes)) for passes in (0, 1)]
    assert [values(persistent.begin(streamed(passes=passes), passes)) for passes in (0, 1, 1)] == [*new, new[1]]
    drawn = [number for batches in new for batch in batches for number in batch[0][:3]]
    assert len(set(drawn)) == len(drawn) == 36


class Asking(Numbers):
    """Row i is what get_worker_info() says."""

    def __getitem__(self, index: int) -> Any:
        info = torch.utils.data.get_worker_info()
        assert info is not None
        return {"id": info.id, "num_workers": info.num_workers, "mine": info.dataset is self, "seed": info.seed}


def test_worker_info(opened: Any) -> None:
    """As torch gives it, but for our seed; its dataset is the user's own."""
    [batch, _] = drain(opened(Asking(), collate_fn=list).begin(requests(2), 0))
    assert isinstance(batch, OtherBatch)
    info = batch.value[0]
    assert (info["id"], info["num_workers"], info["mine"]) == (0, 2, True)
    assert torch.utils.data.get_worker_info() is None


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_an_init_function_that_changes_the_dataset(opened: Any, context: str) -> None:
    """The classic recipe for shards: what it sets is what is read."""
    dataset = Sharded()
    workers = 1 if context == "spawn" else 2
    session = opened(dataset, make_startup(claim), collate_fn=list, context=context, num_workers=workers)
    batches = drain(session.begin(requests(2), 0))
    got = [batch.value for batch in batches if isinstance(batch, OtherBatch)]
    by = [f"worker {number % workers} of {workers}" for number in range(2)]
    assert got == [[(0, by[0]), (1, by[0])], [(2, by[1]), (3, by[1])]]
    assert dataset.mine == "nobody's"


@pytest.mark.parametrize("context", [FORK, SPAWN], ids=["fork", "spawn"])
def test_what_processes_share_is_shared(opened: Any, context: Any) -> None:
    """Values with locks, and tensors, inside the dataset."""
    marks = torch.zeros(20).share_memory_()  # type: ignore[no-untyped-call]
    dataset = Shared(context.Value("i", 0), marks)
    assert len(values(opened(dataset, context=context, num_workers=1).begin(requests(5), 0))) == 5
    assert dataset.value.value == 10
    assert marks.sum() == 10


class Together(Numbers):
    """Shares an object with its collate_fn."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __getitem__(self, index: int) -> Any:
        self.seen.append(index)
        return index


class Collate:
    """Gives what the dataset has seen."""

    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    def __call__(self, items: list[int]) -> Any:
        return (items, list(self.seen))


def test_what_dataset_and_collate_fn_share_stays_shared(opened: Any) -> None:
    """They are sent together."""
    dataset = Together()
    session = opened(dataset, collate_fn=Collate(dataset.seen), context="spawn", num_workers=1)
    [batch] = drain(session.begin(requests(1), 0))
    assert isinstance(batch, OtherBatch)
    assert batch.value == ([0, 1], [0, 1])


class Holder(Numbers):
    """Holds what cannot be sent."""

    def __init__(self, held: Any) -> None:
        self.held = held


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dataset": Holder(threading.Lock())}, "dataset=Holder"),
        ({"collate_fn": lambda items: items}, "collate_fn=<lambda>"),
        ({"function": HostFunction(lambda image: image, 0)}, "transform=HostFunction"),
        ({"init": lambda worker_id: None}, "worker_init_fn=<lambda>"),  # noqa: ARG005
        ({"dataset": Holder(FORK.Lock())}, "dataset=Holder"),
    ],
    ids=["dataset", "collate_fn", "transform", "worker_init_fn", "lock of another context"],
)
def test_what_cannot_be_sent_is_named(opened: Any, context: str, options: dict[str, Any], named: str) -> None:
    """With the way out; forked workers have it all."""
    options = dict(options)
    dataset = options.pop("dataset", Numbers())
    startup = make_startup(options.pop("init", None))
    session = opened(dataset, startup, context=context, **options)
    message = f"^{named}: cannot be sent to worker processes started by '{context}': "
    with pytest.raises(ArgumentError, match=message) as caught:
        session.begin(requests(1), 0)
    assert "make it picklable, or give multiprocessing_context='fork'" in str(caught.value)
    assert children() == []


def fail(worker_id: int) -> None:
    """A worker_init_fn."""
    if worker_id == 1:
        raise KeyError("no licence")


@pytest.mark.parametrize("persistent", [False, True])
def test_an_init_function_that_fails(opened: Any, persistent: bool) -> None:
    """Torch's words, in the turn of that worker."""
    feed = opened(Numbers(), make_startup(fail), persistent=persistent).begin(requests(4), 0)
    assert feed.next().value.tolist() == [0, 1]
    with pytest.raises(KeyError, match=r"Caught KeyError in DataLoader worker process 1(.|\n)*'no licence'") as caught:
        feed.next()
    assert "in worker process 1 (pid " in str(caught.value)
    assert "before it read anything" in str(caught.value)
    assert feed.next().value.tolist() == [4, 5]
    with pytest.raises(KeyError, match="no licence"):
        feed.next()
    assert feed.next() is None


def test_a_package_that_cannot_be_imported(opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is named, before any data."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "breaking_package.py").write_text("raise OSError('no driver')")
    feed = opened(Numbers(), make_startup(worker_packages="breaking_package")).begin(requests(4), 0)
    with pytest.raises(ImportError, match="'breaking_package' could not be imported in worker process 0: OSError"):
        feed.next(60)


class Unloadable(Numbers):
    """Can be sent, but not loaded."""

    def __setstate__(self, state: Any) -> None:
        raise OSError("the file is not on this machine")

    def __getstate__(self) -> Any:
        return {"some": "state"}


def test_a_dataset_that_cannot_be_loaded(opened: Any) -> None:
    """Its own error, from the worker."""
    feed = opened(Unloadable(), context="spawn", num_workers=1).begin(requests(4), 0)
    with pytest.raises(OSError, match=r"Caught OSError in DataLoader worker process 0(.|\n)*not on this machine"):
        feed.next(60)
