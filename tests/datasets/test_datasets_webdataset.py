"""WebDataset has webdataset's samples, by index."""

from __future__ import annotations

import gc
import io
import json
import logging
import pickle
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset
from dataset_contract import DatasetContract
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader
from dalikit.datasets import create_dataset
from dalikit.datasets.shard_members import MISSING, choose_members, parse_extensions
from dalikit.datasets.shard_targets import decode_target, parse_target
from dalikit.datasets.webdataset import WebDataset
from dalikit.errors import ArgumentError, DatasetError, EmptyDatasetError, ReadError
from dalikit.shards import NO_CLASS, ShardIndex

pytestmark = [  # of files that webdataset leaves to the collector
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COUNTS = (5, 3, 4)
"""Samples in each shard."""


@pytest.fixture
def _collected() -> Iterator[None]:
    """Files that are left open are closed here, where nobody complains."""
    yield
    gc.collect()


def picture(number: int, kind: str = "JPEG") -> bytes:
    """A small image; no two are alike."""
    file = io.BytesIO()
    grey = np.random.default_rng(number).integers(0, 256, (6 + number % 3, 9), dtype=np.uint8)
    Image.fromarray(grey).convert("RGB").save(file, kind)
    return file.getvalue()


def write(path: Path, *samples: dict[str, Any]) -> str:
    """A shard; values are what webdataset encodes, or bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path), encoder=True) as writer:
        for sample in samples:
            writer.write(sample)
    return str(path)


def plain(number: int) -> dict[str, Any]:
    """A sample as most have them."""
    return {"__key__": f"n{number:03d}", "jpg": picture(number), "cls": 3 * number}


def shards(root: Path) -> str:
    """Three shards; gives their pattern."""
    first = 0
    for shard, count in enumerate(COUNTS):
        write(root / f"{shard:05d}.tar", *map(plain, range(first, first + count)))
        first += count
    return f"{root}/{{00000..00002}}.tar"


def one(tmp_path: Path, *samples: dict[str, Any], **options: Any) -> WebDataset:
    """A dataset of one shard."""
    return WebDataset(write(tmp_path / "one.tar", *samples), progress=False, **options)


class TestWebDataset(DatasetContract):
    """Keeps what built-in datasets keep."""

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Any:
        return WebDataset(shards(tmp_path / "here"), progress=False)

    @pytest.fixture
    def twin(self, tmp_path: Path) -> Any:
        return WebDataset(shards(tmp_path / "there"), progress=False)


class TestWebDatasetOfUnevenSamples(DatasetContract):
    """So do samples with other members, some without an image, with targets that are read."""

    def make(self, root: Path) -> WebDataset:
        write(
            root / "a.tar", {**plain(0), "png": picture(7, "PNG")}, {"__key__": "text", "txt": "x", "cls": 1}, plain(1)
        )
        write(root / "b.tar", {"__key__": "p", "cls": 9, "png": picture(8, "PNG")})
        return WebDataset([root / "a.tar", root / "b.tar"], image="png;jpg", target="cls", progress=False)

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Any:
        return self.make(tmp_path / "here")

    @pytest.fixture
    def twin(self, tmp_path: Path) -> Any:
        return self.make(tmp_path / "there")

    def test_the_first_extension_that_a_sample_has_is_its_image(self, dataset: WebDataset) -> None:
        assert [dataset.get_image_data(row) for row in range(3)] == [picture(7, "PNG"), picture(1), picture(8, "PNG")]
        assert [dataset.get_key(row) for row in range(3)] == ["a.tar/n000.png", "a.tar/n001.jpg", "b.tar/p.png"]
        assert dataset.targets is not None
        assert dataset.targets.tolist() == [dataset.get_target(row) for row in range(3)] == [0, 3, 9]


# Rows


@pytest.mark.usefixtures("_collected")
@pytest.mark.parametrize("image", ["jpg", "png;jpg", "jpg;png"])
def test_rows_are_webdatasets_samples(tmp_path: Path, image: str) -> None:
    """The very bytes and classes, in the order of the files."""
    pattern = shards(tmp_path)
    write(tmp_path / "00003.tar", {**plain(50), "png": picture(51, "PNG")}, plain(52))
    pattern = pattern.replace("00002}", "00003}")
    expected = list(webdataset.WebDataset(pattern, shardshuffle=False).to_tuple(image, "cls"))
    dataset = WebDataset(pattern, image=image, progress=False)
    assert [(dataset.get_image_data(row), b"%d" % dataset.get_target(row)) for row in range(len(dataset))] == expected
    assert len(dataset.shards) == 4
    assert dataset.targets is not None
    assert (dataset.targets.dtype, dataset.targets.tolist()) == (np.int64, [int(target) for _, target in expected])


def test_no_row_costs_memory_if_all_samples_are_alike(tmp_path: Path) -> None:
    """What pickles besides the index is small, and targets are the index's own."""
    dataset = WebDataset(shards(tmp_path), progress=False)
    assert dataset.targets is not None
    assert np.shares_memory(dataset.targets, dataset._index.sample_class)
    with pytest.raises(ValueError, match="read-only"):
        dataset.targets[0] = 1
    assert repr(dataset) == f"WebDataset(root={dataset.root!r}, num_samples=12, num_shards=3)"
    assert dataset.remote is dataset.memory_map is False
    assert dataset[0][0].size == (9, 6)


def test_samples_without_an_image_are_left_out_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts them, and names one."""
    bare = [{"__key__": name, "cls": 1, "left.jpg": picture(1)} for name in ("b", "c")]
    with caplog.at_level(logging.WARNING):
        dataset = one(tmp_path, plain(0), *bare, plain(1), target="cls;json")
    shard = f"'{tmp_path}/one.tar'"
    image, has = ";".join(dataset._chosen), "cls, left.jpg"
    assert [record.message for record in caplog.records] == [
        f"WebDataset {shard}: left out 2 of 4 samples, which have no image ({image}): sample 'b' in {shard} has {has}"
    ]
    assert [dataset.get_key(row) for row in range(len(dataset))] == ["one.tar/n000.jpg", "one.tar/n001.jpg"]
    assert [dataset.get_target(row) for row in (0, 1)] == [0, 3]


def test_shards_of_one_name_are_numbered(tmp_path: Path) -> None:
    """Keys stay unique."""
    paths = [write(tmp_path / name / "0.tar", plain(1)) for name in "ab"]
    dataset = WebDataset(paths, progress=False)
    assert [dataset.get_key(row) for row in (0, 1)] == ["0-0.tar/n001.jpg", "1-0.tar/n001.jpg"]
    assert [dataset.get_location(row).uri for row in (0, 1)] == paths


def test_sizes_are_those_of_the_index(tmp_path: Path) -> None:
    """As stored, with the orientation; None where it has none."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (9, 6)).save(file, "JPEG", exif=exif)
    dataset = one(tmp_path, {**plain(0), "jpg": file.getvalue()}, {**plain(1), "jpg": b"no image"})
    assert dataset.image_size(0) == dataset.image_size(-2) == (6, 9, 6)
    assert dataset.image_size(1) is None
    with pytest.raises(IndexError, match="index 2 is out of range for WebDataset of 2 samples"):
        dataset.image_size(2)


def test_the_fingerprint_tells_choices_apart(tmp_path: Path) -> None:
    """Other members, targets or classes are another dataset."""
    sample = {**plain(1), "txt": "cat", "json": {"label": 3}}
    path = write(tmp_path / "a" / "0.tar", sample)
    other = write(tmp_path / "b" / "0.tar", {**sample, "cls": 4})
    moved = shutil.copy(path, tmp_path / "0.tar")
    made = [
        WebDataset(path, progress=False),
        WebDataset(other, progress=False),
        WebDataset(path, image="jpg", progress=False),
        *(WebDataset(path, target=target, progress=False) for target in ("txt", "json", "json:label", "cls,txt", None)),
    ]
    assert len({dataset.fingerprint for dataset in made}) == len(made)
    assert WebDataset(str(moved), progress=False).fingerprint == made[0].fingerprint


# Targets

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("cls", 3),
        ("json", {"label": 7, "who": {"name": "a"}}),
        ("json:label", 7),
        ("JSON:who.name", "a"),
        ("txt", "cät"),
        ("meta.txt", ""),
        ("bin", b"\0\xff"),
        ("cls;json:label", 3),
        ("nothing;json:label", 7),
        ("cls,txt", (3, "cät")),
        ("cls, json:label;txt", (3, 7)),
        (".id", 12),
        (None, ()),
        ("None", ()),
    ],
)
def test_targets(tmp_path: Path, target: str | None, expected: Any) -> None:
    """By extension, as webdataset decodes them."""
    sample = plain(1) | {
        "json": {"label": 7, "who": {"name": "a"}}, "txt": "cät", "meta.txt": b"", "bin": b"\0\xff", "id": b" 12\n",
    }  # fmt: skip
    dataset = one(tmp_path, sample, target=target)
    assert dataset.get_target(0) == dataset[0][1] == expected
    assert type(dataset.get_target(0)) is type(expected)
    assert dataset.targets is None or target == "cls"


@pytest.mark.parametrize("array", [ARRAY, np.asfortranarray(ARRAY), np.float64(3), np.zeros((0, 2), np.uint8)])
def test_arrays_are_as_they_were_saved(tmp_path: Path, array: Any) -> None:
    """And may be written to, as torch wants them."""
    file = io.BytesIO()
    np.save(file, array)
    found = one(tmp_path, {**plain(1), "npy": file.getvalue()}, target="npy").get_target(0)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.asarray(array).dtype
    assert found.flags.writeable


def header(shape: str, dtype: str = "<f4") -> bytes:
    """An npy file's header, as bytes."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (118 - len(text) - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("extension", "data", "message"),
    [
        ("cls", b"cat", "target 'cat' is no whole number; target=txt gives the text"),
        ("cls", b"", "target '' is no whole number"),
        ("cls", b"9" * 99, r"target '9{40}\.\.\.' is no whole number"),
        ("txt", b"\xff", r"target '\\\\xff' is no UTF-8 text: invalid start byte at byte 0"),
        ("json", b"{", r"target '{' is no JSON: Expecting property name"),
        ("json", b"[" * 100_000, r"is no JSON"),
        ("json:a.b", b'{"a": [1]}', "the JSON has no field 'a.b': instead of 'b' there is a list"),
        ("json:label", b'{"x": 1, "y": 2}', "the JSON has no field 'label': instead of 'label' there is x, y"),
        ("npy", b"junk", "target is no npy file: "),
        ("npy", header("(99999999999, 3)"), r"an npy file of shape \(99999999999, 3\), float32, has 0 bytes of data"),
        ("npy", header("(-1,)") + bytes(4), r"an npy file of shape \(-1,\), float32, has 4 bytes"),
        ("npy", header("(1,)", "|O") + bytes(8), "an npy file of object holds Python objects, which are not read"),
        ("npy", header("(10**9,)", "|V0").replace(b"10**9", b"99999"), "has 0 bytes of data"),
        ("npy", header("(0, 99999999999999999999)"), r"shape \(0, 9+\), float32, cannot be read: "),
        ("npy", header("(1,)").replace(b"Y\x01", b"Y\x03"), r"npy files of version \(3, 0\) are not read"),
    ],
)
def test_targets_that_cannot_be_read_say_where_they_lie(
    tmp_path: Path, extension: str, data: bytes, message: str
) -> None:
    """A clear error, with the sample's place, before memory is taken."""
    dataset = one(tmp_path, {**plain(0), extension.partition(":")[0]: data}, target=extension)
    place = r".*\[dataset=WebDataset, index=0, key=one.tar/n000.jpg, file=.*/one.tar, offset=\d+, stage=target\]"
    with pytest.raises(ReadError, match=re.compile(message + place, re.DOTALL)):
        dataset.get_target(0)
    assert dataset.targets is None


@pytest.mark.parametrize("length", [0, 7, 20, 60, 127])
def test_arrays_that_were_cut_off_are_refused(length: int) -> None:
    data = np.frombuffer(header("(1,)")[:length], np.uint8)
    with pytest.raises(ReadError, match="npy"):
        decode_target(data, "npy", ())


@given(
    st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(lambda rest: header("(2,)") + rest)),
    st.sampled_from(["cls", "txt", "json", "npy", "bin", "pkl"]),
    st.sampled_from([(), ("a", "b")]),
)
def test_whatever_a_member_holds(data: bytes, extension: str, field: tuple[str, ...]) -> None:
    """A value, or one of dalikit's errors; nothing is unpickled."""
    try:
        found = decode_target(np.frombuffer(data, np.uint8), extension, field)
    except ReadError as error:
        assert extension not in ("bin", "pkl"), error  # noqa: PT017
        return
    assert found == data if extension in ("bin", "pkl") else found is not data


@given(st.text("abcjson:;,. NE", max_size=12))
def test_whatever_a_target_is_called(text: str) -> None:
    """Parts with extensions, or one of dalikit's errors."""
    try:
        parts = parse_target(text)
    except ArgumentError:
        return
    assert all(part.fields and all(part.fields) for part in parts)


def test_a_target_that_lies_elsewhere_by_now_says_so(tmp_path: Path) -> None:
    """A shard that was cut off."""
    dataset = one(tmp_path, {**plain(0), "txt": "x"}, target="txt")
    Path(dataset.shards[0]).write_bytes(b"")
    with pytest.raises(ReadError, match=r"\[dataset=WebDataset, index=0, key=one.tar/n000.jpg, .*stage=read\]"):
        dataset.get_target(0)


# Refusals


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"image": ""}, ArgumentError, r'image must be extensions, such as "jpg;png", got \'\''),
        ({"image": None}, ArgumentError, r"image must be extensions, .* got None"),
        ({"image": "jpg;;png"}, ArgumentError, r'image must be different extensions with ";" between them'),
        ({"image": "jpg;JPG"}, ArgumentError, "image must be different extensions"),
        ({"target": ""}, ArgumentError, r"target must be extensions, each once: .*, got ''"),
        ({"target": "cls;cls"}, ArgumentError, "target must be extensions, each once"),
        ({"target": "json:"}, ArgumentError, "target must be extensions, each once"),
        ({"target": "json:a..b"}, ArgumentError, "target must be extensions, each once"),
        ({"target": 3}, ArgumentError, r'target must be an extension, such as "cls", or None, got 3'),
        ({"target": "txt:label"}, ArgumentError, "only JSON has fields, so 'txt' cannot be followed by ':'"),
        (
            {"image": "gif;bmp"},
            EmptyDatasetError,
            r"none of 1 samples has an image \(gif;bmp\): sample 'n000' in .* jpg",
        ),
        (
            {"target": "txt"},
            DatasetError,
            r"1 of 1 samples have no target \(txt\): sample 'n000' in .* has cls, jpg. Say",
        ),
    ],
)
def test_choices_that_cannot_be_meant_are_refused(
    tmp_path: Path, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        one(tmp_path, plain(0), **options)


def test_a_target_is_missed_only_where_there_is_an_image(tmp_path: Path) -> None:
    samples = [{"__key__": "a", "json": {}}, plain(1), {"__key__": "c", "jpg": picture(1), "json": {}}]
    with pytest.raises(DatasetError, match=r"1 of 2 samples have no target \(cls\): sample 'c' in .* has jpg, json"):
        one(tmp_path, *samples)


# Columns


def index_of(samples: list[list[str]]) -> ShardIndex:
    """Columns of samples with these extensions, all in one shard."""
    extensions = tuple(dict.fromkeys(extension for sample in samples for extension in sample))
    members = [extensions.index(extension) for sample in samples for extension in sample]
    count = len(members)
    return ShardIndex(
        shards=("0.tar",),
        extensions=extensions,
        shard_bounds=np.array([0, len(samples)], np.uint64),
        sample_bounds=np.cumsum([0, *map(len, samples)]).astype(np.uint64),
        sample_class=np.full(len(samples), NO_CLASS, np.int64),
        keys=np.zeros(len(samples), np.uint8),
        key_bounds=np.arange(len(samples) + 1, dtype=np.uint64),
        member_extension=np.array(members, np.uint16),
        member_offset=np.zeros(count, np.uint64),
        member_size=np.ones(count, np.uint64),
        member_height=np.zeros(count, np.uint32),
        member_width=np.zeros(count, np.uint32),
        member_orientation=np.zeros(count, np.uint8),
        fingerprint="0" * 16,
    )


@pytest.mark.parametrize("seed", range(20))
def test_members_are_those_that_a_loop_finds(seed: int) -> None:
    """In samples of all kinds."""
    generator = np.random.default_rng(seed)
    names = np.array(["jpg", "png", "cls", "txt"])
    samples = [generator.choice(names, generator.integers(1, 4)).tolist() for _ in range(50)]
    wanted = generator.permutation([*names, "gif"])[: generator.integers(1, 5)].tolist()
    found, first = choose_members(index_of(samples), wanted), 0
    for place, sample in enumerate(samples):
        best = next((name for name in wanted if name in sample), None)
        assert found[place] == (MISSING if best is None else first + sample.index(best))
        first += len(sample)
    assert found.missing().tolist() == [place for place in range(50) if found[place] == MISSING]


def test_a_million_samples_take_little_time() -> None:
    """Even or not."""
    count = 1_000_000
    index = index_of([["cls", "jpg", "json"]])
    for odd in (0, 1):
        extension = np.tile(np.array([0, 1, 2], np.uint16), count)
        extension[:odd] = 2
        columns = {name: getattr(index, name) for name in ShardIndex.__dataclass_fields__}
        columns |= {
            "sample_bounds": np.arange(count + 1, dtype=np.uint64) * np.uint64(3),
            "sample_class": np.zeros(count, np.int64),
            "member_extension": extension,
        }
        start = time.process_time()
        found = choose_members(ShardIndex(**columns), ["png", "jpg"])
        assert time.process_time() - start < 0.5
        assert found[0] == 1
        assert found[count - 1] == 3 * count - 2
        assert len(found.missing()) == 0


def test_extensions_may_be_written_as_people_do() -> None:
    assert parse_extensions("image", ".JPG; png") == ("jpg", "png")
    assert [part.fields for part in parse_target(".CLS;json:Label")] == [{"cls": (), "json": ("Label",)}]


# End to end


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_shuffles_and_resumes(tmp_path: Path, num_workers: int) -> None:
    """INFINITE over shards as they are: every sample once a pass; a cut run goes on bit for bit."""
    text = f"WebDataset:root={shards(tmp_path)}:image=jpg:target=cls:progress=false"
    dataset = create_dataset(text, T.RandomResizedCrop(4))

    def make() -> DataLoader:
        return make_data_loader(
            dataset=dataset, batch_size=3, num_workers=num_workers, sampler_type=SamplerType.INFINITE, device="cpu"
        )

    with make() as loader:
        batches = [batch for batch, _ in zip(loader, range(8), strict=False)]
    for first in (0, 4):
        targets = torch.cat([targets for _, targets in batches[first : first + 4]]).tolist()
        assert sorted(targets) == list(range(0, 36, 3)) != targets
    with make() as loader:
        iterator = iter(loader)
        for _ in range(3):
            next(iterator)
        state = json.loads(json.dumps(loader.state_dict()))
    with make() as loader:
        loader.load_state_dict(state)
        for (images, targets), (images_expected, targets_expected) in zip(loader, batches[3:], strict=False):
            assert torch.equal(images, images_expected)
            assert torch.equal(targets, targets_expected)


@pytest.mark.parametrize("memory_map", [False, True])
def test_no_targets_are_an_empty_list(tmp_path: Path, memory_map: bool) -> None:
    """Read or mapped."""
    text = f"WebDataset:root={shards(tmp_path)}:target=none:memory_map={memory_map}:progress=false"
    dataset = create_dataset(text, T.CenterCrop(4))
    assert pickle.loads(pickle.dumps(dataset)).memory_map is memory_map
    with DataLoader(dataset, batch_size=4, device="cpu") as loader:
        batches = list(loader)
    assert [(len(images), targets) for images, targets in batches] == [(4, [])] * 3
