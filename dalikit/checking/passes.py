"""Drives a check: threads that judge rows, block by block; then those that a second look is needed for."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.checking.duplicates import candidates, digest_of, pairs
from dalikit.checking.findings import Finding
from dalikit.checking.judge import Bench, Judge, read_row
from dalikit.checking.limits import Limits
from dalikit.checking.native_messages import NativeMessages
from dalikit.checking.report import ReportWriter
from dalikit.checking.summary import Summary
from dalikit.datasets.base import declares_images
from dalikit.distributed import default_num_threads
from dalikit.errors import ArgumentError
from dalikit.workers import Job, WorkerPool

__all__ = ["Advance", "check_images"]

Advance = Callable[[str, int], None]
"""Is told what is being done, and how many rows more of it are done."""

_BLOCK = 64  # rows a thread: a tenth of a second's work, so that the report and the bar follow closely
_AHEAD = 2  # blocks under way: no thread waits for the slowest row of a block
_LAST_WORDS = 0.5  # seconds that rows at hand have to end after a Ctrl-C


def check_images(
    dataset: Any,
    report: ReportWriter,
    limits: Limits | None = None,
    *,
    num_threads: int | None = None,
    messages: NativeMessages | None = None,
    advance: Advance | None = None,
) -> Summary:
    """Reads and decodes every image of a dataset, and reports what is broken or odd.

    Memory does not grow with the dataset but for what looking for duplicates takes (see Limits), and a bit a row.

    Args:
        dataset: of encoded images: `get_image_data`, `get_target` and `len`.
        report: gets the findings; it is finished here.
        limits: what counts as tiny, huge and bad. None: the defaults.
        num_threads: that read and decode; None: this process's share of the cores.
        messages: open; where decoders complain, so that damaged images are found. None: they are not.
        advance: is told about progress, on the calling thread.

    Raises:
        ArgumentError: the dataset has no encoded images.
        KeyboardInterrupt: Ctrl-C. The report says how far the check has come; it does not get its name (see there).
    """
    if not declares_images(dataset):
        raise ArgumentError(
            f"dataset {type(dataset).__name__} cannot be checked: it has no encoded images (get_image_data, get_target "
            "and len)"
        )
    check = _Check(dataset, report, limits or Limits(), messages, advance or (lambda _stage, _count: None))
    return check.run(default_num_threads() if num_threads is None else num_threads)


class _Check:
    """One run over a dataset."""

    def __init__(
        self, dataset: Any, report: ReportWriter, limits: Limits, messages: NativeMessages | None, advance: Advance
    ) -> None:
        self._dataset = dataset
        self._report = report
        self._limits = limits
        self._advance = advance
        self._count = len(dataset)
        self._marks = np.zeros(self._count, dtype=np.uint64) if limits.duplicates else None
        self._judge = Judge(dataset, limits, messages, self._marks)
        self._benches: list[Bench] = []

    def run(self, num_threads: int) -> Summary:
        started = time.monotonic()
        pool = WorkerPool(num_threads, "dalikit-check", self._make_bench)
        complete = False
        try:
            self._judge_all(pool, num_threads * _BLOCK)
            self._look_again()
            if self._marks is not None:
                self._compare(pool, self._marks, num_threads * _BLOCK)
            complete = True
        finally:
            if complete:
                pool.close()
            else:
                pool.stop()  # what is stuck in storage is left to itself
            report = self._report
            summary = Summary.of(
                [bench.tally for bench in self._benches],
                length=self._count,
                checked=sum(bench.judged for bench in self._benches),
                complete=complete,
                num_bad=report.num_bad,
                kinds=dict(report.counts.most_common()),
                seconds=time.monotonic() - started,
            )
            report.finish(summary)
        return summary

    def _make_bench(self) -> Bench:
        bench = Bench()
        self._benches.append(bench)
        return bench

    def _judge_all(self, pool: WorkerPool, block: int) -> None:
        """The first look, at every row."""

        def work(found: list[Finding], bench: Bench, index: int) -> None:
            self._judge(bench, index, found.append)
            bench.judged += 1

        with contextlib.closing(_blocks(pool, range(self._count), block, work, self._add)) as blocks:
            for rows, found in blocks:
                self._add(found)
                self._advance("checking", len(rows))

    def _add(self, found: list[Finding]) -> None:
        """Writes what was found in a block, by index."""
        for finding in sorted(found, key=lambda finding: finding.index):
            self._report.add(finding)
        self._report.flush()

    def _look_again(self) -> None:
        """One row after the other, where a decoder complained while several were at work."""
        suspects = sorted(self._judge.suspects)
        bench = Bench() if suspects else None
        for index in suspects:
            assert bench is not None
            complaint = ""
            with contextlib.suppress(Exception):  # it was read and decoded before; a file that went away is not damaged
                complaint = self._judge.complaint(bench, index)
            if complaint:
                self._report.add(Finding("damaged", index, "decode", complaint))
            self._advance("looking again", 1)
        self._report.flush()

    def _compare(self, pool: WorkerPool, marks: npt.NDArray[np.uint64], block: int) -> None:
        """Reads once more what may be equal."""
        rows = candidates(marks)
        digests = np.zeros((len(rows), 2), dtype=np.uint64)

        def work(_: list[Finding], bench: Bench, place: int) -> None:
            with contextlib.suppress(Exception):  # a file that went away since is no duplicate
                data = read_row(self._dataset, int(rows[place]), bench.arena, self._limits.max_bytes)
                digests[place] = np.frombuffer(digest_of(data), dtype=np.uint64)

        with contextlib.closing(_blocks(pool, range(len(rows)), block, work, self._add)) as blocks:
            for places, _ in blocks:
                self._advance("comparing", len(places))
        for row, first in pairs(rows, digests):
            self._report.add(Finding("duplicate", row, "compare", f"the same bytes as row {first}", {"of": first}))
        self._report.flush()


Work = Callable[[list[Finding], Bench, int], None]


def _blocks(
    pool: WorkerPool, rows: range, size: int, work: Work, save: Callable[[list[Finding]], None]
) -> Generator[tuple[range, list[Finding]], None, None]:
    """Blocks of rows as they are done, in order, with what was found in each.

    Args:
        pool: whose threads work.
        rows: all of them.
        size: rows a block.
        work: called for each row.
        save: if it is interrupted: called with what was found in blocks that are not done.
    """
    under_way: deque[tuple[range, Job, list[Finding]]] = deque()
    starts = iter(range(rows.start, rows.stop, size))
    try:
        while True:
            for start in starts:
                block, found = rows[start : start + size], list[Finding]()
                job = Job(len(block), partial(_work_on, work, found, start))
                pool.submit(job)
                under_way.append((block, job, found))
                if len(under_way) == _AHEAD:
                    break
            if not under_way:
                return
            under_way[0][1].wait()
            block, _, found = under_way.popleft()
            yield block, found
    except BaseException:
        _give_up([job for _, job, _ in under_way])
        for _, _, found in under_way:
            save(list(found))
        raise


def _work_on(work: Work, found: list[Finding], start: int, bench: Bench, row: int) -> None:
    work(found, bench, start + row)


def _give_up(jobs: Sequence[Job]) -> None:
    """No further row is begun; those at hand get a moment to end."""
    for job in jobs:
        job.cancel()
    deadline = time.monotonic() + _LAST_WORDS
    while any(job.rows_at_hand for job in jobs) and time.monotonic() < deadline:
        time.sleep(0.01)
