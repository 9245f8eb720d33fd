"""The order of dalikit's own samplers: passes, epochs, places, resume."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from order_driver import batches, indices, iterate, restore, run, saved
from torch.utils.data import DataLoader

from dalikit.orders import OwnOrder, SamplerOrder
from samplers import (
    DistributedSampler,
    EpochSampler,
    InfiniteSampler,
    KeyedEpochSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    ShardedInfiniteSampler,
    position,
)

SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "epoch": lambda: EpochSampler(sample_count=23, size=23, shuffle=True, seed=3, start=1, step=2),
    "distributed": lambda: DistributedSampler(23, num_replicas=2, rank=1, seed=3),
    "infinite": lambda: InfiniteSampler(sample_count=23, shuffle=True, seed=3, start=1, step=2),
    "sharded": lambda: ShardedInfiniteSampler(sample_count=23, shuffle=True, seed=3, start=1, step=2),
    "random": lambda: RandomSampler(23, seed=3),
    "sequential": lambda: SequentialSampler(23),
}


def order_of(
    sampler: Sampler, *, own: bool = False, batch_size: int | None = 5, drop_last: bool = False
) -> SamplerOrder:
    """An order."""
    return SamplerOrder(sampler, own=own, batch_size=batch_size, drop_last=drop_last)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("own", [False, True])
def test_resume_at_every_cut(name: str, own: bool) -> None:
    """Into a fresh order, over several passes; positions too."""
    found, states = run(order_of(SAMPLERS[name](), own=own), 12)
    for cut, state in enumerate(states[:-1]):
        rest, again = run(restore(order_of(SAMPLERS[name](), own=own), state), 12 - cut)
        assert rest == found[cut:]
        assert again == states[cut:]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 5, 23, 40, None])
def test_batches_and_length_are_torchs(batch_size: int | None, drop_last: bool) -> None:
    """torch's loader is the oracle, with the same sampler."""
    drop_last = drop_last and batch_size is not None
    torchs: DataLoader[int] = DataLoader(
        range(23),  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=SAMPLERS["random"](),
        drop_last=drop_last,
        collate_fn=lambda batch: batch,
    )
    order = order_of(SAMPLERS["random"](), batch_size=batch_size, drop_last=drop_last)
    assert batches(order) == list(torchs)
    assert len(order) == len(torchs)


def test_unbatched_requests_say_so() -> None:
    """batch_size=None: one index each, and its item is not collated."""
    request = next(iterate(order_of(SequentialSampler(3), batch_size=None)))
    assert (request.indices.tolist(), request.batched) == ([0], False)  # type: ignore[union-attr]


def test_requests_hold_positions_taken_and_passes() -> None:
    """What a batch is known by."""
    order = order_of(SAMPLERS["distributed"]())
    list(iterate(order))
    request = next(itertools.islice(iterate(order), 1, None))
    assert request.positions.tolist() == position(1, range(11, 21, 2)).tolist()
    assert (request.taken, request.passes, request.state) == (10, 1, None)


def test_an_endless_order_has_no_length() -> None:
    """As torch's loaders."""
    with pytest.raises(TypeError, match=r"object of type 'DataLoader' has no len\(\): InfiniteSampler.* is endless"):
        len(order_of(SAMPLERS["infinite"]()))


def test_an_own_sampler_gives_each_iteration_a_new_pass() -> None:
    """After one that was cut short too; a sampler of the user's repeats its epoch until it is set."""
    own, users = order_of(SAMPLERS["random"](), own=True), order_of(SAMPLERS["random"]())
    starts = [[next(iterate(order)) for _ in range(3)] for order in (own, users)]
    assert [request.passes for request in starts[0]] == [0, 1, 2]
    assert [request.passes for request in starts[1]] == [0, 0, 0]
    assert len({tuple(indices(request)) for request in starts[0]}) == 3
    assert len({tuple(indices(request)) for request in starts[1]}) == 1


def test_a_forgotten_set_epoch_repeats_the_order_not_the_positions() -> None:
    """The pass counts on by itself."""
    order = order_of(SAMPLERS["epoch"]())
    found, _ = run(order, 6)
    assert [batch for batch, _ in found[:3]] == [batch for batch, _ in found[3:]]
    assert [places for _, places in found[3:]] == [[place + (1 << 40) for place in places] for _, places in found[:3]]


def test_set_epoch_sets_order_and_pass() -> None:
    """On the order, or on the sampler itself."""
    one, other = order_of(SAMPLERS["epoch"]()), order_of(SAMPLERS["epoch"]())
    one.set_epoch(4)
    other.sampler.set_epoch(4)  # type: ignore[attr-defined]
    found = run(one, 3)[0]
    assert found == run(other, 3)[0]
    assert found != run(order_of(SAMPLERS["epoch"]()), 3)[0]
    assert one.state(under_way=False).passes == 4


@pytest.mark.parametrize("advance", [0, 4])
@pytest.mark.parametrize("on_order", [True, False])
def test_setting_the_same_epoch_again_repeats_its_pass(advance: int, on_order: bool) -> None:
    """Of a sampler that goes on by itself, as of torch's; `advance` counts in it again."""
    sampler = KeyedEpochSampler(sample_count=23, start=0, step=1, seed=3, advance=advance)
    order = order_of(sampler)
    target = order if on_order else sampler
    starts = []
    for epoch in (0, 0, 0, 2, 2, None, None, 2):
        if epoch is not None:
            target.set_epoch(epoch)  # type: ignore[attr-defined]
        starts.append(next(iterate(order)))
    assert [request.passes for request in starts] == [0, 0, 0, 2, 2, 3, 4, 2]
    assert starts[0].positions.tolist() == starts[2].positions.tolist()
    assert starts[0].positions[0] == advance
    assert indices(starts[3]) == indices(starts[7])


def test_the_later_of_two_epochs_that_are_set_holds() -> None:
    """On the sampler and on the order, in turn; a state is later than what was set before it."""
    sampler = KeyedEpochSampler(sample_count=23, start=0, step=1, seed=3)
    order = order_of(sampler)
    sampler.set_epoch(5)
    order.set_epoch(2)
    assert next(iterate(order)).passes == 2
    order.set_epoch(2)
    sampler.set_epoch(5)
    assert order.state(under_way=False).passes == 5
    state = order.state(under_way=False)
    sampler.set_epoch(5)
    order.set_epoch(1)
    order.load(state)
    assert [next(iterate(order)).passes for _ in range(2)] == [5, 6]


def test_set_epoch_of_an_endless_order_changes_nothing() -> None:
    """It has one pass."""
    order = order_of(SAMPLERS["infinite"]())
    order.set_epoch(3)
    assert run(order, 4) == run(order_of(SAMPLERS["infinite"]()), 4)


def test_set_epoch_to_the_loaded_pass_keeps_the_place() -> None:
    """Another pass begins at its beginning."""
    order = order_of(SAMPLERS["epoch"]())
    order.set_epoch(3)
    found, states = run(order, 3)
    for epoch, expected in ((3, found[2:]), (4, None)):
        resumed = restore(order_of(SAMPLERS["epoch"]()), states[2])
        resumed.set_epoch(epoch)
        rest = [(indices(request), request.positions.tolist()) for request in iterate(resumed)]
        assert rest == expected if expected is not None else len(rest) == 3


@pytest.mark.parametrize("on_order", [True, False])
@pytest.mark.parametrize("usual", [True, False])
@pytest.mark.parametrize("name", ["epoch", "distributed", "random"])
def test_a_state_between_passes_leaves_the_epoch_to_be_set(name: str, usual: bool, on_order: bool) -> None:
    """The order is that of the epoch that is set, on the order or on the sampler; as without the resume."""

    def passes(order: SamplerOrder, epochs: range) -> tuple[list[list[int]], list[list[int]], str]:
        for epoch in epochs:
            (order if on_order else order.sampler).set_epoch(epoch)  # type: ignore[union-attr]
            requests = list(iterate(order))
        found = [indices(request) for request in requests]
        return found, [request.positions.tolist() for request in requests], saved(order, under_way=False)

    uncut = order_of(SAMPLERS[name]())
    first, _, state = passes(uncut, range(1)) if usual else (batches(uncut), None, saved(uncut, under_way=False))
    expected = passes(uncut, range(1, 2))
    resumed = restore(order_of(SAMPLERS[name]()), state)
    assert passes(resumed, range(1, 2)) == expected
    assert expected[0] != first
    resumed = restore(order_of(SAMPLERS[name]()), state)
    (resumed if on_order else resumed.sampler).set_epoch(1)  # type: ignore[union-attr]
    now = resumed.state(under_way=False)
    assert (now.passes, now.epoch, now.place) == (1, 1, 0)
    assert batches(restore(order_of(SAMPLERS[name]()), saved(resumed, under_way=False))) == expected[0]


@pytest.mark.parametrize("on_order", [True, False])
def test_another_epoch_than_that_of_the_taken_samples_is_another_pass(on_order: bool) -> None:
    """A second pass in the first epoch's order, as set_epoch was forgotten: what was taken is of that order."""
    _, states = run(order_of(SAMPLERS["random"]()), 7)
    for epoch, taken in ((1, 0), (None, 10)):
        order = restore(order_of(SAMPLERS["random"]()), states[7])
        if epoch is not None:
            (order if on_order else order.sampler).set_epoch(epoch)  # type: ignore[union-attr]
        progress = order.begin()
        assert (progress.passes, progress.epoch, progress.taken) == (1, epoch or 0, taken)


@pytest.mark.parametrize("passes", [0, 1])
def test_a_state_of_a_beginning_wins_over_advance(passes: int) -> None:
    """Whatever `advance` the new sampler was made with: a state counts from the stream's beginning."""

    def make(advance: int) -> SamplerOrder:
        return order_of(EpochSampler(sample_count=23, size=23, shuffle=False, seed=0, start=0, step=1, advance=advance))

    order = make(0)
    for _ in range(passes):
        batches(order)
    resumed = restore(make(23 * passes + 20), saved(order, under_way=False))
    resumed.set_epoch(passes)
    assert len(batches(resumed)) == 5


def test_set_epoch_within_an_iteration_is_for_the_next() -> None:
    """The state under way stays where it is."""
    order = order_of(SAMPLERS["epoch"]())
    iteration = iterate(order)
    next(iteration)
    before = saved(order, under_way=True)
    order.set_epoch(7)
    assert saved(order, under_way=True) == before
    assert order.state(under_way=False).passes == 7
    list(iteration)
    assert next(iterate(order)).passes == 7


def test_an_older_iteration_does_not_move_the_state() -> None:
    """The state is that of the iteration that began last."""
    order = order_of(SAMPLERS["epoch"]())
    older = iterate(order)
    next(older)
    next(iterate(order))
    list(older)
    assert (order.state(under_way=True).passes, order.state(under_way=True).place) == (0, 10)


def test_advance_is_over_after_its_pass() -> None:
    """The pass that it leads into is short, and so is its length."""
    order = order_of(EpochSampler(sample_count=23, size=23, shuffle=False, seed=0, start=0, step=1, advance=20))
    assert len(order) == 1
    assert [len(batch) for batch in batches(order)] == [3]
    assert len(order) == 5
    assert [len(batch) for batch in batches(order)] == [5, 5, 5, 5, 3]


def own_order(dataset: list[int], seed: int) -> OwnOrder:
    """A shuffled one."""
    return OwnOrder(dataset, shuffle=True, seed=seed, batch_size=5, drop_last=False)


def test_another_seed() -> None:
    """As a state that is loaded brings it."""
    order = own_order([0] * 23, 1)
    _, states = run(own_order([0] * 23, 2), 3)
    order.reseed(2)
    found, _ = run(own_order([0] * 23, 2), 7)
    assert run(restore(order, states[3]), 4)[0] == found[3:]


def test_a_dataset_that_grows() -> None:
    """The next pass has its new length; the length is asked for too."""
    dataset = [0] * 23
    order = own_order(dataset, 1)
    assert len(batches(order)) == 5
    dataset += [0] * 10
    assert len(order) == 7
    assert sorted(index for batch in batches(order) for index in batch) == list(range(33))


@pytest.mark.parametrize("persistent", [False, True])
def test_the_loaders_generator_is_drawn_from_as_torch_does(persistent: bool) -> None:
    """One number an iteration, or one at all with persistent workers, though dalikit needs none."""
    generator, expected = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    order = SamplerOrder(
        SequentialSampler(5), own=True, batch_size=2, drop_last=False, generator=generator, persistent=persistent
    )
    for _ in range(3):
        batches(order)
    for _ in range(1 if persistent else 3):
        torch.empty((), dtype=torch.int64).random_(generator=expected)
    assert torch.equal(generator.get_state(), expected.get_state())


def test_the_global_generator_is_left_alone() -> None:
    """dalikit's seed comes from elsewhere."""
    before = torch.get_rng_state()
    batches(order_of(RandomSampler(23, seed=1), own=True))
    assert torch.equal(torch.get_rng_state(), before)
