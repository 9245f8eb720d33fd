"""`dalikit bench`: images/s of dalikit and of what one would use otherwise, in interleaved rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

import dalikit.transforms as T
from dalikit.bench import (
    Augmented,
    Dalikit,
    DalikitItems,
    DaliReader,
    Decoded,
    Encoded,
    Peer,
    Result,
    Tensors,
    TorchItems,
    TorchPillow,
    Vectors,
    measure,
    table,
    train_transform,
)
from dalikit.bench.dino import GLOBAL_SCALE, LOCAL_CROPS, LOCAL_SCALE, TorchDino
from dalikit.bench.shards import DaliShards, PackedShards
from dalikit.datasets import ImageFolder, WebDataset
from dalikit.distributed import default_num_threads, resolve_device

__all__ = ["run"]

_SIZE = 224
_SHARD_SAMPLES = 4000  # some 450 MB of photographs
_SIDE = 64  # of the tensors of the workload "items", in elements


@dataclass(frozen=True, slots=True)
class _Setting:
    """What all loaders share."""

    root: str
    batch_size: int
    num_threads: int
    """CPU threads, and as many worker processes where there are any."""
    device: torch.device

    @property
    def sizes(self) -> dict[str, int]:
        """For the peers that take no more."""
        return {"batch_size": self.batch_size, "num_threads": self.num_threads}


@dataclass(frozen=True, slots=True)
class _Group:
    """Loaders that do the same work, in turn; another group's have ended before."""

    title: str
    make: Callable[[_Setting], list[Peer]]
    unit: str = "images"
    baseline: int | None = None
    """Which of them the others are compared with; None: the last that is not dalikit."""


def run(arguments: Any) -> int:
    """Measures and prints a table for each group."""
    device = resolve_device(arguments.device)
    threads = arguments.threads or default_num_threads()
    setting = _Setting(str(arguments.data), arguments.batch_size, threads, device)
    for group in _WORKLOADS[arguments.workload]:
        peers = group.make(setting)
        try:
            results = _measure(peers, group.unit, arguments)
        finally:
            for peer in peers:
                peer.close()
        print(f"\n{group.title}: batch {setting.batch_size}, {threads} CPU threads, device {device}\n")
        print(table(results, baseline=_baseline(group, peers), unit=group.unit))
    return 0


def _measure(peers: Sequence[Peer], unit: str, arguments: Any) -> list[Result]:
    with tqdm(desc="measuring", unit=unit.removesuffix("s"), unit_scale=True) as bar:

        def on_batch(peer: Peer, count: int) -> None:
            bar.set_postfix_str(peer.name, refresh=False)
            bar.update(count)

        return measure(peers, seconds=arguments.seconds, rounds=arguments.rounds, on_batch=on_batch)


def _baseline(group: _Group, peers: Sequence[Peer]) -> int:
    others = sum(not isinstance(peer, Dalikit) for peer in peers)
    return max(others - 1, 0) if group.baseline is None else group.baseline


# Of the peers, those with worker processes come first: these are forked before there are threads that a fork would cut
# off.


def _train(setting: _Setting) -> list[Peer]:
    device_id = setting.device.index if setting.device.type == "cuda" else None
    return [
        TorchPillow(setting.root, size=_SIZE, **setting.sizes),
        DaliReader(setting.root, size=_SIZE, device_id=device_id, **setting.sizes),
        *_dalikits(setting, train_transform(_SIZE)),
    ]


def _dino(setting: _Setting) -> list[Peer]:
    transform = T.DataAugmentationDINO(GLOBAL_SCALE, LOCAL_SCALE, LOCAL_CROPS)
    try:
        peers: list[Peer] = [TorchDino(setting.root, **setting.sizes)]
    except ImportError as error:
        print(f"without torchvision, which is what DINOv2 uses ({error}); to measure it too: pip install torchvision")
        peers = []
    return [*peers, *_dalikits(setting, transform)]


def _dalikits(setting: _Setting, transform: T.Transform, datasets: Mapping[str, Any] | None = None) -> list[Peer]:
    """With each executor that the device has, on the folder, or on other datasets, by label."""
    executors = ("dali",) if setting.device.type == "cuda" else ("dali", "host")
    return [
        Dalikit(
            dataset,
            label=label,
            transform=transform,
            executor=executor,
            device=setting.device,
            batch_size=setting.batch_size,
            num_threads=setting.num_threads,
        )
        for executor in executors
        for label, dataset in (datasets or {"": setting.root}).items()
    ]


def _shards(setting: _Setting) -> list[Peer]:
    packed = PackedShards(setting.root, _SHARD_SAMPLES)
    device_id = setting.device.index if setting.device.type == "cuda" else None
    datasets = {"shards": WebDataset(packed.paths, progress=False), "files": setting.root}
    return [
        DaliShards(packed, size=_SIZE, device_id=device_id, **setting.sizes),
        *_dalikits(setting, train_transform(_SIZE), datasets),
    ]


def _bytes(setting: _Setting) -> list[Peer]:
    plain, transform = Encoded(setting.root), train_transform(_SIZE)
    return [
        _torch(setting, "Pillow", Augmented(plain, _SIZE)),
        _dalikit(setting, "plain dataset", plain, transform=transform),
        _dalikit(setting, "plain dataset", plain, num_workers=0, transform=transform),
        _dalikit(setting, "ImageFolder", ImageFolder(setting.root, progress=False), num_workers=0, transform=transform),
    ]


def _decoded(setting: _Setting) -> list[Peer]:
    plain = Decoded(setting.root)
    return [
        _torch(setting, "Pillow", Augmented(plain, _SIZE)),
        _dalikit(setting, "decoded images", plain, transform=train_transform(_SIZE)),
    ]


def _others(setting: _Setting, *, label: str, make: Callable[[], Any], with_workers: bool) -> list[Peer]:
    dataset, num_workers = make(), None if with_workers else 0
    return [
        _torch(setting, label, dataset, num_workers=num_workers),
        _dalikit(setting, label, dataset, num_workers=num_workers),
    ]


def _torch(setting: _Setting, label: str, dataset: Any, *, num_workers: int | None = None) -> TorchItems:
    workers = setting.num_threads if num_workers is None else num_workers
    return TorchItems(label, dataset, batch_size=setting.batch_size, num_workers=workers, device=setting.device)


def _dalikit(
    setting: _Setting, label: str, dataset: Any, *, num_workers: int | None = None, transform: Any = None
) -> DalikitItems:
    workers = setting.num_threads if num_workers is None else num_workers
    return DalikitItems(
        label, dataset, num_workers=workers, transform=transform, device=setting.device, **setting.sizes
    )


def _groups_of_others() -> Iterator[_Group]:
    tensors = partial(Tensors, 10_000, 3, _SIDE, _SIDE)
    for title, label, make in (
        (f"items, tensors (3, {_SIDE}, {_SIDE})", "tensors", tensors),
        ("items, 16 numbers each", "tiny items", Vectors),
    ):
        for with_workers in (True, False):
            peers = partial(_others, label=label, make=make, with_workers=with_workers)
            processes = "worker processes" if with_workers else "no worker processes"
            yield _Group(f"{title}, {processes}", peers, "items", baseline=0)


_WORKLOADS: dict[str, tuple[_Group, ...]] = {
    "train": (_Group("train", _train),),
    "dino": (_Group("dino", _dino),),
    "shards": (_Group("shards", _shards, baseline=0),),
    "bytes": (_Group("bytes", _bytes, baseline=3),),
    "items": (_Group("items, decoded images", _decoded, baseline=0), *_groups_of_others()),
}
