"""Reading on threads: what a request becomes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executor_bench import Files
from PIL import Image
from pillow_reference import open_rgb

from dalikit.codec import Header
from dalikit.datasets import ImageFolder
from dalikit.errors import ArgumentError
from dalikit.fetch import HostFunction, Request, ThreadFetcher


def request(indices: Any, *, first: int = 0, **more: Any) -> Request:
    return Request(indices, np.arange(first, first + len(indices)), **{"taken": 0, **more})


@pytest.fixture
def fetcher(photographs: list[Path]) -> Iterator[ThreadFetcher]:
    """Of the 12 photographs; row i's target is i."""
    fetcher = ThreadFetcher(Files(photographs), num_threads=2)
    yield fetcher
    fetcher.close()


def test_a_batch_knows_what_its_request_said(fetcher: ThreadFetcher) -> None:
    batch = fetcher.submit(request([3, 1], first=40, taken=17, batched=False, state={"a": [5]})).result()
    assert batch.indices.dtype == np.int64
    assert (batch.indices.tolist(), batch.positions.tolist()) == ([3, 1], [40, 41])
    assert (batch.taken, batch.batched, batch.state) == (17, False, {"a": [5]})
    assert (batch.targets, batch.decoded, batch.collated) == ([3, 1], False, False)


@pytest.mark.parametrize(
    "indices",
    [
        [3, 1, 1],
        (3, 1, 1),
        [np.int32(3), np.uint8(1), torch.tensor(1)],
        np.array([3, 1, 1], np.int32),
        torch.tensor([3, 1, 1]),
        np.array([3, 1, 1]),
    ],
    ids=["list", "tuple", "numpy's and torch's", "int32", "tensor", "int64"],
)
def test_whole_numbers_of_every_kind_are_indices(fetcher: ThreadFetcher, indices: Any) -> None:
    """As torch-style samplers yield them."""
    batch = fetcher.submit(request(indices)).result()
    assert batch.indices.dtype == np.int64
    assert batch.targets == [3, 1, 1]


@pytest.mark.parametrize("index", ["abc", 1.5, None, (0, 1), 2**63, np.float64(3.0), torch.tensor(1.0)], ids=repr)
def test_other_indices_are_refused(fetcher: ThreadFetcher, index: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^dataset Files takes whole numbers as indices, came .*: use a sampler"):
        fetcher.submit(request([0, index]))


def test_the_index_that_is_refused_is_shown(fetcher: ThreadFetcher) -> None:
    with pytest.raises(ArgumentError, match=r"came 'abc': use a sampler that yields them$"):
        fetcher.submit(request(["abc"]))


def test_an_index_out_of_range_is_the_datasets_error_with_the_place(photograph_root: Path) -> None:
    fetcher = ThreadFetcher(ImageFolder(photograph_root), num_threads=2)
    with pytest.raises(IndexError, match=r"^index 99 is out of range for ImageFolder of 12 samples") as caught:
        fetcher.submit(request([0, 99], first=7)).result()
    fetcher.close()
    assert caught.value.__notes__ == ["in ImageFolder of 12 samples: index=99, position=8, stage=read"]


def half(image: Image.Image) -> Image.Image:
    return image.reduce(2)


def test_with_a_function_batches_come_decoded(photographs: list[Path]) -> None:
    """With the sizes of what the function returned; the arena of the encoded bytes may be used again."""
    fetcher = ThreadFetcher(Files(photographs), num_threads=2, function=HostFunction(half, 0), max_idle_arenas=1)
    batch = fetcher.submit(request(np.array([4, 0, 9]))).result()
    data, expected = batch.data, [np.asarray(half(open_rgb(photographs[row]))) for row in (4, 0, 9)]
    assert batch.decoded
    assert batch.headers == [Header(None, image.shape[0], image.shape[1], "") for image in expected]
    fetcher.recycle(batch)
    fetcher.submit(request(np.arange(12))).result()
    fetcher.close()
    assert all(image.flags.c_contiguous for image in data)
    assert all(np.array_equal(one, other) for one, other in zip(data, expected, strict=True))
