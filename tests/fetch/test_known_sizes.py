"""Sizes that a dataset knows: headers are not parsed, and a size that is wrong is found when the image is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoded_images import EXIF_ORIENTATION, encode
from executor_bench import draw
from PIL import Image
from ranged_rows import RangedRows
from reading import reader_of, request_of
from torch.utils.data import Subset

import dalikit.transforms as T
from dalikit import DataLoader
from dalikit.codec import Header, known_header, read_header
from dalikit.datasets.wrapped import unwrap
from dalikit.errors import ArgumentError, DecodeError
from dalikit.fetch import HeaderRules, ImageBatch, ThreadFetcher, add_headers
from dalikit.host import HostExecutor
from dalikit.storage import Location
from dalikit.transforms.compiler import compile_recipe

WAYS = ["threads", "worker"]
UPRIGHT, TURNED, UNKNOWN = 1, 6, 0


class Measured(RangedRows):
    """Says of each row what it was told to say."""

    def __init__(self, paths: list[Path], sizes: list[Any]) -> None:
        super().__init__([Location(str(path)) for path in paths])
        self.sizes = sizes

    def image_size(self, index: int) -> Any:
        return self.sizes[index]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two JPEGs of 40x60 (height x width), of which the second is to be turned; and a PNG of 10x20."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    image, exif = Image.fromarray(noise), Image.Exif()
    exif[EXIF_ORIENTATION] = TURNED
    contents = [encode(image, "JPEG"), encode(image, "JPEG", exif=exif), encode(image.resize((20, 10)), "PNG")]
    paths = [tmp_path / f"{number}.img" for number in range(3)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def read(way: str, dataset: Any, *, turn: bool = False, rows: tuple[int, ...] = (0, 1, 2)) -> ImageBatch:
    """A batch with headers."""
    if way == "worker":
        batch = reader_of(dataset).read(request_of(rows))
        assert isinstance(batch, ImageBatch)
        add_headers(batch, HeaderRules(adjust_orientation=turn))
        return batch
    fetcher = ThreadFetcher(dataset, num_threads=2, rules=HeaderRules(adjust_orientation=turn))
    try:
        return fetcher.submit(request_of(rows)).result()
    finally:
        fetcher.close()


def is_parsed(header: Header) -> bool:
    """A codec is only known of those that were looked at."""
    return header.codec != ""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("turn", [False, True])
def test_known_sizes_are_those_of_the_headers(way: str, turn: bool, files: list[Path]) -> None:
    known = read(way, Measured(files, [(40, 60, UPRIGHT), (40, 60, TURNED), (10, 20, UPRIGHT)]), turn=turn)
    parsed = read(way, Measured(files, [None] * 3), turn=turn)
    assert [header[1:3] for header in known.headers] == [header[1:3] for header in parsed.headers]
    assert known.headers[1][1:3] == ((60, 40) if turn else (40, 60))
    assert not any(map(is_parsed, known.headers))
    assert all(map(is_parsed, parsed.headers))


@pytest.mark.parametrize("way", WAYS)
def test_an_orientation_that_nobody_knows_is_looked_up(way: str, files: list[Path]) -> None:
    """If images are to be turned; else it does not matter."""
    dataset = Measured(files, [(40, 60, UNKNOWN), (40, 60, UNKNOWN), (10, 20, UPRIGHT)])
    assert [is_parsed(header) for header in read(way, dataset, turn=True).headers] == [True, True, False]
    assert [is_parsed(header) for header in read(way, dataset).headers] == [False, False, False]


def test_rows_of_a_view_are_asked_for_in_the_dataset(files: list[Path]) -> None:
    view = unwrap(Subset(Measured(files, [(40, 60, 1), None, (10, 20, 1)]), [2, 1]))
    headers = read("threads", view, rows=(0, 1)).headers
    assert [(header[1:3], is_parsed(header)) for header in headers] == [((10, 20), False), ((40, 60), True)]


@pytest.mark.parametrize("way", WAYS)
def test_bytes_of_a_subclass_are_not_those_of_the_index(way: str, files: list[Path]) -> None:
    class Own(Measured):
        def get_image_data(self, index: int) -> bytes:
            del index
            return files[2].read_bytes()

    assert [header[1:3] for header in read(way, Own(files, [(1, 1, 1)] * 3)).headers] == [(10, 20)] * 3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [(40, 60), 224, "abc!"], ids=repr)
def test_what_a_size_must_be(way: str, size: Any, files: list[Path]) -> None:
    with pytest.raises(
        ArgumentError, match=r"image_size of Measured gave .*: it must give \(height, width, EXIF.*row-1"
    ):
        read(way, Measured(files, [None, size, None]))


@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_that_was_cut_off_is_still_found(way: str, files: list[Path]) -> None:
    """At once, not when it is decoded."""
    files[1].write_bytes(files[1].read_bytes()[:-700])
    with pytest.raises(DecodeError, match=r"^truncated JPEG: .* index=1, position=101, key=row-1.*stage=header"):
        read(way, Measured(files, [(40, 60, 1)] * 3))


def test_bytes_behind_the_image_and_other_formats_are_no_cut(files: list[Path]) -> None:
    for path in files:
        data = np.frombuffer(path.read_bytes() + b"more", np.uint8)
        assert known_header(data, 4, 6, 1)[1:] == (4, 6, "")


def test_no_bytes_are_no_image() -> None:
    with pytest.raises(DecodeError, match=r"^no bytes: the file is empty"):
        known_header(np.empty(0, np.uint8), 4, 6, 1)


def test_a_stream_is_made_when_it_is_asked_for(files: list[Path]) -> None:
    data = np.frombuffer(files[0].read_bytes(), np.uint8)
    stream = known_header(data, 40, 60, TURNED, adjust_orientation=True).stream
    assert (stream.height, stream.width, stream.codec_name) == (40, 60, "jpeg")
    with pytest.raises(
        DecodeError, match=r"^the index says 60x40 pixels \(height x width\), the file has 40x60: rebuild"
    ):
        _ = known_header(data, 60, 40, 1).stream
    with pytest.raises(DecodeError, match=r"^not an image of a format that can be decoded"):
        _ = known_header(np.frombuffer(b"no image", np.uint8), 60, 40, 1).stream


def execute(batch: ImageBatch, *, crop: bool) -> Any:
    transform = T.Compose([T.RandomCrop(8), T.ToTensor()]) if crop else T.Compose([T.Resize((8, 8)), T.ToTensor()])
    recipe = compile_recipe(transform)
    executor = HostExecutor(recipe, num_threads=2)
    try:
        executor.submit(batch, draw(recipe, batch))
        return executor.result()[0]
    finally:
        executor.close()


@pytest.mark.parametrize("crop", [True, False])
def test_pixels_are_the_same(crop: bool, files: list[Path]) -> None:
    known = read("threads", Measured(files, [(40, 60, 1), (40, 60, 6), (10, 20, 1)]))
    parsed = read("threads", Measured(files, [None] * 3))
    np.testing.assert_array_equal(execute(known, crop=crop), execute(parsed, crop=crop))


@pytest.mark.parametrize("crop", [True, False])
def test_a_size_that_is_wrong_is_told_with_the_place(crop: bool, files: list[Path]) -> None:
    """By the executor that decodes it, before it does."""
    batch = read("threads", Measured(files, [(40, 60, 1), (40, 61, 1), (10, 20, 1)]))
    message = (
        r"^the index says 40x61 pixels .*, the file has 40x60: rebuild the index \[.*key=row-1.*1\.img, stage=decode"
    )
    with pytest.raises(DecodeError, match=message):
        execute(batch, crop=crop)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("executor", ["dali", "host"])
def test_both_executors_find_a_size_that_is_wrong(executor: str, num_workers: int, files: list[Path]) -> None:
    """DALI's pipelines give crops, of which nobody could tell: there the header is parsed when the image is read."""
    transform = T.Compose([T.RandomCrop(8), T.ToTensor()])
    dataset = Measured(files, [(40, 60, 1), (60, 40, 1), (10, 20, 1)])
    options: dict[str, Any] = {"executor": executor, "device": "cpu", "num_workers": num_workers}
    message = r"^the index says 60x40 pixels .* 40x60: rebuild the index \[.*key=row-1"
    with (
        DataLoader(dataset, batch_size=3, transform=transform, **options) as loader,
        pytest.raises(DecodeError, match=message),
    ):
        next(iter(loader))


@pytest.mark.parametrize("turn", [False, True])
def test_sizes_that_are_compared_and_right_are_those_of_the_headers(turn: bool, files: list[Path]) -> None:
    dataset = Measured(files, [(40, 60, UPRIGHT), (40, 60, TURNED), (10, 20, UPRIGHT)])
    batch = read("threads", dataset, turn=turn)
    add_headers(batch, HeaderRules(adjust_orientation=turn, compare_sizes=True))
    assert [header[1:3] for header in batch.headers] == [(40, 60), (60, 40) if turn else (40, 60), (10, 20)]
    assert all(type(header) is Header for header in batch.headers)


def test_headers_compare_as_before(files: list[Path]) -> None:
    """One that is read is a plain Header."""
    header = read_header(np.frombuffer(files[0].read_bytes(), np.uint8))
    assert type(header) is Header
    assert header[1:] == (40, 60, "jpeg")
