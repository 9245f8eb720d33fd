"""The Accelerate example: the loader's own batches, the same ones after a cut, and each image evaluated once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from framework_run import EXAMPLES, Log, launch, lines_of_example, lines_of_page, read

DRIVER = Path(__file__).with_name("accelerate_driver.py")
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

pytestmark = pytest.mark.timeout(400)  # the first test waits for all runs


class Runs(NamedTuple):
    """Where they wrote down what, their arguments, and what the uncut one on two processes printed."""

    folder: Path
    log: Log
    arguments: list[str]
    printed: str


def drive(folder: Path, *made: tuple[str, list[Any]], launcher: tuple[str, ...] = ()) -> str:
    """Processes that make these runs. Returns what they printed."""
    return launch([*launcher, str(DRIVER), str(folder), json.dumps(made)], folder, OMP_NUM_THREADS="1")


def run(name: str, *arguments: str) -> tuple[str, list[Any]]:
    """A run that keeps its checkpoints under its name."""
    return name, [*arguments, "--checkpoints", f"{name}-kept", "--save-every", "1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, photograph_root: Path, photographs: list[Path]) -> Runs:
    """Uncut runs that save after every step, and others that go on from there. 12 images, 2 a batch; 9 to evaluate."""
    folder, data = tmp_path_factory.mktemp("accelerate"), str(photograph_root)
    nine = folder / "nine" / "class"
    nine.mkdir(parents=True)
    for number, photograph in enumerate(photographs[:9]):
        (nine / f"{number}.jpg").symlink_to(photograph)

    arguments = ["--data", data, "--validation", str(nine.parent)]
    printed = drive(folder, run("two", *arguments), launcher=TWO)
    drive(
        folder,
        ("plain", [data, 1]),
        ("plain", [data, 2]),
        run("one", *arguments),
        *(run(f"one{step}", *arguments, "--resume", f"one-kept/step_{step}") for step in (4, 6, 7)),
        run("two-one", *arguments, "--resume", "two-kept/step_2"),
    )
    return Runs(folder, read(folder), arguments, printed)


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


@pytest.mark.slow
def test_two_fresh_processes_go_on_with_the_next_batch(runs: Runs) -> None:
    """Each rank with its own, though rank 0's state was saved for all."""
    drive(runs.folder, run("two2", *runs.arguments, "--resume", "two-kept/step_2"), launcher=TWO)
    log = read(runs.folder)
    for rank in range(2):
        assert log.train("two2", rank) == log.train("two", rank)[2:]


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
    assert runs.printed.count("processes: 2, on cpu\n") == 1
    assert "dalikit" not in runs.printed, runs.printed  # no warning of ours


def test_it_stops_where_accelerate_knows_of_fewer_processes(photograph_root: Path, tmp_path: Path) -> None:
    """As under torchrun without --cpu, where each process would train by itself."""
    environment = {"WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": ""}
    command = [str(EXAMPLES / "accelerate_loop.py"), "--data", str(photograph_root)]
    with pytest.raises(AssertionError, match=r"WORLD_SIZE is 2, but Accelerate knows of 1: .* torchrun, with --cpu"):
        launch(command, tmp_path, **environment)
    assert not list(tmp_path.iterdir())


def test_the_page_shows_lines_of_the_example() -> None:
    """docs/frameworks.md cannot say what the example does not do."""
    shown = lines_of_page("Accelerate")
    assert shown
    assert [line for line in shown if line not in lines_of_example("accelerate_loop.py")] == []
