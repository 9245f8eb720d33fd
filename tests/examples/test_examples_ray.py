"""The Ray Train example: the script as it is started, its batches on two workers, what these had not had yet on one."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import torch
from framework_run import EXAMPLES, Log, launch, lines_of_example, lines_of_page, read

DRIVER = Path(__file__).with_name("ray_driver.py")

pytestmark = pytest.mark.timeout(400)  # the first test waits for both runs


@pytest.fixture(scope="module")
def temporary() -> Iterator[str]:
    """Ray's folder. It lies near the root, as the names of its sockets are short."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as temporary:
        yield temporary


def running_in(temporary: str) -> list[str]:
    """Command lines of processes that have Ray's folder in them."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if temporary in line]


def test_the_script_runs_as_it_is_started(photograph_root: Path, tmp_path: Path, temporary: str) -> None:
    """By the line of the README. Ray pickles the functions of a script otherwise than those of a module."""
    (tmp_path / "examples").symlink_to(EXAMPLES)
    line = re.search(r"`python (examples/ray_train\.py [^`]*)`", (EXAMPLES / "README.md").read_text())
    assert line is not None
    command = [str(photograph_root) if word == "DIR" else word for word in line[1].split()]
    more = ["--name", "run", "--epochs", "1", "--batch-size", "2", "--save-every", "1"]
    printed = launch([*command, *more], tmp_path, PYTHONPATH=str(EXAMPLES.parent), RAY_TMPDIR=temporary)
    kept = sorted((tmp_path / "runs" / "run").glob("checkpoint_2*"))
    assert f"path={kept[-1]})" in printed
    states = [torch.load(folder / "state.pt", weights_only=True)["loader"] for folder in kept]
    found = [(state["world_size"], state["passes"], state["place"]) for state in states]
    assert found == [(2, 0, 4), (2, 0, 8), (2, 0, 12)]
    deadline = time.monotonic() + 30
    while running_in(temporary) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running_in(temporary) == []
    assert "usage" not in printed.lower()  # it says so if it collects statistics


class Runs(NamedTuple):
    """What they wrote down, the processes that were left, and what `prepare_data_loader` made."""

    log: Log
    left: list[str]
    prepared: list[dict[str, object]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, photograph_root: Path, temporary: str) -> Runs:
    """An uncut run of two workers that saves after every step, and one worker that goes on from the second step."""
    folder = tmp_path_factory.mktemp("ray")
    path = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent), str(DRIVER.parent)])  # the workers import from there
    launch([str(DRIVER), str(folder), str(photograph_root), temporary], folder, PYTHONPATH=path)
    prepared = [json.loads(file.read_text()) for file in sorted(folder.glob("prepared*.json"))]
    left = json.loads((folder / "left.json").read_text())
    return Runs(read(folder), left, prepared)


@pytest.mark.slow
def test_ray_trains_on_the_loaders_own_batches(runs: Runs) -> None:
    """Each worker on its share: rank and number of ranks are those of the process group that Ray made."""
    for rank in range(2):
        assert len(runs.log.train("two", rank)) == 6
        assert runs.log.train("two", rank) == runs.log.train("plain2", rank)


@pytest.mark.slow
def test_a_checkpoint_of_two_workers_goes_on_on_one(runs: Runs) -> None:
    """What the two had not had yet of the epoch, once each; and the whole of the next, in the order of one worker."""
    log = runs.log
    before = Counter(image for rank in range(2) for _, images in log.train("two", rank)[:2] for image in images)
    assert log.images("two-one", "train", 0) == log.images("two", "train", 0) - before
    assert len(log.images("two-one", "train", 0)) == 4
    second = [(epoch, images) for epoch, images in log.train("plain1") if epoch == 1]
    assert log.train("two-one")[2:] == second


@pytest.mark.slow
def test_no_process_is_left(runs: Runs, temporary: str) -> None:
    """Neither below the driver, nor anywhere with Ray's folder in its arguments."""
    assert runs.left == []
    assert running_in(temporary) == []


@pytest.mark.slow
def test_prepare_data_loader_makes_another_loader(runs: Runs) -> None:
    """torch's, with a sampler of its own and without the transform; so docs/frameworks.md says not to call it."""
    assert [told["sampler"] for told in runs.prepared] == ["DistributedSampler"] * 2
    assert all(str(told["came"]).startswith("TypeError: default_collate") for told in runs.prepared), runs.prepared
    assert all(told["same"] for told in runs.prepared)  # with add_dist_sampler=False, move_to_device=False


def test_the_page_shows_lines_of_the_example() -> None:
    """docs/frameworks.md cannot say what the example does not do."""
    shown = lines_of_page("Ray Train")
    assert shown
    assert [line for line in shown if line not in lines_of_example("ray_train.py")] == []
