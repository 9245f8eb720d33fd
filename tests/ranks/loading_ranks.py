"""Two ranks with a loader each, over a real process group: a script of its own that prints what each of them saw.

Run by test_ranks_loading.py. The ranks are forked, so that torch is imported once.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from dalikit import DataLoader, SamplerType, make_data_loader
from dalikit.datasets import ImageFolder
from dalikit.errors import DalikitError

WORLD = 2
ROOT, MEETING = sys.argv[1:]

Make = Callable[..., DataLoader]


def make(**arguments: Any) -> DataLoader:
    """Of this rank, as torch.distributed says."""
    defaults: dict[str, Any] = {"sampler_type": SamplerType.KEYED_EPOCH, "batch_size": 2, "drop_last": False}
    named = {"dataset": ImageFolder(ROOT), "num_workers": 0, "device": "cpu", "num_threads": 1, **defaults}
    return make_data_loader(**{**named, **arguments})


def outcome(loader: DataLoader) -> Any:
    """Samples in a pass, or the error in its place."""
    try:
        return sum(len(targets) for _, targets in loader)
    except DalikitError as error:
        return [type(error).__name__, str(error)]


def agree(rank: int) -> Any:
    """Two passes of one loader, which takes rank and number of ranks from the group."""
    loader = make()
    return [[loader.options.rank, loader.options.world_size], outcome(loader), outcome(loader)], rank


def differ_in_seed(rank: int) -> Any:
    """A seed of their own."""
    return outcome(make(seed=rank))


def differ_in_dataset(rank: int) -> Any:
    """One has other labels."""
    root = ROOT if rank == 0 else f"{ROOT}-other"
    return outcome(make(dataset=ImageFolder(root)))


def differ_in_place(rank: int) -> Any:
    """After a state was loaded: one had a batch more. Then the same state for both."""
    loader = make()
    states = [loader.state_dict()]
    batches = iter(loader)
    for _ in range(2):
        next(batches)
        states.append(loader.state_dict())
    loader.load_state_dict(states[1 + rank])
    first = outcome(loader)
    loader.load_state_dict(states[1])
    return first, outcome(loader)


def differ_in_batch_size(rank: int) -> Any:
    """The state counts as many samples for each rank."""
    return outcome(make(batch_size=2 + rank))


def one_for_itself(rank: int) -> Any:
    """A loader of one rank alone compares nothing, and waits for nobody."""
    return outcome(make(rank=0, world_size=1)) if rank == 0 else None


class Numbered(ImageFolder):
    """The target of each sample is its index."""

    def get_target(self, index: int) -> int:
        """The index."""
        return index


def evaluate(_: int) -> Any:
    """How often each sample came to any rank, summed up by one collective at the end."""
    seen = torch.zeros(len(Numbered(ROOT)), dtype=torch.int64)
    for _, targets in make(dataset=Numbered(ROOT), shuffle=False, batch_size=5):
        seen[targets] += 1
    dist.all_reduce(seen)
    return seen.tolist()


CASES = [agree, differ_in_seed, differ_in_dataset, differ_in_batch_size, differ_in_place, one_for_itself, evaluate]


def run(rank: int) -> None:
    """All cases, in step."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{MEETING}", rank=rank, world_size=WORLD)
    found = {}
    for case in CASES:
        found[case.__name__] = case(rank)
        dist.barrier()
    Path(f"{MEETING}.{rank}").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=run, args=(rank,)) for rank in range(WORLD)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(100)
    sys.exit(any(process.exitcode for process in ranks))
