"""What goes to the device, and what is pinned: on a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dalikit import DataLoader


class Batch:
    """A custom type."""

    def __init__(self, samples: list[Any]) -> None:
        self.values = torch.tensor(samples)
        self.pinned = False

    def pin_memory(self) -> Batch:
        """As torch's own data loader calls it."""
        self.pinned = True
        return self


@pytest.mark.gpu
@pytest.mark.parametrize("num_workers", [0, 2])
def test_tensors_go_to_the_device(num_workers: int) -> None:
    """In containers of any kind."""
    dataset = [{"a": torch.ones(2), "b": (1, "text")}] * 4
    with DataLoader(dataset, batch_size=2, device="cuda", num_workers=num_workers) as loader:
        batch = next(iter(loader))
    assert batch["a"].device.type == "cuda"
    assert batch["b"][0].device.type == "cuda"
    assert list(batch["b"][1]) == ["text", "text"]


@pytest.mark.gpu
def test_custom_types_are_pinned_by_their_own_method() -> None:
    """If that is wanted, and the loader leaves them on the CPU."""
    for pin_memory in (False, True):
        with DataLoader([1, 2], batch_size=2, device="cpu", collate_fn=Batch, pin_memory=pin_memory) as loader:
            assert next(iter(loader)).pinned is pin_memory


@pytest.mark.gpu
def test_tensors_that_stay_on_the_cpu_are_pinned() -> None:
    """With device="cpu" beside a GPU."""
    with DataLoader([1, 2], batch_size=2, device="cpu", pin_memory=True) as loader:
        assert next(iter(loader)).is_pinned()


def test_containers_keep_their_type() -> None:
    """Those that cannot be made anew become plain ones."""
    from dalikit.collate import _map_tensors

    class Pair(list[Any]):
        def __init__(self, first: Any, second: Any) -> None:
            super().__init__([first, second])

    value = {"list": [torch.ones(1)], "pair": Pair(torch.ones(1), 2), "text": "x", "other": Batch([1])}
    mapped = _map_tensors(value, lambda tensor: tensor + 1, "pin_memory")
    assert mapped["list"][0].item() == 2
    assert type(mapped["pair"]) is list
    assert mapped["pair"][0].item() == 2
    assert mapped["text"] == "x"
    assert mapped["other"].pinned
