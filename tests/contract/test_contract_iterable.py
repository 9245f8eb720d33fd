"""Contract: iterable datasets, which say themselves what comes next."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from contract_datasets import FailingStream, Shards, SizedStream, Stream, share_out, with_pid
from contract_loader import Make, assert_as_torch, flat, numbers, raises
from torch.utils.data import IterableDataset

CUTS: list[dict[str, Any]] = [{"batch_size": 3}, {"batch_size": 3, "drop_last": True}, {"batch_size": None}, {}]


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_in_one_process(make: Make, cut: dict[str, Any]) -> None:
    """Batches in the stream's order, the last one short or left out; single items."""
    assert_as_torch(make, Stream(8), **cut)


@pytest.mark.parametrize("num_workers", [1, 2, 3])
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_shared_out_by_worker_info(make: Make, cut: dict[str, Any], num_workers: int) -> None:
    """Each worker reads its part by get_worker_info(); batches come from them in turn."""
    batches = assert_as_torch(make, Stream(14), num_workers=num_workers, **cut)
    items = batches if cut.get("batch_size", 1) is None else flat(batches)
    assert sorted(items) == list(range(14)) if not cut.get("drop_last") else len(items) % 3 == 0


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_shared_out_by_init_fn(make: Make, num_workers: int) -> None:
    """worker_init_fn changes the attributes of the worker's copy before it is iterated."""
    named: dict[str, Any] = {"batch_size": 2, "num_workers": num_workers, "worker_init_fn": share_out}
    batches = assert_as_torch(make, Stream(11, shared=False), **named)
    assert sorted(flat(batches)) == list(range(11))


def test_not_shared_out(make: Make) -> None:
    """Every worker then gives everything, as torch's documentation warns."""
    batches = assert_as_torch(make, Stream(3, shared=False), batch_size=2, num_workers=2)
    assert numbers(batches) == [[0, 1], [0, 1], [2], [2]]


@pytest.mark.parametrize("lengths", [[5, 1], [1, 5], [0, 4], [4, 0, 7], [0, 0], [2, 9, 2]], ids=str)
@pytest.mark.parametrize("cut", [*CUTS[:3], {"batch_size": 2, "persistent_workers": True}], ids=str)
def test_uneven_shards(make: Make, lengths: list[int], cut: dict[str, Any]) -> None:
    """Workers that end early leave their turns to the others, in torch's order, in a second pass too."""
    named: dict[str, Any] = {"num_workers": len(lengths), **cut}
    loader = make(Shards(lengths), **named)
    first, second = [repr(batch) for batch in loader], [repr(batch) for batch in loader]
    assert first == second == [repr(batch) for batch in assert_as_torch(make, Shards(lengths), **named)]


def test_prefetch_factor_changes_no_order(make: Make) -> None:
    """However far ahead the workers are."""
    for factor in (1, 5):
        assert_as_torch(make, Shards([2, 9, 4]), num_workers=3, prefetch_factor=factor)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_length_unknown(make: Make, num_workers: int) -> None:
    """`len` is a TypeError; iterating works."""
    loader = make(Stream(4), num_workers=num_workers)
    with pytest.raises(TypeError, match=r"has no len\(\)"):
        len(loader)
    assert numbers(loader) == [[0], [1], [2], [3]]


@pytest.mark.parametrize(("drop_last", "batches"), [(False, 3), (True, 2)])
def test_length_known(make: Make, drop_last: bool, batches: int) -> None:
    """The dataset's, in batches."""
    loader = make(SizedStream(7, 7), batch_size=3, drop_last=drop_last)
    assert len(loader) == len(list(loader)) == batches
    assert len(make(SizedStream(7, 7), batch_size=None)) == 7


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_length_that_lies(make: Make, num_workers: int) -> None:
    """A warning, if the length was asked for and more came; the items come all the same."""
    loader = make(SizedStream(5, 3), batch_size=None, num_workers=num_workers)
    assert list(loader) == [0, 1, 2, 3, 4]
    len(loader)
    words = r"Length of IterableDataset .* was reported to be 3.*but [45] samples have been fetched"
    with pytest.warns(UserWarning, match=words) as caught:
        assert list(loader) == [0, 1, 2, 3, 4]
    assert len(caught) == 2
    assert ("not properly configuring" in str(caught[0].message)) == (num_workers > 0)


@pytest.mark.parametrize("shuffle", [None, False])
def test_no_shuffle(make: Make, shuffle: bool | None) -> None:
    """shuffle=False and None are allowed."""
    assert numbers(make(Stream(2), shuffle=shuffle)) == [[0], [1]]


def test_iterated_once_a_pass(make: Make) -> None:
    """`__iter__` is called when a pass begins, and not for anything else."""

    class Counting(Stream):
        begun = 0

        def __iter__(self) -> Iterator[int]:
            self.begun += 1
            return super().__iter__()

    dataset = Counting(3)
    loader = make(dataset, batch_size=2)
    assert dataset.begun == 0
    for turn in (1, 2):
        assert numbers(loader) == [[0, 1], [2]]
        assert dataset.begun == turn


@pytest.mark.parametrize("num_workers", [0, 2])
def test_endless(make: Make, num_workers: int) -> None:
    """As many batches as one takes."""

    class Endless(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return itertools.count()

    loader = make(Endless(), batch_size=2, num_workers=num_workers)
    batches = numbers(itertools.islice(loader, 6))
    assert batches[-1] == ([10, 11] if num_workers == 0 else [4, 5])


def test_the_end_stays_the_end(make: Make) -> None:
    """An iterator that has ended goes on saying so."""
    batches = iter(make(Stream(2), batch_size=None))
    assert list(batches) == [0, 1]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(batches)


def test_collate_fn(make: Make) -> None:
    """Gets the list of the stream's items, in the worker."""
    batches = list(make(Stream(5), batch_size=2, num_workers=2, collate_fn=with_pid))
    assert [samples for samples, _ in batches] == [[0, 2], [1, 3], [4]]
    assert len({pid for _, pid in batches}) == 2


@pytest.mark.parametrize(("bad", "before"), [(-1, 0), (0, 0), (4, 2), (5, 2)])
def test_errors(make: Make, bad: int, before: int) -> None:
    """In `__iter__`, at once, between batches, within one: the dataset's own error, after the batches before it."""
    with raises(ValueError, f"^item {bad} is bad$"):
        batches = iter(make(FailingStream(bad), batch_size=2))
        for _ in range(before):
            next(batches)
        next(batches)


@pytest.mark.parametrize(("bad", "before"), [(-1, 0), (0, 0), (4, 2), (5, 2)])
def test_errors_in_workers(make: Make, bad: int, before: int) -> None:
    """From a worker with its traceback."""
    batches = iter(make(FailingStream(bad), batch_size=2, num_workers=1))
    assert numbers(itertools.islice(batches, before)) == [[0, 1], [2, 3]][:before]
    with raises(ValueError, f"(?s)Caught ValueError in DataLoader worker process 0.*item {bad} is bad"):
        next(batches)


def test_lists_as_items(make: Make) -> None:
    """batch_size=None with a stream that makes its batches itself."""

    class Batched(IterableDataset[list[int]]):
        def __iter__(self) -> Iterator[list[int]]:
            return iter([[0, 1], [2]])

    assert_as_torch(make, Batched(), batch_size=None)
