"""One comparison of what the ranks load, in the key-value store of their process group."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Protocol

from dalikit.agreement.differences import describe_differences, describe_ranks

__all__ = ["Comparison", "Store", "pauses"]

_PAUSES = 0.001, 0.25  # seconds between two looks into the store: the first, and the longest
_TEXT_WITHIN = 30.0  # seconds in which the rank that reads all records has told the others what it found
_SEALED_WITHIN = 1.0  # seconds in which a rank that is about to seal a comparison has done so: it takes a millisecond
_MISSING_SHOWN = 4


class Store(Protocol):
    """What is used of torch.distributed's Store, which all of its kinds have. Values are read as bytes."""

    def set(self, key: str, value: str, /) -> None:
        """Writes a value."""

    def get(self, key: str, /) -> bytes:
        """A value that is there."""

    def add(self, key: str, amount: int, /) -> int:
        """Adds to a number, which begins at 0, at once for all ranks; returns the sum."""

    def check(self, keys: list[str], /) -> bool:
        """Whether all are there."""

    def delete_key(self, key: str, /) -> bool:
        """Takes a value away."""

    def multi_get(self, keys: list[str], /) -> list[bytes]:
        """Values that are there."""


class Comparison:
    """One comparison, in the store: what each rank loads, how many load what, and how many have come.

    Args:
        store: of the process group.
        ordinal: number of the loader.
        number: of the comparison, for this loader.
        rank: this rank.
        world_size: how many have to come.
    """

    def __init__(self, store: Store, ordinal: int, number: int, rank: int, world_size: int) -> None:
        self._store = store
        self._prefix = f"dalikit/{ordinal}/{number}"
        self._ordinal = ordinal
        self._rank = rank
        self._world_size = world_size
        self._digest = ""
        self._away = False  # it had come, and has left

    def enter(self, record: str) -> None:
        """Tells what this rank loads, and that it has come."""
        self._digest = self._key("digest/" + hashlib.sha256(record.encode()).hexdigest())
        self._store.set(self._key(self._rank), record)
        self._store.add(self._digest, 1)
        if self._away:
            self._away = False
            last = self._add("away", -1) == 0 and self._add("came", 0) == self._world_size
        else:
            last = self._add("came", 1) == self._world_size
        if last:
            self._seal()

    def leave(self) -> bool:
        """Undoes that; False: it is too late, all have come.

        A rank says that it is away, and then looks whether another one is about to seal; that one says so, and then
        looks whether a rank is away. So one of the two sees the other, at least, and yields.
        """
        self._away = True
        self._add("away", 1)
        for pause in pauses(_SEALED_WITHIN):
            if self._add("sealing", 0) == 0:
                break
            time.sleep(pause)
        if self.complete():
            return False
        self._store.add(self._digest, -1)
        self._store.delete_key(self._key(self._rank))
        return True

    def _seal(self) -> None:
        """All have come: from now on no rank leaves. Unless one has just left, which will seal when it comes back."""
        self._add("sealing", 1)
        if self._add("away", 0) == 0:
            self._store.set(self._key("all"), "")
        self._add("sealing", -1)

    def complete(self) -> bool:
        """Whether all ranks have come."""
        return bool(self._store.check([self._key("all")]))

    def verdict(self) -> str:
        """What the ranks differ in; empty: in nothing. When all have come."""
        if self._store.add(self._digest, 0) == self._world_size:
            return ""
        if self._add("readers", 1) > 1:
            for pause in pauses(_TEXT_WITHIN):
                if self._store.check([self._key("text")]):
                    return self._store.get(self._key("text")).decode()
                time.sleep(pause)
        records = self._store.multi_get([self._key(rank) for rank in range(self._world_size)])
        text = describe_differences([record.decode() for record in records], self._ordinal + 1)
        self._store.set(self._key("text"), text)
        return text

    def missing(self) -> str:
        """Ranks that have not come, in words; found by halves, so that one of thousands costs a few operations."""
        count = self._world_size - self._add("came", 0) + self._add("away", 0)
        found: list[int] = []
        parts = [(0, self._world_size)]
        while parts and len(found) < min(count, _MISSING_SHOWN):
            start, stop = parts.pop()
            if self._store.check([self._key(rank) for rank in range(start, stop)]):
                continue
            if stop - start == 1:
                found.append(start)
                continue
            middle = (start + stop) // 2
            parts += [(middle, stop), (start, middle)]
        if not found:
            return "ranks that have just come"
        shown = describe_ranks(found)
        return shown if len(found) >= count else f"{count} ranks ({shown} among them)"

    def _add(self, name: str, amount: int) -> int:
        return self._store.add(self._key(name), amount)

    def _key(self, name: str | int) -> str:
        return f"{self._prefix}/{name}"


def pauses(seconds: float | None = None) -> Iterator[float]:
    """Longer and longer ones; None: without end."""
    pause, longest = _PAUSES
    stop = None if seconds is None else time.monotonic() + seconds
    while stop is None or time.monotonic() < stop:
        yield pause
        pause = min(pause * 1.5, longest)
