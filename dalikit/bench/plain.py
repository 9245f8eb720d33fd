"""Plain datasets, as users write them: an item is what `__getitem__` gives. And the loaders that are measured on them.

At the top of a module, so that they can be sent to worker processes that are not forked.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import dalikit.transforms as T
from dalikit.bench.peers import dalikit_ahead, pillow_augment, torch_ahead
from dalikit.datasets import ImageFolder
from dalikit.loaders import SamplerType, make_data_loader

__all__ = ["Augmented", "DalikitItems", "Decoded", "Encoded", "Tensors", "TorchItems", "Vectors"]

_KEPT = 1024  # tensors of Tensors; the rows repeat them


class Encoded(torch.utils.data.Dataset[Any]):
    """(the bytes of an image file, its class): an ImageFolder without its `get_image_data`."""

    def __init__(self, root: str) -> None:
        self._folder = ImageFolder(root, progress=False)

    def __len__(self) -> int:
        """How many images."""
        return len(self._folder)

    def __getitem__(self, index: int) -> tuple[bytes, int]:
        """Reads a file."""
        return Path(self._folder.get_location(index).uri).read_bytes(), self._folder.get_target(index)


class Decoded(Encoded):
    """(PIL image, its class), decoded by Pillow."""

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Reads and decodes a file."""
        data, target = super().__getitem__(index)
        return Image.open(io.BytesIO(data)).convert("RGB"), target


class Augmented(torch.utils.data.Dataset[Any]):
    """Another one's images, decoded and augmented by Pillow: (float32 (3, size, size), class).

    Args:
        dataset: with items (bytes or PIL image, class).
        size: side of the output, in pixels.
    """

    def __init__(self, dataset: Encoded, size: int) -> None:
        self._dataset = dataset
        self._size = size

    def __len__(self) -> int:
        """How many images."""
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Augments an item."""
        item, target = self._dataset[index]
        image = Image.open(io.BytesIO(item)).convert("RGB") if isinstance(item, bytes) else item
        return pillow_augment(image, self._size), target


class Tensors(torch.utils.data.Dataset[Any]):
    """(float32 of a shape, class from 0 to 9), made: an item costs next to nothing, so loaders show what they cost.

    Args:
        count: rows.
        shape: of each.
    """

    def __init__(self, count: int, *shape: int) -> None:
        self._count = count
        self._kept = min(count, _KEPT)
        self._values = torch.rand(self._kept, *shape, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        """How many."""
        return self._count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """A view of one."""
        return self._values[index % self._kept], index % 10


class Vectors(Tensors):
    """(16 floats, class): tiny items, a hundred thousand of them."""

    def __init__(self) -> None:
        super().__init__(100_000, 16)


class DalikitItems:
    """dalikit over a dataset of any kind.

    Args:
        label: which dataset, for the name.
        dataset: of items (anything, target).
        batch_size: items a batch.
        num_workers: worker processes.
        num_threads: CPU threads that decode and augment.
        transform: what is done to images.
        device: where batches come out.
    """

    def __init__(
        self,
        label: str,
        dataset: Any,
        *,
        batch_size: int,
        num_workers: int,
        num_threads: int,
        transform: T.Transform | None = None,
        device: Any = None,
    ) -> None:
        self.loader = make_data_loader(
            dataset=dataset,
            batch_size=batch_size,
            num_workers=num_workers,
            sampler_type=SamplerType.INFINITE,
            num_threads=num_threads,
            transform=transform,
            device=device,
        )
        self.name = f"dalikit, {label}, {_workers(num_workers)}"
        self.ahead = dalikit_ahead(num_workers, self.loader.options.prefetch_batches)

    def __iter__(self) -> Iterator[Any]:
        """Batches."""
        return iter(self.loader)

    def close(self) -> None:
        """Ends the threads and processes."""
        self.loader.close()


class TorchItems:
    """torch's DataLoader over the same.

    Args:
        label: which dataset, for the name.
        dataset: of items (tensor, target).
        batch_size: items a batch.
        num_workers: worker processes.
        device: where batches come out; those for a GPU are pinned on the way.
    """

    def __init__(self, label: str, dataset: Any, *, batch_size: int, num_workers: int, device: torch.device) -> None:
        # As many samples as nobody will take: an epoch's end would stop and start the workers.
        sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**9)
        self._device = device
        self._loader = torch.utils.data.DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=num_workers,
            drop_last=True,
            pin_memory=device.type == "cuda",
        )
        self.name = f"torch DataLoader, {label}, {_workers(num_workers)}"
        self.ahead = torch_ahead(num_workers)
        self._iterator: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        """Batches."""
        batches = iter(self._loader)  # here, not in a generator: the processes are to start now
        self._iterator = batches if self._device.type == "cpu" else self._moved(batches)
        return self._iterator

    def _moved(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            yield [part.to(self._device, non_blocking=True) for part in batch]

    def close(self) -> None:
        """Ends the processes."""
        self._iterator = None


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count != 1)}"
