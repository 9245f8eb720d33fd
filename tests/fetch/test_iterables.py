"""Reading iterable datasets: passes, their end, positions, and state."""

from __future__ import annotations

import gc
import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset as wds
from encoded_images import encode
from PIL import Image
from reading import png_of
from torch.utils.data import IterableDataset
from webdataset import TarWriter

from dalikit.errors import ArgumentError, DecodeError, StateError
from dalikit.fetch import HostFunction, ImageBatch, OtherBatch, Request
from dalikit.fetch.headers import HeaderRules, add_headers
from dalikit.fetch.reader import Reader, make_reader
from dalikit.fetch.task import ReadTask
from dalikit.items import PAIR, Layout
from samplers import position

NONE = np.empty(0, dtype=np.int64)


class Stream(IterableDataset[Any]):
    """Gives what a function makes of 0 to count - 1."""

    def __init__(self, count: int, make: Callable[[int], Any] = int) -> None:
        self.count = count
        self.make = make
        self.begun = 0

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        return (self.make(index) for index in range(self.count))


class Counter:
    """An iterator that knows where it is."""

    def __init__(self, stop: int) -> None:
        self.state = {"next": 0}
        self.stop = stop

    def __iter__(self) -> Counter:
        return self

    def __next__(self) -> int:
        if self.state["next"] >= self.stop:
            raise StopIteration
        self.state["next"] += 1
        return self.state["next"] - 1

    def state_dict(self) -> dict[str, int]:
        return self.state

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.state = dict(state)


class WithIterator(IterableDataset[int]):
    """Its iterator has the state."""

    def __iter__(self) -> Iterator[int]:
        return Counter(7)


class WithState(IterableDataset[int]):
    """It has the state itself; its iterators are generators."""

    def __init__(self) -> None:
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        start, self.start = self.start, 0
        for number in range(start, 7):
            self.next = number + 1
            yield number

    def state_dict(self) -> dict[str, int]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["next"]


def reader_of(dataset: Any, worker_id: int = 0, num_workers: int = 0, **options: Any) -> Reader:
    """A reader of batches of 3 for a loader without a transform, but where the options say otherwise."""
    task = ReadTask(
        **{"dataset": dataset, "seed": 5, "collate_fn": None, "transformed": False, "batch_size": 3, **options}
    )
    return make_reader(task, worker_id, num_workers)


def request_of(passes: int = 0, taken: int = 9) -> Request:
    """Whatever comes next."""
    return Request(NONE, NONE, taken=taken, passes=passes)


def batches_of(reader: Reader, passes: int = 0) -> list[Any]:
    """All that is left of a pass."""
    found = []
    while (batch := reader.read(request_of(passes))) is not None:
        found.append(batch)
    return found


def values_of(reader: Reader, passes: int = 0) -> list[Any]:
    """The same, of numbers."""
    return [batch.value.tolist() for batch in batches_of(reader, passes)]


class TestPasses:
    """From the beginning to the end."""

    @pytest.mark.parametrize(
        ("count", "drop_last", "expected"),
        [
            (7, False, [[0, 1, 2], [3, 4, 5], [6]]),
            (7, True, [[0, 1, 2], [3, 4, 5]]),
            (6, True, [[0, 1, 2], [3, 4, 5]]),
            (6, False, [[0, 1, 2], [3, 4, 5]]),
            (2, False, [[0, 1]]),
            (2, True, []),
            (0, False, []),
        ],
    )
    def test_batches(self, count: int, drop_last: bool, expected: list[list[int]]) -> None:
        """As many items each, but for the last, which may be left out."""
        assert values_of(reader_of(Stream(count), drop_last=drop_last)) == expected

    def test_items_by_themselves(self) -> None:
        """With batch_size=None; converted as torch does, or by the collate_fn."""
        batches = batches_of(
            reader_of(Stream(3, lambda index: (np.full(2, index), "x")), batch_size=None, drop_last=True)
        )
        assert [batch.value[0].tolist() for batch in batches] == [[0, 0], [1, 1], [2, 2]]
        assert [batch.value for batch in batches_of(reader_of(Stream(3), batch_size=None, collate_fn=str))] == [
            "0",
            "1",
            "2",
        ]

    @pytest.mark.parametrize("drop_last", [False, True])
    def test_the_end_stays_the_end(self, drop_last: bool) -> None:
        """However often it is asked for."""
        dataset = Stream(4)
        reader = reader_of(dataset, drop_last=drop_last)
        assert len(batches_of(reader)) == 2 - drop_last
        assert [reader.read(request_of()) for _ in range(3)] == [None] * 3
        assert dataset.begun == 1

    def test_another_pass_iterates_anew(self) -> None:
        """From whichever place the last one was left at; nothing is iterated before it is asked for."""
        dataset = Stream(4)
        reader = reader_of(dataset)
        assert dataset.begun == 0
        assert values_of(reader, 0) == [[0, 1, 2], [3]]
        assert reader.read(request_of(1)) is not None
        assert values_of(reader, 2) == [[0, 1, 2], [3]]
        assert dataset.begun == 3

    def test_the_request_is_kept(self) -> None:
        """How far the user is by then."""
        batch = reader_of(Stream(4)).read(request_of(taken=11))
        assert isinstance(batch, OtherBatch)
        assert (batch.taken, batch.state) == (11, None)

    def test_what_has_no_getitem(self) -> None:
        """Is iterable, though no IterableDataset; an iterator has one pass."""
        reader = reader_of(iter(range(4)))
        assert values_of(reader) == [[0, 1, 2], [3]]
        assert values_of(reader, 1) == []


class TestPositions:
    """Each item has its own."""

    @pytest.mark.parametrize(("num_workers", "world_size"), [(0, 1), (1, 1), (3, 1), (0, 4), (3, 2)])
    def test_no_two_are_the_same(self, num_workers: int, world_size: int) -> None:
        """Over all workers and ranks; together they are dense, so that all streams of the same length fill them."""
        found = []
        for rank in range(world_size):
            for worker in range(max(num_workers, 1)):
                dataset = Stream(7, lambda index: (png_of(index), index))
                for batch in batches_of(reader_of(dataset, worker, num_workers, rank=rank, world_size=world_size), 2):
                    found += batch.positions.tolist()
        assert sorted(found) == [position(2, place) for place in range(7 * max(num_workers, 1) * world_size)]

    def test_indices_count_what_a_worker_has_read(self) -> None:
        """Beginning anew with each pass."""
        reader = reader_of(Stream(5, lambda index: (png_of(index), index)), 1, 2, rank=1, world_size=3)
        first, second = batches_of(reader)
        assert [list(batch.indices) for batch in (first, second)] == [[0, 1, 2], [3, 4]]
        assert second.positions.tolist() == [(3 * 2 + 1) * 3 + 1, (4 * 2 + 1) * 3 + 1]
        assert list(batches_of(reader, 1)[0].indices) == [0, 1, 2]

    def test_others_have_the_first_one(self) -> None:
        """Of the batch."""
        assert [batch.first_position for batch in batches_of(reader_of(Stream(5), 1, 2))] == [1, 7]


class TestImages:
    """The kinds are those of map-style datasets."""

    @pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # WebDataset leaves its shards to the collector
    @pytest.mark.filterwarnings("ignore:.*FileIO.*:pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.filterwarnings("ignore:.*BufferedReader.*:pytest.PytestUnraisableExceptionWarning")
    def test_webdataset(self, tmp_path: Path) -> None:
        """Real shards: bytes by extension, in dicts or in tuples."""
        for shard in range(2):
            with TarWriter(str(tmp_path / f"{shard}.tar")) as sink:
                for number in range(3 * shard, 3 * shard + 3):
                    sink.write({"__key__": f"{number:03}", "png": png_of(number), "cls": number})
        urls = [str(tmp_path / f"{shard}.tar") for shard in range(2)]

        raw = wds.WebDataset(urls, shardshuffle=False)
        first, second = batches_of(reader_of(raw, transformed=True))
        assert isinstance(second, ImageBatch)
        assert [data.tobytes() for data in second.data] == [png_of(number) for number in (3, 4, 5)]
        assert first.layout == Layout(("png",))
        assert first.targets["__key__"] == ["000", "001", "002"]
        assert first.targets["cls"] == [b"0", b"1", b"2"]
        add_headers(second, HeaderRules())
        assert second.heights().tolist() == [8, 9, 10]

        pairs = wds.WebDataset(urls, shardshuffle=False).to_tuple("png", "cls").map_tuple(bytes, int)
        first, second = batches_of(reader_of(pairs))
        assert (second.layout, second.targets.tolist(), second.collated) == (PAIR, [3, 4, 5], True)

        decoded = wds.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("png", "cls")
        first, _ = batches_of(reader_of(decoded, transformed=True))
        assert first.decoded
        assert [data.shape for data in first.data] == [(5, 7, 3), (6, 7, 3), (7, 7, 3)]

        whole = wds.WebDataset(urls, shardshuffle=False).to_tuple("png", "cls").batched(3)
        with pytest.raises(ArgumentError, match=r"3 images.*item\[0\]\[0\], item\[0\]\[1\] and item\[0\]\[2\]\."):
            batches_of(reader_of(whole, batch_size=None))
        assert len(batches_of(reader_of(whole, batch_size=None, encoded=False))) == 2
        del raw, pairs, decoded, whole
        gc.collect()

    def test_a_function(self) -> None:
        """By position, as ever."""
        function = HostFunction(lambda image: image.rotate(random.choice([0, 180])), 5)
        runs = []
        for size in (2, 5):
            reader = reader_of(Stream(10, lambda index: (png_of(index), index)), batch_size=size, function=function)
            runs.append([data.tobytes() for batch in batches_of(reader) for data in batch.data])
        assert runs[0] == runs[1]

    def test_one_item_that_is_no_batch(self) -> None:
        """Is a batch of one, and says so."""
        batch = batches_of(reader_of(Stream(2, lambda index: (png_of(index), index)), batch_size=None))[1]
        assert (batch.targets, batch.collated, batch.batched, list(batch.indices)) == ([1], False, False, [1])


class TestErrors:
    """They name the item."""

    @pytest.mark.parametrize(("num_workers", "who"), [(0, ""), (2, ", worker=1")])
    def test_of_the_dataset(self, num_workers: int, who: str) -> None:
        """Counted by the worker that reads."""
        worker = 1 if num_workers else 0
        reader = reader_of(Stream(9, lambda index: 1 / (index - 4)), worker, num_workers)
        assert reader.read(request_of()) is not None
        with pytest.raises(ZeroDivisionError) as caught:
            reader.read(request_of())
        place = 4 * max(num_workers, 1) + worker
        assert caught.value.__notes__ == [f"in Stream: index=4, position={place}{who}, stage=read"]

    def test_of_iter(self) -> None:
        """Even that may fail; and it is asked again."""

        class Broken(IterableDataset[int]):
            def __iter__(self) -> Iterator[int]:
                raise OSError("no shards")

        reader = reader_of(Broken())
        for _ in range(2):
            with pytest.raises(OSError, match="no shards") as caught:
                reader.read(request_of())
            assert caught.value.__notes__ == ["in Broken: index=0, position=0, stage=read"]

    def test_of_collation(self) -> None:
        """With the items' numbers."""
        with pytest.raises(RuntimeError, match="stack expects each") as caught:
            batches_of(reader_of(Stream(3, lambda index: torch.zeros(index)), 1, 2))
        assert caught.value.__notes__ == ["in Stream: indices=[0, 1, 2], worker=1, stage=collate"]

    def test_of_an_image(self) -> None:
        """A bad one carries its place."""
        data = encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)), "JPEG")
        dataset = Stream(2, lambda index: (Image.open(io.BytesIO(data[: len(data) // (1 + index)])), 0))
        with pytest.raises(DecodeError, match=r"by Pillow.*dataset=Stream, index=1, position=1, stage=decode"):
            batches_of(reader_of(dataset, transformed=True))

    def test_stop_iteration_within_a_generator(self) -> None:
        """Is an error of Python's own, as in torch; from a collate_fn it is one too."""

        def stop(_: Any) -> Any:
            raise StopIteration

        with pytest.raises(RuntimeError, match="generator raised StopIteration"):
            batches_of(reader_of(Stream(3, stop)))
        with pytest.raises(RuntimeError, match="StopIteration was raised by"):
            batches_of(reader_of(Stream(3), collate_fn=stop))

    def test_a_collate_fn_draws_by_position_and_disturbs_no_dataset(self) -> None:
        """The stream that the dataset draws from goes on."""
        dataset = Stream(6, lambda _: random.random())
        random.seed(4)
        expected = [random.random() for _ in range(6)]
        random.seed(4)
        batches = batches_of(reader_of(dataset, collate_fn=lambda items: (items, random.random())))
        assert batches[0].value[0] + batches[1].value[0] == expected
        again = batches_of(reader_of(dataset, collate_fn=lambda _: random.random()))
        assert [batch.value for batch in again] == [batch.value[1] for batch in batches]


@pytest.mark.parametrize("kind", [WithIterator, WithState])
class TestState:
    """Where a dataset goes on."""

    def test_resumes(self, kind: Any) -> None:
        """From after every batch, with the counts and positions of the uncut run."""
        whole = batches_of(reader_of(kind(), 1, 2))
        for taken, batch in enumerate(whole, 1):
            assert batch.state["worker"] == 1
            assert batch.state["count"] == min(3 * taken, 7)
            reader = reader_of(kind(), 1, 2, states={0: None, 1: batch.state})
            rest = batches_of(reader)
            assert [other.value.tolist() for other in rest] == [other.value.tolist() for other in whole[taken:]]
            assert [other.first_position for other in rest] == [other.first_position for other in whole[taken:]]
            assert [other.state for other in rest] == [other.state for other in whole[taken:]]

    def test_is_of_the_first_pass_alone(self, kind: Any) -> None:
        """The next one begins at the beginning."""
        first, *_ = batches_of(reader_of(kind()))
        reader = reader_of(kind(), states={0: first.state})
        assert values_of(reader, 4) == [[3, 4, 5], [6]]
        assert values_of(reader, 5) == [[0, 1, 2], [3, 4, 5], [6]]

    def test_is_not_another_workers(self, kind: Any) -> None:
        """One that had nothing yet begins at the beginning."""
        first, *_ = batches_of(reader_of(kind()))
        assert values_of(reader_of(kind(), 1, 2, states={0: first.state})) == [[0, 1, 2], [3, 4, 5], [6]]

    def test_is_a_copy(self, kind: Any) -> None:
        """Reading on does not change it."""
        reader = reader_of(kind())
        first = reader.read(request_of())
        assert first is not None
        reader.read(request_of())
        assert first.state == {"worker": 0, "count": 3, "ended": False, "dataset": {"next": 3}}


def test_a_state_for_a_dataset_that_has_none() -> None:
    """Is refused; without one its batches carry none."""
    with pytest.raises(
        StateError, match="where Stream is to go on, but neither it nor its iterator has a load_state_dict"
    ):
        reader_of(Stream(3), states={0: {"worker": 0, "count": 3, "dataset": {}}}).read(request_of())
