"""The device executor: drives DALI pipelines by feeding them and taking their outputs, oldest first."""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from nvidia.dali.backend import TensorCPU, TensorListCPU
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from dalikit.codec import find_undecodable
from dalikit.errors import InternalError
from dalikit.fetch import ImageBatch, show_indices
from dalikit.graph.chains import chains_of, first_chain
from dalikit.graph.stage import Stage
from dalikit.memory import OutputMemory
from dalikit.threads import use_one_thread
from dalikit.transforms.recipe import Branch, Group, Parameters, Recipe

__all__ = ["GraphExecutor"]


class _Pipelines(NamedTuple):
    """All that carry out a recipe: see dalikit.graph.chains."""

    first: Stage
    views: list[tuple[Branch, Stage]]
    """Empty: a sample gives one image, and the first pipeline makes it."""


@dataclass(slots=True)
class _Work:
    """A batch under way."""

    batch: ImageBatch
    parameters: Parameters
    pipelines: _Pipelines
    images: Any = None
    """Of several views: the decoded images, kept until the views are made of them."""
    error: Exception | None = None


class GraphExecutor:
    """Carries out a recipe by DALI, on a GPU or on DALI's CPU backend: see dalikit.graph.chains.

    Each is made for one kind of batches, because its pipelines begin with a decoder or without one.

    Args:
        recipe: what is done.
        batch_size: of the largest batch, as far as that is known: pipelines are made for a number of samples, and for
            a larger batch they are made anew, for twice as many at least.
        num_threads: CPU threads of each pipeline.
        device: of the outputs: "cpu", or a CUDA device.
        decoded: whether it takes decoded batches; encoded ones otherwise.
        dtype: of floating outputs: float32, float16 or bfloat16 (which DALI lacks; torch converts it).
        channels_last: memory order of the batch.
        max_idle_outputs: how many output blocks of a group with several pipelines to keep for later (on a CPU).
    """

    name = "dali"

    def __init__(
        self,
        recipe: Recipe,
        *,
        batch_size: int,
        num_threads: int,
        device: torch.device,
        decoded: bool = False,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        max_idle_outputs: int = 4,
    ) -> None:
        self._recipe = recipe
        self._decoded = decoded
        self._dtype = dtype
        self._channels_last = channels_last
        self._memories = {group.name: OutputMemory(max_idle_outputs) for group in recipe.groups}
        self._under_way: deque[_Work] = deque()
        self._arguments: dict[str, Any] = {
            "num_threads": num_threads,
            "device_id": device.index if device.type == "cuda" else None,
            "half": dtype is torch.float16,
            "channels_last": channels_last,
        }
        self._batch_size = batch_size
        self._pipelines = self._build()

    def _build(self) -> _Pipelines:
        chain = first_chain(self._recipe, decoded=self._decoded)
        first = Stage(chain, batch_size=self._batch_size, **self._arguments)
        views = [
            (branch, Stage(chain, batch_size=self._batch_size * branch.num_views, **self._arguments))
            for branch, chain in chains_of(self._recipe)
        ]
        return _Pipelines(first, views)

    def submit(self, batch: ImageBatch, parameters: Parameters) -> None:
        """Feeds and schedules a batch. Returns at once.

        DALI reads the bytes or images where they lie, holds on to each array until it has, and never writes to it.

        Raises:
            InternalError: the batch is not of the kind that the executor was made for.
        """
        if batch.decoded != self._decoded:
            raise InternalError(f"a batch with decoded={batch.decoded} for an executor with decoded={self._decoded}")
        if len(batch) > self._batch_size:
            self._batch_size = max(len(batch), 2 * self._batch_size)
            self._pipelines = self._build()  # batches under way keep theirs
        first = self._pipelines.first
        layout = "HWC" if batch.decoded else ""
        # Wrapped here, a buffer costs 2 us; from a list of arrays feed_input takes 4.
        data = TensorListCPU([TensorCPU(array, layout, False) for array in batch.data], layout, False)
        first.feed(data, parameters.matrix[:, : first.num_columns])  # shared steps have the first ones
        self._under_way.append(_Work(batch, parameters, self._pipelines))

    def result(self) -> list[Tensor | list[list[Tensor]]]:
        """Waits for the oldest batch.

        On a GPU this waits until the batch is finished there, so its tensors may be used on any stream.

        Returns:
            For each group of views (n, B, 3, H, W), or n lists of B tensors (3, H, W) where the sizes differ. What one
            pipeline makes of a group is DALI's memory; what several make is copied into one block.

        Raises:
            DecodeError: an image cannot be decoded.
            InternalError: DALI failed, and no image is to blame.
        """
        if not self._recipe.single:
            return self._result_of_views()
        work = self._under_way.popleft()
        images = self._take_first(work)
        if work.error is not None:
            raise work.error
        return [self._collect(self._recipe.groups[0], [(1, images)])]

    def _result_of_views(self) -> list[Tensor | list[list[Tensor]]]:
        # All batches at hand go on to their views before the oldest is waited for, so that no pipeline runs dry.
        for work in self._under_way:
            self._make_views(work)
        work = self._under_way.popleft()
        if work.error is not None:
            raise work.error
        try:
            made = [(branch.num_views, stage.take()) for branch, stage in work.pipelines.views]
        except RuntimeError as error:
            raise _failure(error, work.batch) from error
        groups = []
        for group in self._recipe.groups:
            parts: list[tuple[int, Any]] = []
            while sum(count for count, _ in parts) < len(group.views):
                parts.append(made.pop(0))
            groups.append(self._collect(group, parts))
        return groups

    def _take_first(self, work: _Work) -> Any:
        """Waits for what the first pipeline makes of a batch; an error is noted with the batch."""
        try:
            return work.pipelines.first.take()
        except RuntimeError as error:
            work.error = _explain(error, work.batch, self._recipe)
            work.error.__cause__ = error
            return None

    def _make_views(self, work: _Work) -> None:
        """Starts on the views of a batch, if that was not done yet: each image is fed once a view, without a copy."""
        if work.images is not None or work.error is not None:
            return
        work.images = self._take_first(work)
        if work.images is None:
            return
        images = [work.images[row] for row in range(len(work.batch))]
        for branch, stage in work.pipelines.views:
            views = type(work.images)(images * branch.num_views, "HWC", False)
            stage.feed(views, branch.rows_of(work.parameters.matrix))

    def _collect(self, group: Group, parts: list[tuple[int, Any]]) -> Tensor | list[list[Tensor]]:
        """The views of a group, from DALI's lists: of each how many views it holds, one after the other."""
        if len({tuple(shape) for _, images in parts for shape in images.shape()}) > 1:
            return [
                [self._to_torch(images[row], group) for row in range(start, start + len(images) // count)]
                for count, images in parts
                for start in range(0, len(images), len(images) // count)
            ]
        use_one_thread()  # for the copies: `num_threads` are busy already
        whole = [(count, self._to_torch(images.as_tensor(), group)) for count, images in parts]
        # (count * B, 3, H, W) -> (count, B, 3, H, W), without a copy in either memory order
        tensors = [images.view(count, -1, *images.shape[1:]) for count, images in whole]
        return tensors[0] if len(tensors) == 1 else self._join(tensors, self._memories[group.name])

    def _join(self, views: list[Tensor], memory: OutputMemory) -> Tensor:
        """(n, B, 3, H, W), in memory as `channels_last` says."""
        if self._channels_last:
            views = [view.movedim(-3, -1) for view in views]
        shape = (sum(len(view) for view in views), *views[0].shape[1:])
        # A GPU's memory comes from torch's pool, a CPU's would come fresh from the system, page fault by page fault.
        on_cpu = views[0].device.type == "cpu"
        out = memory.empty(shape, views[0].dtype) if on_cpu else views[0].new_empty(shape)
        torch.cat(views, out=out)
        return out.movedim(-1, -3) if self._channels_last else out

    def _to_torch(self, images: Any, group: Group) -> Tensor:
        tensor = from_dlpack(images)
        if self._channels_last:
            tensor = tensor.movedim(-1, -3)
        return tensor.to(self._dtype if group.floating else torch.uint8)  # a copy for bfloat16 alone

    def cancel(self) -> None:
        """Nothing: what DALI has begun it finishes, two batches at most."""

    def stop(self) -> None:
        """Nothing: DALI's threads end with the pipelines."""

    def drain(self) -> None:
        """Waits for the batches under way and drops them, bad images or not."""
        for pipelines in (*(work.pipelines for work in self._under_way), self._pipelines):
            for stage in (pipelines.first, *(stage for _, stage in pipelines.views)):
                while stage.under_way:
                    with contextlib.suppress(RuntimeError):
                        stage.take()
        self._under_way.clear()  # last: the batches keep the memory that DALI reads

    def close(self) -> None:
        """Drops the pipelines; DALI ends their threads once the batches under way are done. May be called again."""
        self._pipelines = None  # type: ignore[assignment]
        self._under_way.clear()


def _explain(error: RuntimeError, batch: ImageBatch, recipe: Recipe) -> Exception:
    """DALI names one image of a batch at best; decoding each alone, by the same library, finds the first bad one."""
    if batch.decoded:
        return InternalError(
            f"DALI failed on a batch of decoded images, indices {show_indices(batch.indices)}: {error}"
        )
    for row, found in find_undecodable(batch.headers, adjust_orientation=recipe.decode.adjust_orientation):
        return found.locate(batch.place(row, "decode"))
    return _failure(error, batch)


def _failure(error: RuntimeError, batch: ImageBatch) -> InternalError:
    which = "indices " + show_indices(batch.indices)
    known = "decoded images" if batch.decoded else "images that can each be decoded alone"
    return InternalError(f"DALI failed on a batch of {known}, {which}: {error}")
