"""Trains a small network with Accelerate, on as many processes as there are, and goes on where a checkpoint was made.

    accelerate launch --num_processes 2 examples/accelerate_loop.py --data DIR --epochs 2
    torchrun --nproc-per-node 2 examples/accelerate_loop.py --data DIR --epochs 2 --cpu
    python examples/accelerate_loop.py --data DIR --epochs 2 --resume checkpoints/step_50

The first is for GPUs: without them `accelerate launch` starts one process, however many are asked for. The second is
for CPUs, where --cpu is needed. DIR holds a folder of images for each class. The loader is used as it is, not prepared.
A checkpoint of two processes goes on in one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import nn

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader, make_dataset

NORMALIZE = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TRAIN = T.Compose([T.RandomResizedCrop(64), T.RandomHorizontalFlip(), T.ToTensor(), NORMALIZE])
EVALUATE = T.Compose([T.Resize(72), T.CenterCrop(64), T.ToTensor(), NORMALIZE])


def make_accelerator(*, cpu: bool) -> Accelerator:
    """The Accelerator, if it found all the processes that the launcher started."""
    accelerator = Accelerator(cpu=cpu)
    launched = int(os.environ.get("WORLD_SIZE", accelerator.num_processes))
    if launched != accelerator.num_processes:
        raise SystemExit(
            f"WORLD_SIZE is {launched}, but Accelerate knows of {accelerator.num_processes}: each process would train "
            "by itself. On CPUs start it by torchrun, with --cpu."
        )
    return accelerator


def make_loader(
    data: str, transform: T.Compose, batch_size: int, accelerator: Accelerator, *, train: bool
) -> DataLoader:
    """A process's share of the images."""
    return make_data_loader(
        dataset=make_dataset(dataset_str=f"ImageFolder:root={data}", transform=transform),
        batch_size=batch_size,
        num_workers=0,
        sampler_type=SamplerType.KEYED_EPOCH,  # a new order each pass, the same for any number of ranks
        shuffle=train,
        drop_last=train,  # in training every rank makes as many steps; an evaluation leaves nothing out
        device=accelerator.device,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )


def make_model(num_classes: int) -> nn.Module:
    """Three convolutions."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(4, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))


def step(
    accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Sequence[torch.Tensor]
) -> None:
    """One step of the training."""
    images, targets = batch
    loss = nn.functional.cross_entropy(model(images), targets)
    optimizer.zero_grad()
    accelerator.backward(loss)
    optimizer.step()


@torch.no_grad()
def evaluate(accelerator: Accelerator, model: nn.Module, loader: DataLoader) -> tuple[float, int]:
    """Accuracy, and the number of images: each counts once. Gathers after the loop: ranks may have one batch more."""
    network = accelerator.unwrap_model(model).eval()  # without DDP: its forward may wait for the other ranks
    right: list[bool] = []
    for images, targets in loader:
        right += (network(images).argmax(dim=1) == targets).tolist()
    network.train()
    everyones = accelerator.gather_for_metrics(right, use_gather_object=True)
    return sum(everyones) / len(everyones), len(everyones)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--validation", help="another such folder; default: the same")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16, help="images a batch and process")
    parser.add_argument("--checkpoints", default="checkpoints", help="folder for them")
    parser.add_argument("--save-every", type=int, default=50, metavar="STEPS", help="also within an epoch")
    parser.add_argument("--resume", metavar="CHECKPOINT", help="a checkpoint's folder")
    parser.add_argument("--cpu", action="store_true", help="although there is a GPU")
    given = parser.parse_args(arguments)
    accelerator, size = make_accelerator(cpu=given.cpu), given.batch_size
    accelerator.print(f"processes: {accelerator.num_processes}, on {accelerator.device.type}")
    loader = make_loader(given.data, TRAIN, size, accelerator, train=True)
    validation = make_loader(given.validation or given.data, EVALUATE, size, accelerator, train=False)
    model = make_model(len(loader.dataset.classes))
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
    accelerator.register_for_checkpointing(loader)
    if given.resume:
        accelerator.load_state(given.resume)
    state = loader.state_dict()
    steps = state["passes"] * len(loader) + state["place"] // (size * accelerator.num_processes)
    for epoch in range(state["passes"], given.epochs):
        for batch in loader:
            step(accelerator, model, optimizer, batch)
            steps += 1
            if steps % given.save_every == 0:
                accelerator.save_state(f"{given.checkpoints}/step_{steps}")
        accuracy, count = evaluate(accelerator, model, validation)
        accelerator.print(f"epoch {epoch}: accuracy {accuracy:.3f} of {count} images")
    loader.close()
    validation.close()
    accelerator.end_training()


if __name__ == "__main__":
    main()
