"""What a user iterates over: shapes, order, length, passes, several iterators."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader as TorchDataLoader

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType
from dalikit.datasets import ImageFolder
from dalikit.datasets.listing import EXTENSIONS

COUNT = 23
Make = Callable[..., DataLoader]


def indices_of(loader: DataLoader, passes: int = 1) -> list[int]:
    """The indices that a loader yields, by a target that is the index."""
    return [index for _ in range(passes) for _, targets in loader for index in targets.tolist()]


class IndexTargets:
    """A dataset whose target is the index."""

    def __init__(self, folder: ImageFolder) -> None:
        self._folder = folder
        self.transform = folder.transform

    def __len__(self) -> int:
        return len(self._folder)

    def get_image_data(self, index: int) -> bytes:
        return bytes(self._folder.get_image_data(index))

    def get_target(self, index: int) -> int:
        return index


@pytest.fixture
def indexed(dataset: ImageFolder) -> IndexTargets:
    """The photographs, each with its index as its target."""
    return IndexTargets(dataset)


@pytest.mark.parametrize("executor", ["host", "dali"])
def test_a_batch_is_images_and_targets(make: Make, dataset: ImageFolder, executor: str) -> None:
    """Images (B, 3, H, W) float32 on the device, targets int64, as torch's loader would collate them."""
    images, targets = next(iter(make(executor=executor)))
    assert images.shape == (5, 3, 32, 32)
    assert images.dtype is torch.float32
    assert images.device == torch.device("cpu")
    assert images.is_contiguous()
    assert targets.dtype is torch.int64
    assert set(targets.tolist()) <= set(range(len(dataset.classes)))


@pytest.mark.parametrize("executor", ["host", "dali"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_dtype_and_memory_order(make: Make, executor: str, dtype: torch.dtype, channels_last: bool) -> None:
    """The shape is (B, 3, H, W) whatever the memory order; the values are float32's, rounded once."""
    images, _ = next(iter(make(executor=executor, dtype=dtype, channels_last=channels_last)))
    exact, _ = next(iter(make(executor=executor)))
    order = torch.channels_last if channels_last else torch.contiguous_format
    assert images.shape == exact.shape
    assert images.dtype is dtype
    assert images.is_contiguous(memory_format=order)
    torch.testing.assert_close(images.float(), exact.to(dtype).float(), rtol=0.01, atol=0.01)


def test_the_order_is_the_samplers(make: Make, indexed: IndexTargets) -> None:
    """Every index comes where the sampler has it, over two passes of an endless stream."""
    loader = make(dataset=indexed, sampler_type=SamplerType.INFINITE, seed=3)
    batches = itertools.islice(loader, 10)
    assert [index for _, targets in batches for index in targets.tolist()] == list(itertools.islice(loader.sampler, 50))


def test_a_plain_torch_loader_gives_the_same_order(make: Make, indexed: IndexTargets) -> None:
    """The sampler is one that torch's DataLoader takes."""
    loader = make(dataset=indexed, sampler_type=SamplerType.EPOCH, drop_last=False)
    torch_loader = TorchDataLoader(range(COUNT), batch_size=5, sampler=loader.sampler)  # type: ignore[arg-type]
    assert indices_of(loader) == [index for batch in torch_loader for index in batch.tolist()]


@pytest.mark.parametrize(("drop_last", "expected"), [(True, [5, 5, 5, 5]), (False, [5, 5, 5, 5, 3])])
@pytest.mark.parametrize("sampler_type", [SamplerType.EPOCH, SamplerType.DISTRIBUTED, SamplerType.KEYED_EPOCH])
@pytest.mark.parametrize("executor", ["host", "dali"])
def test_length_and_the_short_last_batch(
    make: Make, drop_last: bool, expected: list[int], sampler_type: SamplerType, executor: str
) -> None:
    """`len` is the number of batches; drop_last leaves the short one out."""
    loader = make(sampler_type=sampler_type, drop_last=drop_last, executor=executor)
    assert [len(images) for images, _ in loader] == expected
    assert len(loader) == len(expected)


ENDLESS = [kind for kind in SamplerType if "INFINITE" in kind.name]


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_loader_has_no_length(make: Make, kind: SamplerType) -> None:
    """`len` of an endless loader is a TypeError, as torch's is."""
    with pytest.raises(TypeError, match="has no len"):
        len(make(sampler_type=kind))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_ranks_share_a_pass(make: Make, indexed: IndexTargets, rank: int) -> None:
    """Each rank yields its sampler's share; `rank` and `world_size` reach the sampler."""
    loader = make(
        dataset=indexed, sampler_type=SamplerType.EPOCH, rank=rank, world_size=3, drop_last=False, shuffle=False
    )
    assert indices_of(loader) == list(range(rank, COUNT, 3))


def test_iterating_again_repeats_an_endless_stream(make: Make) -> None:
    """A new iteration of an endless loader begins at the beginning, with the same pixels."""
    loader = make()
    first, second = (next(iter(loader)) for _ in range(2))
    assert torch.equal(first[0], second[0])


def test_break_and_start_again(make: Make) -> None:
    """After an early `break` the same pass begins anew: no hidden cursor."""
    loader = make(sampler_type=SamplerType.EPOCH)
    whole = [images for images, _ in make(sampler_type=SamplerType.EPOCH)]
    for count, _ in enumerate(loader):
        if count == 1:
            break
    again = [images for images, _ in loader]
    assert len(again) == len(whole)
    assert all(torch.equal(one, other) for one, other in zip(again, whole, strict=True))


def test_two_iterators_of_one_loader_at_once(make: Make) -> None:
    """Each has its own place; neither disturbs the other."""
    loader = make(sampler_type=SamplerType.EPOCH)
    pairs = list(zip(loader, loader, strict=True))
    assert len(pairs) == len(loader)
    assert all(torch.equal(one[0], other[0]) for one, other in pairs)


def test_two_loaders_at_once(make: Make) -> None:
    """Two loaders in one process take turns without disturbing each other."""
    one, other = make(seed=1), make(seed=2)
    alone = [[images for images, _ in itertools.islice(make(seed=seed), 4)] for seed in (1, 2)]
    together = list(itertools.islice(zip(one, other, strict=True), 4))
    for number, (first, second) in enumerate(together):
        assert torch.equal(first[0], alone[0][number])
        assert torch.equal(second[0], alone[1][number])


def test_set_epoch_sets_order_and_crops(make: Make, indexed: IndexTargets) -> None:
    """`set_epoch` gives DINOv2's order of that epoch, the same whatever came before."""
    loader = make(dataset=indexed, sampler_type=SamplerType.EPOCH, drop_last=False)
    passes = []
    for epoch in (0, 1, 2, 1):
        loader.set_epoch(epoch)
        passes.append(list(loader))
    orders = [[index for _, targets in batches for index in targets.tolist()] for batches in passes]
    assert orders[1] == orders[3]
    assert orders[0] != orders[1] != orders[2]
    assert all(torch.equal(one[0], other[0]) for one, other in zip(passes[1], passes[3], strict=True))


def test_set_epoch_on_the_sampler_works_too(make: Make, indexed: IndexTargets) -> None:
    """`loader.sampler.set_epoch`, as scripts for torch have it, is noticed."""
    loader, other = (make(dataset=indexed, sampler_type=SamplerType.DISTRIBUTED) for _ in range(2))
    loader.sampler.set_epoch(4)  # type: ignore[attr-defined]
    other.set_epoch(4)
    (images, targets), (images_other, targets_other) = next(iter(loader)), next(iter(other))
    assert torch.equal(targets, targets_other)
    assert torch.equal(images, images_other)


def test_a_forgotten_set_epoch_repeats_the_order_but_not_the_crops(make: Make, indexed: IndexTargets) -> None:
    """The order is then torch's and DINOv2's: the same each pass. The key of the crops holds the pass."""
    loader = make(dataset=indexed, sampler_type=SamplerType.EPOCH)
    (images, targets), (images_again, targets_again) = (next(iter(list(loader))) for _ in range(2))
    assert torch.equal(targets, targets_again)
    assert not torch.equal(images, images_again)


def test_shuffle_of_a_plain_loader_differs_from_pass_to_pass(indexed: IndexTargets) -> None:
    """DataLoader(shuffle=True): every index once a pass, a new order each time, without set_epoch."""
    with DataLoader(indexed, batch_size=5, shuffle=True, seed=1, device="cpu") as loader:
        first, second = indices_of(loader), indices_of(loader)
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert first != second


def test_shuffle_of_a_plain_loader_differs_after_a_break_too(indexed: IndexTargets) -> None:
    """As torch's does: a loop over the first batches alone does not see the same ones for ever."""
    with DataLoader(indexed, batch_size=5, shuffle=True, seed=1, device="cpu") as loader:
        starts = [next(iter(loader))[1].tolist() for _ in range(3)]
    assert starts[0] != starts[1] != starts[2]


def test_length_counts_what_advance_has_taken_in_its_pass_alone(make: Make) -> None:
    """The pass that `sampler_advance` leads into is shorter."""
    loader = make(sampler_type=SamplerType.EPOCH, sampler_advance=8, drop_last=False)
    assert len(loader) == len(list(loader)) == 3
    assert len(loader) == len(list(loader)) == 5


def test_a_finished_batch_is_not_withheld_while_the_next_is_read(dataset: ImageFolder) -> None:
    """One slow read delays its own batch and those after it, not the ones before."""
    gate = threading.Event()

    class Slow(ImageFolder):
        def get_image_data(self, index: int) -> bytes:
            if index == 10:
                gate.wait(60)
            return super().get_image_data(index)

    slow = Slow(dataset.root, transform=dataset.transform)
    with DataLoader(slow, batch_size=5, device="cpu", prefetch_batches=4, num_threads=2) as loader:
        batches = iter(loader)
        assert len(list(itertools.islice(batches, 2))) == 2
        gate.set()
        assert len(list(batches)) == 3


def test_repr_says_what_it_loads_and_where(make: Make) -> None:
    """With the rank."""
    text = repr(make(rank=1, world_size=3))
    assert text.startswith("DataLoader(ImageFolder of 23, batch_size=5, sampler=InfiniteSampler(")
    assert "rank=1 of 3, device=cpu, executor='host', num_threads=2" in text


def test_a_plain_loader_goes_in_order(indexed: IndexTargets) -> None:
    """DataLoader's defaults are torch's: in order, batches of one."""
    with DataLoader(indexed, device="cpu") as loader:
        assert len(loader) == COUNT
        assert indices_of(loader) == list(range(COUNT))


def test_manual_seed_decides_a_seed_that_is_not_given(indexed: IndexTargets) -> None:
    """seed=None is drawn from torch's generator, or from `generator`, when the loader is made."""

    def seed(manual: int, generator: torch.Generator | None = None) -> int:
        torch.manual_seed(manual)
        return DataLoader(indexed, device="cpu", generator=generator).seed

    assert seed(1) == seed(1) != seed(2)
    assert seed(1, torch.Generator().manual_seed(5)) == seed(2, torch.Generator().manual_seed(5))


def test_sampler_type_none_is_sequential_on_every_rank(make: Make, indexed: IndexTargets) -> None:
    """With one warning where shuffle=True asks for what it does not do."""
    with pytest.warns(UserWarning, match=r"shuffle=True has no effect"):
        loader = make(dataset=indexed, sampler_type=None, rank=1, world_size=2, drop_last=False)
    assert indices_of(loader) == list(range(COUNT))


def test_sampler_advance_skips_samples_of_this_rank(make: Make) -> None:
    """advance=k: as if k samples had been taken, pixels included."""
    whole = torch.cat([images for images, _ in itertools.islice(make(seed=2), 6)])
    advanced = torch.cat([images for images, _ in itertools.islice(make(seed=2, sampler_advance=7), 4)])
    assert torch.equal(advanced, whole[7:27])


def test_sampler_advance_is_over_after_its_pass(make: Make, indexed: IndexTargets) -> None:
    """The pass that it leads into is short; the next is whole, with set_epoch or without."""
    loader = make(dataset=indexed, sampler_type=SamplerType.EPOCH, sampler_advance=COUNT + 20, drop_last=False)
    whole = make(dataset=indexed, sampler_type=SamplerType.EPOCH, drop_last=False)
    whole.set_epoch(1)
    assert indices_of(loader) == indices_of(whole)[20:]
    assert len(indices_of(loader)) == COUNT


def test_set_epoch_of_an_endless_loader_changes_nothing(make: Make) -> None:
    """It has one pass, without end."""
    loader = make()
    first = next(iter(loader))[0]
    loader.set_epoch(3)
    assert torch.equal(next(iter(loader))[0], first)


def test_collate_fn_gets_samples(make: Make) -> None:
    """A list of (image, target); the images are views of the batch, not copies."""
    seen: list[Any] = []

    def collate(samples: list[Any]) -> str:
        seen.extend(samples)
        return "collated"

    assert next(iter(make(collate_fn=collate))) == "collated"
    assert len(seen) == 5
    images, targets = zip(*seen, strict=True)
    assert all(image.shape == (3, 32, 32) for image in images)
    assert all(isinstance(target, int) for target in targets)
    assert len({image.untyped_storage().data_ptr() for image in images}) == 1


def test_targets_collate_as_torch_does(make: Make, dataset: ImageFolder) -> None:
    """Tuples, dicts and floats; DINOv2's `lambda _: ()` too."""
    dataset.target_transform = lambda target: {"class": target, "pair": (float(target), "text")}
    _, targets = next(iter(make()))
    assert targets["class"].dtype is torch.int64
    assert targets["pair"][0].dtype is torch.float64
    assert list(targets["pair"][1]) == ["text"] * 5
    dataset.target_transform = lambda _: ()
    assert list(next(iter(make()))[1]) == []


def test_images_without_a_transform(folder: Path, make: Make) -> None:
    """uint8 (B, 3, H, W) where the sizes agree, else a list of (3, H, W)."""
    dataset = ImageFolder(folder)
    images, _ = next(iter(make(dataset=dataset)))
    assert isinstance(images, list)
    assert all(image.dtype is torch.uint8 and image.shape[0] == 3 for image in images)
    same, _ = next(iter(make(dataset=dataset, transform=T.Resize((20, 30)))))
    assert same.shape == (5, 3, 20, 30)
    assert same.dtype is torch.uint8


def test_the_loaders_transform_wins(make: Make) -> None:
    """`transform=` of the loader takes the place of the dataset's."""
    images, _ = next(iter(make(transform=T.Compose([T.CenterCrop(16), T.ToTensor()]))))
    assert images.shape == (5, 3, 16, 16)


@pytest.mark.parametrize("executor", ["host", "dali"])
def test_pixels_depend_on_the_position_alone(make: Make, executor: str) -> None:
    """Another batch size, number of threads or read-ahead gives the same samples and the same pixels."""

    def samples(**arguments: Any) -> torch.Tensor:
        return torch.cat([images for images, _ in make(executor=executor, **arguments)])[:12]

    plain = {"sampler_type": SamplerType.EPOCH, "seed": 5}
    expected = samples(**plain)
    for other in ({"batch_size": 3}, {"batch_size": 4, "num_threads": 1}, {"prefetch_batches": 1}):
        assert torch.equal(samples(**plain, **other), expected)


def test_an_old_batch_is_never_overwritten(make: Make) -> None:
    """What the user keeps stays as it was, however many batches come after."""
    kept = [images for images, _ in itertools.islice(make(), 12)]
    copies = [images.clone() for images, _ in itertools.islice(make(), 12)]
    assert all(torch.equal(one, other) for one, other in zip(kept, copies, strict=True))


def test_third_party_bytes(make: Make, indexed: IndexTargets) -> None:
    """A dataset with only get_image_data, get_target and len is enough."""
    assert next(iter(make(dataset=indexed)))[0].shape == (5, 3, 32, 32)


def test_numpy_batch_size_counts_as_whole_number(make: Make) -> None:
    """numpy's integers are integers."""
    assert len(next(iter(make(batch_size=np.int64(3))))[1]) == 3


FORMATS = {
    ".bmp": "BMP",
    ".j2k": "JPEG2000",
    ".jp2": "JPEG2000",
    ".pbm": "PPM",
    ".pgm": "PPM",
    ".png": "PNG",
    ".pnm": "PPM",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}


@pytest.mark.parametrize("executor", ["host", "dali"])
def test_every_kind_of_file_that_is_listed_decodes(tmp_path: Path, make: Make, executor: str) -> None:
    """ImageFolder lists by extension; whatever it lists, both executors can decode."""
    (tmp_path / "class").mkdir()
    picture = Image.linear_gradient("L").resize((24, 16)).convert("RGB")
    for extension in EXTENSIONS:
        mode = {".pbm": "1", ".pgm": "L"}.get(extension, "RGB")
        path = tmp_path / "class" / f"picture{extension}"
        picture.convert(mode).save(path, format=FORMATS.get(extension, "JPEG"))
    dataset = ImageFolder(tmp_path, transform=T.CenterCrop(16))
    assert len(dataset) == len(EXTENSIONS)
    loader = make(dataset=dataset, sampler_type=None, shuffle=False, drop_last=False, executor=executor)
    images = torch.cat([images for images, _ in loader])
    expected = torch.from_numpy(np.asarray(picture.crop((4, 0, 20, 16))).copy()).permute(2, 0, 1)
    exact = [
        dataset.get_key(row).endswith((".bmp", ".png", ".ppm", ".pnm", ".tif", ".tiff")) for row in range(len(dataset))
    ]
    assert any(exact)
    for image, same in zip(images, exact, strict=True):
        assert not same or torch.equal(image, expected)


def test_a_keyed_sampler_goes_on_by_itself(make: Make, indexed: Any) -> None:
    """Each iteration is the next epoch, after a `break` too, without `set_epoch`; which can still be called."""
    loader = make(dataset=indexed, sampler_type=SamplerType.KEYED_EPOCH, drop_last=False)
    passes = [torch.cat([targets for _, targets in loader]).tolist() for _ in range(2)]
    next(iter(loader))
    passes.append(torch.cat([targets for _, targets in loader]).tolist())
    assert len({tuple(each) for each in passes}) == 3
    assert len({frozenset(each) for each in passes}) == 1
    loader.set_epoch(1)
    assert torch.cat([targets for _, targets in loader]).tolist() == passes[1]
    loader.sampler.set_epoch(3)
    assert torch.cat([targets for _, targets in loader]).tolist() == passes[2]


def test_a_keyed_samplers_epoch_that_is_set_again_is_the_same_pass(make: Make, indexed: Any) -> None:
    """`loader.sampler.set_epoch` before each pass, as scripts for torch have it: order and positions."""
    loader = make(dataset=indexed, sampler_type=SamplerType.KEYED_EPOCH, drop_last=False, return_parameters=False)
    found = []
    for epoch in (0, 0, 0, 2, 2):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        batches = [(images, targets) for images, targets in loader]
        found.append((torch.cat([images for images, _ in batches]), torch.cat([targets for _, targets in batches])))
    for one, other in ((0, 1), (0, 2), (3, 4)):
        assert torch.equal(found[one][1], found[other][1])
        assert torch.equal(found[one][0], found[other][0])
    assert not torch.equal(found[0][1], found[3][1])
