"""One leg of a training that is cut and goes on: what every rank had, batch by batch, and checkpoints of where it was.

It is run by torchrun, with a Leg as JSON, and runs alone too. Several loaders, one for each sampler, go in step: so one
kill cuts them all.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader, make_dataset
from dalikit.datasets import DatasetWithEnumeratedTargets

__all__ = ["PASSES", "Leg", "Stream", "make_loader", "run"]

PASSES = 2
"""Passes over the dataset that the whole training makes."""

ENDLESS = ("INFINITE", "KEYED_INFINITE")


@dataclass(frozen=True, kw_only=True)
class Leg:
    """What a leg does."""

    data: str
    """A folder with a folder of images for each class."""
    folder: str
    """Where records and checkpoints go."""
    name: str
    """What their names begin with."""
    samplers: list[str]
    """Names of SamplerType."""
    batch_size: int
    num_workers: int = 0
    executor: str = "host"
    resume: str | None = None
    """A checkpoint from which it goes on; None: from the beginning."""
    save_every: int = 2
    """Steps between checkpoints."""
    kill_step: int = 0
    """The step in which one rank is killed; 0: none is."""
    kill_rank: int = 0

    @property
    def checkpoint(self) -> Path:
        """What rank 0 writes."""
        return Path(self.folder, f"{self.name}.json")

    def records(self, rank: int) -> Path:
        """What a rank writes: a line of JSON for each batch."""
        return Path(self.folder, f"{self.name}-{rank}.jsonl")

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Leg:
        """What `to_json` wrote."""
        return cls(**json.loads(text))


def make_loader(leg: Leg, sampler: str) -> DataLoader:
    """A rank's loader: targets are (row, class)."""
    transform = T.Compose([T.RandomResizedCrop(24), T.RandomHorizontalFlip(), T.ColorJitter(0.4, 0.4), T.ToTensor()])
    dataset = make_dataset(dataset_str=f"ImageFolder:root={leg.data}", transform=transform)
    return make_data_loader(
        dataset=DatasetWithEnumeratedTargets(dataset),
        batch_size=leg.batch_size,
        num_workers=leg.num_workers,
        sampler_type=SamplerType[sampler],
        seed=7,
        drop_last=False,
        device="cpu",
        executor=leg.executor,
        num_threads=1,
    )


class Stream:
    """A sampler's loader, taken batch by batch up to the end of the last pass.

    Args:
        leg: the leg.
        sampler: name of the SamplerType.
        world_size: number of ranks.
        state: of the loader, to go on from.
    """

    def __init__(self, leg: Leg, sampler: str, world_size: int, state: dict[str, Any] | None) -> None:
        self.sampler, self.loader = sampler, make_loader(leg, sampler)
        if state is not None:
            self.loader.load_state_dict(state)
        self._samples_a_step = leg.batch_size * world_size
        self._batches: Iterator[Any] | None = None
        self._begin()

    def _begin(self) -> None:
        """A pass begins, or what is left of one."""
        state = self.loader.state_dict()
        self.passes, self.start, self.taken = state["passes"], state["place"], 0
        self._place: int = self.start
        self.done = self.passes >= PASSES
        if not self.done:
            self.loader.set_epoch(self.passes)
            self._batches = iter(self.loader)

    def take(self) -> dict[str, Any] | None:
        """Says what the next batch is; None: the pass has no more for this rank."""
        if self.sampler in ENDLESS and self._place >= PASSES * len(self.loader.dataset):
            self.done = True
        batch = None if self.done or self._batches is None else next(self._batches, None)
        if batch is None:
            return None
        self._place += self._samples_a_step
        images, (rows, _) = batch
        record = {
            "sampler": self.sampler,
            "passes": self.passes,
            "start": self.start,  # the place from which this leg dealt out the pass
            "taken": self.taken,  # samples of this rank since
            "rows": rows.tolist(),
            "hashes": [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images],
            "state": self.loader.state_dict(),
        }
        self.taken += len(rows)
        return record

    def end_pass(self) -> None:
        """No rank has any more of the pass: the next one begins."""
        if not self.done:
            self._begin()


def run(leg: Leg, rank: int, world_size: int) -> None:
    """Runs a leg, up to its end or the kill. With more than one rank, torch.distributed is set up."""
    state = json.loads(Path(leg.resume).read_text()) if leg.resume else {"loaders": {}}
    with ExitStack() as stack:
        streams = [Stream(leg, name, world_size, state["loaders"].get(name)) for name in leg.samplers]
        for stream in streams:
            stack.enter_context(stream.loader)
        records = stack.enter_context(leg.records(rank).open("w"))
        step = 0
        while not all(stream.done for stream in streams):
            step += 1
            found = [stream.take() for stream in streams]
            for record in found:
                if record is not None:
                    records.write(json.dumps({"step": step, **record}) + "\n")
            records.flush()
            if step == leg.kill_step and rank == leg.kill_rank:
                os.kill(os.getpid(), signal.SIGKILL)
            going_on = _any_rank([record is not None for record in found], world_size)
            if rank == 0 and step % leg.save_every == 0:
                _save(leg, step, streams)
            for stream, goes_on in zip(streams, going_on, strict=True):
                if not goes_on:
                    stream.end_pass()
        if rank == 0:
            _save(leg, step, streams)


def _any_rank(flags: list[bool], world_size: int) -> list[bool]:
    """Whether any rank says so. All ranks wait for one another here, as they do for their gradients."""
    numbers = torch.tensor(flags, dtype=torch.int32)
    if world_size > 1:
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return [bool(number) for number in numbers.tolist()]


def _save(leg: Leg, step: int, streams: list[Stream]) -> None:
    """What all ranks recorded up to this step is done with."""
    state = {"step": step, "loaders": {stream.sampler: stream.loader.state_dict() for stream in streams}}
    unfinished = leg.checkpoint.with_suffix(".part")
    unfinished.write_text(json.dumps(state))
    unfinished.replace(leg.checkpoint)


def main() -> None:
    """As torchrun starts it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    try:
        run(Leg.from_json(sys.argv[1]), dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
