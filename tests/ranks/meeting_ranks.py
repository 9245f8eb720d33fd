"""Four ranks that meet, agree and differ: a script of its own, that prints what each of them saw, case by case.

Run by test_ranks_agreement.py. The ranks are forked, so that torch is imported once.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from dalikit.agreement import RankAgreement
from dalikit.errors import RankMismatchError

PORT, STORE_PORT = map(int, sys.argv[2:])
WORLD = 4
LONG = 60.0  # seconds: longer than any of it takes

Record = dict[str, Any]


def record(*, seed: int = 1, root: str = "/data", sampler: str = "KeyedEpochSampler", place: int = 0) -> Record:
    """What a loader would say of itself."""
    return {
        "seed": seed,
        "dataset": {"class": "ImageFolder", "length": 8, "fingerprint": {"root": root, "classes": ["a", "b"]}},
        "sampler": {"sampler": sampler, "sample_count": 8},
        "passes": 0,
        "place": place,
    }


def agreement(rank: int, *, warn_after: float = LONG, give_up_after: float = LONG) -> RankAgreement:
    """That of the next loader, of all ranks."""
    return RankAgreement(rank=rank, world_size=WORLD, warn_after=warn_after, give_up_after=give_up_after)


def outcome(act: Callable[..., None], *arguments: Any) -> str:
    """What the ranks differ in, or "agreed"."""
    try:
        act(*arguments)
    except RankMismatchError as error:
        return str(error)
    return "agreed"


class Warnings(logging.Handler):
    """The warnings since they were last taken."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

    def take(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines


WARNINGS = Warnings()


def agree(rank: int) -> Any:
    """Three comparisons of one loader."""
    loader = agreement(rank)
    return [outcome(loader.check, record(place=place)) for place in (0, 8, 16)], loader.pending


def differ(rank: int) -> Any:
    """In one field; in two, one of them nested; and then in nothing again."""
    loader = agreement(rank)
    seed = record(seed=0 if rank < 3 else 1)
    nested = record(root="/data" if rank in (0, 3) else "/scratch", place=8 * (rank == 1))
    return [outcome(loader.check, said) for said in (seed, nested, record())]


def swap(rank: int) -> Any:
    """Rank 1 makes its loaders in another order."""
    names = ["EpochSampler", "KeyedEpochSampler"]
    first, second = reversed(names) if rank == 1 else names
    loaders = agreement(rank), agreement(rank)
    said = record(sampler=first, seed=len(first)), record(sampler=second, seed=len(second))
    return [outcome(loader.check, line) for loader, line in zip(loaders, said, strict=True)]


def interleave(rank: int) -> Any:
    """The training's own collective is begun before it on some ranks, and after it on others."""
    loader = agreement(rank)
    total = torch.ones(1)
    work = dist.all_reduce(total, async_op=True) if rank < 2 else None
    told = outcome(loader.check, record())
    work = work or dist.all_reduce(total, async_op=True)
    assert work is not None
    work.wait()
    return told, total.item()


def late(rank: int) -> Any:
    """Ranks 0 and 2 come when all the others have warned that they wait for them."""
    loader = agreement(rank, warn_after=0.1)
    if rank in (0, 2):
        time.sleep(0.5)
    return outcome(loader.check, record()), WARNINGS.take()


def alone(rank: int, seed: int = 1) -> Any:
    """Rank 0 looks at a batch by itself; later come the others, and then rank 0 iterates again."""
    loader = agreement(rank, give_up_after=0.3 if rank == 0 else LONG)
    told, pending = [], []
    if rank == 0:
        told.append(outcome(loader.check, record()))
        told.append(outcome(loader.finish))  # nobody has come yet
        pending.append(loader.pending)
    dist.barrier()
    if rank > 0:
        told.append(outcome(loader.check, record(seed=seed)))
    dist.barrier()
    told.append(outcome(loader.finish))
    told.append(outcome(loader.finish))
    return told, [*pending, loader.pending], WARNINGS.take()


def look_and_load(rank: int) -> Any:
    """Ranks 0 and 1 look at a batch by themselves, and then all load a state; later another one."""
    loader = agreement(rank, give_up_after=0.2 if rank < 2 else LONG)
    if rank < 2:
        loader.check(record(place=rank))
    loader.withdraw()
    dist.barrier()
    if rank == 0:
        time.sleep(0.1)  # the others have come by then, and wait for it
    told = [outcome(loader.check, record(place=place)) for place in (64, 128)]
    told.append(outcome(loader.check, record(place=rank // 2)))
    WARNINGS.take()
    return told


def interrupt(rank: int) -> Any:
    """Ctrl-C while rank 0 waits; afterwards the others come."""
    loader = agreement(rank)
    told = "agreed"
    if rank == 0:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            loader.check(record())
        except KeyboardInterrupt:
            told = "interrupted"
        timer.join()
    dist.barrier()
    if rank > 0:
        told = outcome(loader.check, record())
    dist.barrier()
    loader.finish()
    return told, loader.pending


def other_size(rank: int) -> Any:
    """The loader's ranks are not those of the group: a part of a mesh, say."""
    part = RankAgreement(rank=rank // 2, world_size=2)
    return outcome(part.check, record(seed=rank)), part.pending


def no_group(rank: int) -> Any:
    """There is no process group any more."""
    loader = agreement(rank)
    return outcome(loader.check, record(seed=rank)), loader.pending


def two_by_file(rank: int, folder: Path) -> Any:
    """A group of two over a file."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/two", rank=rank, world_size=2)
    loader = RankAgreement(rank=rank, world_size=2)
    told = [outcome(loader.check, record(place=place)) for place in (0, rank)]
    dist.destroy_process_group()
    return told


def store_is_gone(rank: int, meeting: Barrier) -> Any:
    """Rank 0 has the store, and leaves."""
    store: Any = dist.TCPStore("127.0.0.1", STORE_PORT, 2, rank == 0) if rank < 2 else None  # type: ignore[attr-defined]
    loader = RankAgreement(rank=rank, world_size=2, store=store, give_up_after=LONG)
    if rank == 0:
        del loader, store
    meeting.wait(LONG)
    return (outcome(loader.check, record()), loader.pending, WARNINGS.take()) if rank == 1 else None


def run(rank: int, folder: Path, meeting: Barrier) -> None:
    """All cases, on one rank."""
    logging.getLogger("dalikit").addHandler(WARNINGS)
    logging.getLogger("dalikit").propagate = False
    seen: dict[str, Any] = {}
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{PORT}", rank=rank, world_size=WORLD)
    cases = agree, differ, swap, interleave, late, alone, look_and_load, interrupt, other_size
    for case in cases:
        seen[case.__name__] = case(rank)
        dist.barrier()
    seen["alone_and_different"] = alone(rank, seed=2)
    seen["unasked_for_warnings"] = WARNINGS.take()
    dist.barrier()
    dist.destroy_process_group()
    seen["no_group"] = no_group(rank)
    if rank < 2:
        seen["two_by_file"] = two_by_file(rank, folder)
    seen["store_is_gone"] = store_is_gone(rank, meeting)
    (folder / f"{rank}.json").write_text(json.dumps(seen))


def main() -> None:
    """Forks the ranks and waits for them."""
    forking = multiprocessing.get_context("fork")
    folder, meeting = Path(sys.argv[1]), forking.Barrier(WORLD)
    ranks = [forking.Process(target=run, args=(rank, folder, meeting)) for rank in range(WORLD)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    sys.exit(max(abs(process.exitcode or 0) for process in ranks))


if __name__ == "__main__":
    main()
