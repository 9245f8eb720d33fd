"""Batches on their way from one process to another."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest
import torch
from left_over import assert_no_more
from worker_datasets import Images, Numbers, children, drain, open_session, requests

from dalikit.fetch.batch import ImageBatch, OtherBatch, Request
from dalikit.items import PAIR
from dalikit.processes.packing import Sealed, Unreadable, pack, seal, unpack

Point = namedtuple("Point", ["x", "y"])

SMALL, LARGE = 4, 100_000


class Marked(torch.Tensor):
    """A tensor of a type of its own."""


class Box:
    """A type that only its module knows."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner


def request(rows: int = 3) -> Request:
    """For the rows 10, 11, ..."""
    indices = np.arange(10, 10 + rows)
    return Request(indices, indices + 1000, taken=rows, state={"order": 5})


def images(data: list[npt.NDArray[np.uint8]], targets: Any, **options: Any) -> ImageBatch:
    """A batch as readers make it, whose indices and positions are its own."""
    indices = np.arange(len(data))
    return ImageBatch("theirs", indices, indices + 7, data, [], targets, taken=len(data), **options)


def trip(batch: Any, asked: Request | None = None, *, with_rows: bool = False) -> Any:
    """What arrives in the loader's process."""
    message = pickle.loads(pickle.dumps(seal(pack(batch, with_rows=with_rows))))
    return unpack(message, "ours", asked or request(len(batch) if isinstance(batch, ImageBatch) else 1))


ENCODED = [np.frombuffer(text, dtype=np.uint8) for text in (b"abc", b"", b"d" * 200)]
LONG = [np.full(size, size % 256, dtype=np.uint8) for size in (10_000, 1, 9_000)]
PIXELS = [np.arange(h * w * 3, dtype=np.uint8).reshape(h, w, 3) for h, w in ((2, 3), (5, 1), (9, 9))]


WIDE = [np.full((height, 99, 3), height, dtype=np.uint8) for height in (60, 1, 2)]


@pytest.mark.parametrize(
    ("data", "decoded"),
    [(ENCODED, False), (LONG, False), (PIXELS, True), (WIDE, True)],
    ids=["encoded, small", "encoded", "decoded, small", "decoded"],
)
def test_images_arrive_in_one_piece(data: list[npt.NDArray[np.uint8]], decoded: bool) -> None:
    """As views of one memory, which both processes share unless it is small, each on a cache line of its own."""
    batch = trip(images(data, [1, 2, 3], decoded=decoded))
    assert batch.decoded is decoded
    assert all(
        np.array_equal(came, went) and came.dtype == np.uint8 for came, went in zip(batch.data, data, strict=True)
    )
    assert batch.owner.is_shared() == (sum(array.nbytes for array in data) > 16384)
    start = batch.owner.data_ptr()
    places = [array.ctypes.data - start for array in batch.data if array.size]
    assert places == sorted(set(places))
    assert all(place % 64 == 0 and 0 <= place < len(batch.owner) for place in places)
    batch.owner[places[0]] = 200
    assert batch.data[0].reshape(-1)[0] == 200


def test_pixels_need_not_be_contiguous() -> None:
    """They are copied into their place, whatever their strides."""
    turned = PIXELS[2].transpose(1, 0, 2)
    batch = trip(images([turned], [0], decoded=True))
    assert np.array_equal(batch.data[0], turned)
    assert batch.data[0].flags.c_contiguous


@pytest.mark.parametrize("decoded", [False, True])
@pytest.mark.parametrize("count", [0, 2])
def test_a_batch_without_a_byte(count: int, decoded: bool) -> None:
    """No memory is shared then."""
    shape = (0, 4, 3) if decoded else (0,)
    batch = trip(images([np.empty(shape, dtype=np.uint8)] * count, list(range(count)), decoded=decoded))
    assert [array.shape for array in batch.data] == [shape] * count
    assert batch.owner is None
    assert batch.targets == list(range(count))


def test_rows_are_the_requests_unless_they_travel() -> None:
    """The loader knows what it asked for; only an iterable dataset knows better."""
    asked = request(3)
    batch = trip(images(ENCODED, [1, 2, 3]), asked)
    assert batch.indices is asked.indices
    assert batch.positions is asked.positions
    assert (batch.state, batch.dataset, batch.taken, batch.layout) == ({"order": 5}, "ours", 3, PAIR)
    batch = trip(images(ENCODED, [1, 2, 3], state={"own": 1}, batched=False), asked, with_rows=True)
    assert batch.indices.tolist() == [0, 1, 2]
    assert batch.positions.tolist() == [7, 8, 9]
    assert (batch.state, batch.batched) == ({"own": 1}, False)


def test_what_is_no_image_arrives_too() -> None:
    """With its place; its state is the request's unless it has one."""
    batch = trip(OtherBatch({"a": torch.ones(2)}, 77, 5))
    assert isinstance(batch, OtherBatch)
    assert batch.value["a"].tolist() == [1, 1]
    assert (batch.first_position, batch.taken, batch.state) == (77, 5, {"order": 5})
    assert trip(OtherBatch(1, 0, 0, state="own")).state == "own"


def same(came: Any, went: Any) -> bool:
    """Whether two things are equal, and of one type, all the way down."""
    if type(came) is not type(went):
        return False
    if isinstance(went, torch.Tensor):
        return came.dtype == went.dtype and came.shape == went.shape and torch.equal(came, went)
    if isinstance(went, np.ndarray):
        return came.dtype == went.dtype and np.array_equal(came, went)
    if isinstance(went, dict):
        return list(came) == list(went) and all(same(came[key], went[key]) for key in went)
    if isinstance(went, list | tuple):
        return len(came) == len(went) and all(map(same, came, went))
    if isinstance(went, Box):
        return same(came.inner, went.inner)
    return bool(came == went)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    "nest",
    [
        lambda tensor: tensor,
        lambda tensor: [tensor, (tensor * 2, "text", None)],
        lambda tensor: Point(tensor, 2),
        lambda tensor: OrderedDict(b=tensor, a=[1.5, np.float32(2), np.arange(3)]),
        lambda tensor: Box({"inner": tensor}),
        lambda tensor: torch.nn.Parameter(tensor.float()),
        lambda tensor: tensor.as_subclass(Marked),
    ],
    ids=["tensor", "list", "namedtuple", "dict", "own type", "parameter", "subclass"],
)
@pytest.mark.parametrize("as_targets", [False, True], ids=["other", "collated targets"])
def test_types_stay(nest: Any, size: int, as_targets: bool) -> None:
    """Whatever a dataset or a collate_fn made."""
    went = nest(torch.arange(size))
    came = trip(images(ENCODED, went, collated=True)).targets if as_targets else trip(OtherBatch(went)).value
    assert same(came, went)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.bool, torch.uint8, torch.uint16, torch.int64, torch.float16, torch.bfloat16, torch.float64,
        torch.complex64, torch.float8_e4m3fn,
    ],
    ids=str,
)  # fmt: skip
def test_small_tensors_of_every_dtype(dtype: torch.dtype) -> None:
    """Their bytes go along, whether numpy knows the type or not; and they can be written to."""
    base = torch.arange(12).reshape(3, 4).to(dtype)
    for went in (base, base.t(), base[:, 1], base[1, 1], base[:0], base[None, 1:, ::2]):
        came = trip(OtherBatch(went)).value
        assert (came.dtype, came.shape) == (dtype, went.shape)
        assert torch.equal(came.to(torch.complex128), went.to(torch.complex128))
        came.zero_()
    assert trip(OtherBatch(base.t())).value.stride() == (1, 4)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's own, of any sparse tensor
def test_tensors_with_more_to_them_go_torchs_way() -> None:
    """Sparse ones, and leaves that need gradients."""
    came = trip(OtherBatch([torch.eye(3).to_sparse(), torch.ones(2, requires_grad=True)])).value
    assert came[0].is_sparse
    assert torch.equal(came[0].to_dense(), torch.eye(3))
    assert came[1].requires_grad


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_conjugates_keep_their_values(size: int) -> None:
    """Torch keeps them as a mark on the memory of another tensor."""
    conjugate = torch.full((size,), 1 + 2j).conj()
    came = trip(OtherBatch([conjugate, conjugate.imag])).value
    assert torch.equal(came[0], conjugate)
    assert torch.equal(came[1], torch.full((size,), -2.0))


def test_what_is_one_object_stays_one() -> None:
    """Within a batch."""
    tensor = torch.ones(2)
    came = trip(OtherBatch([tensor, tensor])).value
    assert came[0] is came[1]
    came = trip(images(ENCODED, [tensor, tensor, 1])).targets
    assert came[0] is came[1]


def test_a_small_view_takes_little_along() -> None:
    """Not all the memory that it is a part of."""
    labels = torch.arange(100_000)
    for batch in (OtherBatch(labels[5:8]), images(ENCODED, [labels[1], labels[2], labels[::50_000]])):
        assert len(pickle.dumps(seal(pack(batch, with_rows=False)))) < 3000


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_targets_of_samples_cost_no_file_each(size: int) -> None:
    """However large they are."""
    targets = [{"mask": torch.full((size,), row)} for row in range(3)]
    before = psutil.Process().num_fds()
    batch = trip(images(ENCODED, targets))
    assert psutil.Process().num_fds() <= before + 2  # the images' memory, in both roles
    assert all(map(same, batch.targets, targets))


def _refuse() -> None:
    raise RuntimeError("not here")


class Refusing:
    """Can be sent, but not received."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def test_what_cannot_be_read_stands_for_itself() -> None:
    """The queue that receives it must not fail."""
    came = pickle.loads(pickle.dumps([seal(Refusing()), seal(5)]))
    assert isinstance(came[0], Unreadable)
    assert str(came[0].error) == "not here"
    assert came[1] == 5
    assert isinstance(seal(5), Sealed)


def test_what_cannot_be_sent_fails_where_it_is_packed() -> None:
    """On the thread that reads, so that it can be told."""
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pack(images(ENCODED, [lambda: 0, 1, 2]), with_rows=False)
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        seal(pack(OtherBatch(lambda: 0), with_rows=False))


@pytest.mark.parametrize("dataset", [Images(), Numbers()], ids=["images", "numbers"])
def test_no_file_is_left_open(dataset: Any) -> None:
    """Neither here nor in the workers, after 200 batches."""
    session = open_session(dataset)
    feed = session.begin(requests(220), 0)
    early: list[int] = []
    try:
        for number in range(220):
            feed.next(60)
            if number == 10:
                early = _open_files()
        assert len(early) == 3
        assert_no_more(_open_files, [files + 6 for files in early])  # of batches that are ready
    finally:
        session.close()


def _open_files() -> list[int]:
    """Of this process and of each worker."""
    return [psutil.Process().num_fds(), *(child.num_fds() for child in children())]


def test_images_from_a_process() -> None:
    """Bytes and targets, and memory that outlives the worker."""
    session = open_session(Images())
    try:
        batches = drain(session.begin(requests(3), 0))
    finally:
        session.close()
    assert os.getpid() > 0
    for number, batch in enumerate(batches):
        assert isinstance(batch, ImageBatch)
        assert batch.indices.tolist() == [2 * number, 2 * number + 1]  # type: ignore[union-attr]
        assert [len(data) for data in batch.data] == [67 + index for index in (2 * number, 2 * number + 1)]
        assert batch.targets.tolist() == [2 * number, 2 * number + 1]
        assert (batch.collated, batch.taken, batch.state) == (True, number + 1, {"number": number})
