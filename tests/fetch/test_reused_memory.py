"""Datasets that write every item into the same memory: a batch has what each item was when it was read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from reading import Items, Whole, reader_of, request_of
from torch.utils.data import IterableDataset

import dalikit
import dalikit.transforms as T
from dalikit.fetch.keeping import copied

HEADER = b"P6 3 2 255\n"  # of an image without compression, so that all are of one length


def array_of(memory: bytearray) -> Any:
    """uint8 (2, 3, 3)."""
    return np.frombuffer(memory, np.uint8)[len(HEADER) :].reshape(2, 3, 3)


FORMS: dict[str, Callable[[bytearray], Any]] = {
    "array": array_of,
    "tensor": lambda memory: torch.from_numpy(array_of(memory)).permute(2, 0, 1),
    "bytearray": lambda memory: memory,
    "memoryview": memoryview,
    "1-D array": lambda memory: np.frombuffer(memory, np.uint8),
    "1-D tensor": lambda memory: torch.from_numpy(np.frombuffer(memory, np.uint8)),
}


class Reusing:
    """Fills its memory with the index."""

    def __init__(self, form: Callable[[bytearray], Any]) -> None:
        self.memory = bytearray(HEADER + bytes(18))
        self.label = np.zeros(1, np.int64)
        self.form = form

    def __call__(self, index: int) -> Any:
        self.memory[len(HEADER) :] = bytes([index]) * 18
        self.label[0] = index
        return self.form(self.memory), self.label


class Stream(IterableDataset[Any]):
    """The same as an iterable dataset."""

    def __init__(self, make: Reusing) -> None:
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        return map(self.make, range(20))


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
@pytest.mark.parametrize("kind", [Items, Stream])
@pytest.mark.parametrize("collate_fn", [None, list])
def test_batches_that_are_read_ahead(form: Any, kind: Any, collate_fn: Any) -> None:
    """Neither an image nor what is beside it changes when further items are read."""
    reader = reader_of(kind(Reusing(form)), batch_size=3, collate_fn=collate_fn)
    batches: list[Any] = [reader.read(request_of(range(start, start + 3))) for start in (0, 3, 6)]
    assert [[int(image[-1].max()) for image in batch.data] for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    labels = [[label.item() for label in batch.targets] for batch in batches]
    assert labels == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize("form", ["bytearray", "memoryview", "1-D array", "1-D tensor"])
def test_encoded_images_without_a_transform(form: str) -> None:
    """Batches do not change any more; within one, items share what they share in torch."""
    reader = reader_of(Items(Reusing(FORMS[form])), collate_fn=list, transformed=False)
    batches: list[Any] = [reader.read(request_of([index])) for index in range(3)]
    assert [int(batch.data[0][-1]) for batch in batches] == [0, 1, 2]
    assert [int(batch.targets[0][0]) for batch in batches] == [0, 1, 2]


def test_items_of_a_whole_batch() -> None:
    """`__getitems__` may give the same memory for its next batch."""
    memory = np.zeros((2, 4, 5, 3), np.uint8)

    def make(indices: list[int]) -> Any:
        memory[:] = np.reshape(indices, (2, 1, 1, 1))
        return [(image, 0) for image in memory]

    reader = reader_of(Whole(make))
    batches: list[Any] = [reader.read(request_of(indices)) for indices in ([0, 1], [2, 3])]
    assert [[int(image.max()) for image in batch.data] for batch in batches] == [[0, 1], [2, 3]]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_whole_loader(batch_size: int) -> None:
    """The images belong to their labels."""
    dataset = Items(Reusing(array_of), count=12)
    with dalikit.DataLoader(
        dataset, batch_size=batch_size, transform=T.Compose([T.ToTensor()]), device="cpu"
    ) as loader:
        pairs = [
            (round(float(image.max()) * 255), int(label))
            for images, labels in loader
            for image, label in zip(images, labels, strict=True)
        ]
    assert pairs == [(index, index) for index in range(12)]


def test_only_what_may_change_is_copied() -> None:
    """Types stay; containers without such memory are the very objects."""
    item = {"a": (1, "x", b"y"), "b": [None, {"c": 2.5}]}
    assert copied(item) is item
    weights = torch.ones(2, requires_grad=True)
    assert copied(weights) is weights
    view = memoryview(b"abcd").cast("I")
    assert copied(view) is view
    values: list[Any] = [np.zeros(2), torch.zeros(2), bytearray(b"x"), memoryview(bytearray(b"x"))]
    for value in values:
        nest = copied({"a": (1, [value]), "b": item})
        again = nest["a"][1][0]
        assert again is not value
        assert type(again) is type(value)
        assert nest["b"] is item
        value[0] = 7
        assert again[0] != 7
