"""Datasets that declare encoded images: threads and readers do the same with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reading import Declared, png_of, reader_of, request_of

from dalikit.datasets import ImageFolder
from dalikit.errors import ArgumentError, DecodeError
from dalikit.fetch import HostFunction, ThreadFetcher

WAYS = ["threads", "reader"]


def read(way: str, dataset: Any, indices: Sequence[Any], function: Any = None) -> Any:
    """One batch, its targets as a list."""
    if way == "reader":
        return reader_of(dataset, function=function, collate_fn=list).read(request_of(indices))
    fetcher = ThreadFetcher(dataset, num_threads=2, function=function)
    try:
        return fetcher.submit(request_of(indices)).result()
    finally:
        fetcher.close()


class Forms(Declared):
    """Bytes in any form."""

    def __init__(self, form: Callable[[bytes], Any]) -> None:
        self.form = form

    def get_image_data(self, index: int) -> Any:
        return self.form(png_of(index))


class Batches(Declared):
    """Only whole batches may be asked for."""

    asked: list[int]

    def get_image_data(self, index: int) -> Any:
        raise AssertionError(index)

    def get_batch(self, indices: list[int]) -> Any:
        assert all(type(index) is int for index in indices)
        self.asked = indices
        return [(png_of(index), index) for index in indices]


FORMS: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "array": lambda data: np.frombuffer(data, np.uint8),
    "strided array": lambda data: np.frombuffer(data, np.uint8).repeat(2)[::2],
    "tensor": lambda data: torch.frombuffer(bytearray(data), dtype=torch.uint8),
    "strided tensor": lambda data: torch.frombuffer(bytearray(data), dtype=torch.uint8).repeat_interleave(2)[::2],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_bytes_of_any_form(way: str, form: Any) -> None:
    batch = read(way, Forms(form), [2, 0])
    assert [data.tobytes() for data in batch.data] == [png_of(2), png_of(0)]
    assert batch.targets == [20, 0]


@pytest.mark.parametrize("way", WAYS)
def test_no_bytes_at_all(way: str) -> None:
    with pytest.raises(TypeError, match="bytes-like object is required") as caught:
        read(way, Forms(lambda _: None), [4])
    assert caught.value.__notes__ == ["in Forms: index=4, position=100, stage=read"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("indices", [[3, 1], (np.int32(3), torch.tensor(1)), torch.tensor([3, 1]), np.array([3, 1])])
def test_get_batch_reads_all_rows_at_once(way: str, indices: Any) -> None:
    """Where the dataset has it; `target_transform` comes after it."""
    dataset = Batches()
    dataset.target_transform = lambda target: -target
    batch = read(way, dataset, indices)
    assert dataset.asked == [3, 1]
    assert [data.tobytes() for data in batch.data] == [png_of(3), png_of(1)]
    assert (batch.targets, batch.indices.tolist()) == ([-3, -1], [3, 1])
    if way == "threads":
        assert [header.height for header in batch.headers] == [8, 6]


@pytest.mark.parametrize("way", WAYS)
def test_get_batch_of_a_dataset_in_files(way: str, photograph_root: Path) -> None:
    """A subclass's own comes first; without one the files are read."""

    class Own(ImageFolder):
        def get_batch(self, indices: list[int]) -> Any:
            return [(png_of(index), "own") for index in indices]

    assert read(way, Own(photograph_root), [1]).targets == ["own"]
    batch = read(way, ImageFolder(photograph_root), [1])
    assert batch.data[0].tobytes() == ImageFolder(photograph_root).get_image_data(1)


@pytest.mark.parametrize("way", WAYS)
def test_what_get_batch_may_give(way: str) -> None:
    class Short(Declared):
        def get_batch(self, indices: list[int]) -> Any:
            given: list[Any] = [[(b"", 0)], {}, [(png_of(0), 0), (None, 0)]]
            return given[indices[0]] if indices[0] < 3 else 1 / 0

    for first, came in ((0, "1"), (1, "a dict")):
        with pytest.raises(ArgumentError, match=f"get_batch of Short was asked for 2 items and gave {came}: it must"):
            read(way, Short(), [first, 0])
    with pytest.raises(TypeError, match="bytes-like object is required") as caught:
        read(way, Short(), [2, 5])
    assert caught.value.__notes__ == ["in Short: index=5, position=101, stage=read"]
    with pytest.raises(ZeroDivisionError) as failed:
        read(way, Short(), [3, 1])
    assert failed.value.__notes__ == ["in Short: indices=[3, 1], stage=read"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dataset", [Declared(), Batches()], ids=["by row", "by batch"])
def test_errors_say_at_what(way: str, dataset: Any) -> None:
    """Which row, and which stage."""
    name = type(dataset).__name__
    with pytest.raises(ZeroDivisionError) as caught:
        read(way, dataset, [2, 0], function=HostFunction(lambda _: 1 / 0, 5))
    assert caught.value.__notes__ == [f"in {name}: index=2, position=100, stage=transform"]
    with pytest.raises(ArgumentError, match=f"^dataset {name} takes whole numbers as indices, came 'a': use a sampler"):
        read(way, dataset, ["a"])


@pytest.mark.parametrize("way", WAYS)
def test_an_image_that_pillow_cannot_decode(way: str) -> None:
    with pytest.raises(DecodeError, match=r"by Pillow.*index=2, position=100, stage=decode"):
        read(way, Forms(lambda data: data[:60]), [2], function=HostFunction(lambda image: image, 5))


def test_a_whole_batch_at_hand_is_described() -> None:
    """A timeout's report names all its indices."""
    fetcher = ThreadFetcher(Batches(), num_threads=1)
    pending = fetcher.submit(request_of([4, 2]))
    pending.result()
    fetcher.close()
    assert "indices [4, 2]" in pending.describe()
