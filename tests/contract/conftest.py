"""The loader under test: torch's, which is what is right, or dalikit's."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("contract_compare", "contract_loader")

from contract_loader import Make, wait_for_no_children  # noqa: E402

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two warnings are none of this suite's: of few cores, and (Python 3.12 on) of forking beside threads."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"))


@pytest.fixture(params=["torch", "dalikit"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes loaders of one kind; at the end they are closed, and no worker process may be left."""
    made = Make(request.param)
    yield made
    made.close()
    if wait_for_no_children(seconds=0.2):
        gc.collect()  # torch's iterators end their workers when they are collected
    assert wait_for_no_children(seconds=10) == []
