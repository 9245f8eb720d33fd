"""Runs the Ray Train example on two workers, then on one from a checkpoint in between, and writes down what each gets.

python ray_driver.py FOLDER DATA TEMPORARY
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import ray
import ray_train
from framework_run import write, write_plain


def followed(folder: Path, run: str) -> Any:
    """What each worker does, as the example has it; each step is written down."""

    def train(config: dict[str, Any]) -> None:
        step, make = ray_train.train_step, ray_train.make_data_loader
        loaders: list[Any] = []

        def kept(**arguments: Any) -> Any:
            loaders.append(make(**arguments))
            return loaders[-1]

        def seen(model: Any, optimizer: Any, batch: Any) -> float:
            rank = ray.train.get_context().get_world_rank()
            write(folder, run, rank, "train", loaders[0].state_dict()["passes"], batch[0])
            return step(model, optimizer, batch)

        ray_train.train_step, ray_train.make_data_loader = seen, kept
        ray_train.train(config)
        if run == "two":
            prepared_by_habit(folder, config, make)

    return train


def prepared_by_habit(folder: Path, config: dict[str, Any], make: Any) -> None:
    """What `prepare_data_loader` makes of a loader, as text."""
    loader = make(
        dataset=ray_train.make_dataset(dataset_str=f"ImageFolder:root={config['data']}", transform=ray_train.TRAIN),
        batch_size=2,
        num_workers=0,
        sampler_type=ray_train.SamplerType.KEYED_EPOCH,
    )
    prepared = ray.train.torch.prepare_data_loader(loader)
    kept = ray.train.torch.prepare_data_loader(loader, add_dist_sampler=False, move_to_device=False)
    try:
        came = type(next(iter(prepared))[0]).__name__
    except Exception as error:
        came = f"{type(error).__name__}: {error}"
    rank = ray.train.get_context().get_world_rank()
    told = {"same": kept is loader, "sampler": type(prepared.sampler).__name__, "came": came}
    (folder / f"prepared{rank}.json").write_text(json.dumps(told))


def main(folder: Path, data: str, temporary: str) -> None:
    """Both runs."""
    for world_size in (1, 2):
        write_plain(folder, data, ray_train.TRAIN, world_size=world_size, epochs=2)
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=temporary)
    common = ["--data", data, "--batch-size", "2", "--storage", str(folder / "storage"), "--save-every", "1"]
    train = ray_train.train
    for run, more in (("two", ["--workers", "2"]), ("two-one", ["--workers", "1"])):
        kept = sorted((folder / "storage" / "two").glob("checkpoint_*"))
        resume = ["--resume", str(kept[1])] if kept else []
        ray_train.train = followed(folder, run)
        ray_train.main([*common, "--name", run, *more, *resume])
    ray_train.train = train
    ray.shutdown()
    deadline = time.monotonic() + 30
    while (children := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
        time.sleep(0.05)
    (folder / "left.json").write_text(json.dumps([" ".join(child.cmdline()) for child in children]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
