"""Threads and files of a loader that mends: where stand-ins are read, how it ends, and what becomes of its report."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoded_images import encode
from item_datasets import Given
from PIL import Image
from torch.utils.data import Dataset

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader
from dalikit.engine import _StreamWork
from dalikit.errors import ArgumentError, DecodeError, LoaderClosedError, Place
from dalikit.fetch import Request
from dalikit.repair import ErrorPolicy, Quarantine
from dalikit.workers import JobCancelledError

pytestmark = pytest.mark.usefixtures("own_folder")

COUNT = 24
TRANSFORM = T.Compose([T.RandomResizedCrop(16), T.ToTensor()])


def images() -> list[bytes]:
    """Each of a colour of its own."""
    return [encode(Image.new("RGB", (60, 50), (9 * row, 200 - 8 * row, 100)), "PNG") for row in range(COUNT)]


def load(dataset: Any, **arguments: Any) -> DataLoader:
    """A loader that waits for no batch for ever."""
    named: dict[str, Any] = {"batch_size": 5, "num_workers": 0, "device": "cpu", "num_threads": 2, "timeout": 60}
    named |= {"transform": TRANSFORM, "sampler_type": SamplerType.KEYED_EPOCH, "drop_last": False, "seed": 0}
    return make_data_loader(dataset=dataset, **{**named, "on_error": "replace", **arguments})


def targets(loader: DataLoader) -> list[int]:
    """Of a pass: which rows came."""
    with loader:
        return [int(target) for _, found in loader for target in found]


def engines() -> list[threading.Thread]:
    """The engines' threads."""
    return [thread for thread in threading.enumerate() if thread.name == "dalikit-engine"]


class Blocked(Given):
    """Whose rows from 4 on, which are only to stand in, take until the test says so."""

    def __init__(self, files: Any) -> None:
        super().__init__(files)
        self.reached, self.go_on = threading.Event(), threading.Event()

    def get_image_data(self, index: int) -> bytes:
        if index >= 4:
            self.reached.set()
            self.go_on.wait()
        return super().get_image_data(index)


def test_close_while_stand_ins_are_read() -> None:
    """The engine's thread waits no longer for them."""
    dataset = Blocked([b"bad"] * 4 + images()[4:])
    before = set(engines())
    loader = load(dataset, sampler_type=None, shuffle=False, batch_size=4)

    def take() -> None:
        with contextlib.suppress(LoaderClosedError):
            next(iter(loader))

    user = threading.Thread(target=take, daemon=True)
    user.start()
    assert dataset.reached.wait(60)
    [engine] = set(engines()) - before
    closing = threading.Thread(target=loader.close, daemon=True)
    closing.start()
    try:
        engine.join(9)  # the loader itself gives up after 10 s
        assert not engine.is_alive()
    finally:
        dataset.go_on.set()
    closing.join(60)
    user.join(60)
    assert set(engines()) <= before


def test_a_stop_that_comes_before_the_rows_are_waited_for() -> None:
    """Nobody would end that wait."""

    class Never:
        def result(self) -> Any:
            raise AssertionError("is waited for")

    class Stopping:
        stopped = False

        def read(self, request: Any) -> Never:
            del request
            self.stopped = True
            return Never()

    source: Any = Stopping()
    nothing: Any = None
    work = _StreamWork(source, nothing, nothing, lambda: source.stopped)
    with pytest.raises(JobCancelledError):
        work._reread(Request([1], np.array([1]), 1))


class Drawing(Dataset[Any]):
    """Items that fail now and then; notes on which threads of this process they are read."""

    def __init__(self) -> None:
        self.files = images()
        self.threads: set[str] = set()
        self.interrupts = 0

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        self.threads.add(threading.current_thread().name)
        if index % 4 == 1:
            self.before_failing()
            raise OSError("gone")
        return self.files[index], index

    def before_failing(self) -> None:
        """Nothing."""


@pytest.mark.parametrize("workers", [0, 2])
def test_stand_ins_are_read_on_the_users_thread(workers: int) -> None:
    """What an item draws from the global generators disturbs nobody else there."""
    dataset = Drawing()
    taken = targets(load(dataset, num_workers=workers, encoded=True))
    assert len(taken) == COUNT
    assert not any(row % 4 == 1 for row in taken)
    assert dataset.threads == {threading.current_thread().name}


@pytest.mark.parametrize("workers", [0, 2])
def test_break_and_close(workers: int) -> None:
    """The engine waits for stand-ins that the user's thread no longer reads."""
    before = set(engines())
    for batches in range(4):
        loader = load(Drawing(), num_workers=workers, encoded=True, prefetch_batches=2)
        for _ in zip(range(batches), loader, strict=False):
            pass
        iter(loader)
        loader.close()
    assert set(engines()) <= before


def test_an_interrupt_while_a_stand_in_is_read() -> None:
    """Ctrl-C loses no sample: the next call reads it again."""

    class Interrupted(Drawing):
        def __getitem__(self, index: int) -> Any:
            self.reads = getattr(self, "reads", 0) + 1
            if self.reads in (COUNT + 1, COUNT + 3):  # after those of the one batch
                raise KeyboardInterrupt
            return super().__getitem__(index)

    expected = targets(load(Drawing(), encoded=True, batch_size=COUNT))
    loader = load(Interrupted(), encoded=True, batch_size=COUNT)
    batches, taken, interrupts = iter(loader), list[int](), 0
    while len(taken) < COUNT:
        try:
            taken += next(batches)[1].tolist()
        except KeyboardInterrupt:
            interrupts += 1
    loader.close()
    assert interrupts == 2
    assert taken == expected


# The report


class Other(Given):
    """Another dataset of as many rows, without a fingerprint too."""


def found(row: int) -> DecodeError:
    """A bad row."""
    return DecodeError("broken", Place("Given", row, stage="header"))


def note(dataset: Any, *rows: int, path: Any = None) -> Path:
    """A run that finds these."""
    quarantine = Quarantine(ErrorPolicy("replace", None, path), dataset, 0)
    for row in rows:
        quarantine.add(found(row))
    return quarantine.path


def rows_in(path: str | Path) -> list[int]:
    """Which a report names; its first line, and no other, is a header."""
    header, *lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert header["kind"] == "header"
    return [line["index"] for line in lines]


def test_reports_of_datasets_without_a_fingerprint() -> None:
    """Each has its own."""
    reports = [note(dataset, 1) for dataset in (Given([b""] * 5), Given([b""] * 6), Other([b""] * 5))]
    assert len(set(reports)) == 3
    assert note(Given([b""] * 5), 2) == reports[0]
    assert [rows_in(report) for report in reports] == [[1, 2], [1], [1]]
    with pytest.raises(ArgumentError, match="is no report of the bad samples of this dataset"):
        note(Other([b""] * 5), path=reports[0])


def test_what_lies_under_the_reports_own_name_is_left_alone() -> None:
    """The next free name is taken, of whichever loader writes first."""
    dataset = Given([b""] * 5)
    path = Quarantine(ErrorPolicy("replace"), dataset, 0).path
    path.write_text('{"kind": "header", "vers')
    assert note(dataset, 1) == path.with_name(f"{path.stem}-2.jsonl")
    assert path.read_text() == '{"kind": "header", "vers'
    made_before = Quarantine(ErrorPolicy("replace"), Given([b""] * 7), 0)
    made_before.path.write_text("something else\n")
    made_before.add(found(2))
    assert made_before.path.name.endswith("-rank0-2.jsonl")
    assert rows_in(made_before.path) == [2]


def test_what_comes_to_lie_under_the_users_name_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """It is said."""
    quarantine = Quarantine(ErrorPolicy("replace", None, "mine.jsonl"), Given([b""] * 5), 0)
    Path("mine.jsonl").write_text("something else\n")
    quarantine.add(found(2))
    assert Path("mine.jsonl").read_text() == "something else\n"
    assert any("cannot be written" in message for message in caplog.messages)
    with pytest.raises(ArgumentError, match=r"quarantine=.*mine.jsonl: cannot be added to"):
        note(Given([b""] * 5), path="mine.jsonl")


@pytest.mark.parametrize("name", ["report.jsonl", None])
def test_an_empty_file_is_taken_over(name: str | None) -> None:
    """As `mktemp` makes it."""
    dataset = Given([b""] * 5)
    path = note(dataset, path=name)
    path.touch()
    assert note(dataset, 1, path=name) == path
    assert rows_in(path) == [1]


def test_a_torn_line(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever wrote it was killed: the next line stands by itself, and `exclude=` passes over the torn one."""
    files = images()
    dataset = Given(files)
    path = note(dataset, 1, 2, path="report.jsonl")
    path.write_text(path.read_text()[:-30])
    note(dataset, 7, path="report.jsonl")
    taken = targets(load(dataset, exclude=path, on_error="raise"))
    assert {1, 7}.isdisjoint(taken)
    assert 2 in taken
    assert sum("line 3: is torn, and is passed over" in message for message in caplog.messages) == 1


def test_a_write_that_takes_only_some_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full pipe or a disk with a quota: the rest follows."""
    write: Callable[[int, Any], int] = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:7]))
    assert rows_in(note(Given([b""] * 5), 1, 3, path="report.jsonl")) == [1, 3]
