"""torchvision's datasets of files: by as_encoded, and without it where it is certain what they give."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from adapted_contract import AdaptedContract, pixels_of_loader, reference_pixels
from dataset_contract import DatasetContract
from PIL import Image
from torch.utils.data import Subset
from torchvision_import import import_torchvision

import dalikit.transforms as T
from dalikit.datasets.adapters import TorchvisionFiles, adapt, as_encoded
from dalikit.errors import ArgumentError, ReadError

tv = import_torchvision()
tv_datasets, tv_transforms = tv.datasets, tv.transforms

CONVERTIBLE = tv_transforms.Compose([tv_transforms.RandomResizedCrop(24), tv_transforms.ToTensor()])
WITH_A_LAMBDA = tv_transforms.Compose([tv_transforms.Lambda(lambda image: image), tv_transforms.ToTensor()])


@pytest.fixture
def root(photograph_root: Path) -> Path:
    """A folder with a folder a class."""
    return photograph_root


@pytest.fixture
def folder(root: Path) -> Any:
    """torchvision's ImageFolder."""
    return tv_datasets.ImageFolder(str(root))


@pytest.fixture
def dataset(folder: Any) -> TorchvisionFiles:
    """Adapted."""
    return as_encoded(folder)


@pytest.fixture
def twin(root: Path, tmp_path: Path) -> TorchvisionFiles:
    """A copy of the files."""
    return as_encoded(tv_datasets.ImageFolder(shutil.copytree(root, tmp_path / "copy")))


@pytest.fixture
def files(folder: Any) -> list[Path]:
    """The files in order."""
    return [Path(path) for path, _ in folder.samples]


class TestImageFolder(DatasetContract):
    """It is as good as a built-in dataset."""


class TestAdaptedImageFolder(AdaptedContract):
    """And gives the same pixels as files."""


class OfImagesAndLabels(tv_datasets.Food101):
    """Food101 without its files: the constructor alone is replaced."""

    def __init__(self, files: list[Path], **options: Any) -> None:
        super(tv_datasets.Food101, self).__init__("/", **options)
        self.loader = tv_datasets.folder.default_loader
        self._image_files, self._labels = files, list(range(len(files)))


class OfPlaces(tv_datasets.Places365):
    """Places365, which calls `transforms`."""

    def __init__(self, files: list[Path], **options: Any) -> None:
        super(tv_datasets.Places365, self).__init__("/", **options)
        self.loader = tv_datasets.folder.default_loader
        self.imgs = [(str(file), target) for target, file in enumerate(files)]


class OfFaces(tv_datasets.LFWPeople):
    """LFWPeople, whose loader is private."""

    def __init__(self, files: list[Path], **options: Any) -> None:
        super(tv_datasets.lfw._LFW, self).__init__("/", **options)
        self._loader = tv_datasets.folder.default_loader
        self.data, self.targets = list(map(str, files)), list(range(len(files)))


class OfCaptions(tv_datasets.Flickr30k):
    """Flickr30k, whose targets are captions."""

    def __init__(self, files: list[Path], **options: Any) -> None:
        super(tv_datasets.Flickr30k, self).__init__(files[0].parent, **options)
        self.loader = tv_datasets.folder.default_loader
        self.ids = [file.name for file in files if file.parent == files[0].parent]
        self.annotations = {name: [f"{name}, said one", f"{name}, said another"] for name in self.ids}


@pytest.mark.parametrize("kind", [OfImagesAndLabels, OfPlaces, OfFaces])
def test_classes_with_a_loader_give_their_files(kind: Any, files: list[Path]) -> None:
    """And their targets, and both transforms."""
    view = as_encoded(kind(files, transform=CONVERTIBLE, target_transform=str))
    assert [view.get_location(index).uri for index in range(len(view))] == list(map(str, files))
    assert [view.get_target(index) for index in range(len(view))] == list(range(len(files)))
    assert (view.transform, view.target_transform) == (CONVERTIBLE, str)
    assert adapt(kind(files)).get_location(1).uri == str(files[1])


def test_targets_may_be_captions(files: list[Path]) -> None:
    """They come as torchvision has them."""
    view = as_encoded(OfCaptions(files))
    name = files[0].name
    assert view.get_location(0).uri == str(files[0])
    assert view.get_target(0) == [f"{name}, said one", f"{name}, said another"]
    assert view.fingerprint == as_encoded(OfCaptions(files)).fingerprint


def test_the_dataset_itself_is_not_changed(folder: Any) -> None:
    """It still decodes."""
    folder.transform = CONVERTIBLE
    as_encoded(folder).get_image_data(0)
    assert folder.loader is tv_datasets.folder.default_loader
    assert folder[0][0].shape == (3, 24, 24)


def test_what_is_given_stands_before_the_datasets_own(folder: Any) -> None:
    """transform= and target_transform=."""
    folder.transform, folder.target_transform = CONVERTIBLE, str
    assert as_encoded(folder).transform is CONVERTIBLE
    view = as_encoded(folder, transform=T.CenterCrop(8), target_transform=float)
    assert (view.transform, view.target_transform) == (T.CenterCrop(8), float)


def test_the_fingerprint_tells_other_rows(folder: Any) -> None:
    """Targets and order count."""
    first = as_encoded(folder).fingerprint
    folder.samples = folder.samples[::-1]
    assert as_encoded(folder).fingerprint != first


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    """With its place."""
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "cat" / "a.png")
    view = as_encoded(tv_datasets.ImageFolder(tmp_path))
    (tmp_path / "cat" / "a.png").unlink()
    with pytest.raises(ReadError, match=r"No such file.*dataset=TorchvisionFiles, index=0, key=cat/a.png"):
        view.get_image_data(0)


# What cannot be adapted


def test_a_loader_of_its_own_is_refused(folder: Any) -> None:
    """Nobody knows what it makes of the files."""
    folder.loader = Image.open
    with pytest.raises(ArgumentError, match=r"its loader is <function open .*set dataset.loader ="):
        as_encoded(folder)
    assert adapt(folder) is folder


def test_the_other_loader_of_torchvision_will_do(folder: Any) -> None:
    """It is what the default one calls."""
    folder.loader = tv_datasets.folder.pil_loader
    assert isinstance(adapt(folder), TorchvisionFiles)


@pytest.mark.parametrize("method", ["__getitem__", "__getitems__", "__len__"])
def test_an_overridden_method_is_refused(root: Path, method: str) -> None:
    """It may do anything."""
    kind = type("Mine", (tv_datasets.ImageFolder,), {method: lambda self, *_: len(self.samples)})
    with pytest.raises(ArgumentError, match=rf"Mine\): the class has its own {method} in place of torchvision's"):
        as_encoded(kind(str(root)))
    mine = kind(str(root))
    assert adapt(mine) is mine


def test_a_subclass_that_only_lists_otherwise_is_adapted(root: Path) -> None:
    """What an item is has not changed."""

    class Mine(tv_datasets.ImageFolder):  # type: ignore[misc, name-defined]
        def find_classes(self, directory: Any) -> Any:
            names, _ = super().find_classes(directory)
            return names[:1], {names[0]: 7}

    view = adapt(Mine(str(root)))
    assert {view.get_target(index) for index in range(len(view))} == {7}


def test_joint_transforms_are_refused(files: list[Path]) -> None:
    """They get image and target together."""

    def joint(image: Any, target: Any) -> Any:
        return image, target

    places = OfPlaces(files, transforms=joint)
    with pytest.raises(ArgumentError, match="transforms= is function, which gets image and target together"):
        as_encoded(places)
    assert adapt(places) is places


def test_a_dataset_without_a_loader_is_refused() -> None:
    """It decodes by itself."""
    fake = tv_datasets.FakeData(size=3)
    with pytest.raises(ArgumentError, match=r"FakeData.*torchvision opens its images itself"):
        as_encoded(fake)
    assert adapt(fake) is fake


def test_there_are_no_columns(folder: Any) -> None:
    """A name would be forgotten silently."""
    with pytest.raises(ArgumentError, match="image='img': its items are pairs"):
        as_encoded(folder, image="img")


def test_another_backend_is_left_alone(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pixels are other ones."""
    monkeypatch.setattr(tv, "_image_backend", "accimage")
    assert adapt(folder) is folder


def test_anything_else_is_refused_with_advice(folder: Any) -> None:
    """By its class."""
    with pytest.raises(ArgumentError, match=r"as_encoded\(list\): no dataset of torchvision, timm, .*get_image_data"):
        as_encoded([1, 2])
    with pytest.raises(ArgumentError, match=r"adapt what is inside of it: Subset\(as_encoded"):
        as_encoded(Subset(folder, [0]))


def test_a_dataset_of_encoded_images_is_given_back(dataset: TorchvisionFiles) -> None:
    """There is nothing to do."""
    assert as_encoded(dataset) is dataset
    assert adapt(dataset) is dataset


# Automatic


@pytest.mark.parametrize(
    ("own", "transform", "collate_fn", "adapted"),
    [
        (None, False, False, True),
        (None, True, False, True),
        (None, True, True, True),
        (None, False, True, False),  # it waits for PIL images
        (CONVERTIBLE, False, False, True),
        (CONVERTIBLE, False, True, True),
        (CONVERTIBLE, True, False, False),  # the dataset's own comes first
        (T.CenterCrop(8), False, False, True),
        (tv_transforms.Resize(8), False, False, True),
        (tv_transforms.Resize(8), False, True, False),  # PIL images again
        (WITH_A_LAMBDA, False, False, False),
        (str, False, False, False),
        (tv_transforms.Compose([tv_transforms.ToTensor(), tv_transforms.Resize(8), "nonsense"]), False, False, False),
        (T.OnCPU(str), False, False, False),
    ],
)
def test_it_is_adapted_where_batches_stay_what_they_were(
    folder: Any, own: Any, transform: bool, collate_fn: bool, adapted: bool
) -> None:
    """By the dataset's transform, and by what the loader was given."""
    folder.transform = own
    found = adapt(folder, transform=transform, collate_fn=collate_fn)
    assert isinstance(found, TorchvisionFiles) == adapted
    assert adapted or found is folder


def test_a_converted_transform_gives_the_pixels_of_dalikits_own(folder: Any, files: list[Path]) -> None:
    """The loader carries out what torchvision's object describes."""
    folder.transform = tv_transforms.Compose(
        [tv_transforms.RandomResizedCrop(24), tv_transforms.RandomHorizontalFlip(), tv_transforms.ToTensor()]
    )
    images, targets = pixels_of_loader(adapt(folder), transform=None)
    expected, _ = reference_pixels(files, folder.targets)
    assert images.equal(expected)
    assert targets.tolist() == folder.targets


def test_an_adapted_folder_gives_the_pixels_that_torchs_loader_gives(folder: Any) -> None:
    """Within the decoder's and the resize's tolerance, and the same form: taking it over changes nothing else."""
    folder.transform = tv_transforms.Compose(
        [tv_transforms.Resize(40), tv_transforms.CenterCrop(32), tv_transforms.ToTensor()]
    )
    [(expected, labels)] = list(torch.utils.data.DataLoader(folder, batch_size=len(folder)))
    images, targets = pixels_of_loader(adapt(folder), transform=None)
    assert targets.equal(labels)
    assert images.dtype == expected.dtype
    assert images.shape == expected.shape
    assert ((images - expected).abs() * 255).max() <= 2
