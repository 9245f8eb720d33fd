"""Ranges that lie close together are read in one request, and every row gets its own bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalikit.errors import ArgumentError
from dalikit.storage import Location
from dalikit.storage.spans import MAX_GAP, MAX_SPAN, Span, plan_spans, split_span

OBJECTS = {uri: np.random.default_rng(seed).bytes(600) for seed, uri in enumerate(("s3://b/0.tar", "s3://b/1.tar"))}

LOCATIONS = st.lists(
    st.builds(
        Location,
        st.sampled_from(sorted(OBJECTS)),
        st.integers(0, 500),
        st.one_of(st.none(), st.integers(1, 100)),
    ),
    max_size=40,
)


def read_span(span: Span) -> np.ndarray:
    """What a store would answer."""
    stop = None if span.size is None else span.offset + span.size
    return np.frombuffer(OBJECTS[span.uri][span.offset : stop], dtype=np.uint8)


def test_near_ranges_are_joined() -> None:
    """Whatever their order in the batch, and if the bytes between are no more than the gap."""
    locations = [Location("a", 100, 50), Location("a", 300, 10), Location("a", 0, 90), Location("b", 150, 10)]
    assert plan_spans(locations, gap=10, max_size=1000) == [
        Span("a", 0, 150, [2, 0]),
        Span("a", 300, 10, [1]),
        Span("b", 150, 10, [3]),
    ]


def test_a_gap_one_byte_larger_is_not_read() -> None:
    """The limit is inclusive."""
    locations = [Location("a", 0, 10), Location("a", 20, 10)]
    assert len(plan_spans(locations, gap=10)) == 1
    assert len(plan_spans(locations, gap=9)) == 2


def test_a_span_has_a_largest_size() -> None:
    """But a range that is larger is still read, in one request of its own."""
    locations = [Location("a", 0, 60), Location("a", 60, 40), Location("a", 100, 1), Location("a", 101, 500)]
    sizes = [span.size for span in plan_spans(locations, max_size=100)]
    assert sizes == [100, 1, 500]


def test_equal_and_overlapping_ranges_are_read_once() -> None:
    """A sampler may draw a row twice; a range inside a large one costs nothing."""
    locations = [Location("a", 0, 500), Location("a", 0, 500), Location("a", 10, 20), Location("a", 490, 10)]
    assert plan_spans(locations, max_size=100) == [Span("a", 0, 500, [0, 1, 2, 3])]


def test_a_whole_object_stays_alone() -> None:
    """Its size is not known."""
    locations = [Location("a"), Location("a", 0, 10), Location("a", 10, None)]
    assert plan_spans(locations) == [Span("a", 0, None, [0]), Span("a", 0, 10, [1]), Span("a", 10, None, [2])]


def test_what_cannot_be_meant_stays_alone() -> None:
    """So that its error is nobody else's."""
    locations = [Location("a", 0, 10), Location("a", 5, 0), Location("a", -5, 10), Location("a", 10, 10)]
    assert [span.rows for span in plan_spans(locations)] == [[0, 3], [1], [2]]


def test_no_rows_need_no_request() -> None:
    """An empty batch is empty."""
    assert plan_spans([]) == []


@given(LOCATIONS, st.integers(0, 50), st.integers(1, 300))
def test_every_row_gets_its_bytes(locations: list[Location], gap: int, max_size: int) -> None:
    """Each exactly once, whatever was joined, and without a copy."""
    spans = plan_spans(locations, gap=gap, max_size=max_size)
    seen = []
    for span in spans:
        data = read_span(span)
        for row, view in split_span(span, locations, data):
            uri, offset, size, _ = locations[row]
            stop = None if size is None else offset + size
            assert view.tobytes() == OBJECTS[uri][offset:stop]
            assert np.shares_memory(view, data)
            seen.append(row)
    assert sorted(seen) == list(range(len(locations)))


@given(LOCATIONS, st.integers(0, 50), st.integers(1, 300))
def test_spans_keep_the_limits(locations: list[Location], gap: int, max_size: int) -> None:
    """No span is larger than the limit, unless one row alone is; none reads more than `gap` bytes for nobody."""
    spans = plan_spans(locations, gap=gap, max_size=max_size)
    assert [min(span.rows) for span in spans] == sorted(min(span.rows) for span in spans)
    for span in spans:
        if span.size is None:
            assert len(span.rows) == 1
            continue
        ranges = sorted((locations[row].offset, locations[row].size or 0) for row in span.rows)
        assert span.offset == ranges[0][0]
        assert span.size == max(offset + size for offset, size in ranges) - span.offset
        assert span.size <= max(max_size, *(size for _, size in ranges))
        reached = span.offset
        for offset, size in ranges:
            assert offset - reached <= gap
            reached = max(reached, offset + size)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 10**6)), min_size=1, max_size=40))
def test_the_defaults_bound_memory(ranges: list[tuple[int, int]]) -> None:
    """A shuffled batch of one large shard: never a request of more than 8 MiB."""
    spans = plan_spans([Location("a", offset, size) for offset, size in ranges])
    assert max(span.size or 0 for span in spans) <= MAX_SPAN
    assert MAX_GAP < MAX_SPAN


@pytest.mark.parametrize(
    ("gap", "max_size", "message"),
    [(-1, 10, "gap must not be negative, got -1"), (0, 0, "max_size must be at least 1 byte, got 0")],
)
def test_limits_that_cannot_be_meant(gap: int, max_size: int, message: str) -> None:
    """Are named."""
    with pytest.raises(ArgumentError, match=message):
        plan_spans([], gap=gap, max_size=max_size)
