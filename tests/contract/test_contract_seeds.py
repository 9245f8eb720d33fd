"""Contract: random numbers that datasets draw.

dalikit's are not torch's: it seeds every item from (seed, position). What has to be so of both is here.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from contract_datasets import Made, draws_of
from contract_loader import Make
from torch.utils.data import IterableDataset

SETTINGS: list[dict[str, Any]] = [{}, {"num_workers": 2}, {"num_workers": 3, "persistent_workers": True}]


def drawn(loader: Any) -> list[float]:
    """All draws of one pass."""
    return [draw for draws in loader for draw in draws]


class DrawingStream(IterableDataset[Any]):
    """Four items, each a draw of every generator."""

    def __iter__(self) -> Any:
        return (draws_of(index) for index in range(4))


@pytest.mark.parametrize("named", SETTINGS, ids=str)
def test_every_draw_differs(make: Make, named: dict[str, Any]) -> None:
    """From item to item, worker to worker, generator to generator and pass to pass."""
    loader = make(Made(12, draws_of), batch_size=None, **named)
    draws = drawn(loader) + drawn(loader)
    assert len(draws) == len(set(draws)) == 72


@pytest.mark.parametrize("named", SETTINGS[1:], ids=str)
def test_draws_repeat_with_the_global_seed(make: Make, named: dict[str, Any]) -> None:
    """torch.manual_seed decides everything in workers."""
    found = []
    for _ in range(2):
        torch.manual_seed(12)
        loader = make(Made(8, draws_of), batch_size=None, **named)
        found.append(drawn(loader) + drawn(loader))
    torch.manual_seed(13)
    assert found[0] == found[1] != drawn(make(Made(8, draws_of), batch_size=None, **named))


def test_draws_repeat_without_workers(make: Make) -> None:
    """torch.manual_seed decides torch's draws in the user's process."""
    found = []
    for _ in range(2):
        torch.manual_seed(12)
        found.append([draws[2] for draws in make(Made(8, draws_of), batch_size=None)])
    assert found[0] == found[1]


def test_draws_follow_a_generator(make: Make) -> None:
    """`generator=` decides, if given, whatever the global one's state is."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(5)
        found.append(drawn(make(Made(8, draws_of), batch_size=None, num_workers=2, generator=generator)))
    assert found[0] == found[1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_draws_of_a_stream_differ(make: Make, num_workers: int) -> None:
    """Also where every worker reads the same stream."""
    loader = make(DrawingStream(), batch_size=None, num_workers=num_workers)
    draws = drawn(loader) + drawn(loader)
    assert len(set(draws)) == len(draws) == 24 * max(1, num_workers)


def test_draws_of_a_batch_read_at_once_differ(make: Make) -> None:
    """`__getitems__` may draw too."""

    class Batches(Made):
        def __getitems__(self, indices: list[int]) -> list[Any]:
            return [draws_of(index) for index in indices]

    loader = make(Batches(8, draws_of), batch_size=2, collate_fn=list)
    draws = [draw for batch in loader for draws in batch for draw in draws]
    assert len(set(draws)) == len(draws) == 24


def test_workers_leave_the_users_generators_alone(make: Make) -> None:
    """Beside the seed that is taken when a loader or a pass begins, nothing is drawn here."""
    torch.manual_seed(3)
    loader = make(Made(8, draws_of), batch_size=None, num_workers=1)
    batches = iter(loader)
    before = draws_of(0)
    torch.manual_seed(3)
    loader = make(Made(8, draws_of), batch_size=None, num_workers=1)
    batches = iter(loader)
    list(batches)
    assert draws_of(0)[2] == before[2]
