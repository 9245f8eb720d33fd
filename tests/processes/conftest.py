"""What the tests of worker processes share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from worker_datasets import children, open_session

from dalikit.processes import WorkerSession


@pytest.fixture
def opened() -> Iterator[Any]:
    """Opens sessions, and closes them; no process is left."""
    made: list[WorkerSession] = []

    def make(*args: Any, **options: Any) -> WorkerSession:
        made.append(open_session(*args, **options))
        return made[-1]

    yield make
    for session in made:
        session.close()
    assert children() == []
