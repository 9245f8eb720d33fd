"""Rank, world size and local device: asked here and nowhere else."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from dalikit.errors import ArgumentError, DeviceError

if TYPE_CHECKING:
    import torch

__all__ = ["default_num_threads", "resolve_device", "resolve_rank"]


def _initialised() -> Any | None:
    """torch.distributed, if a process group is set up."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed


def _environment(name: str) -> int | None:
    """A number that torchrun and its like leave in the environment."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None


def resolve_rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Which rank of how many this process is.

    What is not given is taken from torch.distributed if it is initialised, else from torchrun's RANK and WORLD_SIZE,
    else it is rank 0 of 1.

    Raises:
        ArgumentError: only one of the two is given, or not 0 <= rank < world_size.
    """
    if (rank is None) != (world_size is None):
        raise ArgumentError(f"rank={rank!r}, world_size={world_size!r}: give both or neither")
    if rank is None or world_size is None:
        rank, world_size = _found_rank()
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (rank, world_size))
    if not whole or not 0 <= rank < world_size:
        raise ArgumentError(f"rank={rank!r}, world_size={world_size!r}: must be 0 <= rank < world_size")
    return rank, world_size


def _found_rank() -> tuple[int, int]:
    distributed = _initialised()
    if distributed is not None:
        return distributed.get_rank(), distributed.get_world_size()
    rank, world_size = _environment("RANK"), _environment("WORLD_SIZE")
    return (0, 1) if rank is None or world_size is None else (rank, world_size)


def resolve_device(device: Any) -> torch.device:
    """The device that batches come out on.

    Args:
        device: a torch.device, its name, a CUDA index, or None: the current CUDA device if CUDA is in use already, else
            the one of the local rank (LOCAL_RANK), else, without a GPU, the CPU.

    Raises:
        ArgumentError: it is neither a CPU nor a CUDA device.
        DeviceError: a CUDA device that is not there.
    """
    import torch

    if device is None:
        return _local_device()
    try:
        asked = torch.device(device)
    except (RuntimeError, TypeError):
        asked = torch.device("meta")
    if asked.type not in ("cpu", "cuda") or isinstance(device, bool):
        raise ArgumentError(f"device={device!r}: must be 'cpu', 'cuda', 'cuda:N' or None")
    if asked.type == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = asked.index if asked.index is not None else (_local_device().index or 0)
    if index >= count:
        raise DeviceError(
            f"device={device!r}: this process sees {count} CUDA devices; "
            "give device='cpu', or None for what there is, or check the driver and CUDA_VISIBLE_DEVICES"
        )
    return torch.device("cuda", index)


def _local_device() -> torch.device:
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cuda", (_environment("LOCAL_RANK") or 0) % torch.cuda.device_count())


def default_num_threads() -> int:
    """The process's share of the cores: those it may run on, over the ranks on this machine (LOCAL_WORLD_SIZE)."""
    return max(1, len(os.sched_getaffinity(0)) // (_environment("LOCAL_WORLD_SIZE") or 1))
