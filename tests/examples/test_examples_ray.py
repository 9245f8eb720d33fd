"""The Ray Train example: the loader's own batches on two workers, and what they had not had yet on one."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from framework_run import EXAMPLES, Log, launch, lines_of_example, lines_of_page, read

DRIVER = Path(__file__).with_name("ray_driver.py")

pytestmark = pytest.mark.timeout(400)  # the first test waits for both runs


class Runs(NamedTuple):
    """What they wrote down, what the driver printed, Ray's folder, what was left, and `prepare_data_loader`'s."""

    log: Log
    printed: str
    temporary: str
    left: list[str]
    prepared: list[dict[str, object]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, photograph_root: Path) -> Runs:
    """An uncut run of two workers that saves after every step, and one worker that goes on from the second step."""
    folder = tmp_path_factory.mktemp("ray")
    path = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent), str(DRIVER.parent)])  # the workers import from there
    with tempfile.TemporaryDirectory(
        prefix="ray-", ignore_cleanup_errors=True
    ) as temporary:  # names of sockets are short
        printed = launch([str(DRIVER), str(folder), str(photograph_root), temporary], folder, PYTHONPATH=path)
    prepared = [json.loads(file.read_text()) for file in sorted(folder.glob("prepared*.json"))]
    left = json.loads((folder / "left.json").read_text())
    return Runs(read(folder), printed, temporary, left, prepared)


def test_ray_trains_on_the_loaders_own_batches(runs: Runs) -> None:
    """Each worker on its share: rank and number of ranks are those of the process group that Ray made."""
    for rank in range(2):
        assert len(runs.log.train("two", rank)) == 6
        assert runs.log.train("two", rank) == runs.log.train("plain2", rank)


def test_a_checkpoint_of_two_workers_goes_on_on_one(runs: Runs) -> None:
    """What the two had not had yet of the epoch, once each; and the whole of the next, in the order of one worker."""
    log = runs.log
    before = Counter(image for rank in range(2) for _, images in log.train("two", rank)[:2] for image in images)
    assert log.images("two-one", "train", 0) == log.images("two", "train", 0) - before
    assert len(log.images("two-one", "train", 0)) == 4
    second = [(epoch, images) for epoch, images in log.train("plain1") if epoch == 1]
    assert log.train("two-one")[2:] == second


def test_no_process_is_left(runs: Runs) -> None:
    """Neither below the driver, nor anywhere with Ray's folder in its arguments."""
    assert runs.left == []
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if runs.temporary in line]
    assert "usage" not in runs.printed.lower()  # it says so if it collects statistics


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
