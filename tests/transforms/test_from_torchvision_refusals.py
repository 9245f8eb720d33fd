"""What of torchvision, DINOv2 and DINOv3 cannot be converted is refused: every step by its place, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import PIL.Image
import pytest
import torch
from dino_objects import dinov2, dinov3, v1, v2
from torch import nn

import dalikit.transforms as T
from dalikit.errors import ArgumentError
from dalikit.transforms.colour import (
    RandomAdjustSharpness,
    RandomInvert,
)
from dalikit.transforms.containers import RandomApply
from dalikit.transforms.torchvision import Inconvertible, convertible, from_torchvision, outline

MODES = v1.InterpolationMode


class Sharper(v2.RandomAdjustSharpness):  # type: ignore[misc]
    """Its arguments are its own, what it does is not."""

    def __init__(self) -> None:
        super().__init__(3.0, p=0.2)

    def extra_repr(self) -> str:
        return "always 3"


class OwnForward(v1.RandomResizedCrop):  # type: ignore[misc]
    def forward(self, img: Any) -> Any:
        return img


class OwnBox(v2.RandomResizedCrop):  # type: ignore[misc]
    def make_params(self, flat_inputs: Any) -> Any:
        return super().make_params(flat_inputs)


class Mixin:
    def __call__(self, img: Any) -> Any:
        return img


class OwnCall(Mixin, v1.ToTensor):  # type: ignore[misc]
    pass


class OwnTransform(v2.Transform):  # type: ignore[misc]
    def transform(self, inpt: Any, params: Any) -> Any:
        del params
        return inpt


def test_a_subclass_that_only_sets_arguments_counts_as_what_it_is_derived_from() -> None:
    assert from_torchvision(Sharper()) == RandomAdjustSharpness(3.0, 0.2)
    assert convertible(Sharper())


@pytest.mark.parametrize(
    ("made", "base", "own"),
    [
        (lambda: OwnForward(9), "transforms.RandomResizedCrop", "forward"),
        (lambda: OwnBox(9), "v2._geometry.RandomResizedCrop", "make_params"),
        (lambda: OwnCall(), "transforms.ToTensor", "__call__"),
        (lambda: OwnTransform(), "v2._transform.Transform", "transform"),
    ],
    ids=["forward", "make_params", "__call__ of a mixin", "transform"],
)
def test_a_subclass_with_code_of_its_own_is_refused_by_name(made: Callable[[], Any], base: str, own: str) -> None:
    transform = made()
    says = f"{type(transform).__name__} is a subclass of torchvision.transforms.{base} with its own {own}"
    with pytest.raises(ArgumentError, match=says):
        from_torchvision(v1.Compose([transform]))


def test_a_method_put_into_an_object_is_seen() -> None:
    crop = v1.CenterCrop(9)
    crop.forward = lambda img: img
    with pytest.raises(ArgumentError, match="CenterCrop with its own forward"):
        from_torchvision(crop)


def test_every_step_that_cannot_be_converted_is_named_with_its_place() -> None:
    def halve(image: Any) -> Any:
        return image

    made = v1.Compose(
        [
            v1.RandomResizedCrop(9),
            v1.RandomApply([v1.ColorJitter(0.4), v1.Lambda(halve)], p=0.5),
            halve,
            v1.ElasticTransform(),
            v1.ToPILImage(),
            nn.Sequential(v1.FiveCrop(3)),
            v1.ToTensor(),
            v1.RandomErasing(value="random"),
        ]
    )
    with pytest.raises(ArgumentError) as raised:
        from_torchvision(made)
    first, *lines, what_to_do = str(raised.value).split("\n")
    assert first == "torchvision.transforms.transforms.Compose: 6 steps cannot be converted:"
    assert [line.split(" ", 3)[2] for line in lines] == [
        "transforms[1].transforms[1]",
        "transforms[2]",
        "transforms[3]",
        "transforms[4]",
        "transforms[5][0]",
        "transforms[7]",
    ]
    assert lines[0].endswith("Lambda(): what its function does is not known here")
    assert lines[1].endswith("builtins.function is no transform of dalikit, torchvision, DINOv2 or DINOv3")
    assert "ElasticTransform(alpha=[50.0, 50.0]" in lines[2]
    assert lines[2].endswith(": there is no such operation")
    assert "leave it out if it stands at the beginning" in lines[3]
    assert lines[5].endswith("value='random': must be a number or three; noise is not on the device")
    assert what_to_do.startswith("Leave these steps out or put transforms of dalikit.transforms in their place.")
    assert "OnCPU(function)" in what_to_do


def test_a_long_step_is_cut_short_and_stands_on_one_line() -> None:
    with pytest.raises(ArgumentError, match=r"  LinearTransformation\(.{60,90}\.\.\.: there is no such") as raised:
        from_torchvision(v1.LinearTransformation(torch.eye(30), torch.zeros(30)))
    assert len(str(raised.value).split("\n")) == 3
    assert "1 step cannot be converted" in str(raised.value)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: v1.Resize(9, MODES.LANCZOS), "interpolation=<InterpolationMode.LANCZOS: 'lanczos'>: must be one of"),
        (lambda: v2.Resize(None, max_size=9), "size=None: must be an int or a pair"),
        (lambda: v1.Grayscale(), "num_output_channels=1: images have three channels here"),
        (lambda: v1.RandomCrop(9, 1, padding_mode="reflect"), "padding_mode='reflect': must be 'constant'"),
        (lambda: v2.RandomErasing(value="random"), "value='random': must be a number or three"),
        (lambda: v2.ToDtype(torch.int64), "dtype=torch.int64: must be torch.uint8 or one of"),
        (
            lambda: v2.Pad(1, {PIL.Image.Image: 3, torch.Tensor: 4}),
            "fill={.*}: must be the same for every kind of image",
        ),
        (lambda: v2.MixUp(num_classes=3, labels_getter=lambda batch: batch), "labels_getter=.*: must be 'default'"),
        (lambda: v1.RandomApply(v1.CenterCrop(9)), "transforms is a CenterCrop: must be a list of transforms"),
        (lambda: v1.RandomApply([v1.ToTensor()]), "transforms: ToTensor must stand outside"),
        (lambda: v1.RandomOrder([v1.RandomInvert()] * 5), "RandomOrder takes at most 4, came 5"),
    ],
    ids=range(11),
)
def test_an_argument_that_cannot_be_done_is_said_with_the_step(made: Callable[[], Any], reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        from_torchvision(made())


def test_an_attribute_that_is_gone_is_an_error_and_no_default() -> None:
    crop = v1.CenterCrop(9)
    del crop.size
    with pytest.raises(ArgumentError, match="it has no attribute 'size'; this version of its library is not known"):
        from_torchvision(crop)


def test_antialias_as_torchvision_once_kept_it() -> None:
    resize = v1.Resize(9)
    resize.antialias = "warn"
    assert from_torchvision(resize) == T.Resize(9, antialias=True)


@pytest.mark.parametrize(
    "other",
    [
        None,
        lambda image: image,
        object(),
        OwnTransform(),
        nn.Identity(),
        nn.Linear(1, 1),
        nn.Sequential(nn.ReLU()),
        T.CenterCrop(9),
    ],
    ids=lambda other: type(other).__name__,
)
def test_what_is_no_transform_of_theirs_is_not_meant_for_conversion(other: Any) -> None:
    assert not convertible(other)


def test_what_is_of_theirs_is_meant_for_conversion_even_if_it_cannot_be_done() -> None:
    for made in (v1.Lambda(str), OwnForward(9), nn.Sequential(v1.CenterCrop(3)), dinov2.MaybeToTensor()):
        assert convertible(made)


def test_an_outline_keeps_what_can_be_converted() -> None:
    made = v1.Compose([v1.RandomApply([v1.Lambda(str), v1.RandomInvert()]), v1.ToTensor()])
    reason = "what its function does is not known here"
    gap = Inconvertible("Lambda()", reason, "transforms[0].transforms[0]")
    assert outline(made) == T.Compose([RandomApply([gap, RandomInvert()]), T.ToTensor()])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"gram_teacher_crops_size": 28}, "gram_teacher_crops_size=28: the gram teacher's crops share the boxes"),
        ({"teacher_no_color_jitter": True}, "teacher_no_color_jitter=True: the teacher's crops share the boxes"),
        (
            {"local_crops_subset_of_global_crops": True},
            "local_crops_subset_of_global_crops=True: the local crops are cut out of .*, but here every view draws",
        ),
        (
            {"mean": [0.5], "std": [0.5]},
            r"global_transfo1.transforms\[0\] Grayscale\(.*: num_output_channels=1: images",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_what_dinov3s_augmentation_shares_between_views_is_refused(arguments: Any, reason: str) -> None:
    made = dinov3.DataAugmentationDINO((0.3, 1), (0.1, 0.3), 2, **arguments)
    with pytest.raises(ArgumentError, match=reason):
        from_torchvision(made)


def test_a_step_of_a_view_is_named_with_the_views_place() -> None:
    crop = T.MultiCrop([T.Views("a", [v1.CenterCrop(9), v1.Compose([v1.Lambda(str)])])])
    with pytest.raises(ArgumentError, match=r"transforms\[0\]\.a\[1\]\.transforms\[0\] Lambda\(\): what its function"):
        from_torchvision(T.Compose([crop]))
