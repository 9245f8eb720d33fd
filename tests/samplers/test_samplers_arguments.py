"""What constructors refuse, and what they say; where rank and world size come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch.distributed

from samplers import (
    DistributedSampler,
    EpochSampler,
    InfiniteSampler,
    RandomSampler,
    SequentialSampler,
    ShardedInfiniteSampler,
    position,
)

WHOLE = "must be a whole number"
REFUSED: list[tuple[Callable[..., Any], dict[str, Any], type[Exception], str]] = [
    (InfiniteSampler, {"sample_count": 0}, ValueError, r"sample_count is 0, .* \[1, 1099511627776\)\. Pass"),
    (InfiniteSampler, {"sample_count": 2**40}, ValueError, "sample_count is 1099511627776"),
    (InfiniteSampler, {"sample_count": True}, TypeError, rf"sample_count is True \(bool\), but {WHOLE}"),
    (InfiniteSampler, {"sample_count": 3.0}, TypeError, rf"sample_count is 3\.0 \(float\), but {WHOLE}"),
    (InfiniteSampler, {"sample_count": "3"}, TypeError, rf"sample_count is '3' \(str\), but {WHOLE}"),
    (InfiniteSampler, {"sample_count": np.True_}, TypeError, WHOLE),
    (InfiniteSampler, {"sample_count": 5, "seed": -1}, ValueError, r"seed is -1, .* lie in \[0, 9223372036854775808\)"),
    (InfiniteSampler, {"sample_count": 5, "seed": 2**63}, ValueError, "fits 63 bits"),
    (InfiniteSampler, {"sample_count": 5, "shuffle": 1}, TypeError, r"shuffle is 1 \(int\), .* True or False"),
    (InfiniteSampler, {"sample_count": 5, "start": 2, "step": 2}, ValueError, "start is 2, .* step=2: pass both"),
    (InfiniteSampler, {"sample_count": 5, "start": -1, "step": 2}, ValueError, "start is -1"),
    (InfiniteSampler, {"sample_count": 5, "start": 3}, ValueError, "start is 3, .* less than step=1: pass both"),
    (InfiniteSampler, {"sample_count": 5, "start": 0, "step": 0}, ValueError, "step is 0, .* Pass the number of ranks"),
    (InfiniteSampler, {"sample_count": 5, "advance": -1}, ValueError, "advance is -1"),
    (InfiniteSampler, {"sample_count": 5, "advance": 1.5}, TypeError, f"advance is 1.5 .* {WHOLE}"),
    (
        InfiniteSampler,
        {"sample_count": 3, "start": 3, "step": 4},
        ValueError,
        "start is 3, but sample_count is 3: this rank would never get a sample. Use no more ranks",
    ),
    (
        InfiniteSampler,
        {"sample_count": 214748364, "shuffle": True},
        ValueError,
        "sample_count is 214748364, .* less than 214748364: .* Use KeyedInfiniteSampler",
    ),
    (
        ShardedInfiniteSampler,
        {"sample_count": 3, "start": 0, "step": 4},
        ValueError,
        "sample_count is 3, but step is 4: a shard would have no sample. Use no more ranks",
    ),
    (
        ShardedInfiniteSampler,
        {"sample_count": 2**29, "shuffle": True, "start": 1, "step": 2},
        ValueError,
        "less than 268435456 a rank. Use SHARDED_INFINITE_NEW",
    ),
    (
        ShardedInfiniteSampler,
        {"sample_count": 5, "use_new_shuffle_tensor_slice": None},
        TypeError,
        "use_new_shuffle_tensor_slice is None",
    ),
    (EpochSampler, {"size": 0, "sample_count": 5}, ValueError, "size is 0, .* the number of samples in an epoch"),
    (EpochSampler, {"size": 5, "sample_count": 0}, ValueError, "sample_count is 0"),
    (EpochSampler, {"size": 5, "sample_count": 5, "start": 1, "step": 1}, ValueError, "start is 1"),
    (DistributedSampler, {"dataset": 0}, ValueError, "dataset is 0, .* Pass a dataset that has samples and a length"),
    (DistributedSampler, {"dataset": []}, ValueError, "dataset is 0"),
    (DistributedSampler, {"dataset": iter([])}, TypeError, f"dataset is <.*{WHOLE}.* Pass a dataset that has samples"),
    (DistributedSampler, {"dataset": 5, "num_replicas": 2, "rank": 2}, ValueError, "rank is 2, .* num_replicas=2"),
    (DistributedSampler, {"dataset": 5, "num_replicas": 0}, ValueError, "num_replicas is 0"),
    (DistributedSampler, {"dataset": 5, "drop_last": 0}, TypeError, "drop_last is 0"),
    (DistributedSampler, {"dataset": 1, "num_replicas": 2, "drop_last": True, "advance": 1}, ValueError, "0 samples"),
    (SequentialSampler, {"sample_count": -1}, ValueError, "sample_count is -1"),
    (RandomSampler, {"sample_count": 5, "seed": None}, TypeError, "seed is None"),
    (position, {"epoch": 2**23, "places": [0]}, ValueError, "epoch is 8388608, .* 23 bits of epoch"),
    (position, {"epoch": 1, "places": [2**40]}, ValueError, "places run from 1099511627776 .* in epoch 1"),
    (position, {"epoch": 0, "places": [-1, 4]}, ValueError, "places run from -1 to 4"),
    (position, {"epoch": 0, "places": np.array([2**63], dtype=np.uint64)}, ValueError, "places run from 92233720"),
    (position, {"epoch": 0, "places": [0.5]}, TypeError, "places have dtype float64, but must be integers"),
]


@pytest.mark.parametrize(("make", "arguments", "error", "message"), REFUSED)
def test_what_cannot_be_meant_is_refused(
    make: Callable[..., Any], arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(**arguments)


def test_large_datasets_are_fine_without_shuffle() -> None:
    sampler = InfiniteSampler(sample_count=10**12, start=3, step=4, advance=10**15)
    assert sampler.indices(0, 2).tolist() == [3, 7]
    assert sampler.positions(0, 2).tolist() == [4 * 10**15 + 3, 4 * 10**15 + 7]


def test_rank_and_world_size_are_those_of_torch_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 5)
    for sampler in (
        InfiniteSampler(sample_count=9),
        ShardedInfiniteSampler(sample_count=9),
        EpochSampler(size=9, sample_count=9),
        DistributedSampler(9),
    ):
        assert (sampler.start, sampler.step) == (2, 5)
    assert EpochSampler(size=9, sample_count=9, start=4).start == 4
    assert EpochSampler(size=9, sample_count=9, start=0, step=1).step == 1
    assert SequentialSampler(9).step == RandomSampler(9).step == 1


def test_rank_and_world_size_are_0_and_1_without_torch_distributed() -> None:
    assert (InfiniteSampler(sample_count=9).start, InfiniteSampler(sample_count=9).step) == (0, 1)
    assert (DistributedSampler(9).rank, DistributedSampler(9).num_replicas) == (0, 1)


def test_a_dataset_is_asked_for_its_length_and_not_kept() -> None:
    dataset = ["a", "b", "c"]
    sampler = DistributedSampler(dataset, 1, 0)
    assert sampler.sample_count == 3
    assert dataset not in vars(sampler).values()


def test_positions_hold_epoch_and_place() -> None:
    got = position(3, np.array([[0, 1], [2, 2**40 - 1]], dtype=np.int64))
    assert got.dtype == np.int64
    assert got.tolist() == [[3 << 40, (3 << 40) + 1], [(3 << 40) + 2, (4 << 40) - 1]]
    assert position(2**23 - 1, 2**40 - 1).tolist() == 2**63 - 1
    assert position(0, [2**63 - 1]).tolist() == [2**63 - 1]
    assert position(5, []).shape == (0,)
