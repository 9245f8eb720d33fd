"""Contract: map-style datasets, torch's own combinations of them among them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from contract_datasets import InBatches, Keyed, Made, Numbers, Stream
from contract_loader import Make, assert_as_torch, flat, numbers, raises
from torch.utils.data import (
    ChainDataset,
    ConcatDataset,
    DataLoader,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    random_split,
)

DATASETS: dict[str, Any] = {
    "subset": Subset(Numbers(20), [4, 3, 3, 19]),
    "nested subset": Subset(Subset(Numbers(20), range(0, 20, 2)), [9, 0, 5]),
    "concat": ConcatDataset([Numbers(3), Numbers(2), Subset(Numbers(5), [4])]),
    "tensors": TensorDataset(torch.arange(12.0).reshape(6, 2), torch.arange(6)),
    "stack": StackDataset(Numbers(5), Made(5, str)),
    "named stack": StackDataset(number=Numbers(5), text=Made(5, str)),
    "subset of batches": Subset(InBatches(20), [4, 3, 3, 19]),
}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("name", DATASETS)
def test_combinations(make: Make, name: str, num_workers: int) -> None:
    """Subset, ConcatDataset, TensorDataset, StackDataset."""
    assert_as_torch(make, DATASETS[name], batch_size=2, num_workers=num_workers)


def test_random_split(make: Make) -> None:
    """Two loaders on the parts of one dataset, each item in one of them."""
    parts = random_split(Numbers(20), [0.7, 0.3], generator=torch.Generator().manual_seed(2))
    loaders = [make(part, batch_size=4, num_workers=1) for part in parts]
    seen = [flat(loader) for loader in loaders]
    assert [len(part) for part in seen] == [14, 6]
    assert sorted(seen[0] + seen[1]) == list(range(20))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_getitems_reads_a_batch_at_once(make: Make, num_workers: int) -> None:
    """`__getitems__` is asked, once a batch, where a dataset has it."""
    loader = make(InBatches(5), batch_size=2, num_workers=num_workers)
    assert numbers(loader) == [[2, 12], [22, 32], [41]]


def test_getitems_gets_a_list_of_what_the_sampler_yields(make: Make) -> None:
    """Of Python's integers by default, so that a database takes them; of a foreign sampler's strings else."""
    seen: list[Any] = []

    class Noting(InBatches):
        def __getitems__(self, indices: list[Any]) -> list[Any]:
            seen.append([type(indices), *(type(index) for index in indices)])
            return [0 for _ in indices]

    list(make(Noting(3), batch_size=2))
    list(make(Noting(3), batch_size=2, sampler=["a", "b"]))
    list(make(Noting(3), batch_size=1, shuffle=True, generator=torch.Generator()))
    assert seen == [[list, int, int], [list, int], [list, str, str], [list, int], [list, int], [list, int]]


def test_getitems_that_is_none(make: Make) -> None:
    """Counts as not there; the items are asked for one by one."""
    dataset = Numbers(3)
    dataset.__getitems__ = None  # type: ignore[attr-defined]
    assert numbers(make(dataset, batch_size=2)) == [[0, 1], [2]]


def test_indices_are_integers_of_python(make: Make) -> None:
    """Of every sampler that the loader makes itself."""
    for named in ({}, {"shuffle": True}, {"shuffle": True, "generator": torch.Generator()}):
        names = list(make(Made(3, lambda index: type(index).__name__), batch_size=None, **named))
        assert names == ["int"] * 3


def test_own_transforms_are_not_done_twice(make: Make) -> None:
    """A dataset that carries out its `transform` and `target_transform` itself gets neither a second time."""

    class Transforming(Numbers):
        transform = staticmethod(lambda number: number * 10)
        target_transform = staticmethod(lambda number: number + 1)

        def __getitem__(self, index: int) -> Any:
            return self.transform(index), self.target_transform(index)

    images, targets = next(iter(make(Transforming(2), batch_size=2)))
    assert numbers([images, targets]) == [[0, 10], [1, 2]]


def test_each_item_is_read_once(make: Make) -> None:
    """Nobody looks at item 0 beforehand, neither when the loader is made nor for its length."""
    read: list[int] = []

    def note(index: int) -> int:
        read.append(index)
        return index

    loader = make(Made(5, note), batch_size=2)
    assert len(loader) == 3
    assert read == []
    list(loader)
    assert read == [0, 1, 2, 3, 4]


def test_a_dataset_without_length(make: Make) -> None:
    """Does with a sampler; `len` of the loader is the sampler's."""
    dataset = Keyed({0: "a", 5: "b"})
    loader = make(dataset, sampler=[5, 0, 5], batch_size=2)
    assert len(loader) == 2
    assert list(loader) == [["b", "a"], ["b"]]


def test_a_sampler_of_a_part(make: Make) -> None:
    """The usual way to train and validate on one dataset."""
    dataset = TensorDataset(torch.arange(10) * 3)
    results = []
    for kind in (make, DataLoader):
        sampler = SubsetRandomSampler(range(6), generator=torch.Generator().manual_seed(9))
        loader: Any = kind(dataset, sampler=sampler, batch_size=4, drop_last=True)
        results.append([part.tolist() for (part,) in loader])
    assert results[0] == results[1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_length_that_lies(make: Make, num_workers: int) -> None:
    """The dataset's own IndexError, after the batches that are there."""

    class Lying(Numbers):
        def __len__(self) -> int:
            return self.count + 3

    batches = iter(make(Lying(4), batch_size=2, num_workers=num_workers))
    assert numbers([next(batches), next(batches)]) == [[0, 1], [2, 3]]
    with raises(IndexError, "index 4 is not there"):
        next(batches)


def test_chained_streams_are_no_map(make: Make) -> None:
    """ChainDataset is an iterable dataset: one after the other."""
    assert_as_torch(make, ChainDataset([Stream(3), Stream(2)]), batch_size=2)
