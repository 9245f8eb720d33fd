"""Augmentations through the loader: views, what was drawn, mixing, functions on the CPU, torchvision's objects."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from pillow_reference import open_rgb, pillow_views
from torchvision_import import import_torchvision

import dalikit.transforms as T
from dalikit import DataLoader, MaskingGenerator, SampleList, SamplerType, collate_data_and_cast, make_data_loader
from dalikit.datasets import ImageFolder
from dalikit.errors import ArgumentError, DecodeError
from dalikit.host.finish import Finisher
from dalikit.host.pixels import Pixels, Scratch
from dalikit.transforms.base import Sizes
from dalikit.transforms.compiler import compile_recipe

import_torchvision()
from torchvision import transforms as tv  # noqa: E402

Make = Callable[..., DataLoader]

DINO = T.DataAugmentationDINO((0.32, 1.0), (0.05, 0.32), 3, global_crops_size=32, local_crops_size=16)
TRAIN = [T.RandomResizedCrop(24), T.ToTensor(), T.Normalize((0.5,) * 3, (0.25,) * 3)]
BOTH = pytest.mark.parametrize("executor", ["host", "dali"])


def take(loader: DataLoader, count: int) -> list[Any]:
    return list(itertools.islice(loader, count))


def assert_same(one: Any, other: Any) -> None:
    """Equal in structure and in every bit."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype is other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        assert one == other


# Several views


@BOTH
def test_a_batch_of_several_views_is_a_dict(make: Make, executor: str) -> None:
    images, targets = take(make(transform=DINO, executor=executor), 1)[0]
    assert list(images) == ["global_crops", "local_crops", "global_crops_teacher", "offsets"]
    assert images["global_crops"].shape == (2, 5, 3, 32, 32)
    assert images["local_crops"].shape == (3, 5, 3, 16, 16)
    assert images["global_crops_teacher"] is images["global_crops"]
    assert images["offsets"] == ()
    assert targets.shape == (5,)
    flat = images["global_crops"].flatten(0, 1)
    assert flat.data_ptr() == images["global_crops"].data_ptr()
    assert torch.equal(flat[5:], images["global_crops"][1])


@BOTH
@pytest.mark.parametrize("transform", [DINO, T.Compose([T.RandAugment(), *TRAIN, T.RandomErasing()])], ids=["d", "r"])
def test_a_resumed_run_has_the_same_pixels(make: Make, executor: str, transform: T.Transform) -> None:
    """At every cut, in another batch size, with other threads, in a new loader."""
    arguments = {"transform": transform, "executor": executor, "return_parameters": True}
    uncut = make(**arguments, batch_size=3)
    batches, states = [], []
    for batch in itertools.islice(uncut, 6):
        batches.append(batch)
        states.append(uncut.state_dict())
    for cut in range(1, 6):
        resumed = make(**arguments, batch_size=3, num_threads=1 + cut % 2, prefetch_batches=cut)
        resumed.load_state_dict(states[cut - 1])
        assert_same(next(iter(resumed)), batches[cut])
    other = make(**arguments, batch_size=6)
    other.load_state_dict(states[1])
    images, targets, _ = next(iter(other))
    assert torch.equal(targets, torch.cat([batches[2][1], batches[3][1]]))
    if isinstance(images, dict):
        together = torch.cat([batches[2][0]["local_crops"], batches[3][0]["local_crops"]], dim=1)
        assert torch.equal(images["local_crops"], together)
    else:
        assert torch.equal(images, torch.cat([batches[2][0], batches[3][0]]))


def test_a_collate_fn_sees_samples_as_dinov2s_augmentation_gives_them(make: Make) -> None:
    seen: list[Any] = []
    loader = make(transform=DINO, collate_fn=lambda samples: seen.append(samples) or len(samples))
    assert take(loader, 1) == [5]
    plain, targets = take(make(transform=DINO), 1)[0]
    (samples,) = seen
    assert isinstance(samples, SampleList)
    for row, (views, target) in enumerate(samples):
        assert list(views) == ["global_crops", "local_crops", "global_crops_teacher", "offsets"]
        assert [tuple(view.shape) for view in views["local_crops"]] == [(3, 16, 16)] * 3
        assert torch.equal(views["global_crops"][1], plain["global_crops"][1, row])
        assert views["global_crops_teacher"] is views["global_crops"]
        assert target == targets[row]


def collate_with_masks(**options: Any) -> Any:
    generator = MaskingGenerator(input_size=(8, 8), max_num_patches=32)
    shared = {"mask_ratio_tuple": (0.1, 0.5), "mask_probability": 0.5, "dtype": torch.float32, "n_tokens": 64}
    return partial(collate_data_and_cast, mask_generator=generator, **{**shared, **options})


@BOTH
def test_dinov2s_batch_costs_no_copy_and_resumes_with_its_masks(make: Make, executor: str) -> None:
    arguments = {"transform": DINO, "collate_fn": collate_with_masks(), "executor": executor, "batch_size": 4}
    uncut = make(**arguments)
    batches, states = [], []
    for batch in itertools.islice(uncut, 4):
        batches.append(batch)
        states.append(uncut.state_dict())
    assert batches[0]["collated_global_crops"].shape == (8, 3, 32, 32)
    assert batches[0]["collated_local_crops"].shape == (12, 3, 16, 16)
    assert batches[0]["collated_masks"].shape == (8, 64)
    assert batches[0]["collated_masks"].any()
    resumed = make(**arguments)
    resumed.load_state_dict(states[1])
    assert_same(next(iter(resumed)), batches[2])
    masks = {batch["collated_masks"].numpy().tobytes() for batch in batches}
    assert len(masks) == 4


def stack_as_dinov2(samples: Any) -> dict[str, Any]:
    """How dinov2.data.collate reads its samples, and draws."""
    n_global, n_local = len(samples[0][0]["global_crops"]), len(samples[0][0]["local_crops"])
    shares = torch.tensor([random.uniform(0.1, 0.5) for _ in samples])
    order = list(range(len(samples)))
    random.shuffle(order)
    return {
        "collated_global_crops": torch.stack([s[0]["global_crops"][i] for i in range(n_global) for s in samples]),
        "collated_local_crops": torch.stack([s[0]["local_crops"][i] for i in range(n_local) for s in samples]),
        "shares": shares,
        "order": order,
        "noise": torch.rand(3),
        "numpy": float(np.random.rand()),
    }


def test_a_collate_fn_that_draws_resumes_too_and_leaves_the_callers_generators_alone(make: Make) -> None:
    uncut = make(transform=DINO, collate_fn=stack_as_dinov2, batch_size=4)
    batches, states = [], []
    random.seed(5), torch.manual_seed(5), np.random.seed(5)
    expected = random.random(), float(torch.rand(())), float(np.random.rand())
    random.seed(5), torch.manual_seed(5), np.random.seed(5)
    for batch in itertools.islice(uncut, 4):
        batches.append(batch)
        states.append(uncut.state_dict())
    assert (random.random(), float(torch.rand(())), float(np.random.rand())) == expected
    resumed = make(transform=DINO, collate_fn=stack_as_dinov2, batch_size=4)
    resumed.load_state_dict(states[0])
    random.seed(99)
    assert_same(next(iter(resumed)), batches[1])
    assert batches[0]["noise"].tolist() != batches[1]["noise"].tolist()


def test_resizing_by_pillow_leaves_nothing_but_the_blurs_rounding(make: Make, dataset: ImageFolder) -> None:
    """And a state knows with which arithmetic it was made."""
    arguments = {"transform": DINO, "sampler_type": None, "shuffle": False, "executor": "host"}
    loader = make(**arguments, resize="pillow")
    images, _ = next(iter(loader))
    recipe = compile_recipe(DINO)
    sizes = Sizes(*(np.array([open_rgb(path_of(dataset, row)).size[axis] for row in range(5)]) for axis in (1, 0)))
    matrix = recipe.draw(loader.seed, np.arange(5), sizes).matrix
    output = recipe.groups[0].views[0].output
    scale, shift = (torch.tensor(numbers)[:, None, None] for numbers in (output.scale, output.shift))
    for row in range(5):
        views = pillow_views(open_rgb(path_of(dataset, row)), DINO, matrix[row])
        for group, expected in zip((images["global_crops"], images["local_crops"]), views, strict=True):
            for view, levels in zip(group[:, row], expected, strict=True):
                assert ((view - shift) / scale - levels).abs().max() <= 1.01
    assert loader.state_dict()["executor"] == "host, resize=pillow"


def path_of(dataset: ImageFolder, row: int) -> Path:
    return Path(dataset.get_location(row).uri)


# What was drawn


@BOTH
def test_what_was_drawn_comes_third(make: Make, executor: str) -> None:
    transform = T.Compose([T.RandomResizedCrop(24), T.RandomHorizontalFlip(), T.ColorJitter(0.4)])
    images, _, parameters = take(make(transform=transform, executor=executor, return_parameters=True), 1)[0]
    assert {name: (tuple(values.shape), values.dtype) for name, values in parameters.items()} == {
        "crop_box": ((5, 4), torch.float32),
        "horizontal_flip": ((5,), torch.bool),
        "vertical_flip": ((5,), torch.bool),
        "brightness": ((5,), torch.float32),
        "contrast": ((5,), torch.float32),
        "saturation": ((5,), torch.float32),
        "hue": ((5,), torch.float32),
        "color_order": ((5, 4), torch.float32),
    }
    assert len(images) == 5


def test_the_box_is_where_the_crop_was_cut(make: Make, dataset: ImageFolder) -> None:
    """Done again by hand, from the file, with Pillow."""
    transform = T.Compose([T.RandomResizedCrop(24), T.RandomHorizontalFlip()])
    loader = make(transform=transform, return_parameters=True, sampler_type=None, shuffle=False, batch_size=9)
    images, _, parameters = next(iter(loader))
    for row in range(9):
        with Image.open(dataset.get_location(row).uri) as file:
            image = file.convert("RGB")
        top, left, height, width = parameters["crop_box"][row].tolist()
        crop = image.crop((left, top, left + width, top + height)).resize((24, 24), Image.Resampling.BILINEAR)
        crop = ImageOps.mirror(crop) if parameters["horizontal_flip"][row] else crop
        gap = np.abs(np.asarray(crop).transpose(2, 0, 1).astype(int) - images[row].numpy().astype(int))
        assert gap.max() <= 2


def test_what_several_views_drew_comes_group_by_group(make: Make) -> None:
    _, _, parameters = take(make(transform=DINO, return_parameters=True), 1)[0]
    assert parameters["global_crops"]["crop_box"].shape == (2, 5, 4)
    assert parameters["local_crops"]["blur_sigma"].shape == (3, 5)
    assert set(parameters["global_crops"]) - set(parameters["local_crops"]) == {"solarize"}


@pytest.mark.parametrize("transform", [DINO, T.RandomResizedCrop(8)], ids=["views", "one"])
def test_a_collate_fn_gets_what_was_drawn_with_each_sample(make: Make, transform: T.Transform) -> None:
    arguments = {"transform": transform, "return_parameters": True}
    samples = take(make(**arguments, collate_fn=list), 1)[0]
    _, _, parameters = take(make(**arguments), 1)[0]
    for row, (_, _, drawn) in enumerate(samples):
        if transform is DINO:
            assert torch.equal(drawn["local_crops"]["crop_box"], parameters["local_crops"]["crop_box"][:, row])
        else:
            assert torch.equal(drawn["crop_box"], parameters["crop_box"][row])


# Mixing

MIXINGS = {
    "MixUp": T.MixUp(num_classes=20),
    "CutMix": T.CutMix(num_classes=20),
    "either": T.RandomChoice([T.CutMix(num_classes=20), T.MixUp(num_classes=20, alpha=0.2)], p=[0.5, 0.5]),
}


@BOTH
@pytest.mark.parametrize("name", MIXINGS)
def test_batches_are_mixed_and_resume(make: Make, executor: str, name: str) -> None:
    uncut = make(transform=T.Compose([*TRAIN, MIXINGS[name]]), executor=executor)
    plain = take(make(transform=T.Compose(TRAIN), executor=executor), 4)
    mixed, states = [], []
    for batch in itertools.islice(uncut, 4):
        mixed.append(batch)
        states.append(uncut.state_dict())
    for (images, probabilities), (before, targets) in zip(mixed, plain, strict=True):
        assert images.shape == before.shape
        assert probabilities.shape == (5, 20)
        torch.testing.assert_close(probabilities.sum(1), torch.ones(5))
        one_hot = torch.nn.functional.one_hot(targets, 20).float()
        own = (probabilities - one_hot.roll(1, 0)).norm() / ((one_hot - one_hot.roll(1, 0)).norm() + 1e-12)
        if name == "MixUp":
            share = float(own)
            torch.testing.assert_close(images, before * share + before.roll(1, 0) * (1 - share), rtol=0, atol=1e-4)
        if name == "CutMix":
            assert ((images == before) | (images == before.roll(1, 0))).all()
    resumed = make(transform=T.Compose([*TRAIN, MIXINGS[name]]), executor=executor)
    resumed.load_state_dict(states[1])
    assert_same(next(iter(resumed)), mixed[2])


@pytest.mark.parametrize(
    ("transform", "arguments", "message"),
    [
        (T.Compose([T.CenterCrop(8), T.MixUp(num_classes=20)]), {}, r"^MixUp: does not support uint8 images"),
        (T.Compose([T.MixUp(num_classes=20), *TRAIN]), {}, r"^MixUp\(.*: must be the last step of the transform"),
        (T.Compose([MIXINGS["either"], *TRAIN]), {}, r"^RandomChoice\(.*: must be the last step of the transform"),
        (T.Compose([*TRAIN, T.CutMix(num_classes=20)]), {"collate_fn": list}, r"^CutMix: must not stand beside a coll"),
        (T.Compose([DINO, T.CutMix(num_classes=20)]), {}, r"^CutMix: must not stand in a transform with several views"),
    ],
)
def test_mixing_where_it_cannot_be_is_refused(
    make: Make, transform: T.Transform, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        make(transform=transform, **arguments)


# Functions on the CPU


def solarize(image: Image.Image) -> Image.Image:
    return ImageOps.solarize(image, 100)


def noisy(image: Image.Image) -> Any:
    """Draws from all three global generators."""
    shift = random.randrange(40) + int(torch.randint(0, 40, ())) + int(np.random.randint(40))
    return np.asarray(image) // 2 + np.uint8(shift)


@BOTH
@pytest.mark.parametrize("kind", ["image", "array", "tensor"])
def test_a_function_has_the_image_first(make: Make, executor: str, kind: str) -> None:
    functions = {
        "image": solarize,
        "array": lambda image: np.asarray(solarize(image)),
        "tensor": lambda image: torch.from_numpy(np.asarray(solarize(image)).copy()).permute(2, 0, 1),
    }
    transform = T.Compose([T.OnCPU(functions[kind]), T.CenterCrop(50)])
    loader = make(transform=transform, executor=executor, sampler_type=None, shuffle=False)
    images, _ = next(iter(loader))
    plain = make(
        transform=T.Compose([T.RandomSolarize(100, p=1.0), T.CenterCrop(50)]), sampler_type=None, shuffle=False
    )
    assert torch.equal(images, next(iter(plain))[0])


def test_a_function_that_draws_resumes_and_leaves_the_callers_generators_alone(make: Make) -> None:
    uncut = make(transform=T.Compose([T.OnCPU(noisy), T.CenterCrop(20)]), batch_size=4)
    random.seed(1), torch.manual_seed(1), np.random.seed(1)
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()[1]
    batches, states = [], []
    for batch in itertools.islice(uncut, 4):
        batches.append(batch)
        states.append(uncut.state_dict())
    uncut.close()
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert (np.random.get_state()[1] == before[2]).all()
    resumed = make(transform=T.Compose([T.OnCPU(noisy), T.CenterCrop(20)]), batch_size=2, num_threads=1)
    resumed.load_state_dict(states[0])
    images = torch.cat([batch[0] for batch in take(resumed, 2)])
    assert torch.equal(images, batches[1][0])


def raising(image: Image.Image) -> Image.Image:
    raise KeyError(f"of mine, {image.size}")


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (raising, KeyError, "of mine"),
        (
            lambda _: 5,
            TypeError,
            r"^the function of OnCPU returned int of int64 \(\): must be a PIL image, a uint8 array",
        ),
        (lambda image: [image, image], TypeError, r"returned a list of 2: it must make one image; .*T\.MultiCrop"),
        (lambda image: {"global_crops": image}, TypeError, r"returned a dict of 1: .*T\.DataAugmentationDINO"),
        (lambda image: np.asarray(image) / 255, TypeError, r"returned ndarray of float64 \(.*, 3\): must be"),
        (lambda image: torch.zeros(3, 8, 8), TypeError, r"returned Tensor of float32 \(3, 8, 8\): must be"),  # noqa: ARG005
    ],
)
def test_what_a_function_does_wrong_is_said_with_the_place(
    make: Make, function: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        take(make(transform=T.Compose([T.OnCPU(function), T.CenterCrop(20)])), 1)
    assert any("stage=transform" in note and "index=" in note for note in caught.value.__notes__)


def test_a_function_gets_no_image_that_pillow_cannot_decode(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    dataset = ImageFolder(tmp_path, transform=T.Compose([T.OnCPU(solarize), T.CenterCrop(9)]))
    with DataLoader(dataset, device="cpu") as loader, pytest.raises(DecodeError, match="cannot be decoded by Pillow"):
        next(iter(loader))


def test_on_cpu_stands_first(make: Make) -> None:
    with pytest.raises(ArgumentError, match=r"^OnCPU\(.*solarize [0-9a-f]{8}\): must be the first step of"):
        make(transform=T.Compose([T.CenterCrop(9), T.OnCPU(solarize)]))
    with pytest.raises(ArgumentError, match=r"^function=5: must be a function of an image"):
        T.OnCPU(5)  # type: ignore[arg-type]


def test_a_plain_function_runs_on_the_cpu_with_a_warning(make: Make) -> None:
    with pytest.warns(UserWarning, match=r"it runs on the CPU, in Python, one image at a time; T\.OnCPU\(function\)"):
        loader = make(transform=ImageOps.grayscale, batch_size=1)
    images, _ = next(iter(loader))
    assert torch.equal(images[0, 0], images[0, 2])


# torchvision's objects


@BOTH
def test_torchvisions_transforms_run_as_they_are(make: Make, folder: Path, executor: str) -> None:
    """As the dataset's transform too; the same as dalikit's own words for it."""
    theirs = tv.Compose(
        [
            tv.RandomResizedCrop(24, interpolation=tv.InterpolationMode.BICUBIC),
            tv.RandomApply([tv.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            tv.RandomGrayscale(0.2),
            tv.ToTensor(),
            tv.Normalize((0.5,) * 3, (0.25,) * 3),
        ]
    )
    ours = T.Compose(
        [
            T.RandomResizedCrop(24, interpolation="bicubic"),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            T.RandomGrayscale(0.2),
            *TRAIN[1:],
        ]
    )
    loader = make(dataset=ImageFolder(folder, transform=theirs), executor=executor)
    assert_same(take(loader, 3), take(make(transform=ours, executor=executor), 3))


def test_what_torchvision_has_and_the_device_has_not_is_named(make: Make) -> None:
    elastic = tv.Compose([tv.ElasticTransform(), tv.RandomResizedCrop(24), tv.ToTensor()])
    with pytest.raises(ArgumentError, match=r"(?s)1 step cannot be converted:.*ElasticTransform.*OnCPU"):
        make(transform=elastic)
    transform = T.Compose([T.OnCPU(tv.ElasticTransform()), T.RandomResizedCrop(24), T.ToTensor()])
    images, _ = next(iter(make(transform=transform, sampler_type=SamplerType.EPOCH)))
    assert images.shape == (5, 3, 24, 24)


def test_a_function_and_a_collate_fn_draw_apart(make: Make) -> None:
    """They have the same position, and another purpose."""
    drawn: list[float] = []

    def function(image: Image.Image) -> Image.Image:
        drawn.append(random.random())
        return image

    def collate(samples: list[Any]) -> int:
        drawn.append(random.random())
        return len(samples)

    transform = T.Compose([T.OnCPU(function), T.CenterCrop(9)])
    loader = make(transform=transform, collate_fn=collate, batch_size=1, prefetch_batches=1)
    take(loader, 5)
    loader.close()
    assert len(set(drawn)) == len(drawn) >= 10


def test_a_function_that_draws_and_a_collate_fn_that_draws_repeat_together(make: Make) -> None:
    """The loader reads ahead while the user's thread collates; the caller's generators are left alone."""

    def collate(samples: list[Any]) -> Any:
        numbers = [random.random()]
        time.sleep(0.002)
        numbers += [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return torch.stack([image for image, _ in samples]), torch.tensor(numbers, dtype=torch.float64)

    def batches(**options: Any) -> list[Any]:
        transform = T.Compose([T.OnCPU(noisy), T.CenterCrop(20)])
        with make(transform=transform, collate_fn=collate, batch_size=4, **options) as loader:
            return take(loader, 8)

    random.seed(1), torch.manual_seed(1), np.random.seed(1)
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()[1]
    expected = batches(num_threads=1, prefetch_batches=1)
    for _ in range(3):
        assert_same(batches(num_threads=4, prefetch_batches=4), expected)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert (np.random.get_state()[1] == before[2]).all()


@pytest.mark.parametrize("turn", [False, True])
def test_a_function_gets_the_image_turned_if_that_is_asked_for(tmp_path: Path, turn: bool) -> None:
    (tmp_path / "class").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    levels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "class" / "image.png", exif=exif)
    steps = [T.Decode(adjust_orientation=turn), T.OnCPU(solarize)]
    with DataLoader(ImageFolder(tmp_path, transform=T.Compose(steps)), device="cpu") as loader:
        images, _ = next(iter(loader))
    expected = np.asarray(solarize(Image.fromarray(np.rot90(levels, -1).copy() if turn else levels)))
    assert torch.equal(images[0].permute(1, 2, 0), torch.from_numpy(expected.copy()))


def test_a_function_that_raises_stop_iteration_does_not_end_the_loop(make: Make) -> None:
    def stop(image: Image.Image) -> Image.Image:
        raise StopIteration(image)

    with pytest.raises(RuntimeError, match=r"StopIteration was raised by .* the function of OnCPU or the collation"):
        take(make(transform=T.Compose([T.OnCPU(stop), T.CenterCrop(20)])), 1)


def test_the_warning_about_a_function_points_at_the_users_line(dataset: ImageFolder) -> None:
    """In whatever way the loader is made."""
    options: dict[str, Any] = {"device": "cpu", "transform": ImageOps.grayscale}
    for make_it in (
        lambda: DataLoader(dataset, **options),
        lambda: make_data_loader(dataset=dataset, batch_size=1, num_workers=0, **options),
        lambda: compile_recipe(ImageOps.grayscale),
    ):
        with pytest.warns(UserWarning, match="it runs on the CPU") as caught:
            make_it()
        assert [warning.filename for warning in caught] == [__file__]


def test_views_from_shared_planes_do_not_disturb_each_other(make: Make) -> None:
    """The steps before the views leave float32 planes, which are still read when the second view is made."""
    jitter = T.ColorJitter(0.4, 0.4, 0.4)
    transform = T.Compose([jitter, T.MultiCrop([T.Views("a", T.ColorJitter((1.9, 1.9)), 4)])])
    images, _ = next(iter(make(transform=transform, executor="host", batch_size=1)))
    views = images["a"]
    assert all(torch.equal(view, views[0]) for view in views[1:])


def test_rows_of_scale_and_shift_are_kept_for_some_widths_alone() -> None:
    finisher = Finisher(compile_recipe(T.Compose(TRAIN[1:])).groups[0].views[0].output, channels_last=True)
    for width in range(1, 300):
        pixels = Pixels(torch.full((3, 2, width), 255, dtype=torch.uint8))
        row = torch.empty((2, width, 3)).permute(2, 0, 1)
        finisher(pixels, row, np.empty(0, np.float32), Scratch())
        assert torch.allclose(row, torch.tensor(2.0))
    assert len(finisher._rows) <= 64
