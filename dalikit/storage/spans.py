"""Few large requests instead of many small ones: ranges of one object that lie close together are read as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError
from dalikit.storage.information import ObjectInfo
from dalikit.storage.location import Location

__all__ = ["MAX_GAP", "MAX_SPAN", "Span", "plan_spans", "split_span"]

MAX_GAP = 256 << 10
"""256 KiB between two ranges are read and thrown away rather than asked around. A request waits 20 to 50 ms for its
first byte and then gets 50 to 100 MB/s, so alone it would pay to read over 2 MB; but with 16 and more in flight the
others use the time, and what is thrown away takes their bandwidth: an eighth of that."""

MAX_SPAN = 8 << 20
"""8 MiB take 0.1 s of such a connection, several times the wait for the first byte: longer requests hardly gain
anything, and 16 in flight hold 128 MiB."""


class Span(NamedTuple):
    """One request: the byte range [offset, offset + size) of an object, and whose bytes it holds."""

    uri: str
    offset: int
    size: int | None
    """None: to the end of the object."""
    rows: list[int]
    """Places in the list of locations, in the order in which their ranges begin."""
    version: ObjectInfo | None = None
    """Of all of them: what the object has to be."""


def plan_spans(locations: Sequence[Location], *, gap: int = MAX_GAP, max_size: int = MAX_SPAN) -> list[Span]:
    """Joins the ranges of a batch into requests. A span that cannot be read says nothing of its single rows.

        ranges      [ 3 ]   [ 0 ]        gap > limit        [  1  ]
        spans       [    rows 3, 0    ]                     [ row 1 ]

    Overlapping and equal ranges are joined, too: a row that is there twice is read once. What has to be of different
    versions is not joined.

    Args:
        locations: what the rows need. One without a size (a whole object) stays alone.
        gap: ranges of one object that lie at most this many bytes apart are joined.
        max_size: but only as long as the span has at most this many bytes. A larger range is a span of its own.

    Returns:
        Spans in the order of their smallest row: what is needed first is asked for first. Every row is in exactly one.

    Raises:
        ArgumentError: `gap` is negative, or `max_size` is smaller than 1.
    """
    if gap < 0:
        raise ArgumentError(f"gap must not be negative, got {gap}")
    if max_size < 1:
        raise ArgumentError(f"max_size must be at least 1 byte, got {max_size}")
    spans: list[Span] = []
    objects: dict[tuple[str, ObjectInfo | None], int] = {}
    ranges: list[tuple[int, int, int, int]] = []  # (object, first byte, byte after the last, row)
    for row, (uri, offset, size, version) in enumerate(locations):
        if size is None or size <= 0 or offset < 0:  # the last two are refused when they are read, without company
            spans.append(Span(uri, offset, size, [row], version))
        else:
            ranges.append((objects.setdefault((uri, version), len(objects)), offset, offset + size, row))
    ranges.sort(key=lambda found: (found[0], found[1], -found[2], found[3]))  # what holds another comes before it
    number, start, stop, rows = -1, 0, 0, list[int]()
    for next_number, next_start, next_stop, row in ranges:
        joined = max(stop, next_stop)
        near = next_number == number and next_start <= stop + gap
        if rows and near and (joined == stop or joined - start <= max_size):
            stop = joined
            rows.append(row)
            continue
        if rows:
            spans.append(_span(locations, start, stop, rows))
        number, start, stop, rows = next_number, next_start, next_stop, [row]
    if rows:
        spans.append(_span(locations, start, stop, rows))
    spans.sort(key=lambda span: min(span.rows))
    return spans


def _span(locations: Sequence[Location], start: int, stop: int, rows: list[int]) -> Span:
    """Of rows of one object."""
    first = locations[rows[0]]
    return Span(first.uri, start, stop - start, rows, first.version)


def split_span(
    span: Span, locations: Sequence[Location], data: npt.NDArray[np.uint8]
) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    """Gives every row of a span its bytes.

    Args:
        span: from `plan_spans`.
        locations: what it was planned from.
        data: uint8 (size,), the span's bytes.

    Returns:
        (row, uint8 (size,)) for every row of the span. Views: `data` lives as long as any of them.
    """
    if span.size is None:
        return [(row, data) for row in span.rows]
    slices = []
    for row in span.rows:
        _, offset, size, _ = locations[row]
        start = offset - span.offset
        slices.append((row, data[start : start + (size or 0)]))
    return slices
