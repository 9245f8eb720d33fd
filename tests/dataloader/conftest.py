"""A small folder of real photographs, and a loader on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dalikit.transforms as T
from dalikit import DataLoader, make_data_loader
from dalikit.cli.photographs import make_photographs
from dalikit.datasets import ImageFolder

COUNT = 23
"""Photographs in the folder: prime, so that no batch size or number of ranks divides it."""

TRANSFORM = T.Compose(
    [T.RandomResizedCrop(32), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))]
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder root of COUNT photographs."""
    return make_photographs(tmp_path_factory.mktemp("photographs"), COUNT)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is the test's own: reports are written there."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dataset(folder: Path) -> ImageFolder:
    """The photographs with an augmentation."""
    return ImageFolder(folder, transform=TRANSFORM)


@pytest.fixture
def make(dataset: ImageFolder) -> Iterator[Callable[..., DataLoader]]:
    """`make_data_loader` with small defaults; closes what it made."""
    made: list[DataLoader] = []

    def make(**arguments: Any) -> DataLoader:
        defaults = {"dataset": dataset, "batch_size": 5, "num_workers": 0, "device": "cpu", "num_threads": 2}
        made.append(make_data_loader(**{**defaults, **arguments}))
        return made[-1]

    yield make
    for loader in made:
        loader.close()
