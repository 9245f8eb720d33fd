"""torchvision's datasets of files, given to a loader as they are, are read and decoded by dalikit; or left alone."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Subset, get_worker_info
from torch.utils.data import DataLoader as TorchDataLoader
from torchvision_import import import_torchvision

from dalikit import DataLoader
from dalikit import transforms as T
from dalikit.errors import ArgumentError

import_torchvision()
from torchvision.datasets import ImageFolder  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

SMALL = v2.Compose([v2.CenterCrop(20), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

CROPS = v2.Compose([v2.CenterCrop(24), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
COUNT = 7


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of smooth photographs: 4 and 3."""
    for number in range(COUNT):
        folder = tmp_path / ("cat" if number < 4 else "dog")
        folder.mkdir(exist_ok=True)
        ramp = np.add.outer(np.arange(40 + number), np.arange(50))[..., None] * np.array([1, 2, 1])
        Image.fromarray((ramp + 9 * number).clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=95)
    return tmp_path


def reads_files(loader: DataLoader) -> bool:
    """Whether images stay encoded until the executor has them."""
    return loader._get_plan().on_threads


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda dataset: dataset,
        lambda dataset: Subset(dataset, [5, 0, 3]),
        lambda dataset: ConcatDataset([dataset, Subset(dataset, [6, 2])]),
    ],
    ids=["itself", "Subset", "ConcatDataset"],
)
def test_batches_are_what_torchs_loader_gives(root: Path, wrap: Any, num_workers: int) -> None:
    """Within a level of the decoder's; targets are equal, and `target_transform` is done."""
    dataset = wrap(ImageFolder(str(root), CROPS, target_transform=lambda target: target + 10))
    loader = DataLoader(dataset, batch_size=3, num_workers=num_workers, device="cpu")
    assert reads_files(loader) == (num_workers == 0)
    assert type(loader._source) is not type(dataset)
    assert loader.dataset is dataset
    mine, torchs = list(loader), list(TorchDataLoader(dataset, batch_size=3))
    assert len(mine) == len(torchs)
    for (images, targets), (expected, expected_targets) in zip(mine, torchs, strict=True):
        assert images.dtype == expected.dtype
        assert (images - expected).abs().max() <= 2.01 / 255
        assert torch.equal(targets, expected_targets)


def test_the_loaders_own_transform_alone_is_done(root: Path) -> None:
    """Of a dataset without any, which torch's loader could not collate."""
    loader = DataLoader(ImageFolder(str(root)), batch_size=COUNT, transform=T.Compose([T.CenterCrop(24)]), device="cpu")
    assert reads_files(loader)
    images, targets = next(iter(loader))
    assert images.shape == (COUNT, 3, 24, 24)
    assert targets.tolist() == [0, 0, 0, 0, 1, 1, 1]


def brightened(image: Any) -> Any:
    """A function that dalikit does not know."""
    return v2.functional.to_image(image).float()[:, :20, :20] + 1


class Numbered(ImageFolder):
    """Overrides what an item is."""

    def __getitem__(self, index: int) -> Any:
        return torch.full((2,), float(index)), super().__getitem__(index)[1]


@pytest.mark.parametrize(
    "dataset",
    [
        lambda root: ImageFolder(root, brightened),
        lambda root: Numbered(root, CROPS),
        lambda root: ImageFolder(root, CROPS, loader=lambda path: Image.open(path).convert("RGB").rotate(90)),
        lambda root: ConcatDataset([ImageFolder(root, CROPS), ImageFolder(root, v2.Compose([brightened]))]),
        lambda root: ConcatDataset([ImageFolder(root, CROPS), ImageFolder(root, SMALL)]),
    ],
    ids=["function", "overridden", "own loader", "one not known", "transforms that differ"],
)
def test_what_is_not_certain_is_left_alone(root: Path, dataset: Any) -> None:
    """Its items are its own, as in torch."""
    made = dataset(str(root))
    loader = DataLoader(made, batch_size=1, device="cpu")
    assert loader._source is made
    for (image, target), (expected, expected_target) in zip(loader, made, strict=True):
        assert torch.equal(image[0], expected)
        assert target.tolist() == [expected_target]


def test_a_collate_fn_that_wants_pil_images_gets_them(root: Path) -> None:
    """Where nothing is done to them."""
    loader = DataLoader(ImageFolder(str(root)), batch_size=4, collate_fn=list, device="cpu")
    assert [[image.size for image, _ in batch] for batch in loader] == [
        [(50, 40 + n) for n in range(4)],
        [(50, 40 + n) for n in range(4, 7)],
    ]


def test_in_a_worker_the_dataset_is_the_users(root: Path) -> None:
    """What `get_worker_info` and `worker_init_fn` see."""

    def check(_: int) -> None:
        info = get_worker_info()
        assert info is not None
        assert type(info.dataset) is ImageFolder

    loader = DataLoader(ImageFolder(str(root), CROPS), batch_size=4, num_workers=1, worker_init_fn=check, device="cpu")
    assert len(list(loader)) == 2


def brighter(target: int) -> int:
    """A target transform that pickles."""
    return target + 100


def change_attribute(name: str, value: Any) -> Any:
    """A change of the dataset inside."""
    return lambda dataset: setattr(dataset, name, value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_attribute("transform", SMALL), "transform was set after"),
        (change_attribute("target_transform", brighter), "target_transform was set after"),
        (change_attribute("loader", Image.open), "loader was set after"),
        (lambda dataset: setattr(dataset, "samples", list(dataset.samples)), "samples was set after"),
        (lambda dataset: dataset.samples.pop(), "samples had 7 rows and was changed to 6 after"),
    ],
)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda dataset: dataset,
        lambda dataset: ConcatDataset([Subset(Subset(dataset, [5, 0, 3]), [0, 1]), dataset]),
    ],
    ids=["itself", "wrapped"],
)
def test_what_is_changed_too_late_is_told(root: Path, wrap: Any, change: Any, words: str) -> None:
    """Torch's loader would see it."""
    dataset = ImageFolder(str(root), CROPS)
    loader = DataLoader(wrap(dataset), batch_size=2, device="cpu")
    assert len(list(loader)) == len(loader)
    change(dataset)
    with pytest.raises(ArgumentError, match=rf"ImageFolder\.{words} the loader was made; make a new loader"):
        iter(loader)


def test_what_has_no_say_may_be_changed(root: Path) -> None:
    """And a dataset that is not adapted may be changed as in torch."""
    dataset = ImageFolder(str(root), CROPS)
    loader = DataLoader(dataset, batch_size=COUNT, device="cpu")
    dataset.note, dataset.targets = "mine", []
    assert len(list(loader)) == 1
    dataset = ImageFolder(str(root), brightened)
    loader = DataLoader(dataset, batch_size=COUNT, device="cpu")
    dataset.transform = SMALL
    [(images, _)] = list(loader)
    assert torch.equal(images, torch.stack([image for image, _ in dataset]))


def test_a_pickled_loader_knows_its_dataset(root: Path) -> None:
    """Unchanged, and changed."""
    loader = pickle.loads(pickle.dumps(DataLoader(ImageFolder(str(root), CROPS), batch_size=COUNT, device="cpu")))
    assert len(list(loader)) == 1
    loader.dataset.transform = SMALL
    with pytest.raises(ArgumentError, match="transform was set"):
        iter(loader)


def set_in_worker(name: str, value: Any) -> Any:
    """A worker_init_fn."""

    def init(_: int) -> None:
        info = get_worker_info()
        assert info is not None
        setattr(info.dataset, name, value)

    return init


def test_a_worker_may_set_the_target_transform(root: Path) -> None:
    """It is done there."""
    init = set_in_worker("target_transform", brighter)
    dataset = ImageFolder(str(root), CROPS)
    [(_, targets)] = list(DataLoader(dataset, batch_size=COUNT, num_workers=1, worker_init_fn=init, device="cpu"))
    assert targets.tolist() == [100, 100, 100, 100, 101, 101, 101]


@pytest.mark.parametrize(("name", "value"), [("transform", SMALL), ("loader", Image.open)])
def test_a_worker_may_not_set_what_the_loader_does(root: Path, name: str, value: Any) -> None:
    """It says so."""
    init = set_in_worker(name, value)
    loader = DataLoader(
        ImageFolder(str(root), CROPS), batch_size=COUNT, num_workers=1, worker_init_fn=init, device="cpu"
    )
    with pytest.raises(ArgumentError, match=rf"ImageFolder\.{name} was set, in a worker process \(by worker_init_fn"):
        next(iter(loader))


def test_in_a_worker_what_was_not_adapted_stays_so(root: Path) -> None:
    """Though it could be there."""
    init = set_in_worker("transform", CROPS)
    dataset = ImageFolder(str(root), brightened)
    [(images, _)] = list(DataLoader(dataset, batch_size=COUNT, num_workers=1, worker_init_fn=init, device="cpu"))
    expected = torch.stack([image for image, _ in ImageFolder(str(root), CROPS)])
    assert torch.equal(images, expected)


def test_a_spawned_worker_sees_the_same(root: Path) -> None:
    """The dataset there is another object, and so is what it is made of: both come in one pickle."""
    loader = DataLoader(ImageFolder(str(root), CROPS), batch_size=COUNT, device="cpu")
    dataset, adapt = pickle.loads(pickle.dumps((loader.dataset, loader._adapt)))
    assert dataset is not loader.dataset
    view = adapt(dataset)
    assert view.dataset is dataset
    assert adapt(dataset) is view  # nothing was set
    dataset.loader = Image.open
    with pytest.raises(ArgumentError, match=r"ImageFolder\.loader was set, in a worker process"):
        adapt(dataset)


def test_an_item_that_is_no_batch_is_torchs(root: Path) -> None:
    """batch_size=None hands out PIL images, and tensors where the transform makes them."""
    image, target = next(iter(DataLoader(ImageFolder(str(root)), batch_size=None, device="cpu")))
    assert (image.size, target) == ((50, 40), 0)
    loader = DataLoader(ImageFolder(str(root), CROPS), batch_size=None, device="cpu")
    assert next(iter(loader))[0].shape == (3, 24, 24)
    batches = DataLoader(ImageFolder(str(root)), batch_sampler=[[0], [1]], device="cpu")
    assert next(iter(batches))[0].shape == (1, 3, 40, 50)


def test_half_precision_stays(root: Path) -> None:
    """As the dataset's transform says."""
    half = v2.Compose([v2.CenterCrop(20), v2.ToImage(), v2.ToDtype(torch.float16, scale=True)])
    images, _ = next(iter(DataLoader(ImageFolder(str(root), half), batch_size=2, device="cpu")))
    assert images.dtype == torch.float16
