"""DINO's multi-crop as a workload: DINOv2's own augmentation on torchvision in a torch DataLoader, and dalikit's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image

from dalikit.bench.peers import MEAN, STD, torch_ahead
from dalikit.bench.torchvision import import_torchvision
from dalikit.datasets import ImageFolder

__all__ = ["GLOBAL_SCALE", "LOCAL_CROPS", "LOCAL_SCALE", "TorchDino"]

# DINOv2's configuration of ViT-L/16 (dinov2/configs/ssl_default_config.yaml)
GLOBAL_SCALE, LOCAL_SCALE, LOCAL_CROPS = (0.32, 1.0), (0.05, 0.32), 8
_BLUR = (0.0, 0.9, 0.5)  # what DINOv2's released code effectively does (facebookresearch/dinov2#411)


class _Augmentation:
    """dinov2.data.augmentations.DataAugmentationDINO, written anew on torchvision's first transforms."""

    def __init__(self) -> None:
        import_torchvision()
        from torchvision import transforms as tv

        def geometric(size: int, scale: tuple[float, float]) -> Any:
            crop = tv.RandomResizedCrop(size, scale=scale, interpolation=tv.InterpolationMode.BICUBIC)
            return tv.Compose([crop, tv.RandomHorizontalFlip(p=0.5)])

        def blur(p: float) -> Any:
            return tv.RandomApply([tv.GaussianBlur(kernel_size=9, sigma=(0.1, 2.0))], p=p)

        jitter = tv.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
        colour = tv.Compose([tv.RandomApply([jitter], p=0.8), tv.RandomGrayscale(p=0.2)])
        normalize = tv.Compose([tv.ToTensor(), tv.Normalize(MEAN, STD)])
        solarize = tv.RandomSolarize(threshold=128, p=0.2)
        self._global_crop, self._local_crop = geometric(224, GLOBAL_SCALE), geometric(96, LOCAL_SCALE)
        self._global_1 = tv.Compose([colour, blur(_BLUR[0]), normalize])
        self._global_2 = tv.Compose([colour, blur(_BLUR[1]), solarize, normalize])
        self._local = tv.Compose([colour, blur(_BLUR[2]), normalize])

    def __call__(self, image: Image.Image) -> dict[str, list[torch.Tensor]]:
        first, second = self._global_1(self._global_crop(image)), self._global_2(self._global_crop(image))
        local = [self._local(self._local_crop(image)) for _ in range(LOCAL_CROPS)]
        return {"global_crops": [first, second], "local_crops": local}


class _DinoDataset(torch.utils.data.Dataset[Any]):
    def __init__(self, root: str) -> None:
        self._folder = ImageFolder(root, progress=False)
        self._augment = _Augmentation()

    def __len__(self) -> int:
        return len(self._folder)

    def __getitem__(self, index: int) -> tuple[dict[str, list[torch.Tensor]], int]:
        with Image.open(self._folder.get_location(index).uri) as file:
            image = file.convert("RGB")
        return self._augment(image), self._folder.get_target(index)


def _collate(samples: list[Any]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Crop-major stacks, as DINOv2's collate makes them."""
    crops = {
        name: torch.stack([sample[0][name][view] for view in range(len(samples[0][0][name])) for sample in samples])
        for name in ("global_crops", "local_crops")
    }
    return crops, torch.tensor([sample[1] for sample in samples])


class TorchDino:
    """torch's DataLoader over DINOv2's augmentation, with `num_threads` worker processes.

    Args:
        root: an ImageFolder.
        batch_size: images a batch.
        num_threads: worker processes.

    Raises:
        ImportError: torchvision is not installed.
    """

    name = "torch DataLoader + torchvision"

    def __init__(self, root: str, *, batch_size: int, num_threads: int) -> None:
        dataset = _DinoDataset(root)
        sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**9)
        self._loader = torch.utils.data.DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=num_threads,
            collate_fn=_collate,
            drop_last=True,
            worker_init_fn=_one_thread,
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


def _one_thread(worker: int) -> None:
    del worker
    torch.set_num_threads(1)  # torch's own workers do so too; said here because the ratio hangs on it
