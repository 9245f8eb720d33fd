"""Images from datasets of any kind: what dalikit's own datasets give, these give too, in the form of their items."""

from __future__ import annotations

import copy
import itertools
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from item_datasets import FORMS, Labelled, Photographs, Stream
from torch.utils.data import ConcatDataset, Subset

import dalikit.transforms as T
from dalikit import DataLoader
from dalikit.datasets import ImageFolder
from dalikit.errors import ArgumentError, LoaderClosedError

TRANSFORM = T.Compose([T.RandomResizedCrop(32), T.RandomHorizontalFlip(), T.ToTensor()])
EXECUTORS = ["host", "dali"]
DECODED = ["pillow", "array", "tensor"]

Make = Callable[..., DataLoader]


@pytest.fixture
def load() -> Iterator[Make]:
    """A DataLoader with small defaults; closes what it made."""
    made: list[DataLoader] = []

    def load(dataset: Any, **arguments: Any) -> DataLoader:
        defaults = {"batch_size": 5, "device": "cpu", "num_threads": 2, "seed": 1, "transform": TRANSFORM}
        made.append(DataLoader(dataset, **{**defaults, **arguments}))
        return made[-1]

    yield load
    for loader in made:
        loader.close()


@pytest.fixture(scope="session")
def paths(folder: Path) -> list[Path]:
    """The photographs, in the order of ImageFolder."""
    dataset = ImageFolder(folder)
    return [Path(dataset.get_location(index).uri) for index in range(len(dataset))]


@pytest.fixture
def expected(folder: Path, load: Make) -> Callable[..., list[Any]]:
    """The images that the built-in dataset gives."""
    return lambda **arguments: [images for images, _ in load(ImageFolder(folder), **arguments)]


def same(left: list[Any], right: list[Any]) -> bool:
    """Whether two lists of batches of images are equal to the bit."""
    return len(left) == len(right) and all(map(torch.equal, left, right))


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images(
    load: Make, paths: list[Path], expected: Callable[..., list[Any]], form: str, executor: str
) -> None:
    """Bytes are decoded, decoded images are taken as they are, the augmentation follows from the position."""
    batches = list(load(Photographs(paths, form), executor=executor))
    want = expected(executor=executor)
    if form in DECODED:  # whole images, where the built-in dataset decodes the region alone
        assert all(
            torch.allclose(images, other, atol=12 / 255) for (images, _), other in zip(batches, want, strict=True)
        )
        want = [images for images, _ in load(Photographs(paths, "pillow"), executor=executor)]
    assert same([images for images, _ in batches], want)
    assert torch.cat([targets for _, targets in batches]).tolist() == list(range(len(paths)))


@pytest.mark.parametrize("form", ["bytes", "pillow"])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_worker_processes_change_nothing(load: Make, paths: list[Path], form: str, num_workers: int) -> None:
    """Order, pixels and targets."""
    dataset = Photographs(paths, form)
    plain = list(load(dataset, shuffle=True))
    with_workers = list(load(dataset, shuffle=True, num_workers=num_workers))
    assert same([images for images, _ in plain], [images for images, _ in with_workers])
    assert all(torch.equal(one[1], other[1]) for one, other in zip(plain, with_workers, strict=True))


def test_builtin_datasets_in_worker_processes(load: Make, folder: Path, expected: Callable[..., list[Any]]) -> None:
    """Passes later too; target_transform runs in the worker, and need not pickle under fork."""
    dataset = ImageFolder(folder, target_transform=lambda target: -target)
    loader = load(dataset, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
    for _ in range(2):
        batches = list(loader)
    assert batches[0][1].max() <= 0
    assert same([images for images, _ in load(ImageFolder(folder), num_workers=2)], expected())


def test_spawned_workers(load: Make, paths: list[Path], expected: Callable[..., list[Any]]) -> None:
    """Everything that goes to them pickles."""
    batches = list(load(Photographs(paths), num_workers=1, multiprocessing_context="spawn"))
    assert same([images for images, _ in batches], expected())


NESTS: dict[str, tuple[Callable[[Any, int], Any], Callable[[Any], Any]]] = {
    "bare": (lambda image, _: image, lambda batch: batch),
    "target first": (lambda image, index: (index, image), lambda batch: batch[1]),
    "list": (lambda image, index: [image, index], lambda batch: batch[0]),
    "three": (lambda image, index: (image, index, str(index)), lambda batch: batch[0]),
    "named tuple": (Labelled, lambda batch: batch.image),
    "dict": (lambda image, index: {"label": index, "jpg": image, "__key__": str(index)}, lambda batch: batch["jpg"]),
    "deep": (lambda image, index: {"in": {"x": [image, 1.5]}, "y": index}, lambda batch: batch["in"]["x"][0]),
}


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_batch_has_the_form_of_the_items(
    load: Make, paths: list[Path], expected: Callable[..., list[Any]], nest: str, num_workers: int
) -> None:
    """The images in the image's place."""
    make, take = NESTS[nest]
    context = "fork" if num_workers else None
    batches = list(load(Photographs(paths, nest=make), num_workers=num_workers, multiprocessing_context=context))
    assert same([take(batch) for batch in batches], expected())
    kinds = {"list": list, "three": tuple, "named tuple": Labelled, "dict": dict, "target first": tuple}
    assert isinstance(batches[0], kinds.get(nest, object))
    if nest == "dict":
        assert list(batches[0]) == ["label", "jpg", "__key__"]
        assert batches[0]["label"].tolist() == [0, 1, 2, 3, 4]
        assert batches[0]["__key__"] == ["0", "1", "2", "3", "4"]
    if nest == "three":
        assert batches[0][1].tolist() == [0, 1, 2, 3, 4]
        assert list(batches[0][2]) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_collate_fn_gets_the_items_with_tensors_in_place(
    load: Make, paths: list[Path], expected: Callable[..., list[Any]], num_workers: int
) -> None:
    """Views of the batch, not copies; on the user's thread, so it need not pickle."""
    seen: list[Any] = []
    nest = {0: Labelled, 2: Labelled}[num_workers]
    loader = load(Photographs(paths, nest=nest), num_workers=num_workers, collate_fn=lambda items: seen.append(items))
    list(loader)
    assert isinstance(seen[0][0], Labelled)
    assert [item.label for item in seen[0]] == [0, 1, 2, 3, 4]
    images = [item.image for item in seen[0]]
    assert torch.equal(torch.stack(images), expected()[0])
    assert len({image.untyped_storage().data_ptr() for image in images}) == 1


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_iterable_datasets_of_images(load: Make, paths: list[Path], num_workers: int) -> None:
    """Every item once; the order is torch's, round robin over the workers' batches."""
    targets = [batch[1].tolist() for batch in load(Stream(Photographs(paths)), num_workers=num_workers)]
    oracle = torch.utils.data.DataLoader(
        Stream(Photographs(paths)), batch_size=5, num_workers=num_workers, collate_fn=_rows
    )
    assert targets == list(oracle)
    assert sorted(itertools.chain(*targets)) == list(range(len(paths)))


def _rows(items: list[Any]) -> list[int]:
    return [row for _, row in items]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_batch_sampler_with_images(load: Make, paths: list[Path], executor: str, num_workers: int) -> None:
    """Batches that grow, and shrink again."""
    batches = [[1, 2], [3, 4, 5, 6, 7, 8, 9], [0], [10, 11, 12]]
    loader = load(Photographs(paths), batch_size=1, batch_sampler=batches, executor=executor, num_workers=num_workers)
    for _ in range(2):
        assert [targets.tolist() for _, targets in loader] == batches
    shapes = [images.shape for images, _ in loader]
    assert shapes == [(len(batch), 3, 32, 32) for batch in batches]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batch_size_none(load: Make, paths: list[Path], num_workers: int) -> None:
    """An item is what the user gets: no batch dimension, numbers as they are."""
    image, target = next(iter(load(Photographs(paths), batch_size=None, num_workers=num_workers)))
    assert image.shape == (3, 32, 32)
    assert target == 0


def test_torch_samplers_over_builtin_datasets(load: Make, folder: Path) -> None:
    """They advance on the user's thread, though reading threads use them; the order is theirs."""
    generator = torch.Generator().manual_seed(3)
    sampler = torch.utils.data.RandomSampler(range(23), generator=generator)  # type: ignore[arg-type]
    loader = load(ImageFolder(folder, target_transform=None), sampler=sampler, collate_fn=list)
    torch.empty((), dtype=torch.int64).random_()
    oracle = torch.Generator().manual_seed(3)
    want = list(torch.utils.data.RandomSampler(range(23), generator=oracle))  # type: ignore[arg-type]
    targets = [ImageFolder(folder).get_target(index) for index in want]
    assert [item[1] for batch in loader for item in batch] == targets


def test_without_a_transform_encoded_images_are_decoded_and_others_left(load: Make, paths: list[Path]) -> None:
    """As settled: bytes of an image are an image; a decoded one without a transform is torch's to collate."""
    images, _ = next(iter(load(Photographs(paths), transform=None)))
    assert [image.dtype for image in images] == [torch.uint8] * 5
    assert images[0].shape == torch.from_numpy(FORMS["array"](paths[0]).copy()).permute(2, 0, 1).shape
    with pytest.raises(TypeError, match="batch must contain tensors, numpy arrays, numbers, dicts or lists; found"):
        next(iter(load(Photographs(paths, "pillow"), transform=None)))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_subset_and_concat(load: Make, folder: Path, num_workers: int) -> None:
    """Of built-in datasets, with the transform of the inner one."""
    dataset = ImageFolder(folder, transform=TRANSFORM)
    part = Subset(dataset, [3, 1, 4])
    both = ConcatDataset([part, part])
    images, targets = next(iter(load(both, batch_size=6, transform=None, num_workers=num_workers)))
    assert images.shape == (6, 3, 32, 32)
    assert targets.tolist() == [dataset.get_target(index) for index in [3, 1, 4, 3, 1, 4]]


def test_encoded_says_what_bytes_are(load: Make, paths: list[Path]) -> None:
    """False: data; True: images, whatever they begin with."""
    items, rows = next(iter(load(Photographs(paths), transform=None, encoded=False)))
    assert items[0] == paths[0].read_bytes()
    assert rows.tolist() == [0, 1, 2, 3, 4]
    nonsense = [b"nonsense"] * 3
    with pytest.raises(Exception, match=r"not an image of a format that can be decoded.*index=0"):
        next(iter(load(nonsense, transform=None, encoded=True)))
    with pytest.raises(ArgumentError, match="encoded=1: must be True or False"):
        load(nonsense, encoded=1)


def test_a_transform_for_items_without_an_image(load: Make) -> None:
    """Named with what the item is."""
    with pytest.raises(
        ArgumentError,
        match=r"takes images, but an item of list holds none: it is tuple \(Tensor of float32 \(3,\), int\)",
    ):
        next(iter(load([(torch.zeros(3), 1)] * 4)))


class Mixed(Photographs):
    """Row 7 is decoded already."""

    def __getitem__(self, index: int) -> Any:
        return FORMS["pillow" if index == 7 else "bytes"](self.paths[index]), index


class Alternating(Photographs):
    """From row 5 on decoded already."""

    def __getitem__(self, index: int) -> Any:
        return FORMS["pillow" if index >= 5 else "bytes"](self.paths[index]), index


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("dataset", [Mixed, Alternating])
def test_items_of_differing_kinds(load: Make, paths: list[Path], dataset: type[Photographs], num_workers: int) -> None:
    """In one batch, or from one batch to the next; the batches before come first."""
    batches = iter(load(dataset(paths), num_workers=num_workers))
    next(batches)
    with pytest.raises(ArgumentError, match=r"(?s)(items of a dataset must be of one kind|differing kinds).*index"):
        next(batches)


def test_return_parameters_without_images(load: Make) -> None:
    """Nothing is drawn, so nothing can be returned."""
    with pytest.raises(ArgumentError, match="return_parameters=True: the items hold no image"):
        next(iter(load([1, 2, 3], transform=None, return_parameters=True)))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_return_parameters(load: Make, paths: list[Path], num_workers: int) -> None:
    """A third part, as for built-in datasets."""
    images, _, drawn = next(iter(load(Photographs(paths), return_parameters=True, num_workers=num_workers)))
    assert drawn["crop_box"].shape == (len(images), 4)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_mixup_and_views(load: Make, paths: list[Path], num_workers: int) -> None:
    """What is done to whole batches, and several views."""
    mixed = T.Compose([TRANSFORM, T.MixUp(num_classes=23)])
    images, targets = next(iter(load(Photographs(paths), transform=mixed, num_workers=num_workers)))
    assert targets.shape == (5, 23)
    views = T.DataAugmentationDINO((0.3, 1.0), (0.1, 0.3), 2, global_crops_size=32, local_crops_size=16)
    images, targets = next(iter(load(Photographs(paths, "pillow"), transform=views, num_workers=num_workers)))
    assert images["global_crops"].shape == (2, 5, 3, 32, 32)
    assert images["local_crops"].shape == (2, 5, 3, 16, 16)
    with pytest.raises(ArgumentError, match=r"MixUp and CutMix take items \(image, target\)"):
        next(iter(load(Photographs(paths, nest=NESTS["dict"][0]), transform=mixed)))


def grey(image: Any) -> Any:
    """A user's function."""
    return image.convert("L").convert("RGB")


@pytest.mark.parametrize("form", ["bytes", "pillow", "tensor"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_function_of_the_users(load: Make, paths: list[Path], form: str, num_workers: int) -> None:
    """It runs where the image is read, on a Pillow image, whatever the form."""
    transform = T.Compose([T.OnCPU(grey), T.CenterCrop(16)])
    images, _ = next(iter(load(Photographs(paths, form), transform=transform, num_workers=num_workers)))
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 1], images[:, 2])


class Told(ImageFolder):
    """Rows whose target the worker's copy of the dataset decides."""

    told = 0

    def get_target(self, index: int) -> int:
        return self.told + 0 * index


def tell(worker_id: int) -> None:
    """What worker_init_fn is for: the dataset's copy in this worker."""
    info = torch.utils.data.get_worker_info()
    assert info is not None
    assert isinstance(info.dataset, Subset)
    info.dataset.dataset.told = 7 + worker_id


def test_worker_init_fn_sees_the_users_own_dataset(load: Make, folder: Path) -> None:
    """A Subset, though its samples are read from the dataset inside."""
    loader = load(Subset(Told(folder), range(10)), num_workers=2, worker_init_fn=tell, multiprocessing_context="fork")
    assert [targets.tolist() for _, targets in loader] == [[7] * 5, [8] * 5]


def test_what_may_be_set_later(load: Make) -> None:
    """For the iterations to come, one that is under way aside; all else is refused."""
    loader = load([1, 2, 3, 4], batch_size=2, transform=None)
    under_way = iter(loader)
    assert next(under_way).tolist() == [1, 2]
    loader.collate_fn = sum
    assert next(under_way).tolist() == [3, 4]
    assert list(loader) == [3, 7]
    loader.timeout = 5
    assert loader._timeout == 5
    for name in ("num_workers", "transform", "dtype", "generator", "seed"):
        with pytest.raises(ArgumentError, match=f"{name} attribute should not be set after DataLoader is initialized"):
            setattr(loader, name, None)


def count(_: int) -> None:
    """Changes the worker's copy."""
    info = torch.utils.data.get_worker_info()
    assert info is not None
    info.dataset.form = "pillow"


def test_a_worker_init_fn_that_is_set_later(load: Make, paths: list[Path]) -> None:
    """Persistent workers start anew for it."""
    loader = load(Photographs(paths), num_workers=1, transform=None, persistent_workers=True)
    list(loader)
    loader.worker_init_fn = count
    with pytest.raises(TypeError, match="found <class 'PIL"):
        list(loader)


def test_loaders_copy_and_pickle(load: Make, paths: list[Path]) -> None:
    """What they hold, not their threads; also in the middle of an iteration."""
    loader = load(Photographs(paths), shuffle=True, num_workers=1)
    batches = [targets.tolist() for _, targets in loader]
    fresh = load(Photographs(paths), shuffle=True)
    for other in (copy.deepcopy(fresh), pickle.loads(pickle.dumps(fresh))):
        assert [targets.tolist() for _, targets in other] == batches
        other.close()
    assert DataLoader[int].__origin__ is DataLoader  # type: ignore[misc]


class Interrupted(Photographs):
    """Ctrl-C comes once, while a row is read."""

    def __getitem__(self, index: int) -> Any:
        if index == 12 and self.form == "bytes":
            self.form = "array of bytes"
            raise KeyboardInterrupt
        return super().__getitem__(index)


@pytest.mark.parametrize("transform", [TRANSFORM, None], ids=["images", "others"])
def test_an_interrupt_that_is_caught_loses_no_batch(load: Make, paths: list[Path], transform: Any) -> None:
    """What was being read is read again."""
    dataset = Interrupted(paths, nest=None if transform else lambda _, index: (0, index))
    batches = iter(load(dataset, transform=transform))
    seen: list[int] = []
    interrupts = 0
    while True:
        try:
            batch = next(batches, None)
        except KeyboardInterrupt:
            interrupts += 1
            continue
        if batch is None:
            break
        seen += batch[1].tolist()
    assert seen == list(range(len(paths)))
    assert interrupts == 1


def test_close_ends_an_iteration_on_the_users_thread(load: Make, paths: list[Path]) -> None:
    """Images or not."""
    for transform in (TRANSFORM, None):
        loader = load(Photographs(paths), transform=transform, encoded=transform is not None)
        batches = iter(loader)
        next(batches)
        loader.close()
        with pytest.raises(LoaderClosedError):
            list(batches)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("dalikit-host")]


def test_several_threads_iterate_one_loader(load: Make, paths: list[Path]) -> None:
    """Each has an iteration of its own."""
    loader = load(Photographs(paths))
    found: list[list[int]] = []

    def work() -> None:
        found.append([row for _, rows in loader for row in rows.tolist()])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [list(range(len(paths)))] * 4


def test_a_collate_fn_that_fails_names_the_batch(load: Make, paths: list[Path]) -> None:
    """By its indices."""

    def collate(_: list[Any]) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        next(iter(load(Photographs(paths), collate_fn=collate)))
    assert "indices [0, 1, 2, 3, 4]" in caught.value.__notes__[0]


class Saved(Stream):
    """An iterable dataset that can say where it is."""

    def __init__(self, inner: Photographs) -> None:
        super().__init__(inner)
        self.at: int | None = None

    def __iter__(self) -> Iterator[Any]:
        info = torch.utils.data.get_worker_info()
        share, step = (0, 1) if info is None else (info.id, info.num_workers)
        first, self.at = (share if self.at is None else self.at), None
        for index in range(first, len(self.inner), step):
            self.at = index + step
            yield self.inner[index]
        self.at = None

    def state_dict(self) -> dict[str, Any]:
        """The next row."""
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes there."""
        self.at = state["at"]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("used", [False, True])
def test_iterable_datasets_resume(load: Make, paths: list[Path], num_workers: int, used: bool) -> None:
    """At every cut, to the same pixels; in a loader with persistent workers that was used already, too; the pass after
    is whole.
    """

    def make() -> DataLoader:
        return load(Saved(Photographs(paths)), num_workers=num_workers, persistent_workers=num_workers > 0)

    loader = make()
    want, states = [], [loader.state_dict()]
    for batch in loader:
        want.append(batch)
        states.append(loader.state_dict())
    other = make()
    for cut in range(1, len(want)):
        if not used:
            other.close()
            other = make()
        other.load_state_dict(states[cut])
        rest = list(other)
        assert [rows.tolist() for _, rows in rest] == [rows.tolist() for _, rows in want[cut:]]
        assert same([images for images, _ in rest], [images for images, _ in want[cut:]])
    assert [rows.tolist() for _, rows in other] == [rows.tolist() for _, rows in want]
