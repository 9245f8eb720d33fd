"""The device executor: drives one DALI pipeline by feeding it and taking its outputs, oldest first."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Any

import torch
from nvidia.dali.backend import TensorCPU, TensorListCPU
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from dalikit.codec import CpuDecoder
from dalikit.errors import DecodeError, InternalError
from dalikit.fetch import EncodedBatch
from dalikit.graph.build import ENCODED, PARAMETERS, build_pipeline, columns_of, reads_parameters
from dalikit.memory import OutputMemory
from dalikit.threads import use_one_thread
from dalikit.transforms.recipe import Group, Parameters, Recipe

__all__ = ["GraphExecutor"]


class GraphExecutor:
    """Carries out a recipe as one DALI graph, on a GPU or on DALI's CPU backend.

    Args:
        recipe: what is done.
        batch_size: the largest batch.
        num_threads: DALI's CPU threads.
        device: of the outputs: "cpu", or a CUDA device.
        dtype: of floating outputs: float32, float16 or bfloat16 (which DALI lacks; torch converts it).
        channels_last: memory order of the batch.
        max_idle_outputs: how many output blocks of several views to keep for later batches (on a CPU).
    """

    name = "dali"

    def __init__(
        self,
        recipe: Recipe,
        *,
        batch_size: int,
        num_threads: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        max_idle_outputs: int = 4,
    ) -> None:
        self._recipe = recipe
        self._memories = {group.name: OutputMemory(max_idle_outputs) for group in recipe.groups}
        self._dtype = dtype
        self._channels_last = channels_last
        self._columns = columns_of(recipe)
        self._reads_parameters = reads_parameters(recipe)
        self._under_way: deque[EncodedBatch] = deque()
        self._pipeline: Any = build_pipeline(
            recipe,
            batch_size=batch_size,
            num_threads=num_threads,
            device_id=device.index if device.type == "cuda" else None,
            half=dtype is torch.float16,
            channels_last=channels_last,
        )
        self._pipeline.build()

    def submit(self, batch: EncodedBatch, parameters: Parameters) -> None:
        """Feeds and schedules a batch. Returns at once; DALI holds on to the bytes without a copy."""
        # Wrapped here, a buffer costs 2 us; from a list of arrays feed_input takes 4.
        encoded = TensorListCPU([TensorCPU(data, "", False) for data in batch.data], "", False)
        self._pipeline.feed_input(ENCODED, encoded)
        if self._reads_parameters:
            self._pipeline.feed_input(PARAMETERS, self._columns.extend(parameters.matrix))
        self._pipeline.schedule_run()
        self._under_way.append(batch)

    def result(self) -> list[Tensor | list[list[Tensor]]]:
        """Waits for the oldest batch.

        On a GPU this waits until the batch is finished there, so its tensors may be used on any stream.

        Returns:
            For each group of views (n, B, 3, H, W), or n lists of B tensors (3, H, W) where the sizes differ. A group
            of one view is DALI's memory; several are copied into one block.

        Raises:
            DecodeError: an image cannot be decoded.
        """
        batch = self._under_way.popleft()
        try:
            outputs = list(self._pipeline.outputs())
        except RuntimeError as error:
            raise _explain(error, batch, self._recipe) from error
        use_one_thread()  # for the copies: `num_threads` are busy already
        groups = []
        for group in self._recipe.groups:
            groups.append(self._collect(group, outputs[: len(group.views)]))
            del outputs[: len(group.views)]
        return groups

    def _collect(self, group: Group, views: list[Any]) -> Tensor | list[list[Tensor]]:
        """The views of a group, from DALI's lists."""
        if len({tuple(shape) for view in views for shape in view.shape()}) > 1:
            return [[self._to_torch(view[row], group) for row in range(len(view))] for view in views]
        tensors = [self._to_torch(view.as_tensor(), group) for view in views]
        return tensors[0][None] if len(tensors) == 1 else self._stack(tensors, self._memories[group.name])

    def _stack(self, views: list[Tensor], memory: OutputMemory) -> Tensor:
        """(n, B, 3, H, W), in memory as `channels_last` says."""
        if self._channels_last:
            views = [view.movedim(-3, -1) for view in views]
        shape, first = (len(views), *views[0].shape), views[0]
        # A GPU's memory comes from torch's pool, a CPU's would come fresh from the system, page fault by page fault.
        out = memory.empty(shape, first.dtype) if first.device.type == "cpu" else first.new_empty(shape)
        torch.stack(views, out=out)
        return out.movedim(-1, -3) if self._channels_last else out

    def _to_torch(self, images: Any, group: Group) -> Tensor:
        tensor = from_dlpack(images)
        if self._channels_last:
            tensor = tensor.movedim(-1, -3)
        return tensor.to(self._dtype if group.floating else torch.uint8)  # a copy for bfloat16 alone

    def cancel(self) -> None:
        """Nothing: what DALI has begun it finishes, two batches at most."""

    def stop(self) -> None:
        """Nothing: DALI's threads end with the pipeline."""

    def drain(self) -> None:
        """Waits for the batches under way and drops them, bad images or not."""
        while self._under_way:
            self._under_way.popleft()
            with contextlib.suppress(RuntimeError):
                self._pipeline.outputs()

    def close(self) -> None:
        """Drops the pipeline; DALI ends its threads once the batches under way are done. May be called again."""
        self._under_way.clear()
        self._pipeline = None


def _explain(error: RuntimeError, batch: EncodedBatch, recipe: Recipe) -> Exception:
    """DALI names one image of a batch at best; decoding each alone, by the same library, finds the first bad one."""
    decoder = CpuDecoder(adjust_orientation=recipe.decode.adjust_orientation)
    for row, header in enumerate(batch.headers):
        if decoder.decode(header.stream) is None:
            return DecodeError("the image cannot be decoded", batch.place(row, "decode"))
    return InternalError(f"DALI failed on a batch in which every image can be decoded alone: {error}")
