"""Resume of torch-style samplers: at every cut, into fresh objects, through text, against the uncut run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from foreign_samplers import (
    COUNT,
    DETERMINISTIC,
    GLOBAL_GENERATOR,
    OWN_GENERATOR,
    STATEFUL,
    seeded,
)
from order_driver import batches, flat, indices, iterate, restore, run, saved
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler

import samplers
from dalikit.orders import ForeignOrder

REPEATABLE = {**DETERMINISTIC, **{f"own: {name}": make for name, make in OWN_GENERATOR.items()}, **STATEFUL}
ENDING = [name for name in REPEATABLE if name != "endless"]
WORKERS: list[dict[str, Any]] = [{}, {"num_workers": 2}, {"num_workers": 2, "persistent": True}]


def order_of(arguments: dict[str, Any], **others: Any) -> ForeignOrder:
    """The order of the loader that has these arguments."""
    loader: DataLoader[Any] = DataLoader(range(COUNT), **arguments)  # type: ignore[arg-type]
    return ForeignOrder(loader.sampler, loader.batch_sampler, **others)


@pytest.mark.parametrize("ahead", [0, 6])
@pytest.mark.parametrize("name", REPEATABLE)
def test_resume_at_every_cut(name: str, ahead: int) -> None:
    """Over several passes, positions too; what was drawn ahead is not in the state."""
    make: Callable[[], ForeignOrder] = lambda: order_of(REPEATABLE[name](), rank=1, world_size=2)  # noqa: E731
    found, states = run(make(), 40, ahead=ahead)
    for cut, state in enumerate(states[:-1]):
        rest, again = run(restore(make(), state), 40 - cut, ahead=ahead)
        assert rest == found[cut:]
        assert again == states[cut:]


@pytest.mark.parametrize("workers", WORKERS, ids=str)
def test_resume_with_a_generator_for_loader_and_sampler(workers: dict[str, Any]) -> None:
    """shuffle=True, generator=g: the base seed lies between the generator's state and the permutation."""

    def make() -> ForeignOrder:
        generator = seeded()
        return order_of({"shuffle": True, "batch_size": 5, "generator": generator}, generator=generator, **workers)

    found, states = run(make(), 17, ahead=7)
    for cut, state in enumerate(states[:-1]):
        assert run(restore(make(), state), 17 - cut, ahead=7)[0] == found[cut:]


@pytest.mark.parametrize("name", ENDING)
def test_resume_between_passes(name: str) -> None:
    """After StopIteration: the next pass is whole, as it would have been."""
    order = order_of(REPEATABLE[name]())
    for _ in range(3):
        state = saved(order, under_way=False)
        expected = batches(order, ahead=3)
        resumed = restore(order_of(REPEATABLE[name]()), state)
        assert saved(resumed, under_way=False) == state
        iteration = iterate(resumed)
        first = next(iteration)
        assert [indices(first), *map(indices, iteration)] == expected
        assert first.passes == json.loads(state)["passes"]


@pytest.mark.parametrize("name", ENDING)
def test_a_state_after_the_last_batch_yields_nothing_then_a_whole_pass(name: str) -> None:
    """torchdata's meaning of a state taken before StopIteration."""
    order = order_of(REPEATABLE[name]())
    state = ""
    for _ in iterate(order):
        state = saved(order, under_way=True)
    resumed = restore(order_of(REPEATABLE[name]()), state)
    assert batches(resumed) == []
    assert resumed.state(under_way=False) == order.state(under_way=False)
    assert batches(resumed) == batches(order)


@pytest.mark.parametrize("name", GLOBAL_GENERATOR)
def test_a_pass_drawn_from_the_global_generator_goes_on(name: str) -> None:
    """Whatever the user has seeded it with meanwhile, and that stays as it is."""
    torch.manual_seed(5)
    order = order_of(GLOBAL_GENERATOR[name]())
    batches(order)
    found, states = run(order, len(batches(order)), ahead=3)
    for cut, state in enumerate(states[:-1]):
        torch.manual_seed(99)
        before = torch.get_rng_state()
        assert run(restore(order_of(GLOBAL_GENERATOR[name]()), state), len(found) - cut)[0] == found[cut:]
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", GLOBAL_GENERATOR)
def test_a_global_generator_that_is_restored_gives_the_later_passes_too(name: str) -> None:
    """As scripts do that save torch.get_rng_state() in their checkpoints."""
    torch.manual_seed(5)
    order = order_of(GLOBAL_GENERATOR[name]())
    found: list[Any] = []
    checkpoints = []
    for _ in range(3):
        checkpoints.append((saved(order, under_way=False), torch.get_rng_state(), len(found)))
        for request in iterate(order):
            found.append(indices(request))
            checkpoints.append((saved(order, under_way=True), torch.get_rng_state(), len(found)))
    for state, generator, cut in checkpoints:
        resumed = restore(order_of(GLOBAL_GENERATOR[name]()), state)
        torch.set_rng_state(generator)
        rest = list(itertools.chain.from_iterable(batches(resumed) for _ in range(4)))
        assert rest[: len(found) - cut] == found[cut:]


def test_a_script_that_seeds_as_it_did_gets_other_orders_later() -> None:
    """Resumed in its first pass: the pass has drawn, so the next one does not repeat it."""
    torch.manual_seed(5)
    found, states = run(order_of(GLOBAL_GENERATOR["random"]()), 15)
    torch.manual_seed(5)
    assert run(restore(order_of(GLOBAL_GENERATOR["random"]()), states[2]), 13)[0] == found[2:]


def test_states_of_deterministic_orders_hold_no_generator() -> None:
    """Once a batch was drawn it is known whether the sampler draws from the global one."""
    for make, draws in ((DETERMINISTIC["distributed"], False), (GLOBAL_GENERATOR["eager"], True)):
        order = order_of(make())
        iteration = iterate(order)
        next(iteration)
        assert (json.loads(json.loads(saved(order, under_way=True))["extra"])["start"] is not None) == draws
        list(iteration)
        assert (json.loads(json.loads(saved(order, under_way=False))["extra"])["start"] is not None) == draws


def test_a_state_that_was_loaded_is_the_state() -> None:
    """Before the next iteration, and at its beginning."""
    _, states = run(order_of(OWN_GENERATOR["random"]()), 4)
    resumed = restore(order_of(OWN_GENERATOR["random"]()), states[3])
    assert saved(resumed, under_way=False) == states[3]
    iteration = resumed.begin()
    assert saved(resumed, under_way=True) == states[3]
    assert [request.taken for request in resumed.requests(iteration)] == [4, 5]


def test_loading_twice_the_last_one_counts() -> None:
    """At any time, in the middle of an iteration too."""
    found, states = run(order_of(OWN_GENERATOR["random"]()), 5)
    order = order_of(OWN_GENERATOR["random"]())
    older = iterate(order)
    next(older)
    restore(restore(order, states[1]), states[3])
    assert run(order, 2)[0] == found[3:]


def test_skipping_asks_the_sampler_alone() -> None:
    """A resume draws the indices that were taken, once, and no further."""
    asked: list[int] = []

    class Counting:
        def __iter__(self) -> Iterator[int]:
            for index in range(100):
                asked.append(index)
                yield index

    _, states = run(order_of({"sampler": Counting(), "batch_size": 10}), 7)
    asked.clear()
    order = restore(order_of({"sampler": Counting(), "batch_size": 10}), states[7])
    assert asked == []
    order.begin()
    assert len(asked) <= 80


def test_a_state_dict_that_the_sampler_goes_on_changing() -> None:
    """What was drawn ahead changed it meanwhile; and one that can be written, but not copied."""
    weight = torch.ones(1, requires_grad=True) * 2  # not a leaf: torch refuses to copy it

    class Alive:
        def __init__(self) -> None:
            self.state: dict[str, Any] = {"taken": [0], "weight": weight}

        def __iter__(self) -> Iterator[int]:
            while self.state["taken"][0] < COUNT:
                self.state["taken"][0] += 1
                yield int(self.state["taken"][0])

        def state_dict(self) -> dict[str, Any]:
            return self.state

        def load_state_dict(self, state: dict[str, Any]) -> None:
            assert state["weight"] == 2
            self.state = state

    class Plain(Alive):
        def state_dict(self) -> dict[str, Any]:
            return {"taken": self.state["taken"], "weight": 2}

    for sampler in (Alive, Plain):
        _, states = run(ForeignOrder(sampler()), 9, ahead=8)
        assert batches(restore(ForeignOrder(sampler()), states[4])) == list(range(5, COUNT + 1))


# set_epoch


@pytest.mark.parametrize("epoch", [0, 1, 5])
@pytest.mark.parametrize("name", [*(f"own: {name}" for name in OWN_GENERATOR), *STATEFUL])
def test_any_epoch_goes_on_from_a_state_between_passes(name: str, epoch: int) -> None:
    """The pass has that number; the sampler's generator, or its own state, is where it was."""
    order = order_of(REPEATABLE[name]())
    batches(order)
    resumed = restore(order_of(REPEATABLE[name]()), saved(order, under_way=False))
    for one in (order, resumed):
        one.set_epoch(epoch)
    again = restore(order_of(REPEATABLE[name]()), saved(resumed, under_way=False))
    assert saved(resumed, under_way=False) == saved(order, under_way=False)
    for _ in range(2):
        expected = run(order, 3)
        assert run(resumed, 3) == expected
        assert run(again, 3) == expected


@pytest.mark.parametrize("workers", WORKERS, ids=str)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", OWN_GENERATOR)
def test_another_pass_than_that_of_the_state_follows_on_it(name: str, shared: bool, workers: dict[str, Any]) -> None:
    """The loaded pass is cut short where the state is; the generator is where torch leaves it then."""

    def make() -> ForeignOrder:
        arguments = OWN_GENERATOR[name]()
        generator = order_of(arguments)._source.generator
        return order_of(arguments, generator=generator if shared else None, **workers)

    order = make()
    state = run(order, 2, ahead=9)[1][2]
    order.set_epoch(4)
    expected = run(order, 3)[0]
    for asked in range(3):
        resumed = restore(make(), state)
        for _ in range(asked):
            resumed.set_epoch(4)
            resumed.state(under_way=False)
        resumed.set_epoch(4)
        before = torch.get_rng_state()
        assert resumed.state(under_way=False).passes == 4
        assert torch.equal(torch.get_rng_state(), before)
        assert run(resumed, 3)[0] == expected
    back = restore(make(), state)
    back.set_epoch(4)
    back.state(under_way=False)
    back.set_epoch(0)
    assert run(back, 1)[0] == run(restore(make(), state), 1)[0]


@pytest.mark.parametrize("taken", [2, 5])
def test_a_generator_that_is_seeded_after_the_load_decides_another_pass(taken: int) -> None:
    """As in a loop that seeds it for every epoch; within the loaded pass the state decides."""
    order = order_of(OWN_GENERATOR["random"]())
    if taken == 5:
        batches(order)
        state = saved(order, under_way=False)
    else:
        state = run(order, taken)[1][taken]
    arguments = OWN_GENERATOR["random"]()
    expected = list(iter(RandomSampler(range(COUNT), generator=torch.Generator().manual_seed(77))))
    for epoch in (3, 0):
        resumed = restore(order_of(arguments), state)
        arguments["sampler"].generator.manual_seed(77)
        resumed.set_epoch(epoch)
        within = taken < 5 and epoch == 0
        assert (flat(batches(resumed)) == expected) == (not within)


def test_the_state_names_the_epoch_that_was_set_after_a_load_between_passes() -> None:
    """A further resume goes on in it by itself."""
    order = order_of({"sampler": distributed(), "batch_size": 5})
    batches(order)
    resumed = restore(order_of({"sampler": distributed(), "batch_size": 5}), saved(order, under_way=False))
    resumed.set_epoch(1)
    found, states = run(resumed, 3)
    assert json.loads(states[1])["epoch"] == 1
    again = restore(order_of({"sampler": distributed(), "batch_size": 5}), states[1])
    assert run(again, 2)[0] == found[1:]


def distributed() -> DistributedSampler[int]:
    """torch's."""
    return DistributedSampler(range(COUNT), num_replicas=2, rank=0)  # type: ignore[arg-type]


def test_resume_of_a_distributed_sampler_with_set_epoch() -> None:
    """At every cut of three epochs, with the usual loop; the epoch is in the state."""
    for on_order in (True, False):
        sampler = distributed()
        order = order_of({"sampler": sampler, "batch_size": 5})
        found, states = [], []
        for epoch in range(3):
            (order if on_order else sampler).set_epoch(epoch)
            for request in iterate(order):
                found.append((epoch, indices(request), request.positions.tolist()))
                states.append((epoch, saved(order, under_way=True)))
        for cut, (first, state) in enumerate(states):
            sampler = distributed()
            resumed = restore(order_of({"sampler": sampler, "batch_size": 5}), state)
            assert sampler.epoch == first
            rest = []
            for epoch in range(first, 3):
                (resumed if on_order else sampler).set_epoch(epoch)
                rest += [(epoch, indices(request), request.positions.tolist()) for request in iterate(resumed)]
            assert rest == found[cut + 1 :]


@pytest.mark.parametrize("taken", [2, 3])
def test_another_epoch_after_a_load_is_another_pass(taken: int) -> None:
    """Set on the order or on the sampler: a whole pass, and the next one."""
    sampler = distributed()
    _, states = run(order_of({"sampler": sampler, "batch_size": 5}), taken)
    for on_order in (True, False):
        sampler = distributed()
        order = restore(order_of({"sampler": sampler, "batch_size": 5}), states[-1])
        (order if on_order else sampler).set_epoch(1)
        first, *others = iterate(order)
        assert (first.passes, len(others)) == (1, 2)
        assert flat([indices(request) for request in (first, *others)]) == list(sampler)


def test_set_epoch_moves_the_state_unless_an_iteration_is_under_way() -> None:
    """It is for the next."""
    order = order_of({"sampler": distributed(), "batch_size": 5})
    next(iterate(order))
    order.set_epoch(4)
    states = [order.state(under_way=under_way) for under_way in (True, False)]
    assert [(state.passes, state.place, state.epoch) for state in states] == [(0, 5, 0), (4, 0, 4)]
    resumed = restore(order_of({"sampler": distributed(), "batch_size": 5}), saved(order, under_way=False))
    assert [request.passes for request in iterate(resumed)] == [4, 4, 4]
    order.set_epoch(0)
    restore(order, saved(resumed, under_way=False))
    assert order.state(under_way=False).passes == 5


def test_dalikits_samplers_within_a_batch_sampler_resume() -> None:
    """They are iterated anew, as others are."""

    def make() -> ForeignOrder:
        sampler = samplers.EpochSampler(sample_count=COUNT, size=COUNT, shuffle=True, seed=1, start=0, step=1)
        return ForeignOrder(None, BatchSampler(sampler, 5, drop_last=False))

    order = make()
    order.set_epoch(2)
    found, states = run(order, 7)
    for cut in (1, 4):
        assert run(restore(make(), states[cut]), 5 - cut)[0] == found[cut:5]
