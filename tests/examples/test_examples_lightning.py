"""The Lightning example: the loader's own batches, on one device and two, and the same ones after a cut."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from framework_run import Log, launch, lines_of_example, lines_of_page, read

DRIVER = Path(__file__).with_name("lightning_driver.py")

pytestmark = pytest.mark.timeout(400)  # the first test waits for all runs


def drive(folder: Path, *runs: tuple[str, list[Any]]) -> None:
    """A fresh process that makes these runs; Lightning starts the one of the other rank."""
    printed = launch([str(DRIVER), str(folder), json.dumps(runs)], folder)
    assert "dalikit" not in printed, printed  # no warning of ours


def run(name: str, data: str, devices: int, *more: str) -> tuple[str, list[Any]]:
    """A run that keeps its checkpoints under its name."""
    kept = ["--checkpoints", f"{name}-kept", "--save-every", "1"]
    return name, ["--data", data, "--devices", str(devices), *kept, *more]


def resumed(name: str, data: str, devices: int, whole: str, step: int, *more: str) -> tuple[str, list[Any]]:
    """A run that goes on where another one was after some step."""
    return run(name, data, devices, "--resume", f"{whole}-kept/step={step}.ckpt", *more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photograph_root: Path) -> Path:
    """Uncut runs that save after every step, and fresh processes that go on from there. 12 images, 2 a batch."""
    folder, data = tmp_path_factory.mktemp("lightning"), str(photograph_root)
    endless = ("--steps", "9")
    drive(folder, ("plain", [data, 1]), ("plain", [data, 2]), run("one", data, 1), run("endless", data, 1, *endless))
    drive(folder, run("two", data, 2))
    drive(
        folder,
        *(resumed(f"one{step}", data, 1, "one", step) for step in (4, 6, 7)),
        resumed("endless5", data, 1, "endless", 5, *endless),
        resumed("two-one", data, 1, "two", 2),
    )
    return folder


@pytest.fixture(scope="module")
def log(folder: Path) -> Log:
    """What those wrote down."""
    return read(folder)


@pytest.mark.parametrize(("run", "world_size"), [("one", 1), ("two", 2)])
def test_lightning_trains_on_the_loaders_own_batches(log: Log, run: str, world_size: int) -> None:
    """Each epoch is the next pass, from the first: no sampler was replaced, and no pass was lost or repeated."""
    for rank in range(world_size):
        assert len(log.train(run, rank)) == 12 // world_size
        assert log.train(run, rank) == log.train(f"plain{world_size}", rank)
    first, second = (log.images(run, "train", epoch) for epoch in range(2))
    assert len(first) == len(second) == 12
    assert not first & second


@pytest.mark.parametrize("step", [4, 6, 7])
def test_a_fresh_process_goes_on_with_the_next_batch(log: Log, step: int) -> None:
    """Within an epoch, after the last batch of one (6), and in the next."""
    assert log.train(f"one{step}") == log.train("one")[step:]


@pytest.mark.slow
def test_two_processes_go_on_with_the_next_batch(folder: Path, photograph_root: Path) -> None:
    """Each rank with its own, though rank 0's state was saved for all."""
    drive(folder, resumed("two2", str(photograph_root), 2, "two", 2))
    log = read(folder)
    for rank in range(2):
        assert log.train("two2", rank) == log.train("two", rank)[2:]


def test_an_endless_loader_goes_on_with_the_next_batch(log: Log) -> None:
    """As it is given a length, Lightning takes no batch ahead, which a checkpoint would skip."""
    assert len(log.train("endless")) == 9
    assert log.train("endless5") == log.train("endless")[5:]


def test_a_checkpoint_of_two_devices_goes_on_on_one(log: Log) -> None:
    """What the two had not had yet of the epoch, once each; and the whole of the next."""
    before = Counter(image for rank in range(2) for _, images in log.train("two", rank)[:2] for image in images)
    assert log.images("two-one", "train", 0) == log.images("two", "train", 0) - before
    assert len(log.images("two-one", "train", 0)) == 4
    assert log.images("two-one", "train", 1) == log.images("two", "train", 1)


@pytest.mark.parametrize("run", ["one", "two"])
@pytest.mark.parametrize("epoch", range(2))
def test_validation_sees_each_image_once(log: Log, run: str, epoch: int) -> None:
    """Over all ranks; and the sanity check before it takes nothing away."""
    seen = log.images(run, "validation", epoch)
    assert len(seen) == 12
    assert set(seen.values()) == {1}
    assert log.images(run, "sanity", 0)
    assert set(log.images(run, "sanity", 0)) <= set(seen)


def test_the_page_shows_lines_of_the_example() -> None:
    """docs/frameworks.md cannot say what the example does not do."""
    shown = lines_of_page("Lightning")
    assert shown
    assert [line for line in shown if line not in lines_of_example("lightning_module.py")] == []
