"""Loaders under a real process group: they find their rank, agree before they load, and count nothing twice."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, photograph_root: Path) -> list[dict[str, Any]]:
    """What each of two ranks saw, case by case."""
    folder = tmp_path_factory.mktemp("ranks")
    shutil.copytree(photograph_root, folder / "data")
    shutil.copytree(photograph_root, folder / "data-other")
    first = min((folder / "data-other").rglob("*.jpg"))
    first.rename(first.with_name("renamed.jpg"))
    script = Path(__file__).with_name("loading_ranks.py")
    command = [sys.executable, str(script), str(folder / "data"), str(folder / "meeting")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert result.returncode == 0, result.stderr
    return [json.loads((folder / f"meeting.{rank}").read_text()) for rank in range(2)]


def test_ranks_are_found_and_agree(found: list[dict[str, Any]]) -> None:
    """12 photographs, pass after pass."""
    for rank in range(2):
        assert found[rank]["agree"] == [[[rank, 2], 6, 6], rank]


@pytest.mark.parametrize(
    ("case", "match"),
    [
        ("differ_in_batch_size", r"batch_size: 2 on rank 0, 3 on rank 1"),
        ("differ_in_seed", r"seed: 0 on rank 0, 1 on rank 1"),
        ("differ_in_dataset", r"dataset.fingerprint: \S+ on rank 0, \S+ on rank 1"),
    ],
)
def test_a_difference_is_an_error_on_every_rank(found: list[dict[str, Any]], case: str, match: str) -> None:
    """With the same words."""
    (kind, text), other = found[0][case], found[1][case]
    assert kind == "RankMismatchError"
    assert re.search(match, text), text
    assert other == [kind, text]


def test_states_of_different_places(found: list[dict[str, Any]]) -> None:
    """Refused when the iteration begins; with the same state on both ranks the pass goes on."""
    (kind, text), rest = found[0]["differ_in_place"]
    assert kind == "RankMismatchError"
    assert re.search(r"place: 4 on rank 0, 8 on rank 1", text), text
    assert rest == 4
    assert found[1]["differ_in_place"] == [[kind, text], 4]


def test_a_loader_of_one_rank_alone(found: list[dict[str, Any]]) -> None:
    """It has all samples, and waits for nobody."""
    assert found[0]["one_for_itself"] == 12


def test_evaluation_counts_each_sample_once(found: list[dict[str, Any]]) -> None:
    """Over both ranks."""
    assert found[0]["evaluate"] == found[1]["evaluate"] == [1] * 12
