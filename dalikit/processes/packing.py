"""How batches travel from worker processes: image bytes in one piece of shared memory, all else as pickled bytes."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

from dalikit.errors import SampleError
from dalikit.fetch.batch import ImageBatch, OtherBatch, Request
from dalikit.items import Layout
from dalikit.processes.blocks import BlockPool, BlockReference, Lease

__all__ = ["PackedImages", "PackedOther", "Sealed", "Unreadable", "pack", "seal", "unpack", "unseal"]

_LINE = 64  # images begin on a cache line of their own
_INLINE_BYTES = 16384
"""Tensors up to this size are copied into the message. Shared memory costs a file descriptor in both processes and a
connection between them, some 100 us, for each tensor."""

_PROTOCOL = 5


class PackedImages(NamedTuple):
    """An ImageBatch on its way."""

    memory: torch.Tensor | BlockReference | Lease | None
    """The images one behind the other: uint8 (n,), if they are few bytes; else in a worker's block, of which a
    reference is sent beside the rest, for a lease to be made of it (`KnownBlocks`). None: there is not one byte."""
    starts: npt.NDArray[np.int64]
    """int64 (B,): where in it each begins."""
    shapes: npt.NDArray[np.int64]
    """int64 (B, 1) for encoded bytes, (B, 3) for pixels."""
    targets: Any
    """Collated; else pickled, as bytes."""
    indices: Sequence[Any] | npt.NDArray[np.int64] | None
    """None: the request's, which the receiver has."""
    positions: npt.NDArray[np.int64] | None
    layout: Layout
    decoded: bool
    collated: bool
    batched: bool
    taken: int
    state: Any
    """An iterable dataset's own. None: the request's."""
    errors: dict[int, SampleError]


class PackedOther(NamedTuple):
    """An OtherBatch on its way."""

    value: Any
    first_position: int
    taken: int
    state: Any


def pack(
    batch: ImageBatch | OtherBatch, *, with_rows: bool, blocks: BlockPool | None = None
) -> PackedImages | PackedOther:
    """Makes a batch ready to be sealed. Copies its images once, into memory that the receiver will see.

    Args:
        batch: any. Its headers do not travel.
        with_rows: whether the receiver does not know the indices and positions.
        blocks: the worker's. None: the images travel within the message.

    Raises:
        Exception: what pickle raises if targets that are not collated cannot be pickled.
    """
    if isinstance(batch, OtherBatch):
        return PackedOther(batch.value, batch.first_position, batch.taken, batch.state)
    # What may fail comes before a block is taken.
    targets = batch.targets if batch.collated else _dumps(_InliningPickler, batch.targets)
    memory, starts, shapes = _gather(batch.data, 3 if batch.decoded else 1, blocks)
    return PackedImages(
        memory=memory,
        starts=starts,
        shapes=shapes,
        targets=targets,
        indices=batch.indices if with_rows else None,
        positions=batch.positions if with_rows else None,
        layout=batch.layout,
        decoded=batch.decoded,
        collated=batch.collated,
        batched=batch.batched,
        taken=batch.taken,
        state=batch.state,
        errors=batch.errors,
    )


def unpack(packed: PackedImages | PackedOther, dataset: Any, request: Request) -> ImageBatch | OtherBatch:
    """The batch again. Its images are views of the memory that came, which `ImageBatch.owner` keeps alive.

    Args:
        packed: what `pack` made.
        dataset: the receiver's own.
        request: what was asked for.
    """
    state = request.state if packed.state is None else packed.state
    if isinstance(packed, PackedOther):
        return OtherBatch(packed.value, packed.first_position, packed.taken, state, request.indices)
    indices, positions = packed.indices, packed.positions
    return ImageBatch(
        dataset=dataset,
        indices=request.indices if indices is None else indices,
        positions=request.positions if positions is None else positions,
        data=_views(packed),
        headers=[],
        targets=packed.targets if packed.collated else pickle.loads(packed.targets),
        layout=packed.layout,
        decoded=packed.decoded,
        collated=packed.collated,
        batched=packed.batched,
        taken=packed.taken,
        state=state,
        owner=packed.memory,
        errors=packed.errors,
    )


def _gather(
    data: list[npt.NDArray[np.uint8]], ndim: int, blocks: BlockPool | None
) -> tuple[torch.Tensor | BlockReference | None, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The images in one piece of memory; where each begins; and the shapes."""
    shapes = np.array([array.shape for array in data], dtype=np.int64).reshape(len(data), ndim)
    sizes = shapes.prod(axis=1)
    ends = np.cumsum((sizes + _LINE - 1) & -_LINE)
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]]) if len(data) else sizes
    total = int(ends[-1]) if len(data) else 0
    if total == 0:
        return None, starts, shapes
    block = blocks.take(total) if blocks is not None and total > _INLINE_BYTES else None
    memory = torch.zeros(total, dtype=torch.uint8) if block is None else None
    whole = block.memory if block is not None else cast(torch.Tensor, memory).numpy()
    for array, start, size in zip(data, starts.tolist(), sizes.tolist(), strict=True):
        np.copyto(whole[start : start + size].reshape(array.shape), array)
    return memory if block is None or blocks is None else blocks.refer(block), starts, shapes


def _views(packed: PackedImages) -> list[npt.NDArray[np.uint8]]:
    shapes = packed.shapes.tolist()
    if packed.memory is None:
        return [np.empty(shape, dtype=np.uint8) for shape in shapes]
    assert not isinstance(packed.memory, BlockReference), "KnownBlocks.open was not called"
    whole = packed.memory.memory if isinstance(packed.memory, Lease) else packed.memory.numpy()
    ends = (packed.starts + packed.shapes.prod(axis=1)).tolist()
    views = (whole[start:end] for start, end in zip(packed.starts.tolist(), ends, strict=True))
    if not packed.decoded:
        return list(views)
    return [view.reshape(shape) for view, shape in zip(views, shapes, strict=True)]


# Sealing: pickling on the thread that reads, where it can fail. Torch's queues pickle on a thread of their own, which
# only prints what goes wrong, and the receiver waits for ever.


@dataclass(frozen=True, slots=True)
class Sealed:
    """A message that is pickled already. Whoever unpickles it gets what is in it, or an Unreadable."""

    data: bytes

    def __reduce__(self) -> Any:
        return unseal, (self.data,)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a message that could not be unpickled."""

    error: Exception


def seal(message: Any) -> Sealed:
    """Pickles a message for another process. Small tensors go along as bytes, others as shared memory.

    Raises:
        Exception: what pickle raises if it cannot be pickled.
    """
    return Sealed(_dumps(_SharingPickler, message))


def unseal(data: bytes) -> Any:
    """What was sealed; an Unreadable if that cannot be unpickled here: the receiving queue must not fail over it."""
    try:
        return pickle.loads(data)
    except Exception as error:
        return Unreadable(error)


class _InliningPickler(pickle.Pickler):
    """Tensors as bytes, whatever their size: a file descriptor for each sample's would be too many."""

    def reducer_override(self, obj: Any) -> Any:
        return _inline(obj, sys.maxsize)


class _SharingPickler(ForkingPickler):
    """As torch sends things, but small tensors as bytes."""

    def reducer_override(self, obj: Any) -> Any:
        return _inline(obj, _INLINE_BYTES)


def _dumps(pickler: type[pickle.Pickler], value: Any) -> bytes:
    buffer = io.BytesIO()
    pickler(buffer, _PROTOCOL).dump(value)
    return buffer.getvalue()


def _inline(value: Any, limit: int) -> Any:
    """For pickle: how to make a plain tensor anew from its bytes; NotImplemented for anything else."""
    if type(value) is not torch.Tensor or not _is_plain(value):
        return NotImplemented
    large = value.numel() * value.element_size() > limit
    if value.is_conj() or value.is_neg():
        value = value.resolve_conj().resolve_neg()
        if large:
            return torch.Tensor.detach, (value,)  # torch would send what lies in its memory, and lose the sign
    if large:
        return NotImplemented
    # A view may show a small part of a large memory; its clone holds what it shows, in the same order if it is dense.
    dense = value if value.is_contiguous() else value.clone()
    flat = dense.as_strided((dense.numel(),), (1,), dense.storage_offset())
    return _make_tensor, (flat.view(torch.uint8).numpy().tobytes(), value.dtype, tuple(dense.shape), dense.stride())


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether shape, dtype and values are all there is to it."""
    return (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.requires_grad or tensor.is_quantized or tensor.is_nested)
        and not tensor.__dict__
    )


def _make_tensor(data: bytes, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).as_strided(shape, stride)  # a copy that can be written to
