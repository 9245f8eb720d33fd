"""Runs the Accelerate example, several times if need be, and writes down what each step gets.

python accelerate_driver.py FOLDER '[[name, [argument, ...]], ...]', or ["plain", [data, world_size]].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from framework_run import EXAMPLES, write, write_plain

sys.path.insert(0, str(EXAMPLES))
import accelerate_loop

from dalikit import DataLoader

step = accelerate_loop.step
make_loader = accelerate_loop.make_loader


def run(folder: Path, name: str, arguments: list[str]) -> None:
    """One run of the example."""
    loaders: list[DataLoader] = []

    def kept(*given: Any, **options: Any) -> DataLoader:
        loaders.append(make_loader(*given, **options))
        return loaders[-1]

    def seen(accelerator: Any, model: Any, optimizer: Any, batch: Any) -> None:
        assert accelerator.prepare(loaders[0]) is loaders[0]  # also by habit
        epoch = loaders[0].state_dict()["passes"]
        write(folder, name, accelerator.process_index, "train", epoch, batch[0])
        step(accelerator, model, optimizer, batch)

    accelerate_loop.make_loader, accelerate_loop.step = kept, seen
    accelerate_loop.main(["--cpu", "--batch-size", "2", *arguments])


def main(folder: Path, runs: list[Any]) -> None:
    """All runs, one after the other."""
    for name, arguments in runs:
        if name == "plain":
            data, world_size = arguments
            write_plain(folder, data, accelerate_loop.TRAIN, world_size=world_size, epochs=2)
        else:
            run(folder, name, arguments)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
