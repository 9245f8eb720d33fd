"""Threads, processes and memory: nothing is left behind, and nothing hangs."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from left_over import assert_no_more, children

from dalikit import DataLoader, SamplerType
from dalikit.errors import LoaderClosedError, LoaderTimeoutError
from dalikit.workers import Job

Make = Callable[..., DataLoader]


def our_threads() -> list[str]:
    """Names of dalikit's Python threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dalikit-")]


@pytest.mark.parametrize("executor", ["host", "dali"])
def test_close_ends_every_thread_and_process(make: Make, executor: str) -> None:
    """Native threads too; whether the pass was finished or not; and closing again does nothing."""
    process = psutil.Process()
    with make(executor=executor) as warm:  # what libraries start once for all stays
        next(iter(warm))
    gc.collect()
    before = process.num_threads()
    for finish in (True, False):
        loader = make(executor=executor, sampler_type=SamplerType.EPOCH)
        batches = iter(loader)
        for _ in batches if finish else itertools.islice(batches, 1):
            pass
        assert our_threads()
        loader.close()
        loader.close()
        assert our_threads() == []
    del loader, batches
    gc.collect()
    assert process.num_threads() <= before
    assert children() == []


def test_a_closed_loader_opens_again(make: Make) -> None:
    """`close` gives everything back; iterating opens it anew, with the same result."""
    loader = make()
    first = next(iter(loader))[0].clone()
    loader.close()
    assert torch.equal(next(iter(loader))[0], first)


def test_with_closes(make: Make) -> None:
    """A `with` block leaves no thread."""
    with make() as loader:
        next(iter(loader))
    assert our_threads() == []


def test_a_forgotten_loader_ends_its_threads(dataset: object) -> None:
    """Dropping the last reference is enough, in the middle of a pass too."""
    loader = DataLoader(dataset, batch_size=5, device="cpu")
    batches = iter(loader)
    next(batches)
    gone = weakref.ref(loader)
    del loader, batches
    gc.collect()
    assert gone() is None
    for thread in threading.enumerate():  # they were told to end; a collector does not wait for them
        if thread.name.startswith("dalikit-"):
            thread.join(10)
    assert our_threads() == []


def test_an_iterator_keeps_its_loader(dataset: object) -> None:
    """`iter(DataLoader(...))` works though nobody else holds the loader."""
    batches = iter(DataLoader(dataset, batch_size=5, device="cpu"))
    gc.collect()
    assert len(list(batches)) == 5


def test_many_early_breaks_leave_nothing_behind(make: Make) -> None:
    """Threads and open files stay the same over many cut passes; an executor is used again."""
    loader = make()
    next(iter(loader))
    process = psutil.Process()

    def count() -> tuple[int, int]:
        return len(our_threads()), process.num_fds()

    early = []
    for _ in range(4):
        next(iter(loader))
        early.append(count())
    for _ in range(10):
        next(iter(loader))
    assert_no_more(count, [max(numbers) for numbers in zip(*early, strict=True)])


def threads_of_torch() -> list[int]:
    """In this thread, and in one that is born now."""
    seen = [torch.get_num_threads()]
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen


def test_torchs_thread_setting_is_left_alone(make: Make) -> None:
    """In the main thread, and in one that is born later."""
    expected = threads_of_torch()
    next(iter(make(executor="host")))
    assert threads_of_torch() == expected


def test_no_global_generator_is_touched(make: Make) -> None:
    """torch's state is the same after a pass as before."""
    loader = make(sampler_type=SamplerType.EPOCH)
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(torch.get_rng_state(), before)


class StuckStorage:
    """A dataset whose reads do not come back."""

    transform = None

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate
        self.reads = 0

    def __len__(self) -> int:
        return 1000

    def get_image_data(self, index: int) -> bytes:
        self.reads += 1
        self.gate.wait(60)
        raise OSError(index)

    def get_target(self, index: int) -> int:
        return index


def test_closing_cancels_what_is_being_read(caplog: pytest.LogCaptureFixture) -> None:
    """No further read begins, and `close` does not wait for one that is stuck: its thread is a daemon."""
    gate = threading.Event()
    dataset = StuckStorage(gate)
    loader = DataLoader(dataset, batch_size=100, device="cpu", num_threads=2, timeout=0.2)
    batches = iter(loader)
    with pytest.raises(LoaderTimeoutError):
        next(batches)
    loader.close()
    assert "left to themselves: dalikit-read" in caplog.text
    gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith("dalikit-"):
            thread.join(10)
    assert dataset.reads <= 2


@pytest.mark.parametrize("executor", ["host", "dali"])
def test_closing_at_any_moment_of_the_start_does_not_hang(make: Make, executor: str) -> None:
    """Whatever the engine's thread is about to wait for just then."""
    loader = make(executor=executor)
    next(iter(loader))
    for delay in range(60):
        batches = iter(loader)
        threading.Event().wait(delay / 20_000)
        loader.close()
        assert our_threads() == []
        del batches


def test_close_from_a_signal_handler_in_the_middle_of_next(make: Make) -> None:
    """A handler runs between two instructions of whatever the main thread does; nothing it does may wait for a lock."""
    for _ in range(20):
        loader = make(batch_size=1)
        closed: list[int] = []

        def handler(*_: object, loader: DataLoader = loader, closed: list[int] = closed) -> None:
            loader.close()
            closed.append(1)

        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(LoaderClosedError):
                for _ in loader:
                    pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert closed == [1]


def test_a_loader_that_is_collected_on_a_thread_of_its_own(make: Make) -> None:
    """Its end is told, not waited for, so no thread waits for itself."""
    loader = make()
    batches = iter(loader)
    next(batches)
    holder: list[object] = [loader._supply]
    supply = loader._supply
    assert supply is not None
    assert supply._fetcher is not None
    job = Job(1, lambda *_: supply.stop())
    supply._fetcher._pool.submit(job)
    job.wait()
    holder.clear()
    loader.close()
    assert our_threads() == []


@pytest.mark.parametrize("executor", ["host", "dali"])
def test_a_forked_child_opens_the_loader_anew(folder: Path, executor: str) -> None:
    """It has none of its parent's threads: waiting for them would be for ever."""
    script = f"""
import os, sys
import dalikit.transforms as T
from dalikit import make_data_loader, make_dataset
dataset = make_dataset(dataset_str="ImageFolder:root={folder}", transform=T.CenterCrop(8))
loader = make_data_loader(dataset=dataset, batch_size=8, num_workers=0, device="cpu", executor="{executor}")
batches = iter(loader)
first = next(batches)[0].clone()
child = os.fork()
if child == 0:
    same = (next(iter(loader))[0] == first).all().item()
    os._exit(0 if same else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(next(batches)[0]))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (result.stdout, result.returncode) == ("0 8\n", 0), result.stderr


ENDLESS = """
import sys
import dalikit.transforms as T
from dalikit import make_data_loader, make_dataset
transform = T.Compose([T.RandomResizedCrop(224), T.ToTensor()])
dataset = make_dataset(dataset_str=f"ImageFolder:root={sys.argv[1]}", transform=transform)
loader = make_data_loader(dataset=dataset, batch_size=8, num_workers=0, device="cpu", executor=sys.argv[2])
for count, batch in enumerate(loader):
    if count == 2:
        print("running", flush=True)
    MIDDLE
"""


@pytest.mark.parametrize("executor", ["host", "dali"])
@pytest.mark.parametrize("middle", ["pass", "import time; time.sleep(0.05)"], ids=["waiting", "busy"])
def test_ctrl_c_ends_the_process(folder: Path, executor: str, middle: str) -> None:
    """Whether it comes while the user waits for a batch or works on one; without a word but the traceback."""
    script = ENDLESS.replace("MIDDLE", middle)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder), executor], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert "Exception ignored" not in stderr
    assert "shut down" not in stderr


@pytest.mark.parametrize("executor", ["host", "dali"])
@pytest.mark.parametrize("ending", ["sys.exit(3)", "raise RuntimeError('mine')", "break"])
def test_a_script_that_ends_in_the_middle_of_a_pass_ends_cleanly(folder: Path, executor: str, ending: str) -> None:
    """Its exit status is its own, and nothing is printed but its own traceback."""
    script = ENDLESS.replace("MIDDLE", f"if count == 2: {ending}")
    result = subprocess.run(
        [sys.executable, "-c", script, str(folder), executor], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == {"sys.exit(3)": 3, "break": 0}.get(ending, 1)
    assert result.stderr == "" or result.stderr.rstrip().endswith("RuntimeError: mine")
    assert "Exception ignored" not in result.stderr


def test_closing_in_the_middle_of_an_iteration_is_an_error_there(make: Make) -> None:
    """Not a silent end: the pass is not complete, and is not counted as such."""
    loader = make(sampler_type=SamplerType.EPOCH, batch_size=1)
    batches = iter(loader)
    next(batches)
    loader.close()
    with pytest.raises(LoaderClosedError, match="closed during this iteration; iterate over it anew"):
        list(batches)
    assert loader.state_dict()["passes"] == 0
    assert len(list(loader)) == len(loader)
