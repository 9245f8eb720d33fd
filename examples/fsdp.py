"""Trains a network sharded by FSDP2 (`fully_shard`), with the loader itself in torch's distributed checkpoints.

    torchrun --nproc-per-node 2 examples/fsdp.py --data DIR --checkpoints FOLDER --epochs 2
    torchrun --nproc-per-node 3 examples/fsdp.py --data DIR --checkpoints FOLDER --epochs 4

DIR holds a folder of images for each class; FOLDER gets one for each checkpoint. Started again, with more processes or
fewer, it goes on from the newest: the network is sharded anew, and the images that the pass has not had yet are dealt
out anew. It runs on GPUs by nccl, and on the CPU by gloo.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader, make_dataset

NORMALIZE = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TRAIN = T.Compose([T.RandomResizedCrop(64), T.RandomHorizontalFlip(), T.ToTensor(), NORMALIZE])


def make_loader(data: str, batch_size: int) -> DataLoader:
    """A rank's share of the images in `data`. Rank and number of ranks are torch.distributed's."""
    return make_data_loader(
        dataset=make_dataset(dataset_str=f"ImageFolder:root={data}", transform=TRAIN),
        batch_size=batch_size,
        num_workers=0,
        sampler_type=SamplerType.KEYED_EPOCH,  # a new order each pass, the same for any number of ranks
        drop_last=True,  # every rank makes as many steps: in each they wait for one another
    )


def make_model(num_classes: int, device: torch.device) -> nn.Module:
    """Three blocks of convolutions, each sharded over all ranks, and then what is left."""
    blocks = [
        nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(4, outputs), nn.ReLU())
        for inputs, outputs in ((3, 16), (16, 32), (32, 64))
    ]
    model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes)).to(device)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def save(folder: Path, loader: DataLoader, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Every rank writes its shards; of the loader's state, which is the same on all ranks, one copy is written."""
    state = loader.state_dict()
    name = f"{state['passes']:06d}-{state['place']:012d}"  # a new folder each time: the last one stays whole
    dcp.save(checkpoint(loader, model, optimizer), checkpoint_id=folder / name)
    if dist.get_rank() == 0:
        (folder / name / "loader.json").write_text(json.dumps(state))  # for `dalikit state`, which reads no shards


def load(folder: Path, loader: DataLoader, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Goes to where the newest checkpoint was made, if there is one. Returns the pass to go on with."""
    finished = sorted(path.parent for path in folder.glob("*/.metadata"))  # written last
    if finished:
        parts = checkpoint(loader, model, optimizer)
        dcp.load(parts, checkpoint_id=finished[-1])  # gives the loader its state
        set_state_dict(model, optimizer, model_state_dict=parts["model"], optim_state_dict=parts["optimizer"])
    return int(loader.state_dict()["passes"])


def checkpoint(loader: DataLoader, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What is saved. The loader has `state_dict` and `load_state_dict`, which are called."""
    model_state, optimizer_state = get_state_dict(model, optimizer)
    return {"model": model_state, "optimizer": optimizer_state, "loader": loader}


def train(arguments: argparse.Namespace, device: torch.device, loader: DataLoader) -> None:
    """Trains and saves, pass after pass."""
    torch.manual_seed(0)
    model = make_model(len(loader.dataset.classes), device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    folder: Path = arguments.checkpoints
    for epoch in range(load(folder, loader, model, optimizer), arguments.epochs):
        place, sums = loader.state_dict()["place"], torch.zeros(2, device=device)
        for step, (images, targets) in enumerate(loader, start=1):
            loss = nn.functional.cross_entropy(model(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            sums += torch.stack([loss.detach() * len(images), torch.ones_like(targets).sum()])
            if step % arguments.save_every == 0:
                save(folder, loader, model, optimizer)
        save(folder, loader, model, optimizer)
        dist.all_reduce(sums)
        if dist.get_rank() == 0:
            count = int(sums[1])
            print(f"epoch {epoch}: from place {place} on, loss {sums[0] / max(count, 1):.3f} over {count} images")
    if dist.get_rank() == 0:
        print(f"done on {dist.get_world_size()} ranks")


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--checkpoints", required=True, type=Path, help="a folder, which is made if need be")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16, help="images a batch and rank")
    parser.add_argument("--save-every", type=int, default=50, metavar="STEPS", help="also within a pass")
    arguments = parser.parse_args()
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        with make_loader(arguments.data, arguments.batch_size) as loader:
            train(arguments, device, loader)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
