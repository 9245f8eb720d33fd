"""What every adapted dataset has to keep, wherever its rows lie. Inherit, and give `dataset`, `twin` and `files`."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dalikit.transforms as T
from dalikit import DataLoader
from dalikit.datasets import ImageDataset, KeyedDataset

__all__ = ["AdaptedContract", "pixels_of_loader", "reference_pixels"]

TRANSFORM = T.Compose([T.RandomResizedCrop(24), T.RandomHorizontalFlip(), T.ToTensor()])


class _Files:
    """The same images as plain files, read by the loader's own ways: what an adapted dataset must look like."""

    def __init__(self, files: Sequence[Path], targets: Sequence[Any]) -> None:
        self.files = files
        self.targets = targets

    def __len__(self) -> int:
        return len(self.files)

    def get_image_data(self, index: int) -> bytes:
        return self.files[index].read_bytes()

    def get_target(self, index: int) -> Any:
        return self.targets[index]


def pixels_of_loader(dataset: Any, **options: Any) -> tuple[Any, Any]:
    """All images, augmented, and targets of a dataset, in one batch."""
    settings = {"transform": TRANSFORM, "seed": 5, "device": "cpu", "num_threads": 2, **options}
    with DataLoader(dataset, batch_size=len(dataset), **settings) as loader:
        [(images, targets)] = list(loader)
        return images, targets


def reference_pixels(files: Sequence[Path], targets: Sequence[Any]) -> tuple[Any, Any]:
    """The same of files."""
    return pixels_of_loader(_Files(files, targets))


class AdaptedContract:
    """`dataset`: adapted, at least 3 rows. `twin`: another copy of it, at another place. `files`: the image files in
    order. Targets are whole numbers.
    """

    def test_it_obeys_the_protocols(self, dataset: Any) -> None:
        """It is a dataset of encoded images, with names."""
        assert isinstance(dataset, ImageDataset)
        assert isinstance(dataset, KeyedDataset)

    def test_rows_are_the_files_bytes(self, dataset: Any, files: list[Path]) -> None:
        """Not an encoding of what was decoded."""
        assert len(dataset) == len(files)
        for index, file in enumerate(files):
            assert bytes(dataset.get_image_data(index)) == file.read_bytes()

    def test_threads_may_share_it(self, dataset: Any) -> None:
        """In any order."""

        def row(index: int) -> tuple[bytes, Any]:
            return bytes(dataset.get_image_data(index)), dataset.get_target(index)

        indices = np.random.default_rng(0).integers(0, len(dataset), 200).tolist()
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(row, indices)) == [row(index) for index in indices]

    def test_it_pickles(self, dataset: Any) -> None:
        """For worker processes that are not forked."""
        copy = pickle.loads(pickle.dumps(dataset))
        assert len(copy) == len(dataset)
        assert copy.fingerprint == dataset.fingerprint
        for index in range(len(dataset)):
            assert bytes(copy.get_image_data(index)) == bytes(dataset.get_image_data(index))
            assert copy.get_target(index) == dataset.get_target(index)
            assert copy.get_key(index) == dataset.get_key(index)

    def test_keys_are_unique_text(self, dataset: Any) -> None:
        """So that a report can name a row."""
        keys = [dataset.get_key(index) for index in range(len(dataset))]
        assert len(set(keys)) == len(keys)
        assert all(isinstance(key, str) for key in keys)

    def test_a_copy_elsewhere_has_the_same_fingerprint_and_keys(self, dataset: Any, twin: Any) -> None:
        """So that a checkpoint goes on there."""
        assert dataset.fingerprint == twin.fingerprint
        assert [dataset.get_key(index) for index in range(len(dataset))] == [
            twin.get_key(index) for index in range(len(twin))
        ]

    @pytest.mark.parametrize("method", ["get_target", "get_key", "get_image_data", "__getitem__"])
    def test_indices_are_those_of_a_list(self, dataset: Any, method: str) -> None:
        """From the end too."""
        get = getattr(dataset, method)
        count = len(dataset)
        if method != "__getitem__":
            assert get(-1) == get(count - 1) == get(np.int64(count - 1))
            assert get(-count) == get(0)
        for index in (count, -count - 1, 10**12):
            with pytest.raises(IndexError, match=rf"index {index} is out of range .* of {count} samples"):
                get(index)
        with pytest.raises(TypeError, match="integer"):
            get("0")

    def test_an_item_is_a_pil_image_and_the_target(self, dataset: Any) -> None:
        """As of dalikit's own datasets."""
        image, target = dataset[0]
        assert isinstance(image, Image.Image)
        assert image.mode == "RGB"
        assert target == dataset.get_target(0)

    def test_it_says_how_much_is_in_it(self, dataset: Any) -> None:
        """In its repr."""
        assert f"num_samples={len(dataset)}" in repr(dataset)

    def test_the_loader_gives_the_same_pixels_as_of_files(self, dataset: Any, files: list[Path]) -> None:
        """Decoded and augmented by dalikit, with dalikit's draws."""
        targets = [dataset.get_target(index) for index in range(len(dataset))]
        images, found = pixels_of_loader(dataset)
        expected, _ = reference_pixels(files, targets)
        assert images.equal(expected)
        assert found.tolist() == targets
