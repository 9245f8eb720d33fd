"""Trainings that are killed and go on with other numbers of ranks have every sample once, in order, to the same pixels.

What the checkpoints say is compared with what was recorded, batch by batch and rank by rank, and with the run that was
never cut.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import elastic_run
import numpy as np
import pytest
from elastic_run import PASSES, Leg, Stream, run
from launching import Torchrun
from PIL import Image

from dalikit.errors import StateError

COUNT = 61
"""Images: prime, so that no batch size or number of ranks divides a pass."""

FINITE = ["KEYED_EPOCH", "EPOCH", "DISTRIBUTED"]
ELASTIC = [*FINITE, "KEYED_INFINITE"]

Samples = dict[tuple[int, int], tuple[int, str]]
"""Row and hash of the pixels at each (pass, place)."""

Uncut = Callable[[str], dict[str, Samples]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of COUNT small JPEGs in three classes, no two alike."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(np.random.Philox(3))
    for number in range(COUNT):
        folder = root / f"class{number % 3}"
        folder.mkdir(exist_ok=True)
        blocks = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(blocks.repeat(8, axis=0).repeat(8, axis=1)).save(folder / f"{number:03d}.jpg")
    return root


@pytest.fixture(scope="module")
def uncut(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Uncut:
    """By executor and then sampler: what a single rank has, never cut."""

    @cache
    def uncut(executor: str) -> dict[str, Samples]:
        folder = str(tmp_path_factory.mktemp("uncut"))
        leg = Leg(data=str(data), folder=folder, name="uncut", samplers=ELASTIC, batch_size=4, executor=executor)
        run(leg, 0, 1)
        found = {name: inside(joined([(leg, 1)], name), name) for name in ELASTIC}
        for samples in found.values():
            assert Counter(row for row, _ in samples.values()) == dict.fromkeys(range(COUNT), PASSES)
            assert len({pixels for _, pixels in samples.values()}) == PASSES * COUNT
        return found

    return uncut


def inside(samples: Samples, sampler: str) -> Samples:
    """Those of the passes' own places: neither padding nor what an endless sampler gives beyond the last pass."""
    size = PASSES * COUNT if sampler == "KEYED_INFINITE" else COUNT
    return {key: sample for key, sample in samples.items() if key[1] < size}


def records(leg: Leg, rank: int) -> Iterator[dict[str, Any]]:
    """What a rank wrote of each batch. A last line that was not finished is none."""
    for line in leg.records(rank).read_text().split("\n")[:-1]:
        yield json.loads(line)


def last_step(leg: Leg) -> int:
    """The step of a leg's last checkpoint: what came later was for nothing."""
    return int(json.loads(leg.checkpoint.read_text())["step"])


def joined(legs: list[tuple[Leg, int]], sampler: str) -> Samples:
    """What all legs, each with its number of ranks, had up to their last checkpoints. No place may come twice."""
    samples: Samples = {}
    for leg, world_size in legs:
        for rank in range(world_size):
            for record in records(leg, rank):
                if record["sampler"] != sampler or record["step"] > last_step(leg):
                    continue
                for number, sample in enumerate(zip(record["rows"], record["hashes"], strict=True), record["taken"]):
                    key = (record["passes"], record["start"] + rank + number * world_size)
                    assert key not in samples, (leg.name, rank, key)
                    samples[key] = sample
    return samples


def run_legs(first: Leg, plan: list[tuple[int, int, int]]) -> list[tuple[Leg, int]]:
    """Runs one leg after the other, each from the last checkpoint of the one before.

    Args:
        first: what all legs share.
        plan: of each leg the number of ranks, the batch size, and the step in which a rank is killed; 0: none is.
    """
    legs: list[tuple[Leg, int]] = []
    for number, (world_size, batch_size, kill_step) in enumerate(plan):
        resume = str(legs[-1][0].checkpoint) if legs else None
        leg = replace(first, name=f"leg{number}", batch_size=batch_size, resume=resume, kill_step=kill_step)
        leg = replace(leg, kill_rank=world_size - 1)
        result = Torchrun(Path(elastic_run.__file__), [leg.to_json()], world_size).run()
        legs.append((leg, world_size))
        if not kill_step:
            assert result.returncode == 0, result.stderr
            continue
        assert result.returncode != 0, "nobody was killed"
        assert f"exitcode  : -{signal.SIGKILL.value}" in result.stderr, result.stderr
        assert max(record["step"] for record in records(leg, world_size - 1)) == kill_step > last_step(leg)
    return legs


def assert_same_as_uncut(legs: list[tuple[Leg, int]], uncut: dict[str, Samples]) -> None:
    """Every sampler's samples are the uncut run's, each at its place, once; but for the padding."""
    for sampler in legs[-1][0].samplers:
        samples = joined(legs, sampler)
        assert inside(samples, sampler) == uncut[sampler], sampler
        beyond = {key: sample for key, sample in samples.items() if key not in uncut[sampler]}
        if sampler == "DISTRIBUTED":
            assert beyond == {key: uncut[sampler][key[0], key[1] - COUNT] for key in expected_padding(legs)}
        elif sampler != "KEYED_INFINITE":  # which ends with a whole batch of every rank
            assert beyond == {}


def expected_padding(legs: list[tuple[Leg, int]]) -> list[tuple[int, int]]:
    """(pass, place) of DISTRIBUTED's padding: it makes even what the last leg in a pass shared out."""
    shared_out: dict[int, tuple[int, int]] = {}
    for leg, world_size in legs:
        for record in records(leg, 0):
            if record["sampler"] == "DISTRIBUTED" and record["step"] <= last_step(leg):
                shared_out[record["passes"]] = (record["start"], world_size)
    return [
        (passes, COUNT + number)
        for passes, (start, world_size) in shared_out.items()
        for number in range((start - COUNT) % world_size)
    ]


def assert_ranks_agree(leg: Leg, world_size: int) -> None:
    """All ranks that have a batch in a step have the same state after it."""
    states: dict[tuple[str, int], set[str]] = {}
    for rank in range(world_size):
        for record in records(leg, rank):
            states.setdefault((record["sampler"], record["step"]), set()).add(json.dumps(record["state"]))
    assert states
    assert {key: found for key, found in states.items() if len(found) > 1} == {}


@pytest.fixture
def first(data: Path, tmp_path: Path) -> Leg:
    """What all legs of a test share."""
    return Leg(data=str(data), folder=str(tmp_path), name="", samplers=ELASTIC, batch_size=0)


@pytest.mark.timeout(300)
def test_a_killed_run_goes_on_with_another_number_of_ranks(first: Leg, uncut: Uncut) -> None:
    """Two ranks, of which one is killed in the first pass; then three, to the end."""
    legs = run_legs(first, [(2, 4, 5), (3, 2, 0)])  # from place 32, which 3 does not divide
    assert_same_as_uncut(legs, uncut("host"))
    for leg, world_size in legs:
        assert_ranks_agree(leg, world_size)


def test_an_order_that_is_bound_to_its_ranks_refuses_others(data: Path, tmp_path: Path) -> None:
    """INFINITE, with what would have gone on."""
    leg = Leg(data=str(data), folder=str(tmp_path), name="bound", samplers=["INFINITE"], batch_size=4)
    run(leg, 0, 1)
    state = json.loads(leg.checkpoint.read_text())["loaders"]["INFINITE"]
    Stream(leg, "INFINITE", 1, state).loader.close()
    reason = r"(?s)world_size in the state:  2.*world_size of the loader: 1.*InfiniteSampler.*KEYED_INFINITE"
    with pytest.raises(StateError, match=reason):
        Stream(leg, "INFINITE", 1, {**state, "world_size": 2})


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "plan",
    [
        [(4, 2, 5), (3, 3, 5), (1, 4, 0)],
        [(4, 2, 11), (1, 3, 3), (4, 2, 0)],
        [(2, 3, 3), (3, 1, 9), (2, 5, 5), (4, 1, 0)],
        [(1, 5, 13), (4, 3, 0)],
    ],
)
@pytest.mark.parametrize(("executor", "num_workers"), [("host", 0), ("host", 1), ("dali", 0)])
def test_every_number_of_ranks_goes_on_with_every_other(
    first: Leg, uncut: Uncut, plan: list[tuple[int, int, int]], executor: str, num_workers: int
) -> None:
    """Killed in the first pass and in the second, once and again, with worker processes too, with other batches."""
    legs = run_legs(replace(first, executor=executor, num_workers=num_workers), plan)
    assert_same_as_uncut(legs, uncut(executor))
    for leg, world_size in legs:
        assert_ranks_agree(leg, world_size)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_order_that_is_bound_to_its_ranks_is_refused_on_every_rank(first: Leg) -> None:
    """INFINITE after a kill: no rank starts with anything else."""
    legs = run_legs(replace(first, samplers=["INFINITE"]), [(2, 3, 5)])
    again = replace(legs[0][0], name="again", resume=str(legs[0][0].checkpoint), kill_step=0)
    refused = Torchrun(Path(elastic_run.__file__), [again.to_json()], 3).run()
    assert refused.returncode != 0
    assert "InfiniteSampler shares the samples out by the number of ranks" in refused.stderr
    assert not any(again.records(rank).exists() for rank in range(3))
    same = replace(again, name="same")
    assert Torchrun(Path(elastic_run.__file__), [same.to_json()], 2).run().returncode == 0
    assert last_step(same) > 0
