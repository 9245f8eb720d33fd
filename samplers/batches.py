"""A stream cut into batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from samplers.arguments import whole_number

__all__ = ["BatchSpans"]


@dataclass(frozen=True)
class BatchSpans:
    """A stream of `length` samples cut into batches: batch i is `[i * batch_size, (i + 1) * batch_size)` of it.

    Args:
        length: Samples in the stream, or None where it has no end.
        batch_size: Samples in a batch, at least 1.
        drop_last: Whether a last batch of fewer samples is left out.
    """

    length: int | None
    batch_size: int
    drop_last: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for numbers that cannot be meant."""
        if self.length is not None:
            whole_number("length", self.length, 0, 2**63, "Pass len(sampler), or None for an endless one.")
        whole_number("batch_size", self.batch_size, 1, 2**31, "Pass the number of samples in a batch.")

    @property
    def count(self) -> int | None:
        """The number of batches; None where the stream has no end."""
        if self.length is None:
            return None
        return self.length // self.batch_size if self.drop_last else -(-self.length // self.batch_size)

    def span(self, number: int) -> tuple[int, int]:
        """`[start, stop)` of batch `number`; the last one may be shorter. IndexError if there is no such batch."""
        if number < 0 or (self.count is not None and number >= self.count):
            raise IndexError(f"batch {number} does not exist: there are {self.count} batches of {self.batch_size}.")
        start = number * self.batch_size
        stop = start + self.batch_size
        return start, stop if self.length is None else min(stop, self.length)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The spans of all batches in order."""
        number = 0
        while self.count is None or number < self.count:
            yield self.span(number)
            number += 1
