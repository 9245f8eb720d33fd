"""Loaders to be measured: dalikit, and what one would use otherwise. All do the same work on the same ImageFolder.

RandomResizedCrop (bilinear, antialias), horizontal flip, normalize; float32 NCHW batches; shuffled, without end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

import dalikit.transforms as T
from dalikit.datasets import ImageFolder
from dalikit.loaders import SamplerType, make_data_loader

__all__ = [
    "MEAN",
    "STD",
    "DaliReader",
    "Dalikit",
    "Peer",
    "TorchPillow",
    "dalikit_ahead",
    "pillow_augment",
    "torch_ahead",
    "train_transform",
]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

_MEAN = torch.tensor(MEAN)[:, None, None]
_STD = torch.tensor(STD)[:, None, None]


def train_transform(size: int) -> T.Compose:
    """The recipe of ImageNet training, as dalikit's transforms."""
    return T.Compose([T.RandomResizedCrop(size), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)])


class Peer(Protocol):
    """A loader under measurement; endless."""

    name: str
    ahead: int
    """Batches that it may have finished while others had their turns."""

    def __iter__(self) -> Iterator[Any]:
        """Batches `(images, targets)`."""

    def close(self) -> None:
        """Ends threads and processes."""


def torch_ahead(num_workers: int) -> int:
    """Batches that torch's loader has finished at most: two of each worker."""
    return 2 * num_workers


def dalikit_ahead(num_workers: int, prefetch_batches: int) -> int:
    """Batches that dalikit has finished at most: two of each worker, those under way, and those for the user."""
    return 2 * num_workers + prefetch_batches + 2


class Dalikit:
    """dalikit with one of its executors.

    Args:
        dataset: of encoded images, or the root of an ImageFolder.
        batch_size: images a batch.
        num_threads: CPU threads.
        transform: what is done.
        executor: "auto", "dali" or "host".
        device: where batches come out.
        label: which dataset, for the name.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int,
        num_threads: int,
        transform: T.Transform,
        executor: str = "auto",
        device: Any = None,
        label: str = "",
    ) -> None:
        self.loader = make_data_loader(
            dataset=ImageFolder(dataset, progress=False) if isinstance(dataset, str) else dataset,
            transform=transform,
            batch_size=batch_size,
            num_workers=0,
            sampler_type=SamplerType.INFINITE,
            num_threads=num_threads,
            executor=executor,
            device=device,
        )
        self.name = f"dalikit{label and f', {label}'} ({self.loader.options.executor})"
        self.ahead = dalikit_ahead(0, self.loader.options.prefetch_batches)

    def __iter__(self) -> Iterator[Any]:
        """Batches."""
        return iter(self.loader)

    def close(self) -> None:
        """Ends the threads."""
        self.loader.close()


class _PillowDataset(torch.utils.data.Dataset[Any]):
    """An ImageFolder decoded and augmented by Pillow, as torchvision does it."""

    def __init__(self, root: str, size: int) -> None:
        self._folder = ImageFolder(root, progress=False)
        self._size = size

    def __len__(self) -> int:
        return len(self._folder)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self._folder.get_location(index).uri) as file:
            image = file.convert("RGB")
        return pillow_augment(image, self._size), self._folder.get_target(index)


def pillow_augment(image: Image.Image, size: int) -> torch.Tensor:
    """The recipe of `train_transform` as torchvision does it on a PIL image: float32 (3, size, size)."""
    left, top, width, height = _random_box(*image.size)
    image = image.crop((left, top, left + width, top + height))
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    if torch.rand(()) < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    values = levels.to(torch.float32).div(255)
    return values.sub_(_MEAN).div_(_STD)


def _random_box(width: int, height: int) -> tuple[int, int, int, int]:
    """Torchvision's RandomResizedCrop.get_params with its default arguments: left, top, width, height."""
    area = width * height
    for _ in range(10):
        share, log_ratio = torch.rand(2).tolist()
        target = area * (0.08 + 0.92 * share)
        ratio = float(np.exp(np.log(3 / 4) + log_ratio * (np.log(4 / 3) - np.log(3 / 4))))
        box_width, box_height = round((target * ratio) ** 0.5), round((target / ratio) ** 0.5)
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(torch.randint(0, height - box_height + 1, ()))
            return int(torch.randint(0, width - box_width + 1, ())), top, box_width, box_height
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


class TorchPillow:
    """torch's DataLoader over Pillow, with `num_threads` worker processes.

    Args:
        root: an ImageFolder.
        batch_size: images a batch.
        num_threads: worker processes.
        size: side of the output, in pixels.
    """

    name = "torch DataLoader + Pillow"

    def __init__(self, root: str, *, batch_size: int, num_threads: int, size: int) -> None:
        dataset = _PillowDataset(root, size)
        # As many samples as nobody will take: an epoch's end would stop and start the workers.
        sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**9)
        self._loader = torch.utils.data.DataLoader(
            dataset, batch_size=batch_size, sampler=sampler, num_workers=num_threads, drop_last=True
        )
        self.ahead = torch_ahead(num_threads)
        self._iterator: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        """Batches."""
        self._iterator = iter(self._loader)
        return self._iterator

    def close(self) -> None:
        """Ends the processes."""
        self._iterator = None


class DaliReader:
    """DALI's own pipeline: its reader, its random crop in the decoder, its resize.

    Args:
        root: an ImageFolder.
        batch_size: images a batch.
        num_threads: DALI's CPU threads.
        size: side of the output, in pixels.
        device_id: the GPU, or None: DALI's CPU backend.
    """

    name = "DALI reader pipeline"
    ahead = 2

    def __init__(
        self, root: Any, *, batch_size: int, num_threads: int, size: int, device_id: int | None = None
    ) -> None:
        from nvidia.dali import fn, types
        from nvidia.dali.pipeline import Pipeline

        self._root = root
        self._pipeline: Any = Pipeline(
            batch_size=batch_size, num_threads=num_threads, device_id=device_id, seed=0, prefetch_queue_depth=2
        )
        with self._pipeline:
            encoded, targets = self._read(fn)
            image = fn.decoders.image_random_crop(
                encoded,
                device="cpu" if device_id is None else "mixed",
                random_area=[0.08, 1.0],
                random_aspect_ratio=[3 / 4, 4 / 3],
                adjust_orientation=False,
            )
            image = fn.resize(image, resize_x=size, resize_y=size, interp_type=types.INTERP_LINEAR, antialias=True)
            image = fn.crop_mirror_normalize(
                image,
                mirror=fn.random.coin_flip(),
                mean=[255 * value for value in MEAN],
                std=[255 * value for value in STD],
                dtype=types.FLOAT,
            )
            self._pipeline.set_outputs(image, targets)
        self._pipeline.build()

    def _read(self, fn: Any) -> Any:
        """The operator that reads: encoded images and targets."""
        return fn.readers.file(file_root=self._root, random_shuffle=True, name="reader")

    def __iter__(self) -> Iterator[Any]:
        """Batches."""
        while True:
            images, targets = self._pipeline.run()
            yield torch.utils.dlpack.from_dlpack(images.as_tensor()), targets

    def close(self) -> None:
        """Ends the threads."""
        self._pipeline = None
