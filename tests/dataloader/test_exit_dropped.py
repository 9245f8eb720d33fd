"""A script may end with loaders that were dropped and never closed: their threads are waited for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import dalikit.transforms as T
from dalikit import SamplerType, make_data_loader, make_dataset

transform = T.Compose([T.RandomResizedCrop(64), T.ToTensor()])
dataset = make_dataset(dataset_str=f"ImageFolder:root={sys.argv[1]}", transform=transform)

def begun():
    loader = make_data_loader(dataset=dataset, batch_size=2, num_workers=0, device="cpu", executor=sys.argv[3])
    batches = iter(loader)
    next(batches)

def finished():
    kind = SamplerType.EPOCH
    for _ in make_data_loader(dataset=dataset, batch_size=2, num_workers=0, device="cpu", sampler_type=kind):
        pass

globals()[sys.argv[2]]()
"""


@pytest.mark.parametrize(("what", "executor"), [("begun", "dali"), ("finished", "host")])
def test_dropped_without_being_closed(photograph_root: Path, what: str, executor: str) -> None:
    """One in two such scripts was aborted, so three at once."""
    command = [sys.executable, "-c", SCRIPT, str(photograph_root), what, executor]
    scripts = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ended = [(script.communicate(timeout=100)[1], script.returncode) for script in scripts]
    assert ended == [("", 0)] * 3
