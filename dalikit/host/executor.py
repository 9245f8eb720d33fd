"""The host executor: each thread decodes an image and finishes it while it is in cache.

thread 1   decode region | resize | flip | normalize -> row 0     decode region | ... -> row 2
thread 2   decode region | resize | flip | normalize -> row 1     decode region | ... -> row 3

Of several views (multi-crop) each is finished before the next is begun; the image is decoded once. Images that come
decoded are read where they lie, and never written to: they may be the dataset's own memory.
"""

from __future__ import annotations

import functools
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dalikit.codec import CpuDecoder, Region, undecodable
from dalikit.errors import DecodeError, InternalError
from dalikit.fetch import ImageBatch
from dalikit.host.finish import Finisher
from dalikit.host.operate import Values, apply_operations
from dalikit.host.pixels import Pixels, Scratch, as_levels
from dalikit.memory import OutputMemory
from dalikit.threads import use_one_thread
from dalikit.transforms.base import Sizes
from dalikit.transforms.recipe import Group, Parameters, Recipe
from dalikit.transforms.regions import box_inside, leading_crop
from dalikit.workers import Job, WorkerPool

__all__ = ["HostExecutor"]

Images = Tensor | list[list[Tensor]]
"""A group's views: (n, B, 3, H, W), or n lists of B tensors (3, H, W) where the sizes differ."""


class _Context:
    """What belongs to one thread."""

    def __init__(self, *, adjust_orientation: bool, pillow_resize: bool) -> None:
        use_one_thread()
        self.scratch = Scratch(pillow_resize=pillow_resize)
        self._adjust_orientation = adjust_orientation

    @functools.cached_property
    def decoder(self) -> CpuDecoder:
        """Made for the first encoded image: where all come decoded, nvImageCodec is not loaded."""
        return CpuDecoder(adjust_orientation=self._adjust_orientation)


class HostExecutor:
    """Carries out a recipe on CPU threads, an image at a time. Takes encoded batches and decoded ones.

    Args:
        recipe: what is done.
        num_threads: how many threads, each of which keeps one core busy.
        dtype: of floating outputs: float32, float16 or bfloat16.
        channels_last: memory order of the batch.
        resize: "torch", its fast uint8 kernel; or "pillow", exactly Pillow's pixels.
        max_idle_outputs: how many batches' output blocks to keep for later batches.
    """

    name = "host"

    def __init__(
        self,
        recipe: Recipe,
        *,
        num_threads: int,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        resize: str = "torch",
        max_idle_outputs: int = 4,
    ) -> None:
        self._recipe = recipe
        self._dtype = dtype
        self._channels_last = channels_last
        self._views = [view for group in recipe.groups for view in group.views]
        self._finishers = [Finisher(view.output, channels_last=channels_last) for view in self._views]
        self._memories = [OutputMemory(max_idle_outputs) for _ in recipe.groups]
        self._region = leading_crop(recipe)
        self._under_way: deque[tuple[Job, list[Images]]] = deque()
        make_context = functools.partial(
            _Context, adjust_orientation=recipe.decode.adjust_orientation, pillow_resize=resize == "pillow"
        )
        self._pool = WorkerPool(num_threads, "dalikit-host", make_context)

    def submit(self, batch: ImageBatch, parameters: Parameters) -> None:
        """Starts a batch. Returns at once."""
        outputs = [
            self._allocate(group, sizes, memory)
            for group, sizes, memory in zip(self._recipe.groups, parameters.sizes, self._memories, strict=True)
        ]
        # rows[view][sample]: where it goes
        rows = [view for images in outputs for view in _rows_of(images)]

        def work(context: _Context, row: int) -> None:
            self._work(context, batch, parameters.matrix[row].tolist(), row, [view[row] for view in rows])

        job = Job(len(batch), work)
        self._under_way.append((job, outputs))
        self._pool.submit(job)

    def result(self) -> list[Images]:
        """Waits for the oldest batch that was submitted.

        Returns:
            For each group of views (n, B, 3, H, W), or n lists of B tensors (3, H, W) where the sizes differ.

        Raises:
            DecodeError: an image cannot be decoded.
        """
        job, outputs = self._under_way[0]
        job.wait()
        self._under_way.popleft()
        return outputs

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

    def _allocate(self, group: Group, sizes: tuple[Sizes, ...], memory: OutputMemory) -> Images:
        dtype = self._dtype if group.floating else torch.uint8
        heights, widths = (np.stack([getattr(view, side) for view in sizes]) for side in ("heights", "widths"))
        if (heights == heights.flat[0]).all() and (widths == widths.flat[0]).all():
            return self._empty(memory, heights.shape, int(heights.flat[0]), int(widths.flat[0]), dtype)
        return [
            [self._empty(memory, (), height, width, dtype) for height, width in zip(*view, strict=True)]
            for view in zip(heights.tolist(), widths.tolist(), strict=True)
        ]

    def _empty(
        self, memory: OutputMemory, counts: tuple[int, ...], height: int, width: int, dtype: torch.dtype
    ) -> Tensor:
        if self._channels_last:
            return memory.empty((*counts, height, width, 3), dtype).movedim(-1, -3)
        return memory.empty((*counts, 3, height, width), dtype)

    # On the pool's threads

    def _work(self, context: _Context, batch: ImageBatch, values: Values, row: int, outputs: list[Tensor]) -> None:
        """One sample: all its views."""
        scratch, box = context.scratch, self._box_inside(batch, row, values)
        levels = batch.data[row] if batch.decoded else _decode(context.decoder, batch, row, box)
        image = Pixels(as_levels(levels))
        apply_operations(self._recipe.shared, image, values, scratch)
        for view, finish, output in zip(self._views, self._finishers, outputs, strict=True):
            pixels = image.copy(scratch)
            apply_operations(view.operations if box is None else view.operations[1:], pixels, values, scratch)
            finish(pixels, output, values, scratch)
            if not image.in_planes:
                scratch.reset()  # so that the next view works in the same memory, which is in cache
        scratch.reset()

    def _box_inside(self, batch: ImageBatch, row: int, values: Values) -> Region | None:
        """The box that a leading crop takes, if only that need be decoded."""
        if self._region is None or batch.decoded:  # of a decoded image the crop itself takes a view
            return None
        header = batch.headers[row]
        return box_inside(self._region, values, header.height, header.width)


def _decode(decoder: CpuDecoder, batch: ImageBatch, row: int, box: Region | None) -> npt.NDArray[np.uint8]:
    """The image in a row, or its box alone: uint8 (height, width, 3)."""
    header = batch.headers[row]
    try:
        decoded = decoder.decode(header.stream, box)
    except DecodeError as error:  # of an image whose size was known before
        error.locate(batch.place(row, "decode"))
        raise
    if decoded is None:
        raise DecodeError(undecodable(header), batch.place(row, "decode"))
    if box is None and decoded.shape != (header.height, header.width, 3):
        raise InternalError(
            f"decoded to {decoded.shape}, the header said {header.height}x{header.width} (height x width) "
            f"[{batch.place(row, 'decode')}]"
        )
    return decoded


def _rows_of(images: Images) -> list[Any]:
    """The rows of each view."""
    return images if isinstance(images, list) else [view.unbind(0) for view in images.unbind(0)]
