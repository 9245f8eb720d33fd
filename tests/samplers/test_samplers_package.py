"""What the package is to its users: light to import, cheap to run, and with a surface that says what it is."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import samplers
from samplers import EndlessSampler, EpochSampler, FiniteSampler, InfiniteSampler, Sampler, ShardedInfiniteSampler

MODULES = [
    "arguments",
    "epoch",
    "infinite",
    "keyed",
    "keyed_orders",
    "keyed_permutation",
    "permutation",
    "sampler",
    "weights",
]
IMAGENET = 1_281_167


def run(code: str) -> str:
    """What a fresh interpreter prints for `code`."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_samplers_imports_neither_torch_nor_dalikit() -> None:
    code = "import samplers, sys; print(sorted({'torch', 'dalikit', 'nvidia'} & set(sys.modules)))"
    assert run(code) == "[]"


def test_what_needs_no_torch_imports_none() -> None:
    code = """
import samplers, sys
print(list(samplers.EpochSampler(size=3, sample_count=3, shuffle=True))[0] < 3)
print(list(samplers.DistributedSampler(2, shuffle=False)), samplers.InfiniteSampler(sample_count=3).indices(0, 2))
samplers.InfiniteSampler(sample_count=3, shuffle=True), samplers.RandomSampler(3), samplers.DistributedSampler(3)
print('torch' in sys.modules)
"""
    assert run(code).splitlines() == ["True", "[0, 1] [0 1]", "False"]


@pytest.mark.parametrize("name", ["samplers", *(f"samplers.{module}" for module in MODULES)])
def test_public_names_are_sorted_and_there(name: str) -> None:
    module = importlib.import_module(name)
    assert all(hasattr(module, public) for public in module.__all__)
    constants = [public for public in module.__all__ if public.isupper()]
    assert module.__all__ == sorted(constants) + sorted(set(module.__all__) - set(constants))


def test_every_module_is_listed_here() -> None:
    files = {path.stem for path in Path(samplers.__file__).parent.glob("*.py")} - {"__init__"}
    assert files >= set(MODULES)


def test_the_protocol_has_two_kinds() -> None:
    assert issubclass(EpochSampler, FiniteSampler)
    assert issubclass(InfiniteSampler, EndlessSampler)
    assert issubclass(FiniteSampler, Sampler)
    with pytest.raises(TypeError, match="abstract"):
        Sampler(sample_count=1, shuffle=False, seed=0, start=0, step=1)  # type: ignore[abstract]


def nanoseconds(call: Callable[[int], object], turns: int = 5) -> float:
    """The least time of this thread for `call(turn)`, a sample of ImageNet."""
    times = []
    for turn in range(1, turns + 1):
        start = time.thread_time()
        call(turn)
        times.append(time.thread_time() - start)
    return min(times) / IMAGENET * 1e9


@pytest.mark.parametrize(
    ("name", "sampler", "limit_ns"),
    [
        ("INFINITE", InfiniteSampler(sample_count=IMAGENET, shuffle=True), 20),
        (
            "SHARDED_INFINITE_NEW",
            ShardedInfiniteSampler(sample_count=IMAGENET, shuffle=True, use_new_shuffle_tensor_slice=True),
            20,
        ),
        ("SHARDED_INFINITE", ShardedInfiniteSampler(sample_count=IMAGENET, shuffle=True), 400),
        ("EPOCH", EpochSampler(size=IMAGENET, sample_count=IMAGENET, shuffle=True), 80),
    ],
)
def test_an_epoch_of_imagenet_costs_no_more_than_its_order_demands(
    name: str, sampler: FiniteSampler | EndlessSampler, limit_ns: float
) -> None:
    """A Python loop over the samples would cost a thousand nanoseconds and more."""

    def one_epoch(turn: int) -> None:
        if isinstance(sampler, FiniteSampler):
            sampler.set_epoch(turn)
            sampler.indices(0, IMAGENET)
        else:
            sampler.indices(turn * IMAGENET, (turn + 1) * IMAGENET)

    sampler.indices(0, 1)
    assert nanoseconds(one_epoch) < limit_ns, name


def test_a_hundred_million_samples_are_skipped_within_seconds() -> None:
    """A tenth of the way to 10**9, which is to take ten seconds at most."""
    start = time.thread_time()
    InfiniteSampler(sample_count=IMAGENET, shuffle=True, advance=10**8).indices(0, 1)
    assert time.thread_time() - start < 1


def test_what_is_seeded_epoch_by_epoch_advances_at_once() -> None:
    advance, start = 10**12, time.thread_time()
    EpochSampler(size=IMAGENET, sample_count=IMAGENET, shuffle=True, advance=advance).indices(0, 1)
    ShardedInfiniteSampler(sample_count=IMAGENET, shuffle=True, advance=advance).indices(0, 1)
    InfiniteSampler(sample_count=IMAGENET, advance=advance).indices(0, 1)
    assert time.thread_time() - start < 5


def test_tiny_datasets_need_no_loop_over_their_epochs() -> None:
    start = time.thread_time()
    assert InfiniteSampler(sample_count=1).indices(0, 10**6).sum() == 0
    assert InfiniteSampler(sample_count=1, shuffle=True).indices(0, 10**6).sum() == 0
    assert ShardedInfiniteSampler(sample_count=2, shuffle=True).indices(0, 10**6).sum() == 500_000
    assert time.thread_time() - start < 2
