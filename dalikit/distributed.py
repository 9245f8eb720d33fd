"""Rank, world size, local device and share of the cores: asked here and nowhere else."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dalikit.cores import affinity, cpu_quota
from dalikit.errors import ArgumentError, DeviceError

if TYPE_CHECKING:
    import torch

__all__ = ["default_num_threads", "initialised", "local_rank", "resolve_device", "resolve_rank", "share_of_cores"]

_LOG = logging.getLogger("dalikit")

_SPECIAL_STEPS = 0xFFFFFFF0
"""SLURM's step ids from here on are no steps of tasks: 0xfffffffa is the shell of `salloc`, 0xfffffffb the batch script
(slurm.h)."""


@dataclass(frozen=True, slots=True)
class _Launcher:
    """The variables by which a launcher tells a process who it is."""

    name: str
    rank: str
    sizes: tuple[str, ...]
    """Number of ranks; the first that is set counts."""
    local_rank: str
    local_sizes: tuple[str, ...]
    """Ranks on this machine, or a list with those of each: "4(x2),3". The first that is set counts."""
    node: str = ""
    """Which entry of that list is this machine's."""
    cores: str = ""
    """Cores of each rank."""
    node_cores: str = ""
    """Cores of all ranks on this machine together."""
    step: str = ""
    """Holds the number of a step, without which all the others are not those of a rank."""
    unmistakable: bool = True
    """Whether a rank without a number of ranks, or the reverse, can only be a mistake."""


# The innermost launcher comes first. torchrun is started by the others, once on each machine. Open MPI starts its
# daemons on other machines by `srun`, so that its ranks see SLURM's variables of the daemon; the reverse is not done.
_LAUNCHERS = (
    _Launcher("torchrun", "RANK", ("WORLD_SIZE",), "LOCAL_RANK", ("LOCAL_WORLD_SIZE",)),
    _Launcher(
        "Open MPI",
        "OMPI_COMM_WORLD_RANK",
        ("OMPI_COMM_WORLD_SIZE",),
        "OMPI_COMM_WORLD_LOCAL_RANK",
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
    ),
    _Launcher(
        "SLURM",
        "SLURM_PROCID",
        ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
        "SLURM_LOCALID",
        ("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"),
        node="SLURM_NODEID",
        cores="SLURM_CPUS_PER_TASK",
        node_cores="SLURM_CPUS_ON_NODE",
        step="SLURM_STEP_ID",
        unmistakable=False,  # some unset one of the two on purpose, to be no task of SLURM's
    ),
)


def initialised() -> Any | None:
    """torch.distributed, if a process group is set up. torch is not imported for it."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed


def resolve_rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Which rank of how many this process is.

    What is not given is torch.distributed's if it is initialised; else that of the launcher in whose environment this
    process is: torchrun (RANK, WORLD_SIZE), Open MPI (OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE), SLURM
    (SLURM_PROCID, SLURM_STEP_NUM_TASKS or SLURM_NTASKS); else it is rank 0 of 1. SLURM's count only in a step of
    `srun`: a batch script and the shell of `salloc` have them too, and are one process. Which of these it was is
    logged, once, at level INFO.

    Raises:
        ArgumentError: only one of the two is given, or not 0 <= rank < world_size, or the environment says no such
            thing: RANK without WORLD_SIZE, say.
    """
    if (rank is None) != (world_size is None):
        raise ArgumentError(f"rank={rank!r}, world_size={world_size!r}: give both or neither")
    if rank is None or world_size is None:
        rank, world_size, source = _found_rank()
        _tell(f"rank {rank} of {world_size}: {source}")
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (rank, world_size))
    if not whole or not 0 <= rank < world_size:
        raise ArgumentError(f"rank={rank!r}, world_size={world_size!r}: must be 0 <= rank < world_size")
    return rank, world_size


@functools.lru_cache(maxsize=1)
def _tell(line: str) -> None:
    """Logs a line, unless it is the last one again: it is asked for each loader."""
    _LOG.info("%s", line)


def _found_rank() -> tuple[int, int, str]:
    """Rank, number of ranks, and who says so."""
    distributed = initialised()
    if distributed is not None:
        return distributed.get_rank(), distributed.get_world_size(), "torch.distributed's"
    for launcher in _present():
        found = _launched(launcher)
        if found is not None:
            return (*found, f"{launcher.name}'s, from the environment")
    return 0, 1, "no process group and no launcher says otherwise"


def _present() -> Iterator[_Launcher]:
    """The launchers whose variables may be believed."""
    for launcher in _LAUNCHERS:
        step = _number(launcher.step)
        if not launcher.step or (step is not None and step < _SPECIAL_STEPS):
            yield launcher


def _launched(launcher: _Launcher) -> tuple[int, int] | None:
    """A launcher's rank and number of ranks; None: it did not start this process."""
    size_name = next(filter(_set, launcher.sizes), launcher.sizes[0])
    size_only = not _set(launcher.rank)
    if size_only and not _set(size_name):
        return None
    told = f"{launcher.rank}={_shown(launcher.rank)}, {size_name}={_shown(size_name)} in the environment"
    advice = f"unset both if this is no process of {launcher.name}, or give rank= and world_size="
    if size_only or not _set(size_name):
        # A number of ranks without a rank: what some launchers leave to processes that are to join a process group
        # later. Taken for 0 of 1, every one of them would load everything.
        if not launcher.unmistakable or (size_only and _number(size_name) == 1):
            return None
        missing = launcher.rank if size_only else size_name
        raise ArgumentError(
            f"{told}: {missing} is missing; make the loader after init_process_group, or set it, or {advice}"
        )
    rank, size = _number(launcher.rank), _number(size_name)
    if rank is None or size is None or rank >= size:
        raise ArgumentError(f"{told}: must be whole numbers, 0 <= {launcher.rank} < {size_name}; {advice}")
    return rank, size


def _set(name: str) -> bool:
    return bool(os.environ.get(name))


def _shown(name: str) -> str:
    return repr(os.environ[name]) if _set(name) else "(not set)"


def _number(name: str) -> int | None:
    """A variable's number; None: it is not set, or none."""
    text = os.environ.get(name, "").strip()
    return int(text) if text.isascii() and text.isdecimal() else None


def resolve_device(device: Any) -> torch.device:
    """The device that batches come out on.

    Args:
        device: a torch.device, its name, a CUDA index, or None: the current CUDA device if CUDA is in use already; else
            the one of the local rank (LOCAL_RANK, OMPI_COMM_WORLD_LOCAL_RANK, SLURM_LOCALID, or the process group's
            rank) among those that CUDA_VISIBLE_DEVICES leaves, counted round; else, without a GPU, the CPU.

    Raises:
        ArgumentError: it is neither a CPU nor a CUDA device; or the launcher's local rank is no number.
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
    return torch.device("cuda", local_rank() % torch.cuda.device_count())


def local_rank() -> int:
    """The number of this process on its machine. Where no launcher tells, the process group's rank: so NCCL guesses."""
    for launcher in _present():
        if _set(launcher.local_rank):
            found = _number(launcher.local_rank)
            if found is None:
                raise ArgumentError(
                    f"{launcher.local_rank}={_shown(launcher.local_rank)} in the environment: must be a whole number; "
                    "set it right, or give device='cuda:N'"
                )
            return found
    distributed = initialised()
    return 0 if distributed is None else int(distributed.get_rank())


def default_num_threads() -> int:
    """The fair share of the cores of this process; see `share_of_cores`. Never raises: the unreadable is no limit."""
    return share_of_cores(affinity(), affinity(os.getppid()), cpu_quota())


def share_of_cores(own: int, parents: int, quota: float | None) -> int:
    """How many threads keep a rank's cores busy, and take none from the other ranks on its machine. At least 1.

    Args:
        own: cores that it may run on. Divided by the ranks on this machine (LOCAL_WORLD_SIZE,
            OMPI_COMM_WORLD_LOCAL_SIZE, SLURM_STEP_TASKS_PER_NODE), unless they were shared out already: then
            SLURM_CPUS_PER_TASK is the share.
        parents: cores that its parent, the launcher, may run on. With more than `own`, the ranks are bound to parts of
            them (by Open MPI, or `torchrun --numa-binding`), and these are divided. SLURM's daemon is not bound to the
            job's cores: there SLURM_CPUS_ON_NODE are divided.
        quota: cores' worth of time that control groups allow to all that are in them; None: no limit. Divided too.
    """
    launcher, ranks = _local_ranks()
    if launcher is not None and (given := _number(launcher.cores)):
        return max(1, int(min(own, given, own if quota is None else quota)))
    together = _number(launcher.node_cores) if launcher is not None else None
    if not together:
        together = max(own, parents) if ranks > 1 else own
    shares = [own, together / ranks, *([] if quota is None else [quota / ranks])]
    return max(1, int(min(shares)))


def _local_ranks() -> tuple[_Launcher | None, int]:
    """How many ranks of this run are on this machine, and the launcher that says so."""
    for launcher in _present():
        for name in filter(_set, launcher.local_sizes):
            count = _entry(os.environ[name], _number(launcher.node) or 0)
            if count:
                return launcher, count
    distributed = initialised()
    if distributed is None:
        return None, 1
    import torch

    # As many as there are GPUs here, as far as the run has so many; on CPUs there is nothing to tell it.
    count = torch.cuda.device_count() if torch.cuda.is_available() else 1
    return None, max(1, min(count, distributed.get_world_size()))


def _entry(text: str, node: int) -> int | None:
    """Entry `node` of a list as SLURM writes them, "4(x2),3" for 4, 4, 3. None: there is none."""
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:\(x(\d+)\))?\s*", part, re.ASCII)
        if found is None:
            return None
        node -= int(found[2] or 1)
        if node < 0:
            return int(found[1])
    return None
