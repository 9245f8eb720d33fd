"""Contract: fifty passes leave behind what two do: no files, threads, processes, no memory."""

from __future__ import annotations

import gc
import itertools
import time
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import torch
from contract_loader import Make, wait_for_no_children, worker_processes
from torch.utils.data import TensorDataset

FEW, MANY = 2, 50

GROWTH = 20 * 2**20
"""Bytes that 48 passes may add: those that allocators keep. A leaked pass would be 7 MB."""


def dataset() -> TensorDataset:
    """About 7 MB."""
    return TensorDataset(torch.zeros(18, 100_000), torch.arange(18))


def resources() -> tuple[int, int, int]:
    """Files, threads and processes of this process."""
    process = psutil.Process()
    return process.num_fds(), process.num_threads(), len(worker_processes())


def grown(passes: Any, *, workers: int = 0) -> int:
    """Bytes by which memory has grown from the second to the last pass; there is no more of anything else.

    Args:
        passes: carries out a pass for every value that is taken.
        workers: that stay between passes.
    """
    for _ in itertools.islice(passes, FEW):
        pass
    before, memory = at_rest(), psutil.Process().memory_info().rss
    for _ in itertools.islice(passes, MANY - FEW):
        pass
    after = at_rest()
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)
    assert after[2] == workers
    return int(psutil.Process().memory_info().rss - memory)


def at_rest() -> tuple[int, int, int]:
    """The resources once they stay the same: what was broken off is closed soon, but not at once."""
    gc.collect()
    seen = [resources()]
    while len(seen) < 200 and (len(seen) < 10 or len(set(seen[-10:])) > 1):
        time.sleep(0.05)
        seen.append(resources())
    return seen[-1]


@pytest.mark.parametrize("named", [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}], ids=str)
def test_passes(make: Make, named: dict[str, Any]) -> None:
    """One loader, iterated to the end again and again."""
    loader = make(dataset(), batch_size=4, **named)
    workers = 2 if "persistent_workers" in named else 0
    assert grown((len(list(loader)) for _ in range(MANY)), workers=workers) < GROWTH


@pytest.mark.parametrize("named", [{}, {"num_workers": 2}], ids=str)
def test_passes_that_are_broken_off(make: Make, named: dict[str, Any]) -> None:
    """After the second batch of five."""
    loader = make(dataset(), batch_size=4, **named)
    assert grown(len(list(itertools.islice(loader, 2))) for _ in range(MANY)) < GROWTH


@pytest.mark.parametrize("named", [{}, {"num_workers": 1}], ids=str)
def test_loaders_that_are_forgotten(make: Make, named: dict[str, Any]) -> None:
    """A new one each time, none closed."""
    data = dataset()
    assert grown(len(list(make(data, batch_size=4, **named))) for _ in range(MANY)) < GROWTH
    assert wait_for_no_children(seconds=5) == []
