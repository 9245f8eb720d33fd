"""Trains a small network with Lightning, on as many devices as there are, and goes on where a checkpoint was made.

    python examples/lightning_module.py --data DIR --epochs 2 --devices 2
    python examples/lightning_module.py --data DIR --epochs 2 --resume last
    python examples/lightning_module.py --data DIR --steps 1000    # an endless loader

DIR holds a folder of images for each class. Lightning saves and loads the loader's state by itself, within an epoch
too, and a checkpoint of two devices goes on on one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import nn

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader, make_dataset

NORMALIZE = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TRAIN = T.Compose([T.RandomResizedCrop(64), T.RandomHorizontalFlip(), T.ToTensor(), NORMALIZE])
EVALUATE = T.Compose([T.Resize(72), T.CenterCrop(64), T.ToTensor(), NORMALIZE])


class Images(lightning.LightningDataModule):
    """The loaders. Rank and number of ranks are torch.distributed's, which Lightning has set up when it asks."""

    def __init__(self, data: str, batch_size: int, *, endless: bool) -> None:
        super().__init__()
        self.data, self.batch_size, self.endless = data, batch_size, endless

    def train_dataloader(self) -> DataLoader:
        """A new order each epoch, the same for any number of ranks."""
        return self._loader(TRAIN, SamplerType.KEYED_INFINITE if self.endless else SamplerType.KEYED_EPOCH)

    def val_dataloader(self) -> DataLoader:
        """Each image once, over all ranks."""
        return self._loader(EVALUATE, SamplerType.KEYED_EPOCH, shuffle=False, drop_last=False)

    def _loader(self, transform: T.Compose, kind: SamplerType, **options: Any) -> DataLoader:
        return make_data_loader(
            dataset=make_dataset(dataset_str=f"ImageFolder:root={self.data}", transform=transform),
            batch_size=self.batch_size,
            num_workers=0,
            sampler_type=kind,
            device=self.trainer.strategy.root_device,
            **options,
        )


class Classifier(lightning.LightningModule):
    """Three convolutions. The batches are on its device when they come."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(4, outputs), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        """The loss."""
        images, targets = batch
        return nn.functional.cross_entropy(self.network(images), targets)

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
        """Logs the accuracy: over all ranks, each image once."""
        images, targets = batch
        right = (self.network(images).argmax(dim=1) == targets).float().mean()
        self.log("accuracy", right, batch_size=len(targets), sync_dist=True, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def main(arguments: Sequence[str] | None = None, callbacks: Sequence[Callback] = ()) -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, help="train for so many steps on an endless loader, not for epochs")
    parser.add_argument("--batch-size", type=int, default=16, help="images a batch and device")
    parser.add_argument("--devices", default="auto", help="how many; default: all")
    parser.add_argument("--accelerator", default="auto", help='"gpu", "cpu"; default: what there is')
    parser.add_argument("--checkpoints", default="checkpoints", help="folder for them")
    parser.add_argument("--save-every", type=int, default=50, metavar="STEPS", help="also within an epoch")
    parser.add_argument("--resume", metavar="CHECKPOINT", help='a file, or "last"')
    given = parser.parse_args(arguments)
    # Without a length Lightning takes a batch ahead, and a checkpoint would skip it: an endless loader is given one.
    length = {"max_epochs": given.epochs}
    if given.steps is not None:
        length = {"max_steps": given.steps, "limit_train_batches": given.steps}
    saving = ModelCheckpoint(
        given.checkpoints, filename="{step}", every_n_train_steps=given.save_every, save_top_k=-1, save_last=True
    )
    trainer = lightning.Trainer(
        accelerator=given.accelerator,
        devices=given.devices,
        callbacks=[saving, *callbacks],
        logger=False,
        **length,
    )
    data = Images(given.data, given.batch_size, endless=given.steps is not None)
    trainer.fit(Classifier(), data, ckpt_path=given.resume, weights_only=True)


if __name__ == "__main__":
    main()
