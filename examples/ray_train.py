"""Trains a small network with Ray Train, on as many workers as are asked for, and goes on where a run was cut short.

    python examples/ray_train.py --data DIR --workers 2 --storage /data/runs --name first
    python examples/ray_train.py --data DIR --workers 3 --storage /data/runs --name second --resume CHECKPOINT

DIR holds a folder of images for each class. The loader is used as it is, not prepared. A checkpoint of two workers goes
on with three: the number of workers decides only who gets which image.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader, make_dataset

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
import ray
import ray.train
import ray.train.torch

NORMALIZE = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TRAIN = T.Compose([T.RandomResizedCrop(64), T.RandomHorizontalFlip(), T.ToTensor(), NORMALIZE])


def make_model(dataset: Any) -> nn.Module:
    """Three convolutions, and an output for each class."""
    # `.classes` is asked for here and not in train(), which uses torch: Ray pickles the functions of a script, and a
    # function with both names in it seems to use the module torch.classes, which cannot be pickled.
    num_classes = len(dataset.classes)
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(4, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))


def save(loader: DataLoader, model: nn.Module, optimizer: torch.optim.Optimizer, loss: float) -> None:
    """Reports; rank 0's checkpoint is good for all."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if ray.train.get_context().get_world_rank() == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "loader": loader.state_dict()}
            torch.save(state, Path(folder) / "state.pt")
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"loss": loss}, checkpoint=checkpoint)


def train(config: dict[str, Any]) -> None:
    """What each worker does. Rank and number of ranks are torch.distributed's, which Ray has set up."""
    device = ray.train.torch.get_device()
    loader = make_data_loader(
        dataset=make_dataset(dataset_str=f"ImageFolder:root={config['data']}", transform=TRAIN),
        batch_size=config["batch_size"],
        num_workers=0,
        sampler_type=SamplerType.KEYED_EPOCH,  # a new order each pass, the same for any number of ranks
        device=device,
    )
    model = make_model(loader.dataset).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    # The latest one: after a failure Ray starts the workers again. Else the one that was asked for.
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None and config["resume"]:
        checkpoint = ray.train.Checkpoint(config["resume"])
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder) / "state.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        loader.load_state_dict(state["loader"])
    parallel = ray.train.torch.prepare_model(model)
    with loader:
        for _ in range(loader.state_dict()["passes"], config["epochs"]):
            for step, batch in enumerate(loader, start=1):
                loss = train_step(parallel, optimizer, batch)
                if step % config["save_every"] == 0:
                    save(loader, model, optimizer, loss)


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Sequence[torch.Tensor]) -> float:
    """One step of the training. Returns the loss."""
    images, targets = batch
    loss = nn.functional.cross_entropy(model(images), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def main(arguments: Sequence[str] | None = None) -> ray.train.Result:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=os.path.abspath, required=True, help="a folder with a folder for each class")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16, help="images a batch and worker")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gpu", action="store_true", help="a GPU for each worker")
    parser.add_argument("--storage", type=os.path.abspath, default="runs", help="folder for checkpoints")
    parser.add_argument("--name", help="of the run, a folder in there")
    parser.add_argument("--save-every", type=int, default=50, metavar="STEPS", help="also within an epoch")
    parser.add_argument("--resume", type=os.path.abspath, metavar="CHECKPOINT", help="a checkpoint's folder")
    given = parser.parse_args(arguments)
    trainer = ray.train.torch.TorchTrainer(
        train,
        train_loop_config={**vars(given)},
        scaling_config=ray.train.ScalingConfig(num_workers=given.workers, use_gpu=given.gpu),
        run_config=ray.train.RunConfig(storage_path=given.storage, name=given.name),
    )
    return trainer.fit()


if __name__ == "__main__":
    print(main().checkpoint)
