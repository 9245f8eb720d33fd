"""`dalikit bench`: images/s of dalikit and of what one would use otherwise, in interleaved rounds."""

from __future__ import annotations

from typing import Any

import torch
from tqdm import tqdm

import dalikit.transforms as T
from dalikit.bench import Dalikit, DaliReader, Peer, TorchPillow, measure, table, train_transform
from dalikit.bench.dino import GLOBAL_SCALE, LOCAL_CROPS, LOCAL_SCALE, TorchDino
from dalikit.distributed import default_num_threads, resolve_device

__all__ = ["run"]

_SIZE = 224


def run(arguments: Any) -> int:
    """Measures and prints a table."""
    device = resolve_device(arguments.device)
    threads = arguments.threads or default_num_threads()
    make = _WORKLOADS[arguments.workload]
    peers = make(str(arguments.data), {"batch_size": arguments.batch_size, "num_threads": threads}, device)
    try:
        with tqdm(desc="measuring", unit="image", unit_scale=True) as bar:

            def on_batch(peer: Peer, count: int) -> None:
                bar.set_postfix_str(peer.name, refresh=False)
                bar.update(count)

            results = measure(peers, seconds=arguments.seconds, rounds=arguments.rounds, on_batch=on_batch)
    finally:
        for peer in peers:
            peer.close()
    print(f"\n{arguments.workload}: batch {arguments.batch_size}, {threads} CPU threads, device {device}\n")
    others = sum(not isinstance(peer, Dalikit) for peer in peers)
    print(table(results, baseline=max(others - 1, 0)))
    return 0


# Of the peers, torch's come first: their processes are forked before there are threads that a fork would cut off.


def _train(root: str, shared: dict[str, int], device: torch.device) -> list[Peer]:
    device_id = device.index if device.type == "cuda" else None
    return [
        TorchPillow(root, size=_SIZE, **shared),
        DaliReader(root, size=_SIZE, device_id=device_id, **shared),
        *_dalikits(root, train_transform(_SIZE), shared, device),
    ]


def _dino(root: str, shared: dict[str, int], device: torch.device) -> list[Peer]:
    transform = T.DataAugmentationDINO(GLOBAL_SCALE, LOCAL_SCALE, LOCAL_CROPS)
    try:
        peers: list[Peer] = [TorchDino(root, **shared)]
    except ImportError as error:
        print(f"without torchvision, which is what DINOv2 uses ({error}); to measure it too: pip install torchvision")
        peers = []
    return [*peers, *_dalikits(root, transform, shared, device)]


def _dalikits(root: str, transform: T.Transform, shared: dict[str, int], device: torch.device) -> list[Peer]:
    executors = ("dali",) if device.type == "cuda" else ("dali", "host")
    return [Dalikit(root, transform=transform, executor=executor, device=device, **shared) for executor in executors]


_WORKLOADS = {"train": _train, "dino": _dino}
