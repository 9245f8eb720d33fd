"""States that torch-style samplers cannot go on from: what is said."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from foreign_samplers import (
    COUNT,
    OWN_GENERATOR,
    STATEFUL,
    Buckets,
    EagerShuffle,
    Stateful,
    seeded,
)
from order_driver import batches, iterate, restore, run, saved
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler

from dalikit.errors import StateError
from dalikit.orders import ForeignOrder


def order_of(arguments: dict[str, Any], **others: Any) -> ForeignOrder:
    """The order of the loader that has these arguments."""
    loader: DataLoader[Any] = DataLoader(range(COUNT), **arguments)  # type: ignore[arg-type]
    return ForeignOrder(loader.sampler, loader.batch_sampler, **others)


def distributed(rank: int) -> DistributedSampler[int]:
    """torch's."""
    return DistributedSampler(range(COUNT), num_replicas=2, rank=rank)  # type: ignore[arg-type]


class Forgetful:
    """Shuffles by Python's generator, which nobody keeps."""

    def __iter__(self) -> Iterator[int]:
        return iter(random.sample(range(COUNT), COUNT))

    def __len__(self) -> int:
        return COUNT


def test_a_sampler_that_gives_another_order_is_refused() -> None:
    """At the next iteration, with what to do."""
    random.seed(1)
    _, states = run(order_of({"sampler": Forgetful(), "batch_size": 5}), 3)
    resumed = restore(order_of({"sampler": Forgetful(), "batch_size": 5}), states[2])
    for _ in range(2):
        with pytest.raises(
            StateError, match=r"(?s)Forgetful: its first 2 batches hold other indices.*Seed it.*state_dict"
        ):
            resumed.begin()


def test_other_indices_are_refused_whatever_they_are() -> None:
    """Keys, numbers beyond 64 bits, nested lists; and a shift of batches."""
    for given, others in (
        (["a", "b", "c"], ["a", "x", "c"]),
        ([2**70, 1, 2], [2**71, 1, 2]),
        ([[1], [2], 3], [[1], [3], 3]),
    ):
        _, states = run(ForeignOrder(given), 3)
        assert run(restore(ForeignOrder(list(given)), states[2]), 1)[0][0][0] == given[2]
        with pytest.raises(StateError, match="hold other indices"):
            restore(ForeignOrder(others), states[2]).begin()
    _, states = run(ForeignOrder(None, [[1, 2], [3], [4]]), 2)
    with pytest.raises(StateError, match="hold other indices"):
        restore(ForeignOrder(None, [[1], [2, 3], [4]]), states[2]).begin()


def test_equal_numbers_are_equal_indices() -> None:
    """Of whatever type they are."""
    _, states = run(ForeignOrder(None, [[1, 2], [3]]), 1)
    assert batches(restore(ForeignOrder(None, [torch.tensor([1, 2]), [3]]), states[1])) == [[3]]


def test_a_sampler_that_ends_early_is_refused() -> None:
    """It has lost samples."""

    def make(count: int) -> ForeignOrder:
        return ForeignOrder(None, [[number] for number in range(count)])

    _, states = run(make(8), 6)
    with pytest.raises(StateError, match="list: ended after 4 batches, but 6 were taken when the state was made"):
        restore(make(4), states[6]).begin()


@pytest.mark.parametrize(
    "other",
    [
        {"sampler": EagerShuffle(), "batch_size": 5},
        {"sampler": RandomSampler(range(COUNT)), "batch_size": 4},
        {"sampler": RandomSampler(range(COUNT)), "batch_size": 5, "drop_last": True},
        {"sampler": RandomSampler(range(COUNT)), "batch_size": None},
        {"sampler": RandomSampler(range(COUNT), num_samples=7), "batch_size": 5},
        {"batch_sampler": Buckets()},
    ],
    ids=lambda other: "-".join(type(value).__name__ for value in other.values()),
)
def test_a_state_of_another_order_is_refused(other: dict[str, Any]) -> None:
    """By its identity, with both sides."""
    _, states = run(order_of({"sampler": RandomSampler(range(COUNT)), "batch_size": 5}), 1)
    with pytest.raises(StateError, match=r"(?s)sampler in the state: .*sampler of the loader: "):
        restore(order_of(other), states[1])


def test_another_world_size_is_refused() -> None:
    """Positions would differ."""
    with pytest.raises(StateError, match=r"world_size in the state: .*2"):
        restore(ForeignOrder([1], world_size=3), saved(ForeignOrder([1], world_size=2), under_way=False))


def test_each_rank_has_its_own_state() -> None:
    """Of a sampler with a state of its own it is refused; of one that is iterated anew, if the indices differ."""
    _, states = run(order_of(STATEFUL["stateful"](), rank=0, world_size=2), 2)
    with pytest.raises(StateError, match=r"state: is that of rank 0, this is rank 1; with Stateful.*each rank saves"):
        restore(order_of(STATEFUL["stateful"](), rank=1, world_size=2), states[1])
    _, states = run(order_of(OWN_GENERATOR["random"](), rank=0, world_size=2), 2)
    with pytest.raises(StateError, match=r"state: is that of rank 0, this is rank 1; with RandomSampler"):
        restore(order_of(OWN_GENERATOR["random"](), rank=1, world_size=2), states[1])
    _, states = run(order_of({"sampler": distributed(0)}, rank=0, world_size=2), 2)
    with pytest.raises(StateError, match=r"hold other indices.*each saves and loads its own state"):
        restore(order_of({"sampler": distributed(1)}, rank=1, world_size=2), states[1]).begin()
    _, states = run(ForeignOrder([1, 2, 3], rank=0, world_size=2), 2)
    assert batches(restore(ForeignOrder([1, 2, 3], rank=1, world_size=2), states[1])) == [2, 3]


def test_a_generator_that_is_gone_is_refused() -> None:
    """And one of another kind."""
    _, states = run(order_of({"sampler": RandomSampler(range(COUNT), generator=seeded())}), 2)
    with pytest.raises(StateError, match="state of its sampler's generator, but RandomSampler has none here"):
        restore(order_of({"sampler": RandomSampler(range(COUNT))}), states[1]).begin()
    state = json.loads(states[1])
    state["extra"] = json.loads(state["extra"])  # a dict does as well
    state["extra"]["start"]["generator"] = "AAAA"
    with pytest.raises(StateError, match="the generator of RandomSampler does not take the state of one: "):
        restore(order_of({"sampler": RandomSampler(range(COUNT), generator=seeded())}), json.dumps(state)).begin()


def test_a_failed_resume_leaves_the_generators_alone() -> None:
    """The user may go on without the state."""
    generator = seeded()
    _, states = run(order_of({"sampler": RandomSampler(range(COUNT), generator=generator)}), 2)
    state = json.loads(states[1])
    state["extra"] = json.loads(state["extra"])
    state["extra"]["indices"] = "00"
    generator = torch.Generator().manual_seed(3)
    order = restore(order_of({"sampler": RandomSampler(range(COUNT), generator=generator)}), json.dumps(state))
    with pytest.raises(StateError, match="hold other indices"):
        order.begin()
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(3).get_state())


def test_a_sampler_that_lost_its_load_state_dict_is_refused() -> None:
    """The class has the same name."""
    _, states = run(ForeignOrder(Stateful()), 2)
    Plain = type("Stateful", (), {"__iter__": lambda _: iter(range(COUNT)), "__len__": lambda _: COUNT})  # noqa: N806
    with pytest.raises(
        StateError, match=r"holds its sampler's state_dict\(\), but Stateful has no load_state_dict\(\)"
    ):
        restore(ForeignOrder(Plain()), states[1]).begin()


def test_a_state_dict_that_cannot_be_written_is_refused_when_it_is_asked_for() -> None:
    """With the sampler's name; the sampler can be iterated all the same."""

    def fail() -> Any:
        raise ZeroDivisionError("no state")

    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: {1, 2}, r"its state_dict\(\) holds a set, which cannot be written down"),
        (seeded, r"its state_dict\(\) holds a Generator"),
        (threading.Lock, r"its state_dict\(\) holds a lock"),
        (fail, r"its state_dict\(\) failed \(ZeroDivisionError\('no state'\)\)\. Mend it; or take it out"),
    ]
    for make, message in cases:

        class Odd(Stateful):
            def state_dict(self, make: Callable[[], Any] = make) -> dict[str, Any]:
                return {"object": make()}

        order = ForeignOrder(Odd())
        order.fresh_state()
        assert batches(order) == batches(ForeignOrder(Stateful()))
        for under_way in (False, True):
            with pytest.raises(StateError, match=f"Odd: {message}"):
                order.state(under_way=under_way)
            next(iterate(order))
        with pytest.raises(StateError, match=f"Odd: {message}"):
            order.state(under_way=True)  # once more


@pytest.mark.parametrize(
    "extra",
    [
        None,
        {},
        {"start": None},
        {"start": None, "batches": -1, "samples": 0, "rank": 0, "indices": ""},
        {"start": None, "batches": 1, "samples": 0, "rank": 0, "epoch": "1", "indices": ""},
        {"start": None, "batches": 1, "samples": 0, "rank": 0},
        {"start": {"generator": "!"}, "batches": 1, "samples": 0, "rank": 0, "indices": ""},
        {"start": None, "batches": 1, "samples": 0, "rank": 0, "indices": "", "surplus": 1},
    ],
    ids=str,
)
def test_a_broken_extra_is_refused(extra: Any) -> None:
    """When it is loaded."""
    state = json.loads(saved(ForeignOrder([1, 2]), under_way=False))
    state["extra"] = extra
    with pytest.raises(StateError, match="is not what a loader with a torch-style sampler gives"):
        restore(ForeignOrder([1, 2]), json.dumps(state))
