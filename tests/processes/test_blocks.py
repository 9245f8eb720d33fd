"""Shared memory that is used again: never while somebody reads it, and never more of it than is needed."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from left_over import assert_no_more
from torch.utils.data import IterableDataset
from worker_datasets import children, open_session, requests, streamed

from dalikit.fetch.batch import ImageBatch
from dalikit.processes.blocks import Block, BlockPool, KnownBlocks, Lease


class Large:
    """Rows of 20,000 bytes and more, which grow from batch to batch if they are to."""

    def __init__(self, growth: int = 0) -> None:
        self.growth = growth

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, index: int) -> Any:
        return np.full(20_000 + index * self.growth, index % 256, dtype=np.uint8).tobytes(), index


def test_a_block_is_used_again_when_it_is_free() -> None:
    """And only then; one that is too small is replaced."""
    pool, known = BlockPool(), KnownBlocks()
    first = pool.take(1000)
    lease = known.open(0, pool.refer(first))
    assert pool.take(1000) is not first
    del lease
    assert pool.take(1000) is first
    first.give_back()
    larger = pool.take(5 << 20)
    assert len(larger.memory) >= 5 << 20
    assert pool.refer(larger).dropped == (first.number,)
    assert pool.refer(larger).dropped == ()


def test_a_block_is_sent_once() -> None:
    """Then its number is enough."""
    pool, known = BlockPool(), KnownBlocks()
    block = pool.take(10)
    reference = pool.refer(block)
    assert reference.tensor is not None
    known.open(3, reference)
    assert pool.refer(pool.take(10)).tensor is None


def test_a_reference_that_never_arrived_is_sent_again() -> None:
    """As nobody said that it is known."""
    pool = BlockPool()
    block = pool.take(10)
    assert pool.refer(block).tensor is not None
    block.give_back()
    assert pool.take(10) is block
    assert pool.refer(block).tensor is not None


def test_the_header_is_not_the_images() -> None:
    """What says that a block is free lies before them, on a cache line of its own."""
    block = Block(0, 64)
    block.memory[:] = 255
    block.take()
    lease = Lease(block.tensor)
    assert (lease.memory == 255).all()
    assert not block.is_free
    del lease
    assert block.is_free
    assert block.is_known


def read(session: Any, count: int, keep: int) -> int:
    """Takes batches, holds the last few, and looks whether those it holds are what they were. Gives their number."""
    feed = session.begin(requests(count, size=4), 0)
    held: list[ImageBatch] = []
    taken = 0
    while (batch := feed.next()) is not None:
        taken += 1
        held = [*held[-keep:], batch] if keep else [batch]
        for each in held:
            assert [int(data[0]) for data in each.data] == [int(index) % 256 for index in each.indices]
            assert all((data == data[0]).all() for data in each.data)
    return taken


def test_what_is_held_is_not_written_over() -> None:
    """Whatever is read meanwhile."""
    for keep in (0, 1, 7):
        session = open_session(Large(), encoded=True)
        try:
            assert read(session, 40, keep) == 40
        finally:
            session.close()


def test_memory_and_files_stay_few() -> None:
    """However many batches; and where they grow, old blocks are let go."""
    process = psutil.Process()
    for growth, most in ((0, 12), (500, 24)):
        session = open_session(Large(growth), encoded=True, persistent=True)
        try:
            read(session, 10, 0)
            before = process.num_fds()
            read(session, 150, 0)
            gc.collect()
            serving = session._serving
            assert serving is not None
            assert len(serving._blocks._tensors) <= most
            assert_no_more(lambda: [process.num_fds()], [before + 4])
        finally:
            session.close()


def _refuse() -> None:
    raise OSError("not in this process")


class Refusing:
    """Can be sent, but not received."""

    def __deepcopy__(self, memo: Any) -> Refusing:
        return self

    def __reduce__(self) -> Any:
        return _refuse, ()


class LargeStream(IterableDataset[Any]):
    """Images with a state that cannot be received."""

    def __iter__(self) -> Iterator[Any]:
        yield from (Large()[index] for index in range(40))

    def state_dict(self) -> Any:
        """After each batch."""
        return Refusing()

    def load_state_dict(self, state: Any) -> None:
        """Never comes to that."""


def test_batches_that_cannot_be_received_give_their_blocks_back() -> None:
    """Each is told, and the next one comes."""
    session = open_session(LargeStream(), encoded=True, persistent=True, num_workers=1)
    try:
        feed = session.begin(streamed(), 0)
        early = 0
        for number in range(40):
            with pytest.raises(RuntimeError, match="cannot be unpickled in the loader's process: OSError"):
                feed.next(60)
            if number == 8:
                early = children()[0].num_fds()
        assert feed.next(60) is None
        assert_no_more(lambda: [children()[0].num_fds()], [early + 2])
    finally:
        session.close()


def test_batches_that_nobody_wants_any_more_give_their_blocks_back() -> None:
    """Of passes that were cut short."""
    session = open_session(Large(), encoded=True, persistent=True)
    try:
        for passes in range(20):
            feed = session.begin(requests(30, size=4), passes)
            for _ in range(3):
                feed.next()
            feed.stop()
        serving = session._serving
        assert serving is not None
        assert len(serving._blocks._tensors) <= 14
    finally:
        session.close()


FILES = """
from pathlib import Path
from torch.multiprocessing import set_sharing_strategy
from test_blocks import Large
from worker_datasets import drain, open_session, requests

set_sharing_strategy("file_system")
session = open_session(Large(), encoded=True)
feed = session.begin(requests(12, size=4), 0)
pids = session._serving._processes.pids
batches = drain(feed)
before = [path for pid in pids for path in Path("/dev/shm").glob(f"torch_{pid}_*")]
print(len(batches), len(before) > 0)
del batches, feed, session
print([path for path in before if path.exists()])
"""


def test_blocks_that_are_files_go_with_their_workers() -> None:
    """As they do with torch's other sharing strategy."""
    result = subprocess.run(
        [sys.executable, "-c", FILES],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2]))},
    )
    assert result.stdout == "12 True\n[]\n", result.stderr
