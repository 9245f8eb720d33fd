"""Reading whole batches of items that are no images: indices, draws, errors."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from reading import Declared, Items, Whole, png_of, read, reader_of, request_of
from torch.utils.data import Subset, TensorDataset

from dalikit.callables import seeded_generators
from dalikit.errors import ArgumentError, ReadError
from dalikit.fetch import OtherBatch
from dalikit.transforms.purposes import Purpose


class TestOthers:
    """Items that are no images."""

    def test_as_torch_collates(self) -> None:
        """By default_collate."""
        batch = read(TensorDataset(torch.arange(20) * 2, torch.arange(20.0)), transformed=False)
        assert isinstance(batch, OtherBatch)
        assert [part.tolist() for part in batch.value] == [[4, 0, 2], [2.0, 0.0, 1.0]]
        assert (batch.first_position, batch.taken, batch.state) == (100, 7, None)

    def test_one_item_that_is_no_batch(self) -> None:
        """Is converted as torch does, or goes through the collate_fn by itself."""
        dataset = Items(lambda index: (np.full(2, index), "text"))
        request = request_of([3], batched=False)
        value = reader_of(dataset, transformed=False).read(request).value  # type: ignore[union-attr]
        assert value[0].tolist() == [3, 3]
        assert value[1] == "text"
        batch: Any = reader_of(dataset, transformed=False, collate_fn=lambda item: item[1]).read(request)
        assert batch.value == "text"

    def test_one_item_may_be_asked_for_by_a_list(self) -> None:
        """As torch does with a sampler of batches and batch_size=None; `__getitems__` is not asked."""

        class Whole(Items):
            def __getitems__(self, indices: Any) -> Any:
                raise AssertionError(indices)

        batch: Any = reader_of(Whole(torch.tensor), transformed=False).read(request_of([[1, 2]], batched=False))
        assert batch.value.tolist() == [1, 2]

    def test_a_collate_fn_draws_by_position(self) -> None:
        """The same for the same first position; the caller's generators go on where they were."""
        random.seed(3)
        state = random.getstate()
        reader = reader_of(
            Items(lambda index: index), transformed=False, collate_fn=lambda items: (items, random.random())
        )
        batch: Any = reader.read(request_of([4, 5]))
        with seeded_generators(5, 100, Purpose.COLLATION):
            assert batch.value == ([4, 5], random.random())
        assert random.getstate() == state

    @pytest.mark.parametrize("collate_fn", [None, lambda items: len(items) / 0])
    def test_errors_of_collation(self, collate_fn: Any) -> None:
        """In torch's or the user's own words, with the indices."""
        dataset = Items(lambda index: torch.zeros(index + 1))
        with pytest.raises((RuntimeError, ZeroDivisionError), match=r"stack expects each|division by zero") as caught:
            read(dataset, transformed=False, collate_fn=collate_fn)
        assert caught.value.__notes__ == ["in Items: indices=[2, 0, 1], stage=collate"]

    def test_errors_of_the_collation_of_targets(self) -> None:
        """The same."""
        with pytest.raises(TypeError, match="default_collate: batch must contain") as caught:
            read(Items(lambda index: (png_of(index), None)), range(12))
        assert caught.value.__notes__ == ["in Items: indices=[0, 1, 2, 3, 4, 5, 6, 7, ...] (12), stage=collate"]


class TestIndices:
    """What the dataset is asked for."""

    def test_are_whole_numbers_of_python(self) -> None:
        """Where the order's are numpy's; others as a sampler yields them."""
        dataset = Items(lambda index: str(type(index)))
        for indices, name in (
            (np.arange(2), "int"),
            ([np.int32(3)], "numpy.int32"),
            (["key"], "str"),
            ([(1, 2)], "tuple"),
        ):
            batch: Any = reader_of(dataset, transformed=False).read(request_of(indices))
            assert set(batch.value) == {f"<class '{name}'>"}

    @pytest.mark.parametrize("indices", [[], np.empty(0, dtype=np.int64)])
    @pytest.mark.parametrize("dataset", [Items(lambda index: index), Declared()])
    def test_none(self, dataset: Any, indices: Any) -> None:
        """There is nothing to read."""
        with pytest.raises(
            ArgumentError, match=f"batch_sampler yielded a batch without indices.*{type(dataset).__name__}"
        ):
            read(dataset, indices)

    def test_out_of_range(self) -> None:
        """The dataset's own IndexError, with its length."""
        with pytest.raises(IndexError, match="out of") as caught:
            read(TensorDataset(torch.arange(4)), [1, 9], transformed=False)
        assert caught.value.__notes__ == ["in TensorDataset of 4 samples: index=9, position=101, stage=read"]

    def test_errors_of_the_dataset(self) -> None:
        """Keep their type; a key that is no number is named too; a SampleError gets its place."""
        table: dict[Any, Any] = {"a": 1}
        with pytest.raises(KeyError, match="b") as caught:
            read(table, ["a", "b"], transformed=False)
        assert caught.value.__notes__ == ["in dict: index='b', position=101, stage=read"]

        def fail(_: Any) -> None:
            raise ReadError("no such row")

        with pytest.raises(ReadError, match=r"no such row \[dataset=Items, index=3, position=100, stage=read\]"):
            read(Items(fail), [3])

    def test_stop_iteration_is_loud(self) -> None:
        """It would end the user's loop without a word."""

        def stop(_: Any) -> None:
            raise StopIteration

        for dataset, options in (
            (Items(stop), {}),
            (Items(lambda index: index), {"collate_fn": stop, "transformed": False}),
        ):
            with pytest.raises(
                RuntimeError, match=r"StopIteration was raised by the dataset, .* or the collation"
            ) as caught:
                read(dataset, **options)
            assert "in Items: ind" in caught.value.__notes__[0]
            assert isinstance(caught.value.__cause__, StopIteration)


class TestGetItems:
    """`__getitems__`, which reads a batch at once."""

    def test_is_asked_with_a_list(self) -> None:
        """Of Python's numbers."""
        batch = read(Whole(lambda indices: [repr(indices)] * 2), np.array([3, 4]), transformed=False)
        assert batch.value == ["[3, 4]"] * 2

    def test_images(self) -> None:
        """Are found in what it gives."""
        batch = read(Whole(lambda indices: [(png_of(index), index) for index in indices]))
        assert [data.tobytes() for data in batch.data] == [png_of(2), png_of(0), png_of(1)]

    @pytest.mark.parametrize(("given", "came"), [([1, 2], "2"), ({"a": [1]}, "a dict"), ("abc", "a str"), ([], "0")])
    def test_a_wrong_count(self, given: Any, came: str) -> None:
        """Is named, with the right one."""
        with pytest.raises(
            ArgumentError, match=f"__getitems__ of Whole was asked for 3 items and gave {came}: it must"
        ):
            read(Whole(lambda _: given), transformed=False)

    def test_errors(self) -> None:
        """Say which batch it was."""
        with pytest.raises(ZeroDivisionError) as caught:
            read(Whole(lambda indices: len(indices) / 0))
        assert caught.value.__notes__ == ["in Whole: indices=[2, 0, 1], stage=read"]

    def test_draws_follow_from_the_first_position(self) -> None:
        """Batch by batch."""
        dataset = Whole(lambda indices: [random.random() for _ in indices])
        reader = reader_of(dataset, transformed=False, collate_fn=list)
        batches: list[Any] = [reader.read(request_of([0, 1], start=start)) for start in (0, 2, 0)]
        assert batches[0].value == batches[2].value != batches[1].value
        with seeded_generators(5, 2, Purpose.ITEM):
            assert batches[1].value == [random.random(), random.random()]

    def test_torchs_subset_has_one_of_no_meaning(self) -> None:
        """What items of a dataset without one draw depends on their own positions, in a Subset too."""
        dataset = Items(lambda _: random.random())
        plain, subset = (
            reader_of(each, transformed=False, collate_fn=list) for each in (dataset, Subset(dataset, range(9)))
        )
        one: Any = plain.read(request_of([4, 5]))
        other: Any = subset.read(request_of([4, 5]))
        assert one.value == other.value
        whole: Any = reader_of(Subset(Whole(lambda indices: indices), [7, 8, 9]), transformed=False).read(
            request_of([2, 0])
        )
        assert whole.value.tolist() == [9, 7]


class TestDraws:
    """What items draw from the global generators."""

    @staticmethod
    def item(_: Any) -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_follow_from_the_position(self, num_workers: int) -> None:
        """Whatever the batch size, and whoever reads."""
        runs = []
        for size in (1, 3, 6):
            reader = reader_of(
                Items(self.item),
                transformed=False,
                collate_fn=list,
                num_workers=num_workers,
                worker_id=num_workers // 2,
            )
            batches: list[Any] = [reader.read(request_of(range(size), start=start)) for start in range(0, 6, size)]
            runs.append([item for batch in batches for item in batch.value])
        assert runs[0] == runs[1] == runs[2]
        with seeded_generators(5, 4, Purpose.ITEM):
            assert runs[0][4] == self.item(0)

    def test_the_callers_generators_go_on_where_they_were(self) -> None:
        """In the user's own process; in a worker nobody needs them."""
        for num_workers, kept in ((0, True), (1, False)):
            state = random.getstate()
            read(Items(self.item), transformed=False, num_workers=num_workers)
            assert (random.getstate() == state) is kept

    def test_a_dataset_that_first_draws_in_its_second_batch(self) -> None:
        """Draws the same there as one that is read from there on."""
        dataset = Items(lambda index: self.item(index) if index == 13 else index)
        reader = reader_of(dataset, transformed=False, collate_fn=list)
        reader.read(request_of(range(7), start=0))
        second: Any = reader.read(request_of(range(7, 14), start=7))
        alone: Any = reader_of(dataset, transformed=False, collate_fn=list).read(request_of([13], start=13))
        assert second.value == [*range(7, 13), alone.value[0]]
