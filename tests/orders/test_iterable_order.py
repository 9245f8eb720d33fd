"""The order of iterable datasets: requests, turns of the workers, length, resume."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from order_driver import restore, saved
from torch.utils.data import DataLoader, IterableDataset

from dalikit.errors import StateError
from dalikit.orders import IterableOrder


class Stream(IterableDataset[int]):
    """So many numbers."""

    def __init__(self, count: int, length: int | None = None) -> None:
        self._count = count
        self._length = count if length is None else length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._count))


class Endless(IterableDataset[int]):
    """Without length or state."""

    def __iter__(self) -> Iterator[int]:
        return itertools.count()


LENGTHS = [3, 0, 5, 1]
"""Batches of each of four workers."""


def read(order: IterableOrder, lengths: list[int], *, stateful: bool = True) -> Iterator[tuple[int, int]]:
    """One iteration, as a loader with workers does it: (worker, number of its batch).

    Requests go to the workers in turn; each answers them in order.
    """
    progress = order.begin()
    states = order.resume_states() or {}
    counts = {worker: states[worker]["count"] if worker in states else 0 for worker in range(len(lengths))}
    for state in states.values():
        assert state["dataset"] == {"count": torch.tensor(state["count"])}
    placeholders = set(range(order.first_worker))
    ended: set[int] = set()
    requests = order.requests(progress)
    for worker in itertools.cycle(range(len(lengths))):
        if len(ended) == len(lengths):
            order.end_pass(progress)
            return
        if worker in placeholders:
            placeholders.remove(worker)
            continue
        if counts[worker] == lengths[worker]:
            ended.add(worker)
            continue
        counts[worker] += 1
        count = counts[worker]
        progress.taken = next(requests).taken
        progress.state = (
            {"worker": worker, "count": count, "dataset": {"count": torch.tensor(count)}} if stateful else None
        )
        order.count(progress)
        yield worker, count


def order_of(num_workers: int = 4, **others: Any) -> IterableOrder:
    """An order over a stream."""
    return IterableOrder(Stream(9), batch_size=2, drop_last=False, num_workers=num_workers, **others)


def test_requests_are_empty_and_count_batches() -> None:
    """Those that read say when it ends."""
    order = order_of()
    for passes in range(2):
        first, second = itertools.islice(order.requests(order.begin()), 2)
        assert (first.indices, first.positions.shape, first.batched, first.state) == ((), (0,), True, None)
        assert (first.taken, second.taken, second.passes) == (1, 2, passes)


def test_unbatched_requests_say_so() -> None:
    """batch_size=None."""
    order = IterableOrder(Endless(), batch_size=None, drop_last=False, num_workers=0)
    assert not next(order.requests(order.begin())).batched


@pytest.mark.parametrize("lengths", [LENGTHS, [4], [0, 0], [1, 6]], ids=str)
def test_resume_at_every_cut_gives_each_worker_its_turn(lengths: list[int]) -> None:
    """Over two passes, through text; workers that have ended are passed over."""

    def passes(order: IterableOrder, count: int) -> tuple[list[tuple[int, int]], list[str]]:
        found, states = [], [saved(order, under_way=False)]
        for _ in range(count):
            for batch in read(order, lengths):
                found.append(batch)
                states.append(saved(order, under_way=True))
            states.append(saved(order, under_way=False))
            found.append((-1, -1))
        return found, states

    num_workers = 0 if len(lengths) == 1 else len(lengths)
    found, states = passes(order_of(num_workers), 2)
    for cut, state in enumerate(states):
        resumed = restore(order_of(num_workers), state)
        assert saved(resumed, under_way=False) == state
        assert passes(resumed, 2)[0][: len(found) - cut] == found[cut:]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
def test_the_turns_are_torchs() -> None:
    """torch's loader with as many workers, of the same uneven lengths."""
    loader: DataLoader[Any] = DataLoader(Uneven(), batch_size=None, num_workers=len(LENGTHS))
    assert [tuple(batch) for batch in loader] == list(read(order_of(), LENGTHS))


class Uneven(IterableDataset[tuple[int, int]]):
    """Each worker has another length."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        info = torch.utils.data.get_worker_info()
        assert info is not None
        return ((info.id, number + 1) for number in range(LENGTHS[info.id]))


def test_first_worker_is_whose_turn_it_is() -> None:
    """0 without a resume, and after one was over."""
    order = order_of()
    batches = read(order, LENGTHS)
    assert [next(batches) for _ in range(2)] == [(0, 1), (2, 1)]
    resumed = restore(order_of(), saved(order, under_way=True))
    resumed.begin()
    assert (resumed.first_worker, sorted(resumed.resume_states() or {})) == (3, [0, 2])
    resumed.begin()
    assert (resumed.first_worker, resumed.resume_states()) == (0, None)


@pytest.mark.parametrize("epoch", [None, 0, 7])
def test_a_state_of_a_beginning_takes_readers_back_there(epoch: int | None) -> None:
    """In an order that was used, with workers that live on; the pass after that goes on as they are."""
    order = order_of(persistent=True)
    beginning = saved(order, under_way=False)
    next(read(order, LENGTHS))
    assert order.resume_states() is None
    restore(order, beginning)
    if epoch is not None:
        order.set_epoch(epoch)
    order.begin()
    assert (order.first_worker, order.resume_states()) == (0, {})
    order.begin()
    assert order.resume_states() is None


@pytest.mark.parametrize("persistent", [False, True])
def test_a_used_order_goes_on_where_a_state_says(persistent: bool) -> None:
    """As a fresh one does, after whole passes and after one that was cut short."""
    found = list(read(order_of(), LENGTHS))
    order, used = order_of(), order_of(persistent=persistent)
    states = [saved(order, under_way=True) for _ in read(order, LENGTHS)]
    for cut, state in enumerate(states, start=1):
        assert list(read(restore(used, state), LENGTHS)) == found[cut:]
        assert list(read(used, LENGTHS)) == found
        list(itertools.islice(read(used, LENGTHS), 2))


def test_every_iteration_is_the_next_pass() -> None:
    """After one that was cut short too; set_epoch sets it."""
    order = order_of()
    assert [order.begin().passes for _ in range(3)] == [0, 1, 2]
    list(read(order, LENGTHS))
    assert order.begin().passes == 4
    order.set_epoch(9)
    assert (order.state(under_way=True).passes, order.state(under_way=False).passes) == (4, 9)
    assert order.begin().passes == 9


def test_set_epoch_to_the_loaded_pass_keeps_the_place() -> None:
    """Another pass begins at its beginning."""
    order = order_of()
    next(read(order, LENGTHS))
    state = saved(order, under_way=True)
    for epoch, taken in ((0, 1), (1, 0)):
        resumed = restore(order_of(), state)
        resumed.set_epoch(epoch)
        assert resumed.state(under_way=False).place == taken
        assert resumed.begin().taken == taken


def test_a_dataset_without_state_says_what_resumes() -> None:
    """Within a pass; between passes there is nothing to know."""
    order = IterableOrder(Endless(), batch_size=2, drop_last=False, num_workers=2)
    saved(order, under_way=False)
    batches = read(order, [1, 1], stateful=False)
    next(batches)
    with pytest.raises(StateError, match=r"(?s)Endless: .*without state_dict\(\).*map-style form.*between passes"):
        order.state(under_way=True)
    assert order.fresh_state().place == 0
    list(batches)
    state = saved(order, under_way=False)
    assert restore(IterableOrder(Endless(), batch_size=2, drop_last=False, num_workers=2), state).begin().passes == 1


def test_states_that_cannot_be_written_are_refused() -> None:
    """With the dataset's name."""
    order = order_of()
    progress = order.begin()
    progress.taken, progress.state = 1, {"worker": 0, "count": 1, "dataset": object()}
    order.count(progress)
    with pytest.raises(StateError, match=r"Stream: its state_dict\(\) holds a object"):
        order.state(under_way=True)


def test_another_number_of_workers_is_refused() -> None:
    """Each has a share of its own."""
    order = order_of(num_workers=2)
    next(read(order, [2, 2]))
    with pytest.raises(StateError, match=r"(?s)sampler in the state: .*num_workers=2.*of the loader: .*num_workers=4"):
        restore(order_of(num_workers=4), saved(order, under_way=True))


def test_another_ranks_state_is_refused() -> None:
    """It has a share of its own too."""
    order = order_of(rank=0, world_size=2)
    next(read(order, LENGTHS))
    with pytest.raises(
        StateError, match="state: is that of rank 0, this is rank 1; with an iterable dataset each rank"
    ):
        restore(order_of(rank=1, world_size=2), saved(order, under_way=True))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (None, "is not what a loader of an iterable dataset gives"),
        ({"readers": [{}], "next_reader": 0, "rank": 0}, "is not what a loader of an iterable dataset gives"),
        ({"readers": [], "rank": 0}, "is not what a loader of an iterable dataset gives"),
        ({"readers": [{"worker": 4}], "next_reader": 5, "rank": 0}, r"has workers \[4, 5\], the loader has 4"),
    ],
)
def test_a_broken_extra_is_refused(extra: Any, message: str) -> None:
    """When it is loaded."""
    order = order_of()
    next(read(order, LENGTHS))
    state = {**json.loads(saved(order, under_way=True)), "extra": extra}
    with pytest.raises(StateError, match=message):
        restore(order_of(), json.dumps(state))


@pytest.mark.parametrize("batch_size", [1, 2, 4, 10, None])
@pytest.mark.parametrize("drop_last", [False, True])
def test_length_is_torchs(batch_size: int | None, drop_last: bool) -> None:
    """The dataset's, in batches."""
    drop_last = drop_last and batch_size is not None
    loader: DataLoader[int] = DataLoader(Stream(9), batch_size=batch_size, drop_last=drop_last)
    order = IterableOrder(Stream(9), batch_size=batch_size, drop_last=drop_last, num_workers=0)
    assert len(order) == len(loader)


def test_without_a_length_len_is_torchs_error() -> None:
    """A TypeError."""
    with pytest.raises(TypeError, match=r"^object of type 'Endless' has no len\(\)$"):
        len(IterableOrder(Endless(), batch_size=2, drop_last=False, num_workers=0))


def test_more_than_the_promised_length_is_a_warning_in_torchs_words() -> None:
    """Of each batch that is too many, once the length was asked for; the iteration at hand knows none."""
    dataset = Stream(5, length=3)
    loader: DataLoader[int] = DataLoader(dataset, batch_size=None)
    order = IterableOrder(dataset, batch_size=None, drop_last=False, num_workers=0)
    batches = read(order, [5])
    next(batches)
    assert len(loader) == len(order) == 3
    list(batches)
    with warnings.catch_warnings(record=True) as theirs:
        warnings.simplefilter("always")
        list(loader)
    with warnings.catch_warnings(record=True) as ours:
        warnings.simplefilter("always")
        list(read(order, [5]))
    assert [str(warning.message) for warning in ours] == [str(warning.message) for warning in theirs]
    assert len(ours) == 2


def test_with_workers_the_warning_says_what_may_be_wrong() -> None:
    """In torch's words too."""
    order = IterableOrder(Stream(5, length=1), batch_size=None, drop_last=False, num_workers=2)
    len(order)
    with pytest.warns(
        UserWarning, match=r"but 2 samples have been fetched\. For multiprocessing data-loading, this could"
    ):
        list(read(order, [1, 1]))


def test_a_resume_counts_from_its_beginning_for_the_warning() -> None:
    """As torch counts within one iterator."""
    order = IterableOrder(Stream(5, length=3), batch_size=None, drop_last=False, num_workers=0)
    batches = read(order, [5])
    for _ in range(3):
        next(batches)
    resumed = IterableOrder(Stream(5, length=3), batch_size=None, drop_last=False, num_workers=0)
    restore(resumed, saved(order, under_way=True))
    len(resumed)
    assert list(read(resumed, [5])) == [(0, 4), (0, 5)]


@pytest.mark.parametrize("persistent", [False, True])
def test_the_loaders_generator_is_drawn_from_as_torch_does(persistent: bool) -> None:
    """One number an iteration, or one at all with persistent workers."""
    generator, expected = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    order = order_of(generator=generator, persistent=persistent)
    for _ in range(3):
        order.begin()
    for _ in range(1 if persistent else 3):
        torch.empty((), dtype=torch.int64).random_(generator=expected)
    assert torch.equal(generator.get_state(), expected.get_state())
