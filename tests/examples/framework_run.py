"""Runs of an example under a framework: started in processes of their own, which write down what each step gets."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dalikit import DataLoader, SamplerType, make_data_loader, make_dataset

__all__ = [
    "EXAMPLES",
    "Batch",
    "Log",
    "launch",
    "lines_of_example",
    "lines_of_page",
    "plain_loader",
    "read",
    "write",
    "write_plain",
]

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


class Batch(NamedTuple):
    """What a step got."""

    run: str
    rank: int
    phase: str
    """ "train", or another of the framework's."""
    epoch: int
    images: tuple[str, ...]
    """A hash of each."""


class Log(list[Batch]):
    """All that was written down."""

    def train(self, run: str, rank: int = 0) -> list[tuple[int, tuple[str, ...]]]:
        """The training batches of a rank: epoch and images."""
        chosen = [batch for batch in self if (batch.run, batch.rank, batch.phase) == (run, rank, "train")]
        return [(batch.epoch, batch.images) for batch in chosen]

    def images(self, run: str, phase: str, epoch: int) -> Counter[str]:
        """Those of all ranks."""
        chosen = [batch for batch in self if (batch.run, batch.phase, batch.epoch) == (run, phase, epoch)]
        return Counter(image for batch in chosen for image in batch.images)


def write(folder: Path, run: str, rank: int, phase: str, epoch: int, images: Iterable[Any]) -> None:
    """Adds a batch to a rank's file. Each image of a run has pixels of its own."""
    hashes = [hashlib.sha256(image.numpy().tobytes()).hexdigest()[:16] for image in images]
    with (folder / f"{rank}.jsonl").open("a") as file:
        print(json.dumps([run, rank, phase, epoch, hashes]), file=file)


def read(folder: Path) -> Log:
    """What all ranks wrote into the folder."""
    lines = [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return Log(Batch(*line[:4], images=tuple(line[4])) for line in lines)


def plain_loader(data: str, transform: Any, *, rank: int = 0, world_size: int = 1) -> DataLoader:
    """A loader as the examples have it, without a framework."""
    return make_data_loader(
        dataset=make_dataset(dataset_str=f"ImageFolder:root={data}", transform=transform),
        batch_size=2,
        num_workers=0,
        sampler_type=SamplerType.KEYED_EPOCH,
        device="cpu",
        rank=rank,
        world_size=world_size,
    )


def write_plain(folder: Path, data: str, transform: Any, *, world_size: int, epochs: int) -> None:
    """Writes down the batches of such loaders, one for each rank, as the run "plain1", "plain2", ..."""
    for rank in range(world_size):
        with plain_loader(data, transform, rank=rank, world_size=world_size) as loader:
            for epoch in range(epochs):
                for images, _ in loader:
                    write(folder, f"plain{world_size}", rank, "train", epoch, images)


def launch(command: Sequence[str], folder: Path, *, seconds: float = 200, **environment: str) -> str:
    """Runs Python in `folder` and returns what it printed, both streams; its processes end with it, come what may."""
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == 0, printed
    return printed


def lines_of_page(heading: str) -> list[str]:
    """The lines of code under a heading of docs/frameworks.md, in order, without those that stand for others."""
    page = (EXAMPLES.parent / "docs" / "frameworks.md").read_text()
    _, _, section = page.partition(f"\n## {heading}\n")
    pieces = re.findall(r"^```python\n(.*?)^```$", section.split("\n## ")[0], re.MULTILINE | re.DOTALL)
    return [line.strip() for piece in pieces for line in piece.splitlines() if line.strip() not in ("", "...")]


def lines_of_example(name: str) -> list[str]:
    """Those of an example, without their comments."""
    return [line.split("  # ")[0].strip() for line in (EXAMPLES / name).read_text().splitlines()]
