"""A run goes on with another number of ranks: the same samples, the same pixels, none twice, none lost."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dalikit import DataLoader, SamplerType
from dalikit.errors import StateError
from samplers import KeyedEpochSampler

Make = Callable[..., DataLoader]
Samples = list[tuple[bytes, int]]
"""Pixels and target of each."""

ELASTIC = [SamplerType.KEYED_EPOCH, SamplerType.KEYED_INFINITE, SamplerType.EPOCH, SamplerType.DISTRIBUTED]


def samples_of(images: torch.Tensor, targets: torch.Tensor) -> Samples:
    """Each sample of a batch."""
    return [(image.numpy().tobytes(), int(target)) for image, target in zip(images, targets, strict=True)]


def run(make: Make, world_size: int, batches: int, state: str | None, **arguments: Any) -> tuple[Samples, str]:
    """So many batches of each rank, in the order of the places, and the state of the last rank as JSON."""
    shares = []
    saved = ""
    for rank in range(world_size):
        loader = make(rank=rank, world_size=world_size, drop_last=False, **arguments)
        if state is not None:
            loader.load_state_dict(json.loads(state))
        share = [samples_of(*batch) for batch in itertools.islice(loader, batches)]
        shares.append(list(itertools.chain.from_iterable(share)))
        saved = json.dumps(loader.state_dict())
        loader.close()
    dealt = itertools.zip_longest(*shares)
    return [sample for round_ in dealt for sample in round_ if sample is not None], saved


@pytest.mark.parametrize(
    ("sampler_type", "executor"), [*((kind, "host") for kind in ELASTIC), (SamplerType.KEYED_EPOCH, "dali")]
)
def test_eight_ranks_then_three_then_sixteen_then_one(make: Make, sampler_type: SamplerType, executor: str) -> None:
    """Pixels are those of the uncut run on one rank, whatever the batch sizes."""
    arguments: dict[str, Any] = {"sampler_type": sampler_type, "executor": executor, "num_threads": 1}
    size = 40 if sampler_type is SamplerType.KEYED_INFINITE else 23
    expected, _ = run(make, 1, 1, None, batch_size=size, **arguments)
    taken: Samples = []
    state = None
    for world_size, batch_size, batches in ((8, 1, 1), (3, 2, 1), (2, 1, 1), (1, 4, 10)):
        some, state = run(make, world_size, batches, state, batch_size=batch_size, **arguments)
        taken += some
    assert len(taken) >= 23
    assert taken[: len(expected)] == expected[: len(taken)]


def test_the_next_pass_too(make: Make) -> None:
    """Cut in the first pass, on other ranks through the second."""
    arguments: dict[str, Any] = {"sampler_type": SamplerType.KEYED_EPOCH, "batch_size": 3, "num_threads": 1}
    state = run(make, 4, 1, None, **arguments)[1]
    second: list[Samples] = []
    for rank in range(2):
        loader = make(rank=rank, world_size=2, drop_last=False, **arguments)
        loader.load_state_dict(json.loads(state))
        assert sum(len(targets) for _, targets in loader) == (6 if rank == 0 else 5)
        second.append([sample for batch in loader for sample in samples_of(*batch)])
    uncut = make(drop_last=False, **arguments)
    list(uncut)
    expected = [sample for batch in uncut for sample in samples_of(*batch)]
    assert second[0] == expected[0::2]
    assert second[1] == expected[1::2]


def test_with_worker_processes(make: Make) -> None:
    """Two, on each of two ranks."""
    arguments: dict[str, Any] = {"sampler_type": SamplerType.KEYED_EPOCH, "num_threads": 1}
    expected, _ = run(make, 1, 99, None, batch_size=5, **arguments)
    first, state = run(make, 3, 1, None, batch_size=3, **arguments)
    rest, _ = run(make, 2, 99, state, batch_size=2, num_workers=2, **arguments)
    assert first + rest == expected


def test_the_rest_is_stated(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """How much is left, and what of it is no whole global batch."""
    state = run(make, 4, 1, None, batch_size=2, sampler_type=SamplerType.KEYED_EPOCH)[1]
    loader = make(rank=1, world_size=3, sampler_type=SamplerType.KEYED_EPOCH, batch_size=2)
    with caplog.at_level(logging.INFO, "dalikit"):
        loader.load_state_dict(json.loads(state))
    assert (
        "resuming on 3 ranks a state made by 4: pass 0 is dealt out anew from place 8 on; 15 samples are left: "
        "2 global batches of 6, and 3 more"
    ) in caplog.messages
    caplog.clear()
    state = run(make, 4, 1, None, batch_size=2, sampler_type=SamplerType.KEYED_INFINITE)[1]
    loader = make(rank=1, world_size=3, sampler_type=SamplerType.KEYED_INFINITE)
    with caplog.at_level(logging.INFO, "dalikit"):
        loader.load_state_dict(json.loads(state))
    assert caplog.messages[-1].endswith("pass 0 is dealt out anew from place 8 on")


@pytest.mark.parametrize(
    ("sampler_type", "match"),
    [
        (SamplerType.INFINITE, "InfiniteSampler shares the samples out by the number of ranks"),
        (SamplerType.SHARDED_INFINITE, "ShardedInfiniteSampler shares"),
        (SamplerType.SHARDED_INFINITE_NEW, "ShardedInfiniteSampler shares"),
    ],
)
def test_others_refuse(make: Make, sampler_type: SamplerType, match: str) -> None:
    """And say what to use."""
    state = run(make, 2, 1, None, sampler_type=sampler_type)[1]
    with pytest.raises(StateError, match=rf"{match}.*KEYED_INFINITE.*KEYED_EPOCH"):
        make(rank=0, world_size=3, sampler_type=sampler_type).load_state_dict(json.loads(state))


def test_a_torch_sampler_refuses(dataset: Any) -> None:
    """How it shares the samples out, nobody knows."""
    arguments: dict[str, Any] = {"batch_size": 5, "device": "cpu"}
    two = DataLoader(dataset, sampler=list(range(23)), rank=0, world_size=2, **arguments)
    next(iter(two))
    three = DataLoader(dataset, sampler=list(range(23)), rank=0, world_size=3, **arguments)
    with pytest.raises(StateError, match=r"(?s)world_size.*torch-style sampler.*KEYED_EPOCH"):
        three.load_state_dict(two.state_dict())
    two.close()


def test_a_seed_that_nobody_gave_comes_with_the_state(dataset: Any) -> None:
    """From one rank, where it was drawn, to several, which have the sampler's."""
    arguments: dict[str, Any] = {"batch_size": 5, "device": "cpu", "num_threads": 1}

    def make(rank: int, world_size: int, **more: Any) -> DataLoader:
        sampler = KeyedEpochSampler(sample_count=23, start=rank, step=world_size)
        return DataLoader(dataset, sampler=sampler, rank=rank, world_size=world_size, **arguments, **more)

    with make(0, 1) as alone:
        next(iter(alone))
        state = json.loads(json.dumps(alone.state_dict()))
        rest = [sample for batch in alone for sample in samples_of(*batch)]  # the next pass
    shares = []
    for rank in range(2):
        with make(rank, 2) as loader:
            loader.load_state_dict(state)
            assert loader.seed == alone.seed
            assert sum(len(targets) for _, targets in loader) == 9
            shares.append([sample for batch in loader for sample in samples_of(*batch)])
    assert shares[0] == rest[0::2]
    assert shares[1] == rest[1::2]
    with pytest.raises(StateError, match=rf"(?s)seed in the state:  {alone.seed}.*seed of the loader: 3"):
        make(0, 2, seed=3).load_state_dict(state)


def test_a_shuffle_that_shares_nothing_out_is_said(dataset: Any, caplog: pytest.LogCaptureFixture) -> None:
    """On several ranks each has all samples, as with torch; that is seldom what is meant."""
    DataLoader(dataset, shuffle=True, device="cpu")
    DataLoader(dataset, device="cpu", rank=0, world_size=2)
    assert caplog.messages == []
    DataLoader(dataset, shuffle=True, device="cpu", rank=0, world_size=2)
    [message] = caplog.messages
    assert message.startswith("shuffle=True on 2 ranks: each of them takes all samples")
