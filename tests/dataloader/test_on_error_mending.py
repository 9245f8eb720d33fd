"""What stands in for bad samples: never one that is known to be bad, never one that was tried, never without an end."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoded_images import encode
from item_datasets import Counting, Given
from PIL import Image
from torch.utils.data import Dataset, SequentialSampler

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader
from dalikit.errors import ArgumentError, DecodeError, Place, ReadError, SampleError, TooManyErrorsError, TransformError
from dalikit.exclusion import Exclusion, replacements
from dalikit.fetch import ImageBatch, Request
from dalikit.fetch.headers import NO_HEADER
from dalikit.items import PAIR, Layout
from dalikit.repair import ErrorPolicy, Mender, Quarantine

pytestmark = pytest.mark.usefixtures("own_folder")

COUNT = 24
TRANSFORM = T.Compose([T.RandomResizedCrop(16), T.ToTensor()])
Read = Callable[[Request], ImageBatch]


def images(count: int = COUNT) -> list[Path | bytes]:
    """Each of a colour of its own."""
    return [encode(Image.new("RGB", (60, 50), (9 * row, 200 - 8 * row, 100)), "PNG") for row in range(count)]


def load(dataset: Any, **arguments: Any) -> DataLoader:
    """A loader that waits for no batch for ever."""
    named: dict[str, Any] = {"batch_size": 5, "num_workers": 0, "device": "cpu", "num_threads": 2, "timeout": 60}
    named |= {"transform": TRANSFORM, "sampler_type": SamplerType.KEYED_EPOCH, "drop_last": False, "seed": 0}
    return make_data_loader(dataset=dataset, **{**named, **arguments})


def targets(loader: DataLoader) -> list[int]:
    """Of a pass: which rows came."""
    with loader:
        return [int(target) for _, found in loader for target in found]


def a_mender(**arguments: Any) -> tuple[Mender, Quarantine]:
    """Of a dataset of `count` rows."""
    count = arguments.setdefault("count", 8)
    quarantine = Quarantine(ErrorPolicy("replace"), Given([b""] * (count or 8)), 0)
    return Mender(**{"drop": False, "seed": 3, "quarantine": quarantine, **arguments}), quarantine


def bad(row: int | None, error: type[SampleError] = DecodeError) -> SampleError:
    """Found at the header, so for certain."""
    return error("broken", Place("Given", row, stage="header"))


def a_batch(rows: Any, positions: Any = None, bad_rows: tuple[int, ...] = (), **more: Any) -> ImageBatch:
    """Of rows whose bytes are their number."""
    rows = list(map(int, rows))
    return ImageBatch(
        dataset=None,
        indices=rows,
        positions=np.array(range(len(rows)) if positions is None else positions, dtype=np.int64),
        data=[np.array([row % 256], dtype=np.uint8) for row in rows],
        headers=[NO_HEADER] * len(rows),
        targets=list(rows),
        errors={at: bad(rows[at], ReadError) for at in bad_rows},
        **more,
    )


def reading(asked: list[int], is_bad: Callable[[int], bool] = lambda _: False, **more: Any) -> Read:
    """Reads rows, and notes which."""

    def read(request: Request) -> ImageBatch:
        rows = np.asarray(request.indices).tolist()
        asked.extend(rows)
        at = tuple(number for number, row in enumerate(rows) if is_bad(row))
        return a_batch(rows, request.positions, at, **more)

    return read


def test_a_transform_that_refuses_within_a_batch() -> None:
    """None of the refused takes the place of another."""
    files = images(8)
    files[0] = files[3] = encode(Image.new("RGB", (10, 10)), "PNG")
    dataset = Given(files)
    arguments: dict[str, Any] = {"transform": T.RandomCrop(40), "device": "cpu", "batch_size": 8, "timeout": 60}
    with DataLoader(dataset, sampler=SequentialSampler(dataset), on_error="replace", **arguments) as loader:
        [(_, found)] = list(loader)
        assert loader.stats() == {"bad_rows": 2, "bad_samples": 2}
    assert [found[row] for row in (1, 2, 4, 5, 6, 7)] == [1, 2, 4, 5, 6, 7]
    assert not {0, 3} & set(found.tolist())
    dataset = Given([files[0]] * 8)
    with (
        DataLoader(dataset, sampler=SequentialSampler(dataset), on_error="replace", **arguments) as loader,
        pytest.raises(TransformError, match="all samples of its batch are"),
    ):
        next(iter(loader))


def test_all_that_a_transform_refuses() -> None:
    """Ends with an error where others can be read too."""
    dataset = Given([encode(Image.new("RGB", (10, 10)), "PNG")] * 8)
    with (
        load(dataset, transform=T.RandomCrop(40), on_error="replace") as loader,
        pytest.raises(TransformError, match="no sample could stand in for it: all 8 rows are bad, or cannot be used"),
    ):
        next(iter(loader))


def test_within_a_batch_each_is_tried_once() -> None:
    """And then it ends."""
    mender, _ = a_mender(count=None)
    batch = a_batch([10, 11, 12, 13])
    came = []
    for _ in range(3):
        batch.errors = {0: bad(None, TransformError)}
        mended = mender.mend(batch, reading([]))
        assert mended is batch
        came.append(int(batch.indices[0]))
    assert sorted(came) == [11, 12, 13]
    batch.errors = {0: bad(None, TransformError)}
    with pytest.raises(TransformError, match="none of those of its batch can be used there"):
        mender.mend(batch, reading([]))
    mender.done(batch.positions)
    batch.errors = {0: bad(None, TransformError)}
    assert mender.mend(batch, reading([])) is batch


def test_indices_that_are_no_numbers() -> None:
    """A torch-style sampler may yield anything."""

    class Named(Dataset[Any]):
        def __getitem__(self, name: str) -> Any:
            if name == "b":
                raise OSError("gone")
            return Image.new("RGB", (40, 40)), ord(name)

    arguments: dict[str, Any] = {"transform": TRANSFORM, "device": "cpu", "batch_size": 3, "on_error": "replace"}
    with DataLoader(Named(), sampler=list("abc"), **arguments) as loader:
        [(_, found)] = list(loader)
    assert [int(found[0]), int(found[2])] == [ord("a"), ord("c")]
    assert int(found[1]) in (ord("a"), ord("c"))


def test_known_bad_rows_are_not_tried() -> None:
    """Neither those that were found bad nor those that are excluded are read again."""
    exclusion = Exclusion(np.array([0, 1]), 8)
    mender, quarantine = a_mender(exclusion=exclusion)
    for row in (2, 3):
        quarantine.add(bad(row))
    asked: list[int] = []
    batch = a_batch([4] * 200, bad_rows=tuple(range(200)))
    assert mender.mend(batch, reading(asked)) is batch
    assert set(asked) == {5, 6, 7} == set(batch.indices)


def test_excluded_rows_do_not_stand_in() -> None:
    """Nor in a loader."""
    files = images()
    files[20:] = [b"bad"] * 4
    assert set(targets(load(Given(files), on_error="replace", exclude=range(10)))) <= set(range(10, 20))


def test_where_nearly_all_are_bad() -> None:
    """What is left is found, and it is what `exclude=` puts there."""
    for num_bad in (20, 22, 23):
        files = [*[b"bad"] * num_bad, *images()[num_bad:]]
        with load(Given(files), on_error="replace") as loader:
            assert set(targets(loader)) <= set(range(num_bad, COUNT))
            assert loader.stats()["bad_rows"] == num_bad
            loader.set_epoch(0)
            again = targets(loader)
        assert again == targets(load(Given(files), exclude=list(range(num_bad))))


def test_of_what_came_without_a_good_one_the_stand_in_tells_the_kind() -> None:
    """Where all of a batch is bad, nobody knows what it is."""
    mender, _ = a_mender()
    batch = a_batch([0, 1], bad_rows=(0, 1))
    layout = Layout(("jpg",))
    mended = mender.mend(batch, reading([], layout=layout, decoded=True))
    assert mended is not None
    assert (mended.layout, mended.decoded) == (layout, True)
    mender, _ = a_mender()
    mended = mender.mend(a_batch([0, 1], bad_rows=(0,)), reading([], layout=layout, decoded=True))
    assert mended is not None
    assert (mended.layout, mended.decoded) == (PAIR, False)


def test_a_first_batch_of_bad_items() -> None:
    """Its form is the one of the others."""

    class Items(Dataset[Any]):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> Any:
            if index < 4:
                raise OSError("gone")
            return {"number": index, "picture": Image.new("RGB", (40, 40))}

    for workers in (0, 2):
        with load(
            Items(), on_error="replace", sampler_type=None, shuffle=False, batch_size=4, num_workers=workers
        ) as loader:
            first, second = list(loader)
            assert list(first) == ["number", "picture"]
            assert set(first["number"].tolist()) <= {4, 5, 6, 7} == set(second["number"].tolist())


def test_the_bytes_of_a_stand_in_stay() -> None:
    """As long as the batch: they lie in the memory of another."""
    mender, _ = a_mender()
    read: list[ImageBatch] = []

    def keep(request: Request) -> ImageBatch:
        read.append(reading([])(request))
        return read[-1]

    batch = a_batch([0, 1], bad_rows=(0,))
    assert mender.mend(batch, keep) is batch
    assert batch.owner is not None
    assert any(part is read[0] for part in batch.owner)


def test_a_bad_stand_in_counts_as_no_sample() -> None:
    """And once a batch is finished, nothing of it is left behind."""
    mender, quarantine = a_mender(count=50)
    candidate = int(replacements(3, np.array([0]), 0, 50)[0])
    batch = a_batch([0, 1], bad_rows=(0,))
    asked: list[int] = []
    mender.mend(batch, reading(asked, lambda row: row == candidate))
    assert asked[0] == candidate
    assert len(asked) == 2
    assert quarantine.counts == {"bad_rows": 2, "bad_samples": 1}
    mender.done(batch.positions)
    mender.mend(a_batch([0, 1], bad_rows=(0,)), reading(asked, lambda row: row == candidate))
    assert quarantine.counts == {"bad_rows": 2, "bad_samples": 2}
    assert asked[2:] == asked[:2]  # what could not be read then is tried again


def test_a_pass_once_more() -> None:
    """At the same positions: counted again, and tried again."""
    files = images()
    files[3] = Path("missing.png")
    loader = load(Given(files), on_error="replace")
    expected = targets(loader)
    for passes in (1, 2):
        assert loader.stats() == {"bad_rows": 1, "bad_samples": passes}
        loader.set_epoch(0)
        assert targets(loader) == expected


def test_negative_indices() -> None:
    """Are the rows that they mean: in the report, in the counts, and as what was tried."""
    files = images()
    files[-1] = b"bad"
    loader = DataLoader(
        Given(files),
        batch_size=4,
        sampler=[-1, 0, 1, 2, 23, 3, 4, 5],
        on_error="replace",
        transform=TRANSFORM,
        device="cpu",
        quarantine="report.jsonl",
    )
    with loader:
        assert len(list(loader)) == 2
        assert loader.stats() == {"bad_rows": 1, "bad_samples": 2}
    assert '"index": 23' in Path("report.jsonl").read_text().splitlines()[1]
    assert 23 not in targets(load(Given(files), exclude="report.jsonl"))
    mender, _ = a_mender(count=None)
    batch = a_batch([-1, 7, 2])
    batch.errors = {0: bad(-1)}
    mender.mend(batch, reading([]))
    assert batch.indices[0] == 2


def test_rows_known_to_be_bad_are_not_read_to_be_dropped() -> None:
    """In later passes; a batch of nothing else is left out all the same."""
    files = images()
    files[3] = b"bad"
    dataset = Counting(files)
    with load(dataset, on_error="drop") as loader:
        for _ in range(3):
            assert sum(len(found) for _, found in loader) == COUNT - 1
        assert dataset.read.count(3) == 1
        assert loader.stats() == {"bad_rows": 1, "bad_samples": 3}
    with load(Given(files), on_error="drop", batch_size=1, sampler_type=None, shuffle=False) as loader:
        for _ in range(2):
            assert [int(found[0]) for _, found in loader] == [row for row in range(COUNT) if row != 3]
        assert loader.stats() == {"bad_rows": 1, "bad_samples": 2}
    with DataLoader(
        Given(files), batch_size=4, sampler=[-21, 0, 1, 3], on_error="drop", transform=TRANSFORM, device="cpu"
    ) as loader:
        for _ in range(2):
            assert [found.tolist() for _, found in loader] == [[0, 1]]


class Items(Dataset[Any]):
    """Encoded images as items."""

    def __init__(self, files: list[Path | bytes]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        return self.files[index], index


@pytest.mark.parametrize("kind", [Given, Items])
@pytest.mark.parametrize("workers", [0, 2])
def test_many_batches_of_which_nothing_is_left(kind: Any, workers: int) -> None:
    """Do not use up what may be under way: more of them than that come in a row."""
    files = [b"bad"] * 30 + images(4)
    loader = load(
        kind(files), on_error="drop", batch_size=1, prefetch_batches=1, num_workers=workers, encoded=True,
        sampler_type=None, shuffle=False,
    )  # fmt: skip
    assert targets(loader) == [30, 31, 32, 33]


def test_all_rows_bad_is_told_while_batches_are_asked_for() -> None:
    """The known ones are as many as there are: what was worked out before stays as it was."""
    mender, quarantine = a_mender(count=3)
    quarantine.add(bad(0))
    request = Request(np.array([0, 1, 2]), np.arange(3), 3)
    assert 0 not in mender.anticipate(request).indices
    for row in (1, 2):
        quarantine.add(bad(row))
    for _ in range(2):
        with pytest.raises(TooManyErrorsError, match="all 3 rows of the dataset are bad"):
            mender.anticipate(request)


def test_copies_of_a_loader() -> None:
    """It pickles, and copies work."""
    files = images()
    files[3] = b"bad"
    loader = load(Given(files), on_error="replace")
    expected = targets(loader)
    for clone in (pickle.loads(pickle.dumps(loader)), copy.deepcopy(loader)):
        clone.set_epoch(0)
        assert targets(clone) == expected
        assert clone.stats() == {"bad_rows": 1, "bad_samples": 2}


def test_a_length_that_is_none() -> None:
    """An iterable dataset may have the method, and no length."""

    class Endless(torch.utils.data.IterableDataset[Any]):
        def __len__(self) -> int:
            raise TypeError("no length")

        def __iter__(self) -> Any:
            return iter([(b"bad" if row == 2 else file, row) for row, file in enumerate(images(8))])

    arguments: dict[str, Any] = {"transform": TRANSFORM, "device": "cpu", "batch_size": 4}
    with DataLoader(Endless(), on_error="drop", **arguments) as loader:
        assert [found.tolist() for _, found in loader] == [[0, 1, 3], [4, 5, 6, 7]]
    with pytest.raises(ArgumentError, match="exclude: names rows"):
        DataLoader(Endless(), exclude=[1], **arguments)
