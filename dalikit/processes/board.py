"""A few numbers in shared memory: what the loader's process and its worker processes tell each other at once."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["Board"]

_NOTHING = -1
_STARTING = -2
_ALL = 2**62  # no pass has such a number


class Board:
    """Which passes still count, and what each worker process has in hand.

    Each number has one writer, or only grows, and is one machine word: no locks, so that a signal handler or a
    finaliser may write, and a process that is killed holds up nobody.

    Args:
        num_workers: how many there are.
    """

    def __init__(self, num_workers: int) -> None:
        # int64 (1 + num_workers,): the oldest pass that counts, then for each worker the number of its ticket.
        self._memory = torch.zeros(1 + num_workers, dtype=torch.int64)
        self._memory.share_memory_()  # type: ignore[no-untyped-call]
        self._numbers = self._memory.numpy()
        self._numbers[1:] = _STARTING

    def __getstate__(self) -> Any:
        """The memory itself is shared."""
        return self._memory

    def __setstate__(self, memory: Any) -> None:
        self._memory = memory
        self._numbers = memory.numpy()

    def retire(self, tag: int | None = None) -> None:
        """Batches of this pass, and of those before it, are no longer wanted; None: of no pass at all."""
        self._numbers[0] = max(int(self._numbers[0]), _ALL if tag is None else tag + 1)

    def counts(self, tag: int) -> bool:
        """Whether a pass's batches are still wanted."""
        return tag >= int(self._numbers[0])

    def take(self, worker_id: int, number: int) -> None:
        """A worker begins with a ticket."""
        self._numbers[1 + worker_id] = number

    def put_down(self, worker_id: int) -> None:
        """It has done with it, or with starting."""
        self._numbers[1 + worker_id] = _NOTHING

    def in_hand(self, worker_id: int) -> int | None:
        """The number of the ticket that a worker is, or was when it died, at work on."""
        number = int(self._numbers[1 + worker_id])
        return number if number >= 0 else None

    def is_starting(self, worker_id: int) -> bool:
        """Whether a worker has not come to its first ticket yet."""
        return int(self._numbers[1 + worker_id]) == _STARTING

    def is_idle(self, worker_id: int) -> bool:
        """Whether a worker waits for a ticket."""
        return int(self._numbers[1 + worker_id]) == _NOTHING
