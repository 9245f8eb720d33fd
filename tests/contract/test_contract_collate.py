"""Contract: what becomes of the items of a batch, types and dtypes included."""

from __future__ import annotations

import os
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from contract_datasets import Made, Place, cannot_collate, with_pid
from contract_loader import Make, assert_as_torch, raises
from PIL import Image

Pair = namedtuple("Pair", ["first", "second"])


class Box:
    """An object that nobody knows how to collate."""

    def __init__(self, content: int) -> None:
        self.content = content


class Record(dict[str, Any]):
    """A mapping of a class of its own."""


def tensor(index: int) -> torch.Tensor:
    """A float tensor (2, 3)."""
    return torch.arange(6, dtype=torch.float32).reshape(2, 3) + index


ITEMS: dict[str, Callable[[int], Any]] = {
    "int": lambda i: i,
    "negative": lambda i: -i,
    "float": lambda i: i / 3,
    "nan": lambda _: float("nan"),
    "bool": lambda i: i % 2 == 0,
    "str": lambda i: f"text {i}",
    "bytes": lambda i: f"text {i}".encode(),
    "no bytes": lambda _: b"",
    "tensor": tensor,
    "0-d tensor": lambda i: torch.tensor(i),
    "empty tensor": lambda _: torch.empty(0, 4),
    "bool tensor": lambda i: torch.tensor([i > 1, True]),
    "half tensor": lambda i: tensor(i).half(),
    "bfloat16 tensor": lambda i: tensor(i).bfloat16(),
    "complex tensor": lambda i: torch.complex(tensor(i), tensor(i)),
    "int16 tensor": lambda i: tensor(i).to(torch.int16),
    "transposed tensor": lambda i: tensor(i).T,
    "float64 array": lambda i: np.arange(4.0) + i,
    "float32 array": lambda i: np.full((2, 2), i, dtype=np.float32),
    "int32 array": lambda i: np.full((2, 1, 2), i, dtype=np.int32),
    "bool array": lambda i: np.array([i > 1, False]),
    "0-d array": lambda i: np.array(i),
    "1-D uint8 array": lambda i: np.arange(4, dtype=np.uint8) + i,
    "1-D uint8 tensor": lambda i: torch.arange(4, dtype=torch.uint8) + i,
    "HWC uint8 array": lambda i: np.full((4, 5, 3), i, dtype=np.uint8),
    "CHW uint8 tensor": lambda i: torch.full((3, 4, 5), i, dtype=torch.uint8),
    "image and target": lambda i: (np.full((4, 5, 3), i, dtype=np.uint8), i),
    "float32 scalar": lambda i: np.float32(i / 3),
    "int16 scalar": lambda i: np.int16(i),
    "bool scalar": lambda i: np.bool_(i),
    "str scalar": lambda i: np.str_(f"text {i}"),
    "tuple": lambda i: (i, f"text {i}"),
    "list": lambda i: [i, float(i)],
    "empty tuple": lambda _: (),
    "empty list": lambda _: [],
    "empty dict": lambda _: {},
    "nested": lambda i: (i, (tensor(i), [f"text {i}", {"deep": (i, i / 2)}])),
    "dict": lambda i: {"image": tensor(i), "label": i, "name": f"text {i}", "raw": b"raw"},
    "dict of other keys": lambda i: {3: i, ("a", 1): i, None: i},
    "ordered dict": lambda i: OrderedDict(b=i, a=i),
    "own mapping": lambda i: Record(b=i, a=[i]),
    "read-only mapping": lambda i: MappingProxyType({"a": i}),
    "namedtuple": lambda i: Pair(i, {"deep": Pair(i, f"text {i}")}),
    "typed namedtuple": lambda i: Place(i, 0, 0, 0, True),
    "range": lambda i: range(i, i + 3),
}


@pytest.mark.parametrize("name", ITEMS)
def test_batches(make: Make, name: str) -> None:
    """Two whole batches and a short one."""
    assert_as_torch(make, Made(5, ITEMS[name]), batch_size=2)


@pytest.mark.parametrize("name", [*ITEMS, "None", "object array", "str array", "image"])
def test_single_items(make: Make, name: str) -> None:
    """batch_size=None converts arrays to tensors and leaves everything else alone: None, objects, images."""
    more: dict[str, Callable[[int], Any]] = {
        "None": lambda _: None,
        "object array": lambda i: np.array([i, "text"], dtype=object),
        "str array": lambda i: np.array(["text", str(i)]),
        "image": lambda i: (Image.new("RGB", (4, 3), (i, 0, 0)), None),
    }
    assert_as_torch(make, Made(3, {**ITEMS, **more}[name]), batch_size=None)


@pytest.mark.parametrize("batch_size", [2, None])
def test_all_from_workers(make: Make, batch_size: int | None) -> None:
    """Nothing changes on its way from another process."""
    names = [name for name in ITEMS if name != "read-only mapping"]  # which cannot be pickled
    dataset = Made(4, lambda index: [ITEMS[name](index) for name in names])
    assert_as_torch(make, dataset, batch_size=batch_size, num_workers=2, multiprocessing_context="fork")


REFUSED: dict[str, tuple[Callable[[int], Any], type[Exception], str]] = {
    "None": (
        lambda _: None,
        TypeError,
        "default_collate: batch must contain tensors, numpy arrays, .* found .*NoneType",
    ),
    "object": (Box, TypeError, "default_collate: batch must contain .* found .*Box"),
    "inner None": (lambda i: {"a": (i, None)}, TypeError, "default_collate: batch must contain .* found .*NoneType"),
    "image": (lambda _: Image.new("RGB", (4, 3)), TypeError, "default_collate: batch must contain .* found .*Image"),
    "image and target": (
        lambda i: (Image.new("L", (4, 3)), i),
        TypeError,
        "default_collate: batch must .* found .*Image",
    ),
    "str array": (lambda _: np.array(["a"]), TypeError, "default_collate: batch must contain .* found <U1"),
    "tensors of unequal shapes": (torch.zeros, RuntimeError, "stack expects each tensor to be equal size"),
    "arrays of unequal shapes": (
        lambda i: np.zeros((i, 2)),
        RuntimeError,
        "stack expects each tensor to be equal size",
    ),
    "lists of unequal lengths": (
        lambda i: [0] * i,
        RuntimeError,
        "each element in list of batch should be of equal size",
    ),
    "other keys": (lambda i: {str(i): i}, KeyError, "0"),
}


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_collated(make: Make, name: str, num_workers: int) -> None:
    """The error has torch's type and text."""
    function, error, words = REFUSED[name]
    with raises(error, words):
        list(
            make(Made(2, function), batch_size=2, num_workers=num_workers, multiprocessing_context=context(num_workers))
        )


def context(num_workers: int) -> str | None:
    """Functions without a name reach only forked workers."""
    return "fork" if num_workers else None


@pytest.mark.parametrize("num_workers", [0, 2])
def test_collate_fn_has_the_samples(make: Make, num_workers: int) -> None:
    """A list of what the dataset gave, in order, of any type; what it returns is the batch."""

    def contents(boxes: list[Box]) -> str:
        assert type(boxes) is list
        return ",".join(str(box.content) for box in boxes)

    named: dict[str, Any] = {"num_workers": num_workers, "multiprocessing_context": context(num_workers)}
    assert list(make(Made(5, Box), batch_size=2, collate_fn=contents, **named)) == ["0,1", "2,3", "4"]


def test_collate_fn_of_images(make: Make) -> None:
    """PIL images, without a transform, are anything else: nobody opens, converts or copies them."""
    images = [Image.new("P", (4, 3)), Image.new("RGBA", (2, 2))]
    batch = next(iter(make(images, batch_size=2, collate_fn=tuple)))
    assert batch[0] is images[0]
    assert batch[1] is images[1]


def test_collate_fn_of_single_items(make: Make) -> None:
    """batch_size=None: it gets the item, not a list of one."""
    assert list(make([1, 2], batch_size=None, collate_fn=str)) == ["1", "2"]


def test_items_are_not_copied(make: Make) -> None:
    """Without workers the user has the dataset's own objects."""
    items = [torch.zeros(2), {"a": torch.ones(1)}]
    first, second = make(items, batch_size=None)
    assert first is items[0]
    assert second["a"] is items[1]["a"]  # type: ignore[index]


def test_a_batch_of_one_buffer_each(make: Make) -> None:
    """A later batch does not write into an earlier one."""
    batches = list(make(Made(4, tensor), batch_size=2))
    batches[0].zero_()
    assert bool((batches[1] == torch.stack([tensor(2), tensor(3)])).all())


@pytest.mark.parametrize("batch_size", [2, None])
def test_collate_fn_runs_in_the_worker(make: Make, batch_size: int | None) -> None:
    """There, its time costs the user nothing; without workers it runs in the user's process."""
    here = {pid for _, pid in make(range(6), batch_size=batch_size, collate_fn=with_pid)}
    there = {pid for _, pid in make(range(6), batch_size=batch_size, collate_fn=with_pid, num_workers=2)}
    assert here == {os.getpid()}
    assert len(there) == 2
    assert os.getpid() not in there


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_failing_collate_fn(make: Make, num_workers: int) -> None:
    """Its own error; from a worker with its traceback."""
    words = (
        "(?s)Caught ValueError in DataLoader worker process 0.*cannot collate 2" if num_workers else "^cannot collate 2"
    )
    with raises(ValueError, words):
        list(make(range(4), batch_size=2, collate_fn=cannot_collate, num_workers=num_workers))


def test_tensors_with_gradients(make: Make) -> None:
    """Leave the graph that they are in as torch leaves it."""
    leaf = torch.ones(2, requires_grad=True)
    batch = next(iter(make([leaf, leaf * 2], batch_size=2)))
    batch.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [3.0, 3.0]


def test_text_that_looks_like_nothing(make: Make) -> None:
    """Bytes that are no image stay bytes, also beside a label and in a dict."""
    dataset = Made(3, lambda index: {"raw": b"\x00\x01" * index, "pair": (b"P", index)})
    assert_as_torch(make, dataset, batch_size=3)
