"""Counts and sizes over a whole dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Summary", "Tally"]


@dataclass(slots=True)
class Tally:
    """What one thread has seen. Its memory depends on how many different sides there are, not on how many images."""

    num_bytes: int = 0
    largest: int = 0
    smallest: int | None = None
    heights: Counter[int] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    channels: Counter[int] = field(default_factory=Counter)

    def add_bytes(self, count: int) -> None:
        """A row of so many bytes."""
        self.num_bytes += count
        self.largest = max(self.largest, count)
        self.smallest = count if self.smallest is None else min(self.smallest, count)

    def add_image(self, codec: str, height: int, width: int, channels: int) -> None:
        """A row whose header could be parsed."""
        self.formats[codec] += 1
        self.heights[height] += 1
        self.widths[width] += 1
        self.channels[channels] += 1

    def add(self, other: Tally) -> None:
        """What another thread has seen."""
        self.num_bytes += other.num_bytes
        self.largest = max(self.largest, other.largest)
        self.smallest = min((one for one in (self.smallest, other.smallest) if one is not None), default=None)
        for name in ("heights", "widths", "formats", "channels"):
            getattr(self, name).update(getattr(other, name))


@dataclass(frozen=True, slots=True)
class Summary:
    """What `check_images` found."""

    length: int
    """Rows of the dataset."""
    checked: int
    """Rows that were looked at: fewer if it was interrupted."""
    complete: bool
    """All rows were looked at, and compared if that was wanted."""
    num_bad: int
    """Rows with at least one finding that is bad."""
    kinds: dict[str, int]
    """How many findings there are of each kind; kinds without any are left out."""
    tally: Tally
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Rows that were looked at, over the time it took."""
        return self.checked / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Numbers, strings and dicts of them: JSON-able."""
        tally = self.tally
        return {
            "length": self.length,
            "checked": self.checked,
            "complete": self.complete,
            "num_bad": self.num_bad,
            "kinds": self.kinds,
            "height": _spread(tally.heights),
            "width": _spread(tally.widths),
            "bytes": {"total": tally.num_bytes, "min": tally.smallest, "max": tally.largest or None},
            "formats": dict(tally.formats.most_common()),
            "channels": {str(number): count for number, count in sorted(tally.channels.items())},
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 1),
        }

    @classmethod
    def of(
        cls,
        tallies: Iterable[Tally],
        *,
        length: int,
        checked: int,
        complete: bool,
        num_bad: int,
        kinds: dict[str, int],
        seconds: float,
    ) -> Summary:
        """Of what all threads have seen."""
        whole = Tally()
        for tally in tallies:
            whole.add(tally)
        return cls(length, checked, complete, num_bad, kinds, whole, seconds)


def _spread(counts: Counter[int]) -> dict[str, int] | None:
    """Smallest, median (the lower of two) and largest; None if there are none."""
    half = (counts.total() + 1) // 2
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= half:
            return {"min": min(counts), "median": value, "max": max(counts)}
    return None
