"""Contract: webdataset's pipelines over real tar files, as torch's loader takes them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from contract_loader import Make, assert_as_torch

pytestmark = [  # of files that webdataset leaves to the collector
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COUNTS = [5, 3, 4, 2]
"""Samples in each shard: uneven, so that workers end at different times."""


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Files that are left open are closed here, where nobody complains."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Four tar files."""
    folder = tmp_path_factory.mktemp("shards")
    return [str(write_shard(folder / f"{shard:04d}.tar", shard, count)) for shard, count in enumerate(COUNTS)]


def write_shard(path: Path, shard: int, count: int) -> Path:
    """Text, a class, JSON and an array a sample."""
    with webdataset.TarWriter(str(path)) as writer:
        for place in range(count):
            sample = {
                "__key__": f"{shard}-{place}",
                "txt": f"sample {place} of {shard}",
                "cls": shard * 10 + place,
                "json": {"shard": shard, "words": ["a", "b"]},
                "npy": np.full((2, 2), place, dtype=np.float32),
            }
            writer.write(sample)
    return path


def pipeline(shards: list[str]) -> Any:
    """Decoded samples in the order of the files."""
    return webdataset.WebDataset(shards, shardshuffle=False).decode()


def classes(batches: list[Any]) -> list[int]:
    """All classes of batches of (text, class)."""
    return [int(number) for _, numbers in batches for number in numbers]


ALL = [shard * 10 + place for shard, count in enumerate(COUNTS) for place in range(count)]


@pytest.mark.parametrize("num_workers", [0, 2, 3])
@pytest.mark.parametrize("batch_size", [3, None])
def test_tuples(make: Make, shards: list[str], num_workers: int, batch_size: int | None) -> None:
    """Files are shared out among the workers; every sample comes once, in torch's order."""
    dataset = pipeline(shards).to_tuple("txt", "cls")
    batches = assert_as_torch(make, dataset, batch_size=batch_size, num_workers=num_workers)
    seen = classes(batches) if batch_size is not None else [number for _, number in batches]
    assert sorted(seen) == ALL
    assert num_workers > 0 or seen == ALL


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [2, None])
def test_dicts(make: Make, shards: list[str], num_workers: int, batch_size: int | None) -> None:
    """Samples as they are: members by extension, with `__key__` and the rest."""
    batches = assert_as_torch(make, pipeline(shards), batch_size=batch_size, num_workers=num_workers)
    assert {"__key__", "txt", "cls", "json", "npy"} <= set(batches[0])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_raw_members(make: Make, shards: list[str], num_workers: int) -> None:
    """Without decode() members are bytes, which are no images and stay bytes."""
    dataset = webdataset.WebDataset(shards, shardshuffle=False).to_tuple("txt", "cls")
    batches = assert_as_torch(make, dataset, batch_size=2, num_workers=num_workers)
    assert list(batches[0][0]) == [b"sample 0 of 0", b"sample 1 of 0"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batched_by_the_pipeline(make: Make, shards: list[str], num_workers: int) -> None:
    """`.batched(n)` with batch_size=None, as webdataset recommends."""
    dataset = pipeline(shards).to_tuple("npy", "cls").batched(4)
    batches = assert_as_torch(make, dataset, batch_size=None, num_workers=num_workers)
    assert sorted(classes(batches)) == ALL


def test_a_second_pass(make: Make, shards: list[str]) -> None:
    """Begins at the first file again."""
    loader = make(pipeline(shards).to_tuple("txt", "cls"), batch_size=3, num_workers=2, persistent_workers=True)
    assert classes(list(loader)) == classes(list(loader))


def test_a_length_of_its_own(make: Make, shards: list[str]) -> None:
    """with_epoch cuts an endless stream, with_length says how long it is."""
    dataset = pipeline(shards).to_tuple("txt", "cls").repeat().with_epoch(20).with_length(20, silent=True)
    loader = make(dataset, batch_size=4)
    assert len(loader) == 5
    assert classes(list(loader)) == (ALL * 2)[:20]


def test_members_that_are_not_there(make: Make, shards: list[str]) -> None:
    """webdataset's own error."""
    with pytest.raises(ValueError, match=r"(?i)missing|not found|didn't find|no .* in"):
        list(make(pipeline(shards).to_tuple("txt", "xyz"), batch_size=2))
