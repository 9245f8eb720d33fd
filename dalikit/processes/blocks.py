"""Shared memory that worker processes use again and again: for the images of batches, one block a batch.

Fresh memory has to be cleared and mapped by the kernel page by page, which takes several times as long as copying an
image into pages that are there. So a worker keeps its blocks, and a block itself tells whether it is in use:

    [ in use | known |   ...   ][ image | image | ... ]
       |        `- 1: the loader's process has mapped it, so its number is enough to send
       `- 1: set by the worker when it writes; 0: set by the loader's process when nobody reads it any more

Each of the two numbers is one machine word with one writer at a time: no locks, and whoever dies holds up nobody.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Block", "BlockPool", "BlockReference", "KnownBlocks", "Lease"]

_HEADER = 64  # bytes: a cache line
_IN_USE, _KNOWN = 0, 1
_STEP = 1 << 20  # sizes of blocks are multiples of it, so that the next, somewhat larger batch fits too
_SLACK = 8  # and an eighth is added


class BlockReference(NamedTuple):
    """What is sent of a block."""

    number: int
    """Its worker's own."""
    tensor: torch.Tensor | None
    """uint8, the whole block; None: the receiver knows it."""
    dropped: tuple[int, ...]
    """Blocks that the worker has dropped since it sent the last one."""


class Block:
    """A worker's block.

    Args:
        number: which of the worker's it is.
        size: bytes for images.
    """

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        storage = torch.UntypedStorage._new_shared(_HEADER + size)  # type: ignore[no-untyped-call]
        self.tensor = torch.empty(0, dtype=torch.uint8).set_(storage)
        self.memory: npt.NDArray[np.uint8] = self.tensor.numpy()[_HEADER:]
        """uint8 (size,)."""
        self._header = _header_of(self.tensor)
        self._header[:] = 0

    @property
    def is_free(self) -> bool:
        """Whether nobody reads it."""
        return not self._header[_IN_USE]

    @property
    def is_known(self) -> bool:
        """Whether the loader's process has mapped it."""
        return bool(self._header[_KNOWN])

    def take(self) -> None:
        """Says that it is in use."""
        self._header[_IN_USE] = 1

    def give_back(self) -> None:
        """Says that it is not: it was not sent after all."""
        self._header[_IN_USE] = 0


class BlockPool:
    """The blocks of one worker: as many as it has batches under way at most."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._count = 0
        self._dropped: list[int] = []

    def take(self, size: int) -> Block:
        """A block of at least so many bytes that nobody reads: the smallest that there is, or a new one, which replaces
        a free one that is too small.
        """
        free = sorted((block for block in self._blocks if block.is_free), key=lambda block: len(block.memory))
        block = next((block for block in free if len(block.memory) >= size), None)
        if block is None:
            if free:
                self._blocks.remove(free[-1])
                self._dropped.append(free[-1].number)
            block = Block(self._count, -(-(size + size // _SLACK) // _STEP) * _STEP)
            self._count += 1
            self._blocks.append(block)
        block.take()
        return block

    def give_back(self, reference: BlockReference) -> None:
        """It was not sent after all."""
        for block in self._blocks:
            if block.number == reference.number:
                block.give_back()

    def clear(self) -> None:
        """Lets go of all, at the process's end: with torch's sharing strategy "file_system" they are files that are
        there until every process has let go. (Of a process that is killed, and of batches that were sent and not taken,
        the files stay until the loader's process ends, as torch's own do.)
        """
        self._blocks.clear()

    def refer(self, block: Block) -> BlockReference:
        """What is to be sent of it."""
        dropped, self._dropped = tuple(self._dropped), []
        return BlockReference(block.number, None if block.is_known else block.tensor, dropped)


class Lease:
    """The use of a block: over when it is dropped. Views of `memory` do not keep it: whoever has images of a block,
    as in `ImageBatch.data`, must hold on to its lease too, `ImageBatch.owner`, or a worker writes over them.

    Args:
        tensor: the block.
    """

    __slots__ = ("_header", "memory")

    def __init__(self, tensor: torch.Tensor) -> None:
        self.memory: npt.NDArray[np.uint8] = tensor.numpy()[_HEADER:]
        """uint8 (size,)."""
        self._header = _header_of(tensor)
        self._header[_KNOWN] = 1

    def __del__(self) -> None:
        self._header[_IN_USE] = 0


class KnownBlocks:
    """The blocks of all workers, in the loader's process."""

    def __init__(self) -> None:
        self._tensors: dict[tuple[int, int], torch.Tensor] = {}

    def open(self, worker_id: int, reference: BlockReference) -> Lease:
        """The block that a worker sent."""
        for number in reference.dropped:
            self._tensors.pop((worker_id, number), None)
        key = (worker_id, reference.number)
        if reference.tensor is not None:
            self._tensors[key] = reference.tensor
        return Lease(self._tensors[key])


def _header_of(tensor: torch.Tensor) -> Any:
    """int64 (8,)."""
    return tensor.numpy()[:_HEADER].view(np.int64)
