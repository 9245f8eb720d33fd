"""Interleaved rounds: all peers live for the whole run and take turns, so a slow minute of the machine is shared."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dalikit.bench.peers import Peer

__all__ = ["Result", "measure", "table"]

_IDLE_STEP = 0.2  # seconds
_IDLE_SHARE = 0.15  # of one core; below it all threads and worker processes are at rest
_IDLE_TIMEOUT = 30.0  # seconds, then the next turn begins all the same
_SETTLE = 2  # batches taken before each turn is timed, beside those that were finished while others had theirs


@dataclass(slots=True)
class Result:
    """What one peer reached."""

    name: str
    images_per_second: list[float] = field(default_factory=list)
    """One figure a round."""

    @property
    def median(self) -> float:
        """Median over the rounds, in images/s."""
        return statistics.median(self.images_per_second)

    def ratio(self, other: Result) -> float:
        """Median over the rounds of this peer's figure over the other's of the same round."""
        return statistics.median(
            mine / theirs for mine, theirs in zip(self.images_per_second, other.images_per_second, strict=True)
        )


def measure(
    peers: Sequence[Peer], *, seconds: float, rounds: int, on_batch: Callable[[Peer, int], None] = lambda *_: None
) -> list[Result]:
    """Measures throughput.

    Args:
        peers: taken in turn, in this order, every round.
        seconds: how long a turn is timed, after it has settled.
        rounds: turns of each peer.
        on_batch: called with the peer and the number of images of each timed batch.
    """
    results = [Result(peer.name) for peer in peers]
    batches = [iter(peer) for peer in peers]
    for _ in range(rounds):
        for peer, iterator, result in zip(peers, batches, results, strict=True):
            _wait_until_idle()
            result.images_per_second.append(_turn(peer, iterator, seconds, on_batch))
    return results


def _wait_until_idle() -> None:
    """Until the peer before has finished what it works out ahead; else it would take cores in the next one's turn."""
    deadline = time.monotonic() + _IDLE_TIMEOUT
    before = _cpu_seconds()
    while time.monotonic() < deadline:
        time.sleep(_IDLE_STEP)
        now = _cpu_seconds()
        if now - before < _IDLE_SHARE * _IDLE_STEP:
            return
        before = now


def _cpu_seconds() -> float:
    """CPU time of this process and of its worker processes so far."""
    ticks = 0
    for child in multiprocessing.active_children():
        try:
            # proc(5): user and system time are fields 14 and 15; the name before them may hold spaces
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _turn(peer: Peer, batches: Iterator[Any], seconds: float, on_batch: Callable[[Peer, int], None]) -> float:
    for _ in range(peer.ahead + _SETTLE):
        _wait_for(next(batches))
    count = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        batch = next(batches)
        _wait_for(batch)
        images = len(batch[1])
        count += images
        on_batch(peer, images)
    return count / elapsed


def _wait_for(batch: Any) -> None:
    """On a GPU the batch may still be in the making when it is handed over."""
    images = next(iter(batch[0].values())) if isinstance(batch[0], dict) else batch[0]
    if getattr(images, "is_cuda", False):
        import torch

        torch.cuda.synchronize(images.device)


def table(results: Sequence[Result], baseline: int, unit: str = "images") -> str:
    """A Markdown table; `baseline` is the place of the peer that the others are compared with."""
    lines = [
        f"| loader | {unit}/s (median) | min - max | ratio to {results[baseline].name} |",
        "|---|---|---|---|",
    ]
    for result in results:
        figures = result.images_per_second
        ratio = result.ratio(results[baseline])
        lines.append(
            f"| {result.name} | {result.median:,.0f} | {min(figures):,.0f} - {max(figures):,.0f} | {ratio:.2f} |"
        )
    return "\n".join(lines)
