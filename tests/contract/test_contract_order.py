"""Contract: which items a batch holds, in which order, and how many batches there are."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest
import torch
from contract_datasets import InPairs, Made, Numbers, place_of
from contract_loader import Make, assert_as_torch, numbers
from torch.utils.data import DataLoader

WORKERS = [0, 1, 2, 3]


@pytest.mark.parametrize("num_workers", WORKERS)
@pytest.mark.parametrize("drop_last", [False, True], ids=["keep", "drop"])
def test_batches_are_in_order(make: Make, num_workers: int, drop_last: bool) -> None:
    """However many processes read; the last batch is short, or left out."""
    batches = numbers(make(Numbers(10), batch_size=4, num_workers=num_workers, drop_last=drop_last))
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]][: 2 if drop_last else 3]


@pytest.mark.parametrize("batch_size", [1, 5, 10, 11])
@pytest.mark.parametrize("drop_last", [False, True], ids=["keep", "drop"])
def test_batch_sizes(make: Make, batch_size: int, drop_last: bool) -> None:
    """One item, a divisor of all, all, and more than all; `len` agrees with what comes."""
    loader = make(Numbers(10), batch_size=batch_size, drop_last=drop_last)
    batches = numbers(loader)
    assert len(loader) == len(batches)
    assert batches == numbers(DataLoader(Numbers(10), batch_size=batch_size, drop_last=drop_last))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_without_batches(make: Make, num_workers: int) -> None:
    """batch_size=None: items one by one, unbatched, a number as a number."""
    loader = make(Numbers(4), batch_size=None, num_workers=num_workers)
    assert list(loader) == [0, 1, 2, 3]
    assert [type(item) for item in loader] == [int] * 4
    assert len(loader) == 4


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_pass_is_whole(make: Make, num_workers: int) -> None:
    """A loader may be iterated as often as one likes."""
    loader = make(Numbers(5), batch_size=2, num_workers=num_workers)
    for _ in range(3):
        assert numbers(loader) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("dataset", [[5, 6, 7], (5, 6, 7), range(5, 8), torch.tensor([5, 6, 7])], ids=lambda d: type(d))
def test_anything_with_items_and_a_length(make: Make, dataset: Any) -> None:
    """A list is a dataset, and so are a tuple, a range and a tensor."""
    assert numbers(assert_as_torch(make, dataset, batch_size=2)) == [[5, 6], [7]]


def test_an_empty_dataset(make: Make) -> None:
    """Has no batches."""
    loader = make([], batch_size=2)
    assert len(loader) == 0
    assert list(loader) == []


def test_the_end_stays_the_end(make: Make) -> None:
    """An iterator that has ended goes on saying so."""
    batches = iter(make(Numbers(2)))
    assert numbers(batches) == [[0], [1]]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(batches)


@pytest.mark.parametrize("num_workers", [2, 3])
def test_uneven_workers(make: Make, num_workers: int) -> None:
    """Batches come in order even though those of other workers are ready first."""
    dataset = InPairs(16, multiprocessing.get_context("fork"))
    loader = make(dataset, batch_size=1, num_workers=num_workers, multiprocessing_context="fork")
    assert numbers(loader) == [[number] for number in range(16)]


@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_take_turns(make: Make, num_workers: int) -> None:
    """Batch i is read by worker i modulo their number."""
    loader = make(Made(9, place_of), batch_size=None, num_workers=num_workers)
    assert [place.worker for place in loader] == [index % num_workers for index in range(9)]


def test_without_workers_the_caller_reads(make: Make) -> None:
    """num_workers=0: items are read in the user's own process and on their thread (sqlite, h5py)."""
    places = list(make(Made(4, place_of), batch_size=None))
    assert [(place.worker, place.main_thread) for place in places] == [(-1, True)] * 4


def test_any_order_of_workers_may_be_allowed(make: Make) -> None:
    """in_order=False gives the same batches; dalikit's stay in order."""
    batches = numbers(make(Numbers(12), batch_size=2, num_workers=2, in_order=False))
    assert sorted(batches) == [[index, index + 1] for index in range(0, 12, 2)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_shuffle_is_a_permutation(make: Make, num_workers: int) -> None:
    """Every item once, in another order each pass; torch.manual_seed repeats it.

    Without `generator=` dalikit's order is not torch's.
    """
    orders = []
    for _ in range(2):
        torch.manual_seed(3)
        loader = make(Numbers(50), batch_size=None, shuffle=True, num_workers=num_workers)
        orders.append((list(loader), list(loader)))
    first, second = orders[0]
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first != list(range(50))
    assert orders[0] == orders[1]


def passes_with_generator(loader: Any, generator: torch.Generator) -> tuple[list[Any], bytes]:
    """Three passes, the second cut short after one batch, and the generator's state at the end."""
    passes = [numbers(loader), numbers([next(iter(loader))]), numbers(loader)]
    return passes, bytes(generator.get_state().numpy())


@pytest.mark.parametrize("arguments", [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}], ids=str)
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
def test_generator(make: Make, arguments: dict[str, Any], shuffle: bool) -> None:
    """With `generator=` the order is exactly torch's, pass after pass, and the generator ends in the same state."""
    results = []
    for kind in (make, DataLoader):
        generator = torch.Generator().manual_seed(11)
        named: dict[str, Any] = {"batch_size": 5, "shuffle": shuffle, "generator": generator, **arguments}
        results.append(passes_with_generator(kind(Numbers(23), **named), generator))
    assert results[0] == results[1]


def test_generator_without_batches(make: Make) -> None:
    """As with batches."""
    orders = []
    for kind in (make, DataLoader):
        generator = torch.Generator().manual_seed(5)
        loader: Any = kind(Numbers(20), batch_size=None, shuffle=True, generator=generator)
        orders.append([list(loader), list(loader)])
    assert orders[0] == orders[1]


def test_generator_decides_the_shuffle_alone(make: Make) -> None:
    """Whatever the global generator's state is."""
    orders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        loader = make(Numbers(30), batch_size=None, shuffle=True, generator=torch.Generator().manual_seed(8))
        orders.append(list(loader))
    assert orders[0] == orders[1]


def test_length_of_an_iterator(make: Make) -> None:
    """An iterator has its loader's length, for progress bars."""
    loader = make(Numbers(7), batch_size=2)
    assert len(iter(loader)) == len(loader) == 4


def test_a_growing_dataset(make: Make) -> None:
    """The length is asked for at each pass."""
    dataset = Numbers(3)
    loader = make(dataset, batch_size=2)
    assert numbers(loader) == [[0, 1], [2]]
    dataset.count = 5
    assert len(loader) == 3
    assert numbers(loader) == [[0, 1], [2, 3], [4]]


def test_arguments_by_position(make: Make) -> None:
    """The first eleven stand where torch has them."""
    loader = make(Numbers(5), 2, False, [4, 3, 2, 1, 0], None, 0, list, False, True, 0, None)
    assert list(loader) == [[4, 3], [2, 1]]
