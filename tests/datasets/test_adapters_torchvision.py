"""torchvision's datasets of files: by as_encoded, and without it where it is certain what they give."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapted_contract import AdaptedContract, pixels_of_loader, reference_pixels
from dataset_contract import DatasetContract
from PIL import Image
from torch.utils.data import Subset
from torchvision_import import import_torchvision

import dalikit.transforms as T
from dalikit import DataLoader
from dalikit.datasets.adapters import TorchvisionFiles, adapt, as_encoded
from dalikit.errors import ArgumentError, ReadError

tv = import_torchvision()
tv_datasets, tv_transforms = tv.datasets, tv.transforms
v2: Any = importlib.import_module("torchvision.transforms.v2")

CONVERTIBLE = tv_transforms.Compose([tv_transforms.RandomResizedCrop(24), tv_transforms.ToTensor()])
WITH_A_LAMBDA = tv_transforms.Compose([tv_transforms.Lambda(lambda image: image), tv_transforms.ToTensor()])


def to_type(dtype: torch.dtype) -> Any:
    """A transform that ends in this type."""
    return v2.Compose([v2.ToImage(), v2.ToDtype(dtype, scale=True)])


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
    assert isinstance(adapt(kind(files)), TorchvisionFiles)  # a class that was copied once is one of the same


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
        (to_type(torch.float32), False, False, True),
        (to_type(torch.float16), False, False, False),  # dalikit gives the type that the loader is asked for
        (to_type(torch.bfloat16), False, False, False),
        (tv_transforms.Compose([CONVERTIBLE, tv_transforms.ConvertImageDtype(torch.float16)]), False, False, False),
        (tv_transforms.RandomApply([tv_transforms.ConvertImageDtype(torch.float16)]), False, False, False),
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


@pytest.mark.parametrize(
    ("own", "transform", "adapted"),
    [(None, False, False), (None, True, True), (CONVERTIBLE, False, True), (tv_transforms.Resize(8), False, False)],
)
def test_items_that_are_not_batched_may_be_pil_images(folder: Any, own: Any, transform: bool, adapted: bool) -> None:
    """With batch_size=None torch hands them out as they are."""
    folder.transform = own
    assert isinstance(adapt(folder, transform=transform, batched=False), TorchvisionFiles) == adapted


@pytest.mark.parametrize(
    ("name", "adapted"),
    [
        *((name, True) for name in ("a.jpg", "A.JPG", "a.JPEG", "a.png", "a.webp", "a.bmp", "a.jfif", "a.jpe")),
        *((name, False) for name in ("a.tif", "a.tiff", "a.pgm", "a.ppm", "a.gif", "a.avif", "a", "jpg", "a.jpg.txt")),
    ],
)
def test_only_formats_that_decode_to_the_same_are_adapted(folder: Any, name: str, adapted: bool) -> None:
    """By the names of all files; as_encoded takes any."""
    folder.samples[-1] = (f"/somewhere/{name}", 1)
    assert isinstance(adapt(folder), TorchvisionFiles) == adapted
    assert isinstance(as_encoded(folder), TorchvisionFiles)


def test_a_gray_image_of_16_bits_in_a_tiff_is_torchvisions(tmp_path: Path) -> None:
    """Which Pillow clips to 255."""
    (tmp_path / "cat").mkdir()
    Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(tmp_path / "cat" / "a.tiff")
    dataset = tv_datasets.ImageFolder(tmp_path, tv_transforms.ToTensor())
    [(images, _)] = list(DataLoader(dataset, batch_size=1, device="cpu"))
    assert images.equal(dataset[0][0][None])


class WithAProperty(tv_datasets.ImageFolder):
    """Computes its transform."""

    @property
    def transform(self) -> Any:
        """A new one each time."""
        return tv_transforms.Compose([tv_transforms.CenterCrop(8), tv_transforms.ToTensor()])

    @transform.setter
    def transform(self, value: Any) -> None:
        self.given = value


class WithALoader(tv_datasets.ImageFolder):
    """Computes its loader."""

    @property
    def loader(self) -> Any:
        """Whatever was set."""
        return lambda _: Image.new("RGB", (9, 9))

    @loader.setter
    def loader(self, value: Any) -> None:
        self.given = value


class NotToBeCopied(tv_datasets.ImageFolder):
    """Holds something that there must be one of."""

    def __copy__(self) -> Any:
        raise RuntimeError("no copies")


class Forwarding(tv_datasets.ImageFolder):
    """Has a say in attributes."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@pytest.mark.parametrize("kind", [WithAProperty, WithALoader, NotToBeCopied, Forwarding])
def test_classes_with_ideas_of_their_own_are_left_alone(kind: Any, root: Path) -> None:
    """They work as in torch."""
    dataset = kind(str(root), tv_transforms.Compose([tv_transforms.CenterCrop(8), tv_transforms.ToTensor()]))
    assert adapt(dataset) is dataset
    image, target = next(iter(DataLoader(dataset, batch_size=1, device="cpu")))
    assert image.equal(dataset[0][0][None])
    assert target.tolist() == [0]


@pytest.mark.parametrize(("kind", "name"), [(WithAProperty, "transform"), (WithALoader, "loader")])
def test_computed_attributes_are_refused(kind: Any, name: str, root: Path) -> None:
    """What they give next time is not known."""
    with pytest.raises(ArgumentError, match=rf"its class computes {name}, which torchvision keeps as plain attributes"):
        as_encoded(kind(str(root)))


def test_a_copy_that_fails_is_left_alone(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here by what the dataset's class was given later."""
    monkeypatch.setattr(tv_datasets.ImageFolder, "__reduce_ex__", lambda *_: 1 / 0, raising=False)
    assert adapt(folder) is folder


def test_a_subclass_with_more_methods_is_adapted(root: Path) -> None:
    """And constants, and a constructor: none of them has a say in what an item is."""

    class Mine(tv_datasets.ImageFolder):  # type: ignore[misc, name-defined]
        names = ("a", "b")

        def __init__(self, root: str) -> None:
            super().__init__(root)

        def name_of(self, target: int) -> str:
            return self.names[target]

        @property
        def first(self) -> Any:
            return self.samples[0]

    assert isinstance(adapt(Mine(str(root))), TorchvisionFiles)
    assert isinstance(adapt(Mine(str(root))), TorchvisionFiles)  # now that it was copied


def test_paths_may_be_bytes(root: Path, folder: Any) -> None:
    """With an is_valid_file, torchvision lists such a root."""
    dataset = tv_datasets.ImageFolder(str(root).encode(), is_valid_file=lambda path: path.endswith(b".jpg"))
    view = adapt(dataset)
    assert isinstance(view, TorchvisionFiles)
    assert view.get_location(0).uri == folder.samples[0][0]
    assert view.get_key(0) == adapt(folder).get_key(0)
    assert view.fingerprint == adapt(folder).fingerprint
    assert bytes(view.get_image_data(-1)) == Path(folder.samples[-1][0]).read_bytes()


def test_files_of_any_name_and_empty_classes(root: Path, tmp_path: Path) -> None:
    """is_valid_file and allow_empty."""
    shutil.copytree(root, tmp_path / "copy")
    (tmp_path / "copy" / "zebra").mkdir()
    dataset = tv_datasets.ImageFolder(tmp_path / "copy", CONVERTIBLE, allow_empty=True)
    assert len(adapt(dataset)) == len(dataset)
    some = tv_datasets.ImageFolder(
        tmp_path / "copy", CONVERTIBLE, is_valid_file=lambda path: path.endswith("0.jpg"), allow_empty=True
    )
    assert 0 < len(adapt(some)) == len(some) < len(dataset)
    none = tv_datasets.ImageFolder(tmp_path / "copy", CONVERTIBLE, is_valid_file=lambda _: False, allow_empty=True)
    assert isinstance(adapt(none), TorchvisionFiles)
    assert list(DataLoader(none, device="cpu")) == []
