"""What `dalikit bench` measures with: datasets, loaders, turns."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dalikit.bench import (
    Augmented,
    DalikitItems,
    Decoded,
    Encoded,
    Tensors,
    TorchItems,
    Vectors,
    measure,
    table,
    train_transform,
)
from dalikit.datasets import ImageFolder

CPU = torch.device("cpu")


class Counting:
    """A loader that counts the batches taken from it."""

    name = "counting"

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.taken = 0

    def __iter__(self) -> Iterator[Any]:
        while True:
            self.taken += 1
            yield torch.zeros(3), [0, 1, 2]

    def close(self) -> None:
        """Holds nothing."""


def test_batches_that_were_finished_before_a_turn_are_not_timed() -> None:
    """However many a loader may have ahead: two more are taken first, every turn."""
    peers = [Counting(ahead=0), Counting(ahead=7)]
    timed = dict.fromkeys(peers, 0)

    def on_batch(peer: Any, count: int) -> None:
        assert count == 3
        timed[peer] += 1

    results = measure(peers, seconds=0.01, rounds=2, on_batch=on_batch)
    assert [peer.taken - timed[peer] for peer in peers] == [2 * 2, 2 * (7 + 2)]
    assert all(len(result.images_per_second) == 2 for result in results)


def test_a_table_has_its_unit() -> None:
    results = measure([Counting(0)], seconds=0.01, rounds=1)
    assert table(results, baseline=0).startswith("| loader | images/s (median) | min - max | ratio to counting |\n")
    assert table(results, baseline=0, unit="items").startswith("| loader | items/s (median) |")


def test_plain_datasets_have_the_folders_rows(photograph_root: Path) -> None:
    """As bytes, as Pillow decodes them, and augmented; all can be sent to a spawned process."""
    folder = ImageFolder(photograph_root, progress=False)
    encoded, decoded = Encoded(str(photograph_root)), Decoded(str(photograph_root))
    assert len(encoded) == len(decoded) == len(folder) == 12
    for index in (0, 7, 11):
        assert pickle.loads(pickle.dumps(encoded))[index] == (folder.get_image_data(index), folder.get_target(index))
        image, target = pickle.loads(pickle.dumps(decoded))[index]
        assert np.array_equal(np.asarray(image), np.asarray(folder[index][0]))
        assert (type(image), target) == (Image.Image, folder.get_target(index))
        for dataset in (encoded, decoded):
            torch.manual_seed(index)
            values, target = pickle.loads(pickle.dumps(Augmented(dataset, 32)))[index]
            assert (values.shape, values.dtype) == ((3, 32, 32), torch.float32)
            assert target == folder.get_target(index)
            torch.manual_seed(index)
            assert torch.equal(values, Augmented(encoded, 32)[index][0])


@pytest.mark.parametrize(("dataset", "shape"), [(Tensors(5000, 3, 4, 5), (3, 4, 5)), (Vectors(), (16,))])
def test_made_items_are_tensors_and_numbers(dataset: Tensors, shape: tuple[int, ...]) -> None:
    """The same in every process."""
    last = len(dataset) - 1
    for index in (0, 11, last):
        values, target = dataset[index]
        assert (values.shape, values.dtype, target) == (shape, torch.float32, index % 10)
        assert torch.equal(pickle.loads(pickle.dumps(dataset))[index][0], values)
    assert not torch.equal(dataset[0][0], dataset[1][0])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_torchs_loader_gives_batches_without_end(num_workers: int) -> None:
    """More than the dataset has."""
    peer = TorchItems("tiny", Tensors(6, 2), batch_size=4, num_workers=num_workers, device=CPU)
    assert peer.name == f"torch DataLoader, tiny, {num_workers} worker{'s' * (num_workers != 1)}"
    batches = iter(peer)
    for _ in range(5):
        values, targets = next(batches)
        assert values.shape == (4, 2)
        assert targets.shape == (4,)
    peer.close()


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("kind", [Encoded, Decoded, ImageFolder, Tensors])
def test_dalikit_gives_batches_without_end(photograph_root: Path, kind: Any, num_workers: int) -> None:
    """Images are augmented, anything else is collated."""
    images = kind is not Tensors
    dataset = kind(str(photograph_root)) if images else Tensors(12, 2)
    peer = DalikitItems(
        "this",
        dataset,
        batch_size=8,
        num_workers=num_workers,
        num_threads=2,
        transform=train_transform(16) if images else None,
        device=CPU,
    )
    try:
        assert peer.name == f"dalikit, this, {num_workers} worker{'s' * (num_workers != 1)}"
        batches = iter(peer)
        for _ in range(3):
            values, targets = next(batches)
            assert values.shape == ((8, 3, 16, 16) if images else (8, 2))
            assert values.dtype == torch.float32
            assert targets.shape == (8,)
    finally:
        peer.close()
