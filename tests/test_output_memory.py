"""Output memory comes back when the last tensor over it is gone, and never before."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from dalikit.memory import OutputMemory

SHAPE = (4, 3, 8, 8)


def place(memory: OutputMemory, shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float32) -> int:
    """Where a tensor lies that is dropped at once."""
    return memory.empty(shape, dtype).data_ptr()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32])
def test_tensors_are_contiguous_and_aligned(dtype: torch.dtype) -> None:
    tensor = OutputMemory().empty((2, 3, 5, 7), dtype)
    assert tensor.shape == (2, 3, 5, 7)
    assert tensor.dtype is dtype
    assert tensor.is_contiguous()
    assert tensor.data_ptr() % 64 == 0
    tensor.fill_(1)


def test_a_dropped_tensors_memory_is_used_again() -> None:
    memory = OutputMemory()
    first = place(memory)
    assert [place(memory) for _ in range(5)] == [first] * 5


@pytest.mark.parametrize(
    "keep",
    [
        lambda tensor: tensor,
        lambda tensor: tensor[2],
        lambda tensor: tensor[:, 1:, ::2],
        lambda tensor: tensor.permute(0, 2, 3, 1),
        lambda tensor: tensor.view(torch.uint8),
        lambda tensor: list(tensor.unbind(0)),
        lambda tensor: tensor.numpy(),
        lambda tensor: tensor.numpy()[1, 2],
        lambda tensor: torch.from_dlpack(tensor),
        lambda tensor: tensor.untyped_storage(),
        lambda tensor: tensor.detach(),
    ],
    ids=[
        "tensor",
        "row",
        "slice",
        "permuted",
        "other dtype",
        "unbound",
        "array",
        "part of an array",
        "dlpack",
        "storage",
        "detached",
    ],
)
def test_memory_that_anything_refers_to_is_not_used_again(keep: Any) -> None:
    memory = OutputMemory()
    tensor = memory.empty(SHAPE, torch.float32).fill_(7)
    first = tensor.data_ptr()
    kept = keep(tensor)
    del tensor
    others = [memory.empty(SHAPE, torch.float32).fill_(1) for _ in range(3)]
    assert first not in [other.data_ptr() for other in others]
    del kept, others
    assert first in idle_places(memory)


def idle_places(memory: OutputMemory) -> list[int]:
    """Where the tensors lie that a few requests at once would get."""
    tensors = [memory.empty(SHAPE, torch.float32) for _ in range(8)]
    return [tensor.data_ptr() for tensor in tensors]


def test_blocks_of_another_size_are_let_go() -> None:
    memory = OutputMemory()
    place(memory)
    assert len(memory._idle) == 1
    larger = memory.empty((5, 3, 8, 8), torch.float32)
    assert memory._idle == []
    del larger
    assert len(memory._idle) == 1


def test_equal_sizes_of_other_shapes_share_a_block() -> None:
    memory = OutputMemory()
    first = place(memory, (4, 3, 8, 8), torch.float32)
    assert place(memory, (4, 8, 8, 3), torch.float32) == first
    assert place(memory, (8, 3, 8, 8), torch.float16) == first


@pytest.mark.parametrize("max_idle", [0, 1, 3])
def test_no_more_blocks_are_kept_than_allowed(max_idle: int) -> None:
    memory = OutputMemory(max_idle)
    tensors = [memory.empty(SHAPE, torch.float32) for _ in range(6)]
    tensors.clear()
    assert len(memory._idle) == max_idle


def test_a_tensor_outlives_its_pool() -> None:
    memory = OutputMemory()
    tensor = memory.empty(SHAPE, torch.float32).fill_(3)
    del memory
    assert bool((tensor == 3).all())


def test_a_tensor_may_be_dropped_in_any_thread() -> None:
    memory = OutputMemory(max_idle=8)
    failed: list[int] = []

    def work(number: int) -> None:
        for turn in range(300):
            tensor = memory.empty(SHAPE, torch.float32).fill_(number + turn)
            if not bool((tensor == number + turn).all()):
                failed.append(number)

    threads = [threading.Thread(target=work, args=(1000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
