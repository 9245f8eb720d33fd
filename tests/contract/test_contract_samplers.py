"""Contract: samplers and batch samplers, torch's and anybody's."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from contract_datasets import Keyed, Made, Numbers
from contract_loader import Make, assert_as_torch, flat, numbers, raises
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)


class Steps(Sampler[int]):
    """Every third number, from a generator function; no length."""

    def __init__(self, stop: int) -> None:
        self.stop = stop
        self.begun = 0
        self.threads: set[int] = set()

    def __iter__(self) -> Iterator[int]:
        self.begun += 1
        for index in range(0, self.stop, 3):
            self.threads.add(threading.get_ident())
            yield index


class Endless:
    """Batches without end, and no Sampler of torch's; counts those that were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __iter__(self) -> Iterator[list[int]]:
        for place in itertools.count():
            self.asked += 1
            yield [place % 10, (place + 1) % 10]


def seeded() -> torch.Generator:
    """A generator in a known state."""
    return torch.Generator().manual_seed(21)


TORCH_SAMPLERS: dict[str, Callable[[], Any]] = {
    "sequential": lambda: SequentialSampler(range(20)),
    "random": lambda: RandomSampler(range(20), generator=seeded()),
    "replacement": lambda: RandomSampler(range(20), replacement=True, num_samples=70, generator=seeded()),
    "more": lambda: RandomSampler(range(20), num_samples=30, generator=seeded()),
    "subset": lambda: SubsetRandomSampler([3, 1, 4, 15, 9], generator=seeded()),
    "weighted": lambda: WeightedRandomSampler([1.0, 2.0] * 10, 25, generator=seeded()),
    "distributed": lambda: DistributedSampler(Numbers(20), num_replicas=3, rank=1, seed=4),
    "distributed-in-order": lambda: DistributedSampler(Numbers(20), num_replicas=3, rank=2, shuffle=False),
}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("name", TORCH_SAMPLERS)
def test_samplers_of_the_other_kind(make: Make, name: str, num_workers: int) -> None:
    """Each of torch's samplers, over two passes, and the length it gives."""
    results = []
    for kind in (make, DataLoader):
        sampler = TORCH_SAMPLERS[name]()
        loader: Any = kind(Numbers(20), batch_size=4, sampler=sampler, num_workers=num_workers)
        results.append((numbers(loader), numbers(loader), len(loader)))
    assert results[0] == results[1]


@pytest.mark.parametrize("sampler", [[4, 2, 2], range(8, 2, -3), (1, 0), torch.tensor([7, 3])], ids=lambda s: type(s))
def test_sampler_is_anything_to_iterate(make: Make, sampler: Any) -> None:
    """A list, a range, a tuple, a tensor."""
    batches = assert_as_torch(make, list(range(10)), sampler=sampler, batch_size=2)
    assert flat(batches) == [int(index) for index in sampler]


def test_indices_reach_the_dataset_as_they_are(make: Make) -> None:
    """A tensor's are tensors, numpy's stay numpy's."""
    dataset = Made(10, lambda index: type(index).__name__)
    sampler = [1, torch.tensor(2), torch.arange(10).numpy()[3], True]
    assert list(make(dataset, sampler=sampler, batch_size=None)) == ["int", "Tensor", "int64", "bool"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_sampler_without_length(make: Make, num_workers: int) -> None:
    """Works; `len` is a TypeError. It is iterated anew each pass, on the user's thread."""
    sampler = Steps(20)
    loader = make(Numbers(20), sampler=sampler, batch_size=3, num_workers=num_workers)
    with pytest.raises(TypeError, match=r"has no len\(\)"):
        len(loader)
    for _ in range(2):
        assert numbers(loader) == [[0, 3, 6], [9, 12, 15], [18]]
    assert sampler.threads == {threading.get_ident()}


def test_a_sampler_that_changes(make: Make) -> None:
    """What it yields is asked for at each pass, and so is its length."""
    sampler = [3, 1]
    loader = make(Numbers(5), sampler=sampler)
    assert numbers(loader) == [[3], [1]]
    sampler.append(4)
    assert len(loader) == 3
    assert numbers(loader) == [[3], [1], [4]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_set_epoch_of_the_sampler(make: Make, num_workers: int) -> None:
    """loader.sampler.set_epoch gives each epoch its order; forgotten, the order repeats."""
    results = []
    for kind in (make, DataLoader):
        sampler: Any = DistributedSampler(Numbers(17), num_replicas=2, rank=0, seed=1, drop_last=True)
        loader: Any = kind(Numbers(17), batch_size=3, sampler=sampler, num_workers=num_workers)
        orders = [numbers(loader), numbers(loader)]
        for epoch in (5, 1):
            loader.sampler.set_epoch(epoch)
            orders.append(numbers(loader))
        results.append(orders)
    assert results[0] == results[1]
    assert results[0][0] == results[0][1] != results[0][2]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batch_sampler_of_lists(make: Make, num_workers: int) -> None:
    """Batches of any lengths, a tuple among them."""
    batch_sampler: list[Any] = [[1, 2, 3], [0], (4, 4), [5, 6]]
    loader = make(Numbers(7), batch_sampler=batch_sampler, num_workers=num_workers)
    assert len(loader) == 4
    assert numbers(loader) == [[1, 2, 3], [0], [4, 4], [5, 6]]
    assert loader.batch_size is None


@pytest.mark.parametrize("drop_last", [False, True])
def test_batch_sampler_of_the_other_kind(make: Make, drop_last: bool) -> None:
    """torch's BatchSampler over a random sampler."""
    results = []
    for kind in (make, DataLoader):
        batch_sampler = BatchSampler(RandomSampler(range(11), generator=seeded()), 4, drop_last)
        loader: Any = kind(Numbers(11), batch_sampler=batch_sampler)
        results.append((numbers(loader), numbers(loader), len(loader)))
    assert results[0] == results[1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_endless_batch_sampler(make: Make, num_workers: int) -> None:
    """As many batches as one takes; it is not read far ahead; it has no length."""
    endless = Endless()
    loader = make(Numbers(10), batch_sampler=endless, num_workers=num_workers)
    with pytest.raises(TypeError, match=r"has no len\(\)"):
        len(loader)
    assert numbers(itertools.islice(loader, 25)) == [[place % 10, (place + 1) % 10] for place in range(25)]
    assert endless.asked < 25 + 20


def test_prefetch_factor_reads_ahead(make: Make) -> None:
    """Batches in flight per worker: a larger one asks the sampler for more. dalikit may ask for a few beyond them."""
    for factor in (1, 8):
        endless = Endless()
        batches = iter(make(Numbers(10), batch_sampler=endless, num_workers=2, prefetch_factor=factor))
        next(batches)
        assert 2 * factor <= endless.asked <= 2 * factor + 12
        del batches


@pytest.mark.parametrize("num_workers", [0, 2])
def test_keys_of_strings(make: Make, num_workers: int) -> None:
    """A map-style dataset's keys may be anything, if the sampler yields them; it needs no length then."""
    dataset = Keyed({"a": 1, "b": 2, ("c", 3): 4})
    loader = make(dataset, sampler=["b", ("c", 3), "a"], batch_size=2, num_workers=num_workers)
    assert numbers(loader) == [[2, 4], [1]]
    assert len(loader) == 2


def test_keys_in_batches(make: Make) -> None:
    """Strings in a batch sampler."""
    dataset = Keyed({"a": 1, "b": 2})
    assert numbers(make(dataset, batch_sampler=[["a"], ["b", "a"]])) == [[1], [2, 1]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_sampler_of_whole_batches(make: Make, num_workers: int) -> None:
    """batch_size=None with a sampler that yields lists: the dataset is asked for the list."""
    data = torch.arange(10) * 2
    dataset = Made(10, lambda indices: data[indices])
    sampler = BatchSampler(SequentialSampler(range(10)), 4, drop_last=False)
    loader = make(dataset, sampler=sampler, batch_size=None, num_workers=num_workers)
    assert numbers(loader) == [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18]]
    assert len(loader) == 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_failing_sampler(make: Make, num_workers: int) -> None:
    """Its error reaches the user as it is."""

    def sampler() -> Iterator[int]:
        yield 0
        raise ZeroDivisionError("no more")

    with raises(ZeroDivisionError, "^no more$"):
        list(make(Numbers(3), sampler=sampler(), num_workers=num_workers))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_index_out_of_range(make: Make, num_workers: int) -> None:
    """The dataset's IndexError, from the batch that has it."""
    batches = iter(make([10, 11, 12], sampler=[0, 2, 7], num_workers=num_workers))
    assert numbers([next(batches), next(batches)]) == [[10], [12]]
    with raises(IndexError, "list index out of range"):
        next(batches)
