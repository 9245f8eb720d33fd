"""Runs the Lightning example, several times if need be, and writes down what each step gets.

python lightning_driver.py FOLDER '[[name, [argument, ...]], ...]', or ["plain", [data, world_size]].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from framework_run import EXAMPLES, write, write_plain

from dalikit.bench.torchvision import import_torchvision

import_torchvision()  # which Lightning imports, also beside a torch that it was not built for
sys.path.insert(0, str(EXAMPLES))
import lightning  # noqa: E402
import lightning_module  # noqa: E402


class Seen(lightning.Callback):
    """Writes down the batches of a run."""

    def __init__(self, folder: Path, run: str) -> None:
        self.folder, self.run = folder, run

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, number: int) -> None:  # noqa: ARG002
        """Lightning's."""
        write(self.folder, self.run, trainer.global_rank, "train", trainer.current_epoch, batch[0])

    def on_validation_batch_start(self, trainer: Any, module: Any, batch: Any, *_: int) -> None:  # noqa: ARG002
        """Lightning's."""
        phase = "sanity" if trainer.sanity_checking else "validation"
        write(self.folder, self.run, trainer.global_rank, phase, trainer.current_epoch, batch[0])


def main(folder: Path, runs: list[Any]) -> None:
    """All runs, one after the other."""
    for name, arguments in runs:
        if name == "plain":
            data, world_size = arguments
            write_plain(folder, data, lightning_module.TRAIN, world_size=world_size, epochs=2)
        else:
            lightning_module.main(["--accelerator", "cpu", "--batch-size", "2", *arguments], [Seen(folder, name)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
