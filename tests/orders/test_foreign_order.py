"""The order of torch-style samplers, against torch's DataLoader with the same samplers and generators."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from foreign_samplers import COUNT, DETERMINISTIC, GLOBAL_GENERATOR, OWN_GENERATOR, STATEFUL, Strided, seeded
from order_driver import batches, flat, indices, iterate
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler, SequentialSampler

import samplers
from dalikit.orders import ForeignOrder

EVERY = {
    f"{group}: {name}": make
    for group, found in {
        "plain": DETERMINISTIC,
        "own": OWN_GENERATOR,
        "global": GLOBAL_GENERATOR,
        "state": STATEFUL,
    }.items()
    for name, make in found.items()
}


class Identity:
    """A dataset whose items are what it is asked for."""

    def __getitem__(self, index: Any) -> Any:
        return index

    def __len__(self) -> int:
        return COUNT


def as_it_is(batch: Any) -> Any:
    """No collating."""
    return batch


def torch_loader(**arguments: Any) -> DataLoader[Any]:
    """torch's."""
    return DataLoader(Identity(), collate_fn=as_it_is, **arguments)  # type: ignore[arg-type]


def order_of(arguments: dict[str, Any], **others: Any) -> ForeignOrder:
    """The order of the loader that has these arguments."""
    loader = torch_loader(**arguments)
    return ForeignOrder(loader.sampler, loader.batch_sampler, **others)


def torch_passes(arguments: dict[str, Any], **others: Any) -> list[Any]:
    """Three passes, the second cut short after two batches; endless ones are all cut short."""
    loader = torch_loader(**arguments, **others)
    return [list(itertools.islice(loader, count)) for count in (30, 2, 30)]


def order_passes(order: ForeignOrder, ahead: int) -> list[Any]:
    """The same."""
    cuts = (30, 2, 30)
    return [[indices(request) for request in itertools.islice(iterate(order, ahead=ahead), count)] for count in cuts]


@pytest.mark.parametrize("ahead", [0, 9])
@pytest.mark.parametrize("name", [name for name in EVERY if not name.startswith("state")])
def test_order_is_torchs_pass_after_pass(name: str, ahead: int) -> None:
    """However far it is drawn ahead; the second pass is cut short, and the generators end where torch leaves them."""
    results = []
    for passes in (torch_passes, lambda arguments: order_passes(order_of(arguments), ahead)):
        torch.manual_seed(0)
        arguments = EVERY[name]()
        found = passes(arguments)
        own = getattr(arguments.get("sampler", arguments.get("batch_sampler")), "generator", None)
        results.append((found, torch.rand(1).item(), None if own is None else torch.rand(1, generator=own).item()))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", STATEFUL)
def test_order_of_samplers_with_a_state_is_torchs(name: str) -> None:
    """Whole passes: what a sampler of this kind does when it is cut short is its own affair."""
    loader, order = torch_loader(**STATEFUL[name]()), order_of(STATEFUL[name]())
    for _ in range(3):
        assert batches(order) == list(loader)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    "name", ["own: random", "own: buckets", "own: replacement", "global: eager, unbatched", "plain: distributed"]
)
def test_order_is_torchs_with_worker_processes(name: str, persistent: bool) -> None:
    """torch then iterates twice, reads ahead, and draws its base seed once if they live on."""
    results = []
    more: dict[str, Any] = {"num_workers": 2, "prefetch_factor": 1}
    for torchs in (True, False):
        torch.manual_seed(0)
        arguments = EVERY[name]()
        if torchs:
            found = torch_passes(arguments, **more, persistent_workers=persistent)
        else:
            found = order_passes(order_of(arguments, **more, persistent=persistent), 9)
        results.append((found, torch.rand(1).item()))
    assert results[0] == results[1]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("workers", [{}, {"num_workers": 1}, {"num_workers": 1, "persistent": True}], ids=str)
def test_a_generator_for_loader_and_sampler(workers: dict[str, Any], shuffle: bool) -> None:
    """shuffle=True, generator=g: torch's base seed comes before its permutation; its state ends as torch leaves it."""
    results = []
    for torchs in (True, False):
        generator = seeded()
        named = {"shuffle": shuffle, "batch_size": 5, "generator": generator}
        if torchs:
            found = torch_passes(named, **{workers_name(name): value for name, value in workers.items()})
        else:
            found = order_passes(order_of(named, generator=generator, **workers), 9)
        results.append((found, generator.get_state().tolist()))
    assert results[0] == results[1]


def workers_name(name: str) -> str:
    """torch's name of an argument."""
    return {"persistent": "persistent_workers"}.get(name, name)


def test_a_cut_pass_leaves_the_generator_to_whoever_used_it_since() -> None:
    """What was drawn ahead is taken back only if nobody drew since."""
    generator = seeded()
    order = order_of({"sampler": RandomSampler(range(COUNT), generator=generator), "batch_size": 5})
    next(iterate(order, ahead=9))
    generator.manual_seed(77)
    second = batches(order)
    assert flat(second) == torch.randperm(COUNT, generator=torch.Generator().manual_seed(77)).tolist()


@pytest.mark.parametrize("name", EVERY)
def test_length_is_torchs(name: str) -> None:
    """Or its error."""
    loader, order = torch_loader(**EVERY[name]()), order_of(EVERY[name]())
    try:
        expected = len(loader)
    except TypeError as error:
        with pytest.raises(TypeError, match=f"^{str(error).replace('(', '.').replace(')', '.')}$"):
            len(order)
    else:
        assert len(order) == expected


def test_indices_are_left_as_they_are() -> None:
    """Keys of any kind, numpy's and torch's numbers."""
    given: list[Any] = ["a", ("b", 2), np.int64(3), torch.tensor(4), 5, None]
    (request,) = iterate(ForeignOrder(given, BatchSampler(given, 10, drop_last=False)))
    assert all(one is other for one, other in zip(request.indices, given, strict=True))


@pytest.mark.parametrize("batch", [[3, 1], (3, 1), torch.tensor([3, 1]), np.array([3, 1]), iter([3, 1])], ids=type)
def test_a_batch_is_any_iterable(batch: Any) -> None:
    """It reaches the dataset as a list."""
    (request,) = iterate(ForeignOrder(None, [batch]))
    assert isinstance(request.indices, list)
    assert [int(index) for index in request.indices] == [3, 1]
    assert len(request.positions) == 2


def test_unbatched_requests_say_so() -> None:
    """batch_size=None: one index, whatever it is, is one item."""
    requests = list(iterate(ForeignOrder([[1, 2], "a"])))
    assert [(request.indices, request.batched, len(request.positions)) for request in requests] == [
        ([[1, 2]], False, 1),
        (["a"], False, 1),
    ]


def test_positions_count_samples_of_all_ranks() -> None:
    """Local count x world size + rank, with the pass above it; batches may differ in length."""
    order = ForeignOrder(None, [[7], [8, 9, 9]], rank=2, world_size=3)
    for passes in range(2):
        first, second = iterate(order)
        assert first.positions.tolist() == samplers.position(passes, [2]).tolist()
        assert second.positions.tolist() == samplers.position(passes, [5, 8, 11]).tolist()
        assert (first.taken, second.taken, second.passes) == (1, 2, passes)
        assert second.positions.dtype == np.int64


def test_every_iteration_is_the_next_pass() -> None:
    """After one that was cut short too; each iterates the sampler anew."""
    order = ForeignOrder([1, 2, 3])
    assert [next(iterate(order)).passes for _ in range(3)] == [0, 1, 2]
    assert batches(order) == [1, 2, 3]
    assert next(iterate(order)).passes == 4


def test_two_iterations_at_once() -> None:
    """Each has its own place."""
    order = ForeignOrder(Strided())
    pairs = [(indices(one), indices(other)) for one, other in zip(iterate(order), iterate(order), strict=True)]
    assert pairs == [(index, index) for index in range(0, COUNT, 2)]


def test_set_epoch_reaches_the_sampler() -> None:
    """The one that is batched, or the one within it; and it sets the pass."""
    for batched in (False, True):
        sampler: DistributedSampler[int] = DistributedSampler(range(COUNT), 2, 0)  # type: ignore[arg-type]
        arguments: dict[str, Any] = (
            {"batch_sampler": BatchSampler(sampler, 4, False)} if batched else {"sampler": sampler}
        )
        order = order_of(arguments)
        order.set_epoch(5)
        assert sampler.epoch == 5
        assert next(iterate(order)).passes == 5
        assert order.state(under_way=True).epoch == 5


def test_set_epoch_on_the_sampler_itself_decides_the_order() -> None:
    """The passes count on: the key of the augmentation differs anyway."""
    sampler: DistributedSampler[int] = DistributedSampler(range(COUNT), 2, 0)  # type: ignore[arg-type]
    order = ForeignOrder(sampler)
    first = batches(order)
    assert batches(order) == first
    sampler.set_epoch(3)
    assert batches(order) == list(sampler) != first
    assert next(iterate(order)).passes == 3


def test_a_set_epoch_that_nobody_wants_sets_the_pass() -> None:
    """A list has no epochs."""
    order = ForeignOrder([1, 2])
    order.set_epoch(6)
    assert next(iterate(order)).passes == 6


def test_dalikits_samplers_within_a_batch_sampler() -> None:
    """They are torch-style samplers too."""
    sampler = samplers.EpochSampler(sample_count=COUNT, size=COUNT, shuffle=True, seed=1, start=0, step=1)
    order = ForeignOrder(None, BatchSampler(sampler, 5, drop_last=False))
    order.set_epoch(2)
    assert flat(batches(order)) == list(sampler)
    assert sampler.epoch == 2


def test_a_failing_sampler_fails_where_it_is() -> None:
    """After the batches before."""

    def sampler() -> Iterator[int]:
        yield 4
        raise ZeroDivisionError("no more")

    requests = iterate(ForeignOrder(sampler()))
    assert indices(next(requests)) == 4
    with pytest.raises(ZeroDivisionError, match="no more"):
        next(requests)


def test_the_sampler_runs_on_the_thread_that_draws() -> None:
    """Nowhere else."""
    threads = set()

    def sampler() -> Iterator[int]:
        for index in range(3):
            threads.add(threading.get_ident())
            yield index

    assert ForeignOrder.drawn_by_user
    assert batches(ForeignOrder(sampler())) == [0, 1, 2]
    assert threads == {threading.get_ident()}


def test_the_identity_names_what_makes_the_order() -> None:
    """Class names, batch size, length, as far as they are known."""
    plain: dict[str, Any] = {"sampler": SequentialSampler(range(COUNT)), "batch_size": 4, "drop_last": True}
    assert order_of(plain).fresh_state().sampler == {
        "sampler": "SequentialSampler",
        "batch_sampler": "BatchSampler",
        "batch_size": 4,
        "drop_last": True,
        "length": COUNT,
    }
    assert ForeignOrder(None, [[1]]).fresh_state().sampler == {
        "sampler": None,
        "batch_sampler": "list",
        "batch_size": None,
        "drop_last": None,
        "length": None,
    }
    assert ForeignOrder(Strided()).fresh_state().sampler["length"] is None
