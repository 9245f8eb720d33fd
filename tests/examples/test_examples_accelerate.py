"""The Accelerate example: the loader's own batches, the same ones after a cut, and each image evaluated once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from framework_run import Log, launch, lines_of_example, lines_of_page, read

DRIVER = Path(__file__).with_name("accelerate_driver.py")
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

pytestmark = pytest.mark.timeout(400)  # the first test waits for all runs


class Runs(NamedTuple):
    """What they wrote down, and what the uncut one on two processes printed."""

    log: Log
    printed: str


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, photograph_root: Path, photographs: list[Path]) -> Runs:
    """Uncut runs that save after every step, and others that go on from there. 12 images, 2 a batch; 9 to evaluate."""
    folder, data = tmp_path_factory.mktemp("accelerate"), str(photograph_root)
    nine = folder / "nine" / "class"
    nine.mkdir(parents=True)
    for number, photograph in enumerate(photographs[:9]):
        (nine / f"{number}.jpg").symlink_to(photograph)

    def run(name: str, *more: str) -> tuple[str, list[Any]]:
        kept = ["--checkpoints", f"{name}-kept", "--save-every", "1", "--validation", str(nine.parent)]
        return name, ["--data", data, *kept, *more]

    def resumed(name: str, whole: str, step: int) -> tuple[str, list[Any]]:
        return run(name, "--resume", f"{whole}-kept/step_{step}")

    def drive(*made: tuple[str, list[Any]], launcher: tuple[str, ...] = ()) -> str:
        return launch([*launcher, str(DRIVER), str(folder), json.dumps(made)], folder, OMP_NUM_THREADS="1")

    printed = drive(run("two"), launcher=TWO)
    drive(resumed("two2", "two", 2), launcher=TWO)
    drive(
        ("plain", [data, 1]),
        ("plain", [data, 2]),
        run("one"),
        *(resumed(f"one{step}", "one", step) for step in (4, 6, 7)),
        resumed("two-one", "two", 2),
    )
    return Runs(read(folder), printed)


@pytest.mark.parametrize(("run", "world_size"), [("one", 1), ("two", 2)])
def test_accelerate_trains_on_the_loaders_own_batches(runs: Runs, run: str, world_size: int) -> None:
    """Prepared by habit it is still the loader itself, on every rank with its own share."""
    for rank in range(world_size):
        assert len(runs.log.train(run, rank)) == 12 // world_size
        assert runs.log.train(run, rank) == runs.log.train(f"plain{world_size}", rank)


@pytest.mark.parametrize("step", [4, 6, 7])
def test_a_loaded_state_goes_on_with_the_next_batch(runs: Runs, step: int) -> None:
    """Within an epoch, after the last batch of one (6), and in the next."""
    assert runs.log.train(f"one{step}") == runs.log.train("one")[step:]


def test_two_fresh_processes_go_on_with_the_next_batch(runs: Runs) -> None:
    """Each rank with its own, though rank 0's state was saved for all."""
    for rank in range(2):
        assert runs.log.train("two2", rank) == runs.log.train("two", rank)[2:]


def test_a_checkpoint_of_two_processes_goes_on_in_one(runs: Runs) -> None:
    """What the two had not had yet of the epoch, once each; and the whole of the next."""
    log = runs.log
    before = Counter(image for rank in range(2) for _, images in log.train("two", rank)[:2] for image in images)
    assert log.images("two-one", "train", 0) == log.images("two", "train", 0) - before
    assert len(log.images("two-one", "train", 0)) == 4
    assert log.images("two-one", "train", 1) == log.images("two", "train", 1)


def test_each_image_is_evaluated_once(runs: Runs) -> None:
    """9 of them: one rank has three batches, the other two; and rank 0 alone prints."""
    lines = [line for line in runs.printed.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["0:", "1:"]
    assert all(line.endswith(" of 9 images") for line in lines)
    assert "dalikit" not in runs.printed, runs.printed  # no warning of ours


def test_the_page_shows_lines_of_the_example() -> None:
    """docs/frameworks.md cannot say what the example does not do."""
    shown = lines_of_page("Accelerate")
    assert shown
    assert [line for line in shown if line not in lines_of_example("accelerate_loop.py")] == []
