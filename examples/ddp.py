"""Trains a small network with DistributedDataParallel, on as many processes as there are, and goes on on any number.

    torchrun --nproc-per-node 2 examples/ddp.py --data DIR --epochs 2 --checkpoint FILE
    python examples/ddp.py --data DIR

DIR holds a folder of images for each class. Stop it when you like and start it again, with more processes or fewer: it
goes on with the images that the pass has not had yet.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader, make_dataset

NORMALIZE = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TRAIN = T.Compose([T.RandomResizedCrop(64), T.RandomHorizontalFlip(), T.ToTensor(), NORMALIZE])
EVALUATE = T.Compose([T.Resize(72), T.CenterCrop(64), T.ToTensor(), NORMALIZE])


def join() -> torch.device:
    """Joins the processes that torchrun started; alone, it is a group of one. Returns this process's device."""
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    return device


def make_loader(data: str, transform: T.Compose, batch_size: int, *, train: bool) -> DataLoader:
    """A rank's share of the images in `data`. Rank and number of ranks are torch.distributed's."""
    return make_data_loader(
        dataset=make_dataset(dataset_str=f"ImageFolder:root={data}", transform=transform),
        batch_size=batch_size,
        num_workers=0,
        sampler_type=SamplerType.KEYED_EPOCH,  # a new order each pass, the same for any number of ranks
        shuffle=train,
        drop_last=train,  # in training every rank makes as many steps; an evaluation leaves nothing out
    )


def make_model(num_classes: int) -> nn.Module:
    """Three convolutions."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))


def save(path: Path, loader: DataLoader, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Rank 0 writes for all: any rank's state of the loader is good for every rank."""
    if dist.get_rank() == 0:
        unfinished = path.with_name(f"{path.name}.part")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "loader": loader.state_dict()}
        torch.save(state, unfinished)
        unfinished.replace(path)  # at once: whoever is killed while writing leaves the last one whole


def load(path: Path, loader: DataLoader, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Goes to where the checkpoint was made, if there is one. Returns the pass to go on with."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    loader.load_state_dict(state["loader"])
    return int(state["loader"]["passes"])


@torch.inference_mode()
def evaluate(model: nn.Module, loader: DataLoader, device: torch.device) -> tuple[float, int]:
    """Accuracy, and the number of images: each counts once, though some ranks may have one more than others."""
    model.eval()
    sums = torch.zeros(2, device=device)
    for images, targets in loader:
        sums += torch.stack([(model(images).argmax(dim=1) == targets).sum(), torch.ones_like(targets).sum()])
    dist.all_reduce(sums)
    model.train()
    return (sums[0] / sums[1]).item(), int(sums[1])


def train(arguments: argparse.Namespace, device: torch.device, loader: DataLoader, validation: DataLoader) -> None:
    """Trains, saves and evaluates, pass after pass."""
    torch.manual_seed(0)
    model = make_model(len(loader.dataset.classes)).to(device)  # the checkpoint's and the evaluation's: no DDP in it
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    first = load(arguments.checkpoint, loader, model, optimizer) if arguments.checkpoint else 0
    parallel = DistributedDataParallel(model)
    begin, total = time.perf_counter(), 0
    for epoch in range(first, arguments.epochs):
        began, sums = time.perf_counter(), torch.zeros(2, device=device)
        for step, (images, targets) in enumerate(loader, start=1):
            loss = nn.functional.cross_entropy(parallel(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sums += torch.stack([loss.detach() * len(images), torch.ones_like(targets).sum()])
            if arguments.checkpoint and step % arguments.save_every == 0:
                save(arguments.checkpoint, loader, model, optimizer)
        dist.all_reduce(sums)
        count, seconds = int(sums[1]), time.perf_counter() - began
        total += count
        if arguments.checkpoint:
            save(arguments.checkpoint, loader, model, optimizer)
        accuracy, evaluated = evaluate(model, validation, device)
        if dist.get_rank() == 0:
            loss_mean = sums[0] / max(count, 1)
            print(f"epoch {epoch}: loss {loss_mean:.3f}, {count} images at {count / seconds:.0f} a second", end="; ")
            print(f"accuracy {accuracy:.3f} of {evaluated} images", flush=True)
    if dist.get_rank() == 0:
        seconds = time.perf_counter() - begin
        print(f"done: {total} images on {dist.get_world_size()} ranks in {seconds:.1f} s")


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--validation", help="another such folder; default: the same")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16, help="images a batch and rank")
    parser.add_argument("--checkpoint", type=Path, help="a file; default: nothing is saved")
    parser.add_argument("--save-every", type=int, default=50, metavar="STEPS", help="also within a pass")
    arguments = parser.parse_args()
    device, size = join(), arguments.batch_size
    try:
        with (
            make_loader(arguments.data, TRAIN, size, train=True) as loader,
            make_loader(arguments.validation or arguments.data, EVALUATE, size, train=False) as validation,
        ):
            train(arguments, device, loader, validation)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
