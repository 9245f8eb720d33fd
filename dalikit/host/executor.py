"""The host executor: each thread decodes an image and finishes it while it is in cache.

thread 1   decode region | resize | flip | normalize -> row 0     decode region | ... -> row 2
thread 2   decode region | resize | flip | normalize -> row 1     decode region | ... -> row 3
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dalikit.codec import CpuDecoder, Region
from dalikit.errors import DecodeError, InternalError
from dalikit.fetch import EncodedBatch
from dalikit.host import kernels
from dalikit.host.finish import Finisher, Scratch
from dalikit.host.memory import OutputMemory
from dalikit.host.threads import use_one_thread
from dalikit.transforms.operations import Crop, Flip, Operation
from dalikit.transforms.recipe import Parameters, Recipe
from dalikit.workers import Job, WorkerPool

__all__ = ["HostExecutor"]


class _Context(NamedTuple):
    """What belongs to one thread."""

    decoder: CpuDecoder
    scratch: Scratch


class HostExecutor:
    """Carries out a recipe on CPU threads, an image at a time.

    Args:
        recipe: what is done.
        num_threads: how many threads, each of which keeps one core busy.
        dtype: of floating outputs: float32, float16 or bfloat16.
        channels_last: memory order of the batch.
        max_idle_outputs: how many output blocks to keep for later batches.
    """

    name = "host"

    def __init__(
        self,
        recipe: Recipe,
        *,
        num_threads: int,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        max_idle_outputs: int = 4,
    ) -> None:
        self._recipe = recipe
        self._dtype = dtype if recipe.output.floating else torch.uint8
        self._channels_last = channels_last
        self._finish = Finisher(recipe.output, channels_last=channels_last)
        self._memory = OutputMemory(max_idle_outputs)
        self._under_way: deque[tuple[Job, Tensor | list[Tensor]]] = deque()
        adjust_orientation = recipe.decode.adjust_orientation

        def make_context() -> _Context:
            use_one_thread()
            return _Context(CpuDecoder(adjust_orientation=adjust_orientation), Scratch())

        self._pool = WorkerPool(num_threads, "dalikit-host", make_context)

    def submit(self, batch: EncodedBatch, parameters: Parameters) -> None:
        """Starts a batch. Returns at once."""
        images = self._allocate(parameters)
        rows = images if isinstance(images, list) else images.unbind(0)

        def work(context: _Context, row: int) -> None:
            image = self._decode_and_transform(context, batch, parameters, row)
            self._finish(image, rows[row], context.scratch)

        job = Job(len(batch), work)
        self._under_way.append((job, images))
        self._pool.submit(job)

    def result(self) -> Tensor | list[Tensor]:
        """Waits for the oldest batch that was submitted.

        Returns:
            (B, 3, H, W), or a list of (3, H, W) where the sizes differ.

        Raises:
            DecodeError: an image cannot be decoded.
        """
        job, images = self._under_way[0]
        job.wait()
        self._under_way.popleft()
        return images

    def cancel(self) -> None:
        """Ends a `result` that is being waited for, at once. From any thread, at any moment."""
        for job, _ in tuple(self._under_way):
            job.cancel()

    def stop(self) -> None:
        """Tells the threads to end, and does not wait. From any thread, at any moment."""
        self.cancel()
        self._pool.stop()

    def drain(self) -> None:
        """Drops the batches under way; images at hand are finished into memory that nobody sees."""
        self.cancel()
        self._under_way.clear()

    def close(self) -> None:
        """Drops the batches under way and ends the threads. May be called again."""
        self.drain()
        self._pool.close()

    def _allocate(self, parameters: Parameters) -> Tensor | list[Tensor]:
        sizes = parameters.sizes
        shapes = list(zip(sizes.heights.tolist(), sizes.widths.tolist(), strict=True))
        if len(set(shapes)) == 1:
            return self._empty(len(shapes), *shapes[0])
        return [self._empty(1, height, width)[0] for height, width in shapes]

    def _empty(self, count: int, height: int, width: int) -> Tensor:
        if self._channels_last:
            return self._memory.empty((count, height, width, 3), self._dtype).permute(0, 3, 1, 2)
        return self._memory.empty((count, 3, height, width), self._dtype)

    def _decode_and_transform(self, context: _Context, batch: EncodedBatch, parameters: Parameters, row: int) -> Tensor:
        """One image, uint8 (3, H, W)."""
        values = parameters.matrix[row]
        header = batch.headers[row]
        operations = self._recipe.operations
        region = self._leading_region(values, header.height, header.width)
        if region is not None:
            operations = operations[1:]
        decoded = context.decoder.decode(header.stream, region)
        if decoded is None:
            raise DecodeError("the image cannot be decoded", batch.place(row, "decode"))
        if region is None and decoded.shape != (header.height, header.width, 3):
            raise InternalError(
                f"decoded to {decoded.shape}, the header said {header.height}x{header.width} (height x width) "
                f"[{batch.place(row, 'decode')}]"
            )
        image = torch.from_numpy(decoded).permute(2, 0, 1)
        for operation in operations:
            image = _apply(operation, image, values)
        return image

    def _leading_region(self, values: Any, height: int, width: int) -> Region | None:
        """The box that a leading crop takes, if only that need be decoded."""
        operations = self._recipe.operations
        if not operations or not isinstance(operations[0], Crop) or self._recipe.decode.adjust_orientation:
            return None
        top, left, box_height, box_width = box = _box(operations[0], values)
        inside = top >= 0 and left >= 0 and top + box_height <= height and left + box_width <= width
        whole = (box_height, box_width) == (height, width)
        return box if inside and not whole else None


def _box(operation: Crop, values: np.ndarray[Any, Any]) -> Region:
    top, left, height, width = values[operation.column : operation.column + 4].astype(int).tolist()
    return top, left, height, width


def _apply(operation: Operation, image: Tensor, values: np.ndarray[Any, Any]) -> Tensor:
    if isinstance(operation, Crop):
        return kernels.crop(image, _box(operation, values), operation.fill)
    if isinstance(operation, Flip):
        return kernels.flip(image, operation.horizontal) if values[operation.column] else image
    height, width = int(values[operation.column]), int(values[operation.column + 1])
    return kernels.resize(image, height, width, operation.interpolation, operation.antialias)
