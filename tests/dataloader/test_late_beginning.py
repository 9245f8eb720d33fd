"""A pass is entered by its first batch: what frameworks do between `iter` and `next` neither loses nor repeats one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader, make_dataset

KINDS = (SamplerType.KEYED_EPOCH, SamplerType.EPOCH, SamplerType.DISTRIBUTED)


def make(root: Path, kind: SamplerType) -> DataLoader:
    transform = T.Compose([T.RandomResizedCrop(16), T.ToTensor()])
    dataset = make_dataset(dataset_str=f"ImageFolder:root={root}", transform=transform)
    return make_data_loader(dataset=dataset, batch_size=4, num_workers=0, sampler_type=kind, device="cpu")


def whole(root: Path, kind: SamplerType, epoch: int) -> torch.Tensor:
    """The pass, by a loader that does nothing else."""
    with make(root, kind) as loader:
        loader.sampler.set_epoch(epoch)
        return torch.cat([images for images, _ in loader])


@pytest.mark.parametrize("kind", KINDS)
def test_an_iterator_of_which_nothing_was_asked_is_no_pass(photograph_root: Path, kind: SamplerType) -> None:
    """Nor does it use a loaded state up."""
    with make(photograph_root, kind) as loader:
        iter(loader)
        batches = iter(loader)
        first = next(batches)[0]
        assert torch.equal(first, whole(photograph_root, kind, 0)[:4])
        state = loader.state_dict()
    with make(photograph_root, kind) as loader:
        loader.load_state_dict(state)
        iter(loader)
        assert loader.state_dict() == state
        assert torch.equal(torch.cat([images for images, _ in loader]), whole(photograph_root, kind, 0)[4:])


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_that_is_set_after_iter_holds(photograph_root: Path, kind: SamplerType) -> None:
    """Also when a state was loaded that was made after the last batch of a pass."""
    with make(photograph_root, kind) as loader:
        batches = iter(loader)
        loader.sampler.set_epoch(1)
        for _ in range(3):
            next(batches)
        state = loader.state_dict()
    with make(photograph_root, kind) as loader:
        loader.load_state_dict(state)
        batches = iter(loader)
        loader.sampler.set_epoch(2)
        assert torch.equal(torch.cat([images for images, _ in batches]), whole(photograph_root, kind, 2))
