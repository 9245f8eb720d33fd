"""Measures what the samplers cost, from a thousand samples to a trillion, and writes the tables of docs/scale.md.

    python docs/measure_scale.py                         all of it, 4e9 samples walked through: 15 minutes
    python docs/measure_scale.py --only cost start       these tables; the others stay as they are
    python docs/measure_scale.py --only walk --walks 100000000 --processes 8

Times are processor times, so that other work on the machine counts little; a walk's is that of all its processes.
"""

from __future__ import annotations

import argparse
import datetime
import mmap
import multiprocessing
import os
import re
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from samplers import EpochSampler, InfiniteSampler, KeyedEpochSampler, KeyedInfiniteSampler, Sampler

PAGE = Path(__file__).parent / "scale.md"
ROUND = 4096  # indices that are timed at a time
CHUNK = 1 << 16  # indices that a walk takes at a time
IMAGENET = 1_281_167
COUNTS = (10**3, 10**6, 10**9, 10**12)
WORLDS = (1, 8, 4096)
CUT_WORLDS = (4096, 1000, 4096)
CUT_COUNT = 10**7
_T = TypeVar("_T")


# Walking


@dataclass(frozen=True, slots=True)
class Share:
    """What one rank takes of a pass, from the place on from which the rest of it was dealt out."""

    count: int
    base: int
    world_size: int
    rank: int
    rounds: int | None
    """Samples that each rank takes before the next cut; None: all that are left."""

    def sampler(self) -> KeyedEpochSampler:
        """The rank's."""
        whole = KeyedEpochSampler(sample_count=self.count, start=self.rank, step=self.world_size, seed=1)
        return whole.after(self.base) if self.base else whole


@dataclass(frozen=True, slots=True)
class Walked:
    """What came of a walk through an epoch: each sample came exactly once if `taken == distinct == count`."""

    count: int
    taken: int
    """Indices that all ranks took together."""
    distinct: int
    """Samples that are among them."""
    seconds: float
    """Processor time of all processes together."""


def shares(count: int, world_sizes: Iterable[int], cuts: Iterable[float] = ()) -> list[Share]:
    """Those of all ranks of an epoch that changes its number of ranks: after `cuts[i]` of what is left, in turn."""
    found: list[Share] = []
    base, fractions = 0, [*cuts]
    for step, world_size in enumerate(world_sizes):
        rounds = int((count - base) * fractions[step] / world_size) if step < len(fractions) else None
        found += [Share(count, base, world_size, rank, rounds) for rank in range(world_size)]
        base += world_size * (rounds or 0)
    return found


_seen: NDArray[np.uint8]  # a byte a sample, shared by all processes of a walk


def _share_map(seen: mmap.mmap) -> None:
    global _seen
    _seen = np.frombuffer(seen, dtype=np.uint8)


def _mark(share: Share) -> int:
    """Marks what a rank takes, and says how many indices that are."""
    sampler, taken = share.sampler(), 0
    end = sampler.num_samples if share.rounds is None else share.rounds
    for first in range(0, end, CHUNK):
        indices, _ = sampler.stretch(0, first, min(first + CHUNK, end))
        if indices.min() < 0:
            raise ValueError(f"{share}: index {indices.min()}")
        _seen[indices] = 1
        taken += len(indices)
    return taken


def walk(todo: list[Share], processes: int = 1) -> Walked:
    """Takes every sample of an epoch that every rank gets, and marks it. As many bytes of memory as samples."""
    count, began = todo[0].count, _processor_seconds()
    seen = mmap.mmap(-1, count)
    progress = tqdm(total=len(todo), unit="rank", desc=f"{count:,} samples", disable=None)
    if processes == 1:
        _share_map(seen)
        taken = sum(_mark(share) for share in _counted(todo, progress))
    else:
        with multiprocessing.get_context("fork").Pool(processes, _share_map, (seen,)) as pool:
            taken = sum(_counted(pool.imap_unordered(_mark, todo), progress))
    distinct = np.count_nonzero(np.frombuffer(seen, dtype=np.uint8))
    return Walked(count, taken, int(distinct), _processor_seconds() - began)


def _processor_seconds() -> float:
    """Of this process and of those that it has ended."""
    return sum(os.times()[:4])


def _counted(things: Iterable[_T], progress: tqdm) -> Iterator[_T]:
    with progress:
        for thing in things:
            yield thing
            progress.update()


# Timing


def median_ns(sampler: Sampler, first: int, batch: int, rounds: int = 41) -> float:
    """Nanoseconds an index, in batches from the rank's sample `first` on: the median of rounds of 4096 indices."""
    times = []
    for start in range(first, first + rounds * ROUND, ROUND):
        began = time.thread_time_ns()
        for part in range(start, start + ROUND, batch):
            sampler.stretch(0, part, part + batch)
        times.append(time.thread_time_ns() - began)
    return statistics.median(times) / ROUND


def median_seconds(call: Callable[[], object], turns: int) -> float:
    """Of some calls."""
    times = []
    for _ in range(turns):
        began = time.thread_time()
        call()
        times.append(time.thread_time() - began)
    return statistics.median(times)


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that Python and numpy held for a call, and in what it gives."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = call()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    del kept
    return peak


def first_batch(make: Callable[[], Sampler]) -> Sampler:
    """Makes a sampler and takes 256 indices."""
    sampler = make()
    sampler.indices(0, 256)
    return sampler


# Tables


def _cost(_: argparse.Namespace) -> list[str]:
    lines = _titles("samples", "ranks", "4096 at a time", "in batches of 256", "... at place 10⁹")
    for count in COUNTS:
        for world in WORLDS:
            rounds = _turns(count, world, 41)
            sampler = KeyedInfiniteSampler(sample_count=count, start=world - 1, step=world, seed=1)
            parts = ((0, ROUND), (0, 256), (10**9 // world, 256))
            costs = [median_ns(sampler, first, batch, rounds) for first, batch in parts]
            lines.append(_line(_power(count), f"{world:,}", *map(_nanoseconds, costs)))
    return lines


def _start(_: argparse.Namespace) -> list[str]:
    lines = _titles("samples", "ranks", "until the first 256", "... from position 10⁹ on", "memory")
    for count in COUNTS:
        for world in WORLDS:
            make = partial(KeyedInfiniteSampler, sample_count=count, start=0, step=world)
            lines.append(_line(_power(count), f"{world:,}", *_starts(make, world, _turns(count, world, 21))))
    return lines


def _options(_: argparse.Namespace) -> list[str]:
    lines = _titles(
        "samples", "option", "until the first 256", "... from position 10⁹ on", "memory at most", "an index"
    )
    for count in (10**3, 10**6, 10**8):
        options: dict[str, Any] = {"repeats": 3, "weights": np.random.default_rng(0).random(count)}
        for name, value in options.items():
            make = partial(KeyedInfiniteSampler, sample_count=count, start=0, step=8, **{name: value})
            starts = _starts(make, 8, 1 if count >= 10**8 else 5)
            lines.append(_line(_power(count), f"`{name}`", *starts, _nanoseconds(median_ns(make(), 0, ROUND))))
    return lines


def _beside(_: argparse.Namespace) -> list[str]:
    lines = _titles(
        "samples", "", "until the first 256", "... from position 10⁹ on", "memory at most", "a pass, an index"
    )
    for count in (IMAGENET, 10**8):
        given: dict[str, Any] = {"sample_count": count, "shuffle": True, "start": 0, "step": 8}
        kinds: dict[str, Callable[..., Sampler]] = {
            "INFINITE": partial(InfiniteSampler, **given),
            "EPOCH": partial(EpochSampler, **given, size=count),
            "KEYED_INFINITE": partial(KeyedInfiniteSampler, **given),
            "KEYED_EPOCH": partial(KeyedEpochSampler, **given),
        }
        for name, make in kinds.items():
            starts = _starts(make, 8, 1 if count >= 10**8 else 5)
            lines.append(_line(f"{count:,}", f"`{name}`", *starts, _nanoseconds(_pass_ns(make(), count // 8))))
    return lines


def _starts(make: Callable[..., Sampler], world_size: int, turns: int) -> list[str]:
    """Time until there is a batch, of the beginning and of what comes after 1e9 samples of all ranks; memory."""
    far = partial(make, advance=10**9 // world_size)
    times = [_seconds(median_seconds(partial(first_batch, call), turns)) for call in (make, far)]
    memory = peak_bytes(partial(first_batch, make))
    return [*times, f"{memory / 1e6:,.1f} MB" if memory > 1e5 else f"{memory / 1e3:,.0f} kB"]


def _pass_ns(sampler: Sampler, share: int) -> float:
    """Nanoseconds an index, over all that a rank has of a pass, from its order on."""
    parts = [(first, min(first + ROUND, share)) for first in range(0, share, ROUND)]
    return median_seconds(lambda: [sampler.stretch(0, *part) for part in parts], 1) / share * 1e9


def _walk(arguments: argparse.Namespace) -> list[str]:
    lines = _titles("samples", "ranks", "indices taken", "different ones", "processor time")
    fractions = np.random.default_rng(0).random(len(CUT_WORLDS) - 1).tolist()
    cut_at = shares(CUT_COUNT, CUT_WORLDS, fractions)
    bases = sorted({share.base for share in cut_at})[1:]
    changes = f"4,096; after {bases[0]:,} places 1,000; after {bases[1]:,} again 4,096"
    runs = [(changes, cut_at), *(("4,096", shares(count, [4096])) for count in arguments.walks)]
    for ranks, todo in runs:
        walked = walk(todo, arguments.processes)
        numbers = [f"{number:,}" for number in (walked.taken, walked.distinct)]
        lines.append(_line(f"{walked.count:,}", ranks, *numbers, _seconds(walked.seconds)))
    return lines


def _turns(count: int, world_size: int, usual: int) -> int:
    """Fewer where each index needs an order of its own."""
    return usual if count * 8 > world_size else 5


def _titles(*names: str) -> list[str]:
    return [_line(*names), "|" + "---|" * len(names)]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _power(count: int) -> str:
    return f"10{str(len(str(count)) - 1).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def _nanoseconds(nanoseconds: float) -> str:
    return f"{nanoseconds:,.0f} ns"


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


# The page

TABLES = {"cost": _cost, "start": _start, "options": _options, "beside": _beside, "walk": _walk}


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    cores = len(os.sched_getaffinity(0))
    return f"Measured on {datetime.date.today():%Y-%m-%d}, {model}, {cores} cores, numpy {np.__version__}."


def write(name: str, lines: list[str]) -> None:
    """Puts a table between its markers."""
    text = "\n".join([*lines, "", _machine()])
    pattern = rf"(<!-- {name} -->\n).*?(\n<!-- end -->)"
    page, found = re.subn(pattern, lambda match: match[1] + text + match[2], PAGE.read_text(), flags=re.DOTALL)
    if not found:
        raise ValueError(f"{PAGE} has no line '<!-- {name} -->', below which the table goes: put it back.")
    PAGE.write_text(page)


def main() -> None:
    """Measures, and writes each table as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*TABLES], default=[*TABLES], help="tables; default: all")
    parser.add_argument("--walks", nargs="*", type=int, default=[2 * 10**9, 4 * 10**9], help="samples to walk through")
    parser.add_argument("--processes", type=int, default=2, help="that walk; default 2")
    arguments = parser.parse_args()
    for name in tqdm(arguments.only, unit="table"):
        write(name, TABLES[name](arguments))


if __name__ == "__main__":
    main()
