"""Images by way of worker processes: resume, errors with their place, timeouts, and what is left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from item_datasets import Photographs
from left_over import assert_no_more, children
from torch.utils.data import get_worker_info

import dalikit.transforms as T
from dalikit import DataLoader
from dalikit.datasets import ImageFolder
from dalikit.errors import DecodeError, LoaderClosedError, LoaderTimeoutError, ReadError

TRANSFORM = T.Compose([T.RandomResizedCrop(24), T.RandomHorizontalFlip(), T.ToTensor()])

Make = Callable[..., DataLoader]


@pytest.fixture
def load() -> Iterator[Make]:
    """A DataLoader with two forked workers; closes what it made, and finds no process left."""
    made: list[DataLoader] = []

    def load(dataset: Any, **arguments: Any) -> DataLoader:
        defaults = {
            "batch_size": 4,
            "num_workers": 2,
            "multiprocessing_context": "fork",
            "device": "cpu",
            "num_threads": 2,
            "seed": 1,
            "transform": TRANSFORM,
        }
        made.append(DataLoader(dataset, **{**defaults, **arguments}))
        return made[-1]

    yield load
    for loader in made:
        loader.close()
    assert children() == []


@pytest.fixture(scope="session")
def paths(folder: Path) -> list[Path]:
    """The photographs."""
    return sorted(folder.rglob("*.jpg"))


def flat(batches: list[Any]) -> list[Any]:
    """All parts of all batches."""
    return [part for batch in batches for part in batch]


def equal(left: list[Any], right: list[Any]) -> bool:
    """Whether all parts are equal to the bit."""
    return len(left) == len(right) and all(map(torch.equal, flat(left), flat(right)))


@pytest.mark.parametrize("workers", [(0, 2), (2, 0), (2, 2), (1, 2)], ids=str)
def test_a_resume_at_every_cut(load: Make, paths: list[Path], workers: tuple[int, int]) -> None:
    """Over two passes, with another number of workers before and after; pixels included."""
    before, after = ({"num_workers": count, "multiprocessing_context": "fork" if count else None} for count in workers)
    dataset = Photographs(paths[:11])
    loader = load(dataset, shuffle=True, **before)
    want, states = [], [loader.state_dict()]
    for _ in range(2):
        for batch in loader:
            want.append(batch)
            states.append(loader.state_dict())
    fresh = load(dataset, shuffle=True, **after)
    for cut in range(len(states)):
        fresh.load_state_dict(states[cut])
        rest = list(fresh)
        assert equal(rest, want[cut : cut + len(rest)]), cut
        assert len(rest) == (3 - cut % 3 if cut % 3 or not cut else 0), cut


class Drawing(Photographs):
    """Its targets are drawn by chance."""

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index)[0], torch.rand(()).item()


def test_what_a_dataset_draws_follows_from_the_position(load: Make, paths: list[Path]) -> None:
    """So it is the same for any number of workers, and after a resume."""
    plain = load(Drawing(paths), num_workers=0, multiprocessing_context=None)
    want = [targets for _, targets in plain]
    loader = load(Drawing(paths))
    batches = iter(loader)
    assert torch.equal(next(batches)[1], want[0])
    state = loader.state_dict()
    other = load(Drawing(paths))
    other.load_state_dict(state)
    assert [targets.tolist() for _, targets in other] == [targets.tolist() for targets in want[1:]]
    assert len({value for targets in want for value in targets.tolist()}) == len(paths)


def test_a_bad_image_is_named(load: Make, folder: Path, tmp_path: Path) -> None:
    """With its place in the dataset, as without workers; the batches before it come first."""
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))[:12]):
        (tmp_path / "class").mkdir(exist_ok=True)
        (tmp_path / "class" / f"{number:02}.jpg").write_bytes(b"nonsense" if number == 9 else path.read_bytes())
    batches = iter(load(ImageFolder(tmp_path)))
    assert [len(next(batches)[1]) for _ in range(2)] == [4, 4]
    with pytest.raises(DecodeError, match=r"index=9.*09\.jpg.*stage=header") as caught:
        next(batches)
    assert caught.value.place.index == 9
    assert list(batches) == []
    assert children() == []


def test_a_missing_file_is_named_with_its_worker(load: Make, folder: Path, tmp_path: Path) -> None:
    """The error is what it would be without workers, with a note that says where it happened."""
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "a.jpg").write_bytes(next(folder.rglob("*.jpg")).read_bytes())
    dataset = ImageFolder(tmp_path)
    (tmp_path / "class" / "a.jpg").unlink()
    with pytest.raises(ReadError, match=r"index=0.*a\.jpg") as caught:
        next(iter(load(dataset)))
    assert any("worker" in note for note in caught.value.__notes__)


class Failing(Photographs):
    """Row 6 raises, exits, is killed, or hangs."""

    def __init__(self, paths: list[Path], how: str) -> None:
        super().__init__(paths)
        self.how = how

    def __getitem__(self, index: int) -> Any:
        if index == 6:
            if self.how == "raise":
                raise KeyError("mine")
            if self.how == "exit":
                sys.exit(3)
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1000)
        return super().__getitem__(index)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("raise", KeyError, "Caught KeyError in DataLoader worker process 1"),
        ("exit", RuntimeError, r"DataLoader worker \(pid"),
        ("kill", RuntimeError, r"DataLoader worker \(pid"),
    ],
)
def test_a_worker_that_fails(load: Make, paths: list[Path], how: str, error: type[Exception], message: str) -> None:
    """Soon, in torch's words, with the place; and no process is left."""
    batches = iter(load(Failing(paths, how)))
    began = time.monotonic()
    with pytest.raises(error, match=message) as caught:
        list(batches)
    assert time.monotonic() - began < 5
    text = f"{caught.value} {getattr(caught.value, '__notes__', '')}"
    assert "index=6" in text if how == "raise" else "[4, 5, 6, 7]" in text
    assert children() == []


def test_a_timeout_says_what_is_stuck(load: Make, paths: list[Path]) -> None:
    """Stage, indices, worker and the stacks; then the loader can be closed at once."""
    loader = load(Failing(paths, "hang"), timeout=1.0)
    batches = iter(loader)
    next(batches)
    with pytest.raises(LoaderTimeoutError) as caught:
        next(batches)
    text = str(caught.value)
    for part in ("DataLoader timed out after 1 seconds", "stage=read", "[4, 5, 6, 7]", "in __getitem__", "pid"):
        assert part in text, text
    began = time.monotonic()
    loader.close()
    assert time.monotonic() - began < 5
    assert children() == []
    with pytest.raises(LoaderClosedError):
        next(batches)


def test_nested_and_abandoned_iterations(load: Make, paths: list[Path]) -> None:
    """Persistent workers serve one at a time; a second one gets workers of its own."""
    loader = load(Photographs(paths), persistent_workers=True)
    want = [rows.tolist() for _, rows in loader]
    assert len(children()) == 2
    for _, rows in zip(loader, range(2), strict=False):
        inner = [each.tolist() for _, each in loader]
        assert inner == want
        assert rows is not None
    gc.collect()
    kept = iter(loader)
    next(kept)
    del kept
    assert [rows.tolist() for _, rows in loader] == want
    assert len(children()) == 2


@pytest.mark.parametrize("persistent", [False, True])
def test_a_broken_off_loop_leaves_no_process(paths: list[Path], persistent: bool) -> None:
    """Nor waits for the garbage collector: those of an iteration end with it, persistent ones with the loader."""
    gc.collect()
    gc.disable()
    try:
        loader = DataLoader(
            Photographs(paths),
            batch_size=4,
            num_workers=2,
            multiprocessing_context="fork",
            device="cpu",
            transform=TRANSFORM,
            persistent_workers=persistent,
        )
        for batch in loader:
            assert len(batch[1]) == 4
            assert len(children()) == 2
            break
        del batch
        if persistent:
            del loader
        deadline = time.monotonic() + 10
        while children() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert children() == []
    finally:
        gc.enable()


class Pids(Photographs):
    """The target is the worker's process."""

    def __getitem__(self, index: int) -> Any:
        info = get_worker_info()
        assert info is not None
        assert info.dataset.paths == self.paths
        return super().__getitem__(index)[0], os.getpid()


def test_whole_batches_are_read_by_one_worker(load: Make, paths: list[Path]) -> None:
    """Batches are taken in parallel, not samples."""
    pids = [set(pids.tolist()) for _, pids in load(Pids(paths))]
    assert all(len(each) == 1 for each in pids)
    assert pids[0] != pids[1]
    assert pids[0] == pids[2]
    assert os.getpid() not in set.union(*pids)


def test_two_loaders_at_once(load: Make, paths: list[Path]) -> None:
    """Training and validation."""
    train, validation = load(Photographs(paths), shuffle=True), load(Photographs(paths[:8]), shuffle=False)
    want = [rows.tolist() for _, rows in validation]
    for _, _rows in zip(train, range(3), strict=False):
        assert [rows.tolist() for _, rows in validation] == want


def test_nothing_is_left_after_many_passes(load: Make, paths: list[Path]) -> None:
    """Threads, processes, open files and memory after 30 passes as after 3, half of them cut short."""
    process = psutil.Process()
    loader = load(Photographs(paths[:9]))
    early: tuple[int, ...] = ()
    memory = 0

    def count() -> tuple[int, int, int]:
        return process.num_fds(), process.num_threads(), len(children())

    for number in range(30):
        batches = iter(loader)
        for _ in batches if number % 2 else range(1):
            pass
        del batches
        gc.collect()
        if number == 3:
            assert_no_more(lambda: [len(children())], [0])
            early, memory = count(), process.memory_info().rss
    assert_no_more(count, early)
    assert process.memory_info().rss - memory < 20e6


SCRIPT = """
import sys
from pathlib import Path
import dalikit.transforms as T
from dalikit import DataLoader
from item_datasets import Photographs

paths = sorted(Path(sys.argv[1]).rglob("*.jpg"))
dataset = Photographs(paths * 10)
loader = DataLoader(
    dataset, batch_size=4, num_workers=2, device="cpu", transform=T.CenterCrop(8), multiprocessing_context="fork"
)
for number, batch in enumerate(loader):
    if number == 2:
        print("running", flush=True)
        ENDING
"""


@pytest.mark.parametrize("ending", ["sys.exit(3)", "raise RuntimeError('mine')", "break"])
def test_a_script_that_ends_with_work_in_flight(folder: Path, ending: str) -> None:
    """Its exit status is its own, nothing is printed but its own traceback, and no process is left."""
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("ENDING", ending), str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert result.returncode == {"sys.exit(3)": 3, "break": 0}.get(ending, 1), result.stderr
    assert result.stderr == "" or result.stderr.rstrip().endswith("RuntimeError: mine")
    assert children() == []


def test_ctrl_c(folder: Path) -> None:
    """One traceback, and an end."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.replace("ENDING", "import time; time.sleep(60)"), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert "Exception ignored" not in stderr
    assert children() == []
