"""Contract: where dalikit differs from torch on purpose, and in nothing else. Each test says both."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from contract_datasets import Failing, Made, Numbers, bad_value, draws_of
from contract_loader import Make, numbers, raises, refuses
from torch.utils.data import DataLoader

import dalikit


def test_the_default_timeout_of_r(make: Make) -> None:
    """timeout=-1 is R torch's default and means none. Python's torch refuses it."""
    if make.is_torch:
        with refuses(make, "timeout option should be non-negative"):
            make(Numbers(2), timeout=-1)
        return
    assert numbers(make(Numbers(2), timeout=-1)) == [[0], [1]]
    assert numbers(make(Numbers(2), timeout=-1, num_workers=1)) == [[0], [1]]


def test_timeout_without_workers(make: Make) -> None:
    """torch asserts that there is none once it is iterated; dalikit takes it."""
    loader = make(Numbers(2), timeout=60)
    if make.is_torch:
        with raises(AssertionError, "timeout == 0"):
            iter(loader)
        return
    assert numbers(loader) == [[0], [1]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_after_an_error(make: Make, num_workers: int) -> None:
    """torch goes on with the next batch; dalikit's iteration is over."""
    batches = iter(make(Failing(5, 2, bad_value), num_workers=num_workers))
    assert numbers([next(batches), next(batches)]) == [[0], [1]]
    with raises(ValueError, "item 2 is bad"):
        next(batches)
    assert numbers(batches) == ([[3], [4]] if make.is_torch else [])


def test_the_users_generators_without_workers(make: Make) -> None:
    """A dataset's draws move the global generators with torch; dalikit puts them back."""
    loader = make(Made(4, draws_of), batch_size=None)
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert len(list(loader)) == 4
    after = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert (before == after) != make.is_torch


def test_draws_do_not_depend_on_the_workers(make: Make) -> None:
    """dalikit seeds each item from (seed, position), so that any number of workers gives the same; torch's do not."""
    found = []
    for num_workers in (0, 1, 3):
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        loader = make(Made(6, draws_of), batch_size=None, num_workers=num_workers)
        found.append(list(loader))
    assert (found[0] == found[1] == found[2]) != make.is_torch


def test_the_kinds_are_not_related(make: Make) -> None:
    """dalikit's is no subclass of torch's: trainers would build it anew, without its own arguments."""
    loader: Any = make(Numbers(2))
    assert isinstance(loader, DataLoader) == make.is_torch
    assert isinstance(loader, dalikit.DataLoader) != make.is_torch
