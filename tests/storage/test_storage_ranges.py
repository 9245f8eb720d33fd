"""Ranges that no image has are refused before memory is taken for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dalikit.errors import ReadError
from dalikit.fetch.declared import DeclaredRows
from dalikit.fetch.rows import Rows
from dalikit.storage import Arena, Location, read
from dalikit.storage.reading import MAX_SIZE


class OneFile:
    """A dataset of one row, which lies where it was told."""

    memory_map = False
    may_be_gzipped = False

    def __init__(self, location: Location, memory_map: bool) -> None:
        self.location, self.memory_map = location, memory_map

    def __len__(self) -> int:
        return 1

    def get_location(self, index: int) -> Location:
        del index
        return self.location

    def get_image_data(self, index: int) -> bytes:
        return read(self.get_location(index), Arena()).tobytes()

    def get_target(self, index: int) -> int:
        return index


@pytest.fixture
def sparse(tmp_path: Path) -> str:
    """A file of 1 TiB that takes no room."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    return str(path)


RANGES = [
    (0, 1 << 40, r"^1099511627776 bytes are more than the limit of 2147483648 \[.*sparse"),
    (0, MAX_SIZE + 1, r"^2147483649 bytes are more than the limit of 2147483648 \[.*sparse"),
    (0, None, r"^1099511627776 bytes are more than the limit of 2147483648 \[.*sparse"),
    (1 << 63, 5, r"^no file has so many bytes \[.*sparse, offset=9223372036854775808"),
    ((1 << 63) - 1, 5, r"^no file has so many bytes \[.*sparse, offset=9223372036854775807"),
    (1 << 70, None, r"^no file has so many bytes"),
]


@pytest.mark.parametrize(("offset", "size", "message"), RANGES)
def test_ranges_that_no_image_has(sparse: str, offset: int, size: int | None, message: str) -> None:
    """Of a file, and of an object, which is not asked for."""
    with pytest.raises(ReadError, match=message):
        read(Location(sparse, offset, size), Arena())
    if size is not None:
        with pytest.raises(ReadError, match=message):
            read(Location("s3://bucket/sparse", offset, size), Arena())


@pytest.mark.parametrize("memory_map", [False, True])
@pytest.mark.parametrize(("offset", "size", "message"), RANGES)
def test_rows_of_such_ranges(sparse: str, offset: int, size: int | None, message: str, memory_map: bool) -> None:
    """A batch's reading, by either way, with the row's place."""
    dataset = OneFile(Location(sparse, offset, size), memory_map)
    declared, one = DeclaredRows(dataset, None), np.zeros(1, np.int64)
    rows = Rows(dataset, one, one)
    declared.expect(rows, 0)
    with pytest.raises(ReadError, match=message + ".*") as caught:
        declared.read(rows, 0, Arena())
    assert "dataset=OneFile, index=0" in str(caught.value)
