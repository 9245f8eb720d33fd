"""Batches that were asked for are hinted while the disk is at work, and change in nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from encoded_images import encode
from PIL import Image
from ranged_rows import RangedRows, join
from reading import reader_of, request_of

from dalikit.fetch import ThreadFetcher
from dalikit.fetch.declared import DeclaredRows
from dalikit.fetch.hinting import Hinting
from dalikit.storage import Location
from dalikit.storage.descriptors import Descriptor

ROWS = 16


@pytest.fixture(scope="module")
def pieces() -> list[bytes]:
    """PNGs of some 37 kB, which do not compress."""
    generator = np.random.default_rng(0)
    return [
        encode(Image.fromarray(generator.integers(0, 256, (110, 110, 3), dtype=np.uint8)), "PNG") for _ in range(ROWS)
    ]


@pytest.fixture(params=["shard", "loose files"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path, pieces: list[bytes]) -> RangedRows:
    """Of which no page is cached."""
    if request.param == "shard":
        content, locations = join(str(tmp_path / "a.tar"), pieces)
        (tmp_path / "a.tar").write_bytes(content)
    else:
        locations = [Location(str(tmp_path / f"{number}.png")) for number in range(ROWS)]
        for location, piece in zip(locations, pieces, strict=True):
            Path(location.uri).write_bytes(piece)
    for path in tmp_path.iterdir():
        drop(str(path))
    if is_cached(locations[0]):
        pytest.skip("this file system keeps all in memory, or does not tell")
    return RangedRows(locations)


def drop(path: str) -> None:
    """Has the kernel forget a file's pages."""
    file = Descriptor(path)
    os.fsync(file.number)
    os.posix_fadvise(file.number, 0, 0, os.POSIX_FADV_DONTNEED)


def is_cached(location: Location) -> bool:
    """Whether the first byte can be read without the disk."""
    file = Descriptor(location.uri)
    try:
        return os.preadv(file.number, [bytearray(1)], location.offset, os.RWF_NOWAIT) == 1
    except OSError:
        return False


def test_hints_are_due_while_the_disk_is_at_work(dataset: RangedRows) -> None:
    """Once a batch was cold; no longer, once one was not."""
    declared, fetcher = DeclaredRows(dataset, None), ThreadFetcher(dataset, num_threads=2)
    hinting, due = Hinting(declared), []
    for cold, start in ((True, 0), (True, 8), (False, 0), (False, 8)):
        indices = range(start, start + 8)
        if cold:  # the kernel has read beyond the batch before
            for index in indices:
                drop(dataset.get_location(index).uri)
        due.append(hinting.is_due(declared.rows(indices, np.arange(8))))
        fetcher.submit(request_of(indices)).result()
    due.append(hinting.is_due(declared.rows(range(8), np.arange(8))))
    fetcher.close()
    assert due[:3] + due[4:] == [False, True, True, False]  # of a shard, all was dropped before the third


def test_a_row_that_is_expected_is_read_from_the_disk(dataset: RangedRows) -> None:
    """By the kernel, not by us."""
    declared = DeclaredRows(dataset, None)
    declared.expect(declared.rows([5], np.arange(1)), 0)
    location = dataset.get_location(5)
    for _ in range(1_000_000):
        if is_cached(location):
            break
    assert is_cached(location)


@pytest.mark.parametrize("way", ["threads", "worker"])
def test_cold_batches_are_what_warm_ones_are(way: str, dataset: RangedRows, pieces: list[bytes]) -> None:
    """In order, whatever was hinted."""
    batches = [list(range(start, start + 4)) for start in range(0, ROWS, 4)]
    if way == "threads":
        fetcher = ThreadFetcher(dataset, num_threads=2)
        read = []
        for indices in batches:
            batch = fetcher.submit(request_of(indices)).result()
            read += [data.tobytes() for data in batch.data]
        fetcher.close()
    else:
        reader = reader_of(dataset)
        read = [data.tobytes() for indices in batches for data in reader.read(request_of(indices)).data]
    assert read == pieces


def test_a_row_that_is_not_there_is_not_hinted(dataset: RangedRows) -> None:
    """Reading it says so."""
    declared = DeclaredRows(dataset, None)
    declared.expect(declared.rows([ROWS + 3], np.arange(1)), 0)
    with pytest.raises(IndexError, match=f"index {ROWS + 3} is out of range"):
        declared.read(declared.rows([ROWS + 3], np.arange(1)), 0, None)
