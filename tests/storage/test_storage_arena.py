"""Arenas hand out memory that nobody else has, and keep it for the next batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalikit.errors import ArgumentError, InternalError
from dalikit.storage import Arena, ArenaPool


def span(view):
    start = view.__array_interface__["data"][0]
    return start, start + len(view)


def assert_disjoint(views):
    spans = sorted(span(view) for view in views if len(view))
    assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))


class TestArena:
    def test_a_view_is_contiguous_bytes_of_the_size_asked_for(self):
        view = Arena().allocate(1000)
        assert (view.shape, view.dtype, view.flags.c_contiguous, view.flags.writeable) == (
            (1000,),
            np.uint8,
            True,
            True,
        )

    @given(
        sizes=st.lists(st.integers(0, 5000), max_size=40), chunk_size=st.integers(1, 2000), batches=st.integers(1, 3)
    )
    def test_views_of_a_batch_never_overlap(self, sizes, chunk_size, batches):
        arena = Arena(chunk_size)
        for batch in range(batches):
            views = [arena.allocate(size) for size in (sizes if batch % 2 else sizes[::-1])]
            assert sorted(map(len, views)) == sorted(sizes)
            assert_disjoint(views)
            arena.reset()

    def test_bytes_written_to_views_stay_as_they_are(self):
        arena = Arena(chunk_size=256)
        views = [arena.allocate(size) for size in range(1, 200)]
        for number, view in enumerate(views):
            view[:] = number
        assert all((view == number).all() for number, view in enumerate(views))

    def test_the_next_batch_gets_the_same_memory(self):
        arena = Arena(chunk_size=1000)
        sizes = [300] * 20 + [5000]
        before = {span(arena.allocate(size)) for size in sizes}
        capacity = arena.capacity
        arena.reset()
        assert {span(arena.allocate(size)) for size in sizes} == before
        assert arena.capacity == capacity

    def test_a_fresh_arena_holds_nothing(self):
        assert Arena().capacity == 0

    def test_a_huge_piece_has_a_chunk_of_its_own_and_the_current_one_is_filled_further(self):
        arena = Arena(chunk_size=1000)
        first, huge, second = arena.allocate(10), arena.allocate(10_500), arena.allocate(10)
        assert span(second)[0] - span(first)[0] == 64
        assert len(huge) == 10_500
        assert arena.capacity == 1000 + 11_000

    def test_a_huge_chunk_is_dropped_once_a_batch_did_not_need_it(self):
        arena = Arena(chunk_size=1000)
        arena.allocate(10_500)
        arena.allocate(10)
        arena.reset()
        assert arena.capacity == 12_000  # the batch before it needed it
        arena.allocate(10)
        arena.reset()
        assert arena.capacity == 1000

    def test_views_start_on_cache_lines_of_their_own(self):
        arena = Arena(chunk_size=4096)
        starts = [span(arena.allocate(size))[0] for size in (1, 63, 64, 65, 100)]
        assert np.diff(starts).tolist() == [64, 64, 64, 128]

    def test_zero_bytes_can_be_had(self):
        assert Arena().allocate(0).shape == (0,)

    def test_threads_get_disjoint_views(self):
        arena = Arena(chunk_size=10_000)

        def fill(number):
            views = [arena.allocate(1 + (number * 37 + step) % 900) for step in range(300)]
            for view in views:
                view[:] = number
            return views

        with ThreadPoolExecutor(8) as threads:
            views = list(threads.map(fill, range(8)))
        assert_disjoint([view for mine in views for view in mine])
        assert all((view == number).all() for number, mine in enumerate(views) for view in mine)

    def test_errors_name_the_argument(self):
        with pytest.raises(ArgumentError, match="chunk_size must be at least 1 byte, got 0"):
            Arena(0)
        with pytest.raises(ArgumentError, match="size must not be negative, got -1"):
            Arena().allocate(-1)

    def test_memory_that_there_is_not_is_a_memory_error_and_harms_nothing(self):
        arena = Arena()
        with pytest.raises(MemoryError):
            arena.allocate(1 << 60)
        assert len(arena.allocate(10)) == 10


class TestArenaPool:
    def test_a_returned_arena_is_lent_again_the_last_one_first(self):
        pool = ArenaPool(max_idle=2)
        first, second = pool.acquire(), pool.acquire()
        assert first is not second
        pool.release(first)
        pool.release(second)
        assert pool.acquire() is second
        assert pool.acquire() is first

    def test_a_returned_arena_is_empty_and_keeps_its_memory(self):
        pool = ArenaPool(chunk_size=1000)
        arena = pool.acquire()
        start = span(arena.allocate(500))
        pool.release(arena)
        assert span(pool.acquire().allocate(500)) == start

    @pytest.mark.parametrize("max_idle", [0, 1, 3])
    def test_at_most_so_many_wait(self, max_idle):
        pool = ArenaPool(max_idle)
        for arena in [pool.acquire() for _ in range(5)]:
            pool.release(arena)
        assert pool.num_idle == max_idle

    def test_released_twice_is_an_error(self):
        pool = ArenaPool()
        arena = pool.acquire()
        pool.release(arena)
        with pytest.raises(InternalError, match="arena was released twice"):
            pool.release(arena)

    def test_errors_name_the_argument(self):
        with pytest.raises(ArgumentError, match="max_idle must not be negative, got -1"):
            ArenaPool(-1)
        with pytest.raises(ArgumentError, match="chunk_size must be at least 1 byte, got -5"):
            ArenaPool(chunk_size=-5)

    def test_threads_never_share_an_arena(self):
        pool = ArenaPool(max_idle=3, chunk_size=1000)

        def batches(number):
            for _ in range(200):
                arena = pool.acquire()
                view = arena.allocate(100)
                view[:] = number
                if not (view == number).all():
                    return False
                pool.release(arena)
            return True

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(batches, range(8)))
        assert pool.num_idle <= 3
