"""Torch-style samplers of every kind: torch's own, and what people write."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

COUNT = 23
"""Samples in the dataset."""


class Strided:
    """An iterable that is no Sampler of torch's, and has no length."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(0, COUNT, 2))


class EagerShuffle(Sampler[int]):
    """Draws from the global generator as soon as it is iterated."""

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(COUNT).tolist())

    def __len__(self) -> int:
        return COUNT


class Buckets(Sampler[list[int]]):
    """Batches of differing lengths, shuffled by a generator of its own, as soon as it is iterated."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(COUNT, generator=self.generator).tolist()
        return iter([order[:1], order[1:6], order[6:8], order[8:17], order[17:]])


class Endless:
    """Batches without end."""

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return (tuple((place + step) % COUNT for step in range(1 + place % 3)) for place in itertools.count())


class Stateful:
    """Keeps its own state, and continues where it was when it is iterated after a load."""

    def __init__(self, seed: int = 4) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._order: torch.Tensor | None = None
        self._taken = 0

    def __iter__(self) -> Iterator[int]:
        if self._order is None:
            self._order = torch.randperm(COUNT, generator=self._generator)
        while self._taken < COUNT:
            self._taken += 1
            yield int(self._order[self._taken - 1])
        self._order, self._taken = None, 0

    def __len__(self) -> int:
        return COUNT

    def state_dict(self) -> dict[str, Any]:
        return {"order": self._order, "taken": self._taken, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._order, self._taken = state["order"], state["taken"]
        self._generator.set_state(state["generator"])


class StatefulDistributed(DistributedSampler[int]):
    """Begins its next pass behind the samples that a loaded state has taken; its state stays at the end after it."""

    def __init__(self) -> None:
        super().__init__(range(COUNT), num_replicas=2, rank=0, seed=6)  # type: ignore[arg-type]
        self._taken = 0
        self._next: int | None = None

    def __iter__(self) -> Iterator[int]:
        self._taken, self._next = self._next or 0, None
        for index in itertools.islice(super().__iter__(), self._taken, None):
            self._taken += 1
            yield index

    def state_dict(self) -> dict[str, int]:
        return {"taken": self._taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._next = state["taken"]


class StatefulBatches(Sampler[list[int]]):
    """A batch sampler that keeps its own state; an iterator of itself, rewound at its end."""

    def __init__(self) -> None:
        self._batch = 0

    def __iter__(self) -> StatefulBatches:
        return self

    def __next__(self) -> list[int]:
        if self._batch == 6:
            self._batch = 0
            raise StopIteration
        self._batch += 1
        return list(range(self._batch))

    def state_dict(self) -> dict[str, int]:
        return {"batch": self._batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._batch = state["batch"]


def seeded() -> torch.Generator:
    """A generator in a known state."""
    return torch.Generator().manual_seed(21)


DETERMINISTIC: dict[str, Callable[[], dict[str, Any]]] = {
    "list": lambda: {"sampler": [5, 3, 3, 20], "batch_size": 2},
    "strided": lambda: {"sampler": Strided(), "batch_size": 5},
    "sequential": lambda: {"sampler": SequentialSampler(range(COUNT)), "batch_size": 5, "drop_last": True},
    "unbatched": lambda: {"sampler": SequentialSampler(range(COUNT)), "batch_size": None},
    "whole batches": lambda: {"sampler": BatchSampler(range(COUNT), 6, drop_last=False), "batch_size": None},
    "distributed": lambda: {"sampler": DistributedSampler(range(COUNT), 2, 1, seed=6), "batch_size": 4},  # type: ignore[arg-type]
    "batches": lambda: {"batch_sampler": [[1], [2, 3], [4, 5, 6], [0]]},
    "endless": lambda: {"batch_sampler": Endless()},
}
"""Orders that follow from the arguments alone."""

OWN_GENERATOR: dict[str, Callable[[], dict[str, Any]]] = {
    "random": lambda: {"sampler": RandomSampler(range(COUNT), generator=seeded()), "batch_size": 5},
    "random, drop_last": lambda: {**OWN_GENERATOR["random"](), "drop_last": True},
    "random, unbatched": lambda: {**OWN_GENERATOR["random"](), "batch_size": None},
    "replacement": lambda: {"sampler": RandomSampler(range(COUNT), True, 70, generator=seeded()), "batch_size": 16},
    "more than all": lambda: {"sampler": RandomSampler(range(COUNT), False, 30, generator=seeded()), "batch_size": 4},
    "subset": lambda: {"sampler": SubsetRandomSampler([3, 1, 4, 15, 9], generator=seeded()), "batch_size": 2},
    "weighted": lambda: {"sampler": WeightedRandomSampler([1.0] * COUNT, 31, generator=seeded()), "batch_size": 8},
    "batch sampler": lambda: {
        "batch_sampler": BatchSampler(RandomSampler(range(COUNT), generator=seeded()), 4, drop_last=False)
    },
    "buckets": lambda: {"batch_sampler": Buckets(seeded())},
}
"""Orders that follow from a generator of the sampler's."""

GLOBAL_GENERATOR: dict[str, Callable[[], dict[str, Any]]] = {
    "random": lambda: {"sampler": RandomSampler(range(COUNT)), "batch_size": 5},
    "random, unbatched": lambda: {"sampler": RandomSampler(range(COUNT)), "batch_size": None},
    "replacement": lambda: {"sampler": RandomSampler(range(COUNT), True, 70), "batch_size": 16},
    "subset": lambda: {"sampler": SubsetRandomSampler([3, 1, 4, 15, 9]), "batch_size": 2},
    "weighted": lambda: {"sampler": WeightedRandomSampler([1.0] * COUNT, 31), "batch_size": 8},
    "eager": lambda: {"sampler": EagerShuffle(), "batch_size": 5},
    "eager, unbatched": lambda: {"sampler": EagerShuffle(), "batch_size": None},
    "buckets": lambda: {"batch_sampler": Buckets()},
}
"""Orders that follow from torch's global generator."""

STATEFUL: dict[str, Callable[[], dict[str, Any]]] = {
    "stateful": lambda: {"sampler": Stateful(), "batch_size": 5},
    "stateful, drop_last": lambda: {"sampler": Stateful(), "batch_size": 5, "drop_last": True},
    "stateful, unbatched": lambda: {"sampler": Stateful(), "batch_size": None},
    "stateful distributed": lambda: {"sampler": StatefulDistributed(), "batch_size": 4},
    "stateful in a batch sampler": lambda: {"batch_sampler": BatchSampler(Stateful(), 7, drop_last=False)},
    "stateful batches": lambda: {"batch_sampler": StatefulBatches()},
}
"""Orders of samplers that have state_dict and load_state_dict."""
