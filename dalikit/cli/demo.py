"""`dalikit demo`: throughput beside torch, an exact resume, a contact sheet."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dalikit.bench import Dalikit, Peer, Result, TorchPillow, measure
from dalikit.bench.peers import MEAN, STD, train_transform
from dalikit.cli.photographs import make_photographs
from dalikit.cli.sheet import write_contact_sheet
from dalikit.dataloader import DataLoader
from dalikit.loaders import SamplerType, make_data_loader, make_dataset

__all__ = ["run"]

_COUNT = 300
_ROUNDS = 3
_SIZE = 224
_SHEET = 32  # images on the contact sheet


def run(arguments: Any) -> int:
    """Runs the demo; 0 if the resumed run gave the same pixels, else 1."""
    out: Path = arguments.out
    root = arguments.data or make_photographs(out / "images", _COUNT)
    loader = _make_loader(root, arguments)
    options = loader.options
    print(f"\n{len(loader.dataset):,} images in {root}, {len(loader.dataset.classes)} classes")
    print(f"device {options.torch_device}, executor {options.executor}, {options.num_threads} CPU threads\n")

    ours, theirs = _race(root, arguments, loader)
    print(f"\n{ours.name + ':':28} {ours.median:7,.0f} images/s")
    print(f"{theirs.name + ':':28} {theirs.median:7,.0f} images/s")
    print(f"{'dalikit is':28} {ours.ratio(theirs):7.2f} times as fast (median of {_ROUNDS} rounds in turn)\n")

    same = _resumes_exactly(root, arguments)
    verdict = "the same batch, bit for bit" if same else "ANOTHER BATCH: please report this"
    print(f"stopped after 5 batches, resumed from its state in a new loader: {verdict}")

    sheet = out / "contact-sheet.png"
    _write_sheet(sheet, root, arguments)
    print(f"augmented images: {sheet}")
    return 0 if same else 1


def _make_loader(root: Path, arguments: Any) -> DataLoader:
    dataset = make_dataset(dataset_str=f'ImageFolder:root="{root}"', transform=train_transform(_SIZE))
    return make_data_loader(
        dataset=dataset,
        batch_size=arguments.batch_size,
        num_workers=0,
        seed=0,
        sampler_type=SamplerType.INFINITE,
        num_threads=arguments.threads,
        device=arguments.device,
    )


def _race(root: Path, arguments: Any, loader: DataLoader) -> tuple[Result, Result]:
    """Both loaders on the same files, in turn."""
    shared = {"batch_size": arguments.batch_size, "num_threads": loader.options.num_threads or 1}
    # torch's first: its processes are forked before there are threads that a fork would cut off.
    theirs = TorchPillow(str(root), size=_SIZE, **shared)
    ours = Dalikit(str(root), transform=train_transform(_SIZE), device=arguments.device, **shared)
    try:
        with tqdm(desc="streaming", unit="image", unit_scale=True) as bar:

            def on_batch(peer: Peer, count: int) -> None:
                bar.set_postfix_str(peer.name, refresh=False)
                bar.update(count)

            results = measure([theirs, ours], seconds=arguments.seconds, rounds=_ROUNDS, on_batch=on_batch)
    finally:
        ours.close()
        theirs.close()
    return results[1], results[0]


def _resumes_exactly(root: Path, arguments: Any) -> bool:
    """Whether a new loader that takes over another's state gives the batch that the other would have given."""
    with _make_loader(root, arguments) as uncut, _make_loader(root, arguments) as resumed:
        batches = iter(uncut)
        for _ in itertools.islice(batches, 5):
            pass
        resumed.load_state_dict(uncut.state_dict())
        images, targets = next(batches)
        images_again, targets_again = next(iter(resumed))
        return torch.equal(images, images_again) and torch.equal(targets, targets_again)


def _write_sheet(path: Path, root: Path, arguments: Any) -> None:
    with _make_loader(root, arguments) as loader:
        images, targets = next(iter(loader))
        captions = [loader.dataset.classes[target] for target in targets.tolist()]
    write_contact_sheet(path, images[:_SHEET], captions[:_SHEET], columns=8, mean=MEAN, std=STD)
