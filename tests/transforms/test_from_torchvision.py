"""Real objects of both of torchvision's APIs, of DINOv2 and DINOv3 become the transforms that one would write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from dino_objects import MEAN, STD, dinov2, dinov3, v1, v2
from torch import nn

import dalikit.transforms as T
from dalikit.errors import ArgumentError
from dalikit.transforms.base import Sizes, Transform
from dalikit.transforms.colour import (
    ColorJitter,
    Grayscale,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.containers import RandomApply, RandomChoice, RandomOrder
from dalikit.transforms.dino import DataAugmentationDINO
from dalikit.transforms.filters import GaussianBlur
from dalikit.transforms.mixing import CutMix, MixUp
from dalikit.transforms.policies import AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from dalikit.transforms.torchvision import convertible, from_torchvision
from dalikit.transforms.warps import Pad, RandomAffine, RandomPerspective, RandomRotation

BOTH = {"v1": v1, "v2": v2}
MODES = v1.InterpolationMode
Case = tuple[Callable[[Any], Any], Transform]

IN_BOTH: dict[str, Case] = {
    "RandomResizedCrop": (
        lambda api: api.RandomResizedCrop((20, 30), (0.2, 0.9), (0.5, 1.5), MODES.BICUBIC, antialias=False),
        T.RandomResizedCrop((20, 30), (0.2, 0.9), (0.5, 1.5), "bicubic"),
    ),
    "RandomResizedCrop of an int": (lambda api: api.RandomResizedCrop(20), T.RandomResizedCrop(20)),
    "Resize to an int": (lambda api: api.Resize(20, MODES.NEAREST, 40), T.Resize(20, "nearest", max_size=40)),
    "Resize to a list of one": (lambda api: api.Resize([20]), T.Resize(20)),
    "Resize to a pair": (lambda api: api.Resize((20, 30)), T.Resize((20, 30))),
    "Resize by Pillow's number": (lambda api: api.Resize(20, 3), T.Resize(20, "bicubic")),
    "Resize exactly to the nearest": (lambda api: api.Resize(20, MODES.NEAREST_EXACT), T.Resize(20, "nearest")),
    "CenterCrop": (lambda api: api.CenterCrop((20, 30)), T.CenterCrop((20, 30))),
    "CenterCrop of an int": (lambda api: api.CenterCrop(20), T.CenterCrop(20)),
    "RandomCrop": (lambda api: api.RandomCrop(20), T.RandomCrop(20)),
    "RandomCrop with a border": (
        lambda api: api.RandomCrop((20, 30), [1, 2, 3, 4], True, (5, 6, 7)),
        T.RandomCrop((20, 30), (1, 2, 3, 4), True, (5, 6, 7)),
    ),
    "RandomCrop with a border of two numbers": (
        lambda api: api.RandomCrop(20, (1, 2), fill=8),
        T.RandomCrop(20, (1, 2), fill=8),
    ),
    "RandomHorizontalFlip": (lambda api: api.RandomHorizontalFlip(0.3), T.RandomHorizontalFlip(0.3)),
    "RandomVerticalFlip": (lambda api: api.RandomVerticalFlip(0.3), T.RandomVerticalFlip(0.3)),
    "ColorJitter": (lambda api: api.ColorJitter(0.4, 0.3, 0.2, 0.1), ColorJitter(0.4, 0.3, 0.2, 0.1)),
    "ColorJitter in part": (lambda api: api.ColorJitter(contrast=(0.5, 0.7)), ColorJitter(contrast=(0.5, 0.7))),
    "ColorJitter of nothing": (lambda api: api.ColorJitter(), ColorJitter()),
    "Grayscale": (lambda api: api.Grayscale(3), Grayscale(3)),
    "RandomGrayscale": (lambda api: api.RandomGrayscale(0.3), RandomGrayscale(0.3)),
    "GaussianBlur": (lambda api: api.GaussianBlur((3, 5), (0.2, 1.5)), GaussianBlur((3, 5), (0.2, 1.5))),
    "GaussianBlur of one width": (lambda api: api.GaussianBlur(3, 1.5), GaussianBlur(3, 1.5)),
    "RandomSolarize": (lambda api: api.RandomSolarize(99, 0.3), RandomSolarize(99, 0.3)),
    "RandomPosterize": (lambda api: api.RandomPosterize(3, 0.3), RandomPosterize(3, 0.3)),
    "RandomInvert": (lambda api: api.RandomInvert(0.3), RandomInvert(0.3)),
    "RandomAutocontrast": (lambda api: api.RandomAutocontrast(0.3), RandomAutocontrast(0.3)),
    "RandomEqualize": (lambda api: api.RandomEqualize(0.3), RandomEqualize(0.3)),
    "RandomAdjustSharpness": (lambda api: api.RandomAdjustSharpness(1.5, 0.3), RandomAdjustSharpness(1.5, 0.3)),
    "RandomAffine": (
        lambda api: api.RandomAffine(
            (-5, 10), (0.1, 0.2), (0.8, 1.1), [1, 2, 3, 4], MODES.BILINEAR, (1, 2, 3), center=[4, 5]
        ),
        RandomAffine((-5, 10), (0.1, 0.2), (0.8, 1.1), (1, 2, 3, 4), "bilinear", (1, 2, 3), center=(4, 5)),
    ),
    "RandomAffine of a number": (lambda api: api.RandomAffine(5, shear=3), RandomAffine(5, shear=3)),
    "RandomRotation": (
        lambda api: api.RandomRotation((-5, 10), MODES.BILINEAR, False, [4, 5], 9),
        RandomRotation((-5, 10), "bilinear", False, (4, 5), 9),
    ),
    "RandomPerspective": (
        lambda api: api.RandomPerspective(0.3, 0.4, MODES.NEAREST, [1, 2, 3]),
        RandomPerspective(0.3, 0.4, "nearest", (1, 2, 3)),
    ),
    "Pad": (lambda api: api.Pad((1, 2, 3, 4), (5, 6, 7)), Pad((1, 2, 3, 4), (5, 6, 7))),
    "Pad by one number": (lambda api: api.Pad(3, 9), Pad(3, 9)),
    "RandomErasing": (
        lambda api: api.RandomErasing(0.3, (0.1, 0.2), (0.5, 2.0), [1, 2, 3], True),
        T.RandomErasing(0.3, (0.1, 0.2), (0.5, 2.0), (1, 2, 3), True),
    ),
    "RandomErasing to one value": (lambda api: api.RandomErasing(value=0.5), T.RandomErasing(value=0.5)),
    "PILToTensor": (lambda api: api.PILToTensor(), T.PILToTensor()),
    "ConvertImageDtype": (lambda api: api.ConvertImageDtype(torch.float16), T.ConvertImageDtype("float16")),
    "Normalize": (lambda api: api.Normalize(list(MEAN), STD, True), T.Normalize(MEAN, STD, True)),
    "Normalize by tensors": (
        lambda api: api.Normalize(torch.tensor([0.5, 0.25, 0.125]), torch.ones(3)),
        T.Normalize((0.5, 0.25, 0.125), (1, 1, 1)),
    ),
    "RandAugment": (
        lambda api: api.RandAugment(1, 5, 11, MODES.BILINEAR, [1, 2, 3]),
        RandAugment(1, 5, 11, "bilinear", (1, 2, 3)),
    ),
    "TrivialAugmentWide": (
        lambda api: api.TrivialAugmentWide(11, MODES.BILINEAR, [1, 2, 3]),
        TrivialAugmentWide(11, "bilinear", (1, 2, 3)),
    ),
    "AutoAugment": (
        lambda api: api.AutoAugment(api.AutoAugmentPolicy.SVHN, MODES.BILINEAR, [1, 2, 3]),
        AutoAugment("svhn", "bilinear", (1, 2, 3)),
    ),
    "AugMix": (
        lambda api: api.AugMix(2, 4, 2, 0.5, False, MODES.NEAREST, [1, 2, 3]),
        AugMix(2, 4, 2, 0.5, False, "nearest", (1, 2, 3)),
    ),
    "AutoAugment as it comes": (lambda api: api.AutoAugment(), AutoAugment()),
    "Compose": (
        lambda api: api.Compose([api.CenterCrop(5), api.Compose([api.RandomHorizontalFlip()])]),
        T.Compose([T.CenterCrop(5), T.Compose([T.RandomHorizontalFlip()])]),
    ),
    "RandomApply": (
        lambda api: api.RandomApply([api.ColorJitter(0.4), api.RandomInvert()], 0.3),
        RandomApply([ColorJitter(0.4), RandomInvert()], 0.3),
    ),
    "RandomApply of a ModuleList": (
        lambda api: api.RandomApply(nn.ModuleList([api.ColorJitter(0.4)]), 0.3),
        RandomApply([ColorJitter(0.4)], 0.3),
    ),
    "RandomChoice": (
        lambda api: api.RandomChoice([api.RandomInvert(), api.RandomEqualize()]),
        RandomChoice([RandomInvert(), RandomEqualize()]),
    ),
    "RandomChoice by weights": (
        lambda api: api.RandomChoice([api.RandomInvert(), api.RandomEqualize()], [0.25, 0.75]),
        RandomChoice([RandomInvert(), RandomEqualize()], (0.25, 0.75)),
    ),
    "RandomOrder": (
        lambda api: api.RandomOrder([api.RandomInvert(), api.RandomEqualize()]),
        RandomOrder([RandomInvert(), RandomEqualize()]),
    ),
    "torch.nn.Sequential": (
        lambda api: nn.Sequential(api.CenterCrop(5), nn.Identity(), api.RandomHorizontalFlip(0.3)),
        T.Compose([T.CenterCrop(5), T.Compose([]), T.RandomHorizontalFlip(0.3)]),
    ),
}

ONLY_IN_V2: dict[str, Case] = {
    "interpolation as a word": (
        lambda api: api.RandomResizedCrop(9, interpolation="bicubic"),
        T.RandomResizedCrop(9, interpolation="bicubic"),
    ),
    "Resize by the default": (lambda api: api.Resize(9), T.Resize(9)),
    "ToImage": (lambda api: api.ToImage(), T.ToImage()),
    "ToDtype": (lambda api: api.ToDtype(torch.float32, scale=True), T.ToDtype("float32", scale=True)),
    "ToDtype unscaled": (lambda api: api.ToDtype(torch.uint8), T.ToDtype("uint8")),
    "ToDtype by type": (
        lambda api: api.ToDtype({v2_image(): torch.float32, "others": None}, scale=True),
        T.ToDtype("float32", scale=True),
    ),
    "ToDtype of other types": (lambda api: api.ToDtype({int: torch.int64, "others": None}), T.Compose([])),
    "ConvertImageDtype by default": (lambda api: api.ConvertImageDtype(), T.ConvertImageDtype()),
    "Identity": (lambda api: api.Identity(), T.Compose([])),
    "RGB": (lambda api: api.RGB(), T.Compose([])),
    "ToPureTensor": (lambda api: api.ToPureTensor(), T.Compose([])),
    "MixUp": (lambda api: api.MixUp(alpha=0.2, num_classes=10), MixUp(alpha=0.2, num_classes=10)),
    "CutMix": (lambda api: api.CutMix(alpha=0.2, num_classes=10), CutMix(alpha=0.2, num_classes=10)),
    "fill by type": (
        lambda api: api.Pad(1, {PIL.Image.Image: 3, v2_image(): 3, "others": 0}),
        Pad(1, 3),
    ),
    "fill of others": (
        lambda api: api.RandomRotation(5, fill={"others": (1, 2, 3)}),
        RandomRotation(5, fill=(1, 2, 3)),
    ),
    "fill of no image": (lambda api: api.RandomCrop(5, 1, fill={int: 7}), T.RandomCrop(5, 1)),
    "fill left out": (lambda api: api.RandomAffine(5, fill=None), RandomAffine(5)),
}


def v2_image() -> Any:
    from torchvision import tv_tensors

    return tv_tensors.Image


@pytest.mark.parametrize("api", BOTH)
@pytest.mark.parametrize("name", IN_BOTH)
def test_an_object_of_either_api_becomes_what_one_would_write(name: str, api: str) -> None:
    make, expected = IN_BOTH[name]
    made = make(BOTH[api])
    assert convertible(made)
    assert from_torchvision(made) == expected


@pytest.mark.parametrize("name", ONLY_IN_V2)
def test_an_object_that_only_v2_has_becomes_what_one_would_write(name: str) -> None:
    make, expected = ONLY_IN_V2[name]
    assert from_torchvision(make(v2)) == expected


def test_to_tensor_of_both_apis() -> None:
    assert from_torchvision(v1.ToTensor()) == T.ToTensor()
    with pytest.warns(UserWarning, match="deprecated"):
        deprecated = v2.ToTensor()
    assert from_torchvision(deprecated) == T.ToTensor()


def test_every_default_is_torchvisions() -> None:
    """An object made with the arguments that it must have equals dalikit's made with the same."""
    for name, arguments in {
        "RandomResizedCrop": (9,),
        "Resize": (9,),
        "RandomCrop": (9,),
        "RandomHorizontalFlip": (),
        "ColorJitter": (),
        "RandomGrayscale": (),
        "GaussianBlur": (9,),
        "RandomSolarize": (9,),
        "RandomPosterize": (4,),
        "RandomAdjustSharpness": (2,),
        "RandomAffine": (9,),
        "RandomRotation": (9,),
        "RandomPerspective": (),
        "Pad": (9,),
        "RandomErasing": (),
        "RandAugment": (),
        "TrivialAugmentWide": (),
        "AutoAugment": (),
        "AugMix": (),
    }.items():
        for api in BOTH.values():
            expected = next(type(case) for _, case in IN_BOTH.values() if type(case).__name__ == name)(*arguments)
            assert from_torchvision(getattr(api, name)(*arguments)) == expected, name


def test_the_transforms_that_come_with_trained_weights() -> None:
    from torchvision.models import ResNet50_Weights

    assert from_torchvision(ResNet50_Weights.IMAGENET1K_V2.transforms()) == T.Compose(
        [T.Resize(232), T.CenterCrop(224), T.PILToTensor(), T.ConvertImageDtype(), T.Normalize(MEAN, STD)]
    )


def test_dalikits_own_transforms_stay_as_they_are() -> None:
    own = T.RandomResizedCrop(9)
    assert from_torchvision(own) is own
    mixed = v1.Compose([own, v1.ToTensor()])
    assert from_torchvision(mixed) == T.Compose([own, T.ToTensor()])


def test_their_transforms_may_stand_in_the_views_of_dalikits() -> None:
    made = v1.Compose([v1.CenterCrop(9), v1.ToTensor()])
    flip = T.RandomHorizontalFlip()
    crop = T.MultiCrop([T.Views("a", made, count=2), T.Views("b", flip)], aliases={"c": "a"}, constants={"d": 5})
    converted = from_torchvision(T.Compose([flip, crop]))
    expected = T.Compose([T.CenterCrop(9), T.ToTensor()])
    assert converted == T.Compose(
        [
            flip,
            T.MultiCrop([T.Views("a", expected, count=2), T.Views("b", flip)], aliases={"c": "a"}, constants={"d": 5}),
        ]
    )
    assert from_torchvision(converted) is converted


# DINOv2 and DINOv3


@pytest.mark.parametrize("library", [dinov2, dinov3], ids=["dinov2", "dinov3"])
def test_dinos_blur_is_done_as_often_as_its_code_does_it(library: Any) -> None:
    """GaussianBlur(p=0.1) is a RandomApply with p=0.9: what counts is the attribute."""
    blur = from_torchvision(library.GaussianBlur(p=0.1, radius_min=0.2, radius_max=1.0))
    assert blur == RandomApply([GaussianBlur(9, (0.2, 1.0))], p=0.9)


def test_dinov2s_maybe_to_tensor() -> None:
    assert from_torchvision(dinov2.MaybeToTensor()) == T.ToTensor()


@pytest.mark.parametrize("local_crops_number", [0, 1, 8])
def test_dinov2s_augmentation_is_dalikits(local_crops_number: int) -> None:
    arguments: Any = ((0.32, 1.0), (0.05, 0.32), local_crops_number, 28, 14)
    converted = compile_recipe(from_torchvision(dinov2.DataAugmentationDINO(*arguments)))
    own = compile_recipe(DataAugmentationDINO(*arguments))
    assert converted.groups == own.groups
    assert (converted.aliases, converted.constants) == (own.aliases, own.constants)
    places, sizes = np.arange(9), Sizes.full(9, 300, 400)
    np.testing.assert_array_equal(converted.draw(3, places, sizes).matrix, own.draw(3, places, sizes).matrix)


def test_dinov3s_augmentation_is_dinov2s_with_a_flag() -> None:
    arguments: Any = ((0.32, 1.0), (0.05, 0.32), 8, 28, 14)
    converted = compile_recipe(from_torchvision(dinov3.DataAugmentationDINO(*arguments)))
    own = compile_recipe(DataAugmentationDINO(*arguments))
    assert converted.groups == own.groups
    assert dict(converted.constants) == {"weak_flag": True, "offsets": ()}


def test_dinov3s_shared_jitter_is_drawn_once_for_all_views() -> None:
    converted = compile_recipe(
        from_torchvision(
            dinov3.DataAugmentationDINO(
                (0.3, 1), (0.1, 0.3), 2, 28, 14, share_color_jitter=True, horizontal_flips=False
            )
        )
    )
    assert [type(operation).__name__ for operation in converted.shared] == ["Select", "Select"]
    own = compile_recipe(DataAugmentationDINO((0.3, 1), (0.1, 0.3), 2, 28, 14))
    assert len(converted.groups[1].views[0].operations) == len(own.groups[1].views[0].operations) - 2
    matrix = converted.draw(3, np.arange(50), Sizes.full(50, 300, 400)).matrix
    assert matrix.shape == (50, converted.num_columns)


def test_nothing_of_theirs_is_imported() -> None:
    code = (
        "import sys; from dalikit.transforms.torchvision import from_torchvision, convertible; convertible(5);"
        "print([name for name in ('torch', 'torchvision', 'nvidia.dali') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.filterwarnings("ignore:Anti-alias option is always applied for PIL Image input")
@pytest.mark.parametrize("api", BOTH.values(), ids=BOTH)
def test_without_antialias_is_for_tensors_alone(api: Any) -> None:
    """torchvision ignores it on PIL images: Pillow always widens its filter."""
    sharp = [api.Resize(20, antialias=False), api.RandomResizedCrop(9, antialias=False)]
    smooth = (T.Resize(20), T.RandomResizedCrop(9))
    plain = (T.Resize(20, antialias=False), T.RandomResizedCrop(9, antialias=False))
    image = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    assert np.array_equal(sharp[0](image), api.Resize(20)(image))
    assert from_torchvision(sharp[0]) == smooth[0]
    assert from_torchvision(api.Compose(sharp)) == T.Compose(smooth)
    assert from_torchvision(api.Compose([api.PILToTensor(), *sharp])) == T.Compose([T.PILToTensor(), *plain])
    assert from_torchvision(T.MultiCrop([T.Views("a", [api.Compose([api.PILToTensor(), sharp[0]]), sharp[0]])])) == (
        T.MultiCrop([T.Views("a", [T.Compose([T.PILToTensor(), plain[0]]), smooth[0]])])
    )
    assert from_torchvision(v2.Compose([v2.ToImage(), v2.Identity(), sharp[1]])).transforms[2] == plain[1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("api", BOTH.values(), ids=BOTH)
def test_torchvisions_objects_in_views_are_converted_wherever_the_views_stand(api: Any) -> None:
    theirs = T.MultiCrop([T.Views("a", api.Compose([api.RandomResizedCrop(9), api.PILToTensor()]), 2)])
    ours = T.MultiCrop([T.Views("a", T.Compose([T.RandomResizedCrop(9), T.PILToTensor()]), 2)])
    assert compile_recipe(theirs) == compile_recipe(ours)
    assert compile_recipe(T.Compose([T.Resize(20), theirs])) == compile_recipe(T.Compose([T.Resize(20), ours]))
    assert T.describe(theirs) == T.describe(ours)
    with pytest.raises(ArgumentError, match=r"(?s)1 step cannot be converted:.*a\[0\] .*function is no transform of"):
        compile_recipe(T.MultiCrop([T.Views("a", lambda image: image, 2)]))
