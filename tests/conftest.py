"""What all tests share: real photographs, the GPU's marker, and global random state put back."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from dalikit.cli.photographs import make_photographs

pytest.register_assert_rewrite("executor_contract", "augmentation_contract", "decoded_contract")

ALL = os.environ.get("DALIKIT_TEST_ALL") == "1"
"""Set by `make test-all`."""

# No deadline: machines are shared, and no test is about time.
settings.register_profile("dalikit", deadline=None, max_examples=1000 if ALL else 100)
settings.load_profile("dalikit")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what is `slow`, but in `make test-all`, and what needs a GPU, unless one has to be there."""
    if item.get_closest_marker("slow") is not None and not ALL:
        pytest.skip("slow: make test-all runs it")
    if item.get_closest_marker("gpu") is None or torch.cuda.is_available():
        return
    if os.environ.get("DALIKIT_REQUIRE_GPU") == "1":
        pytest.fail("DALIKIT_REQUIRE_GPU=1, but torch finds no GPU", pytrace=False)
    pytest.skip("needs an NVIDIA GPU")


@pytest.fixture(autouse=True)
def _restore_random_state() -> Iterator[None]:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.fixture(scope="session")
def photograph_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one folder a class, which hold 12 photographs of ImageNet's sizes, two of them gray."""
    return make_photographs(tmp_path_factory.mktemp("photographs"), 12)


@pytest.fixture(scope="session")
def photographs(photograph_root: Path) -> list[Path]:
    """The 12 files."""
    return sorted(photograph_root.rglob("*.jpg"))
