"""describe(): a table of what becomes of a transform, also of one that cannot be converted as a whole."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from dino_objects import MEAN, STD, dinov2, dinov3, v1, v2

import dalikit.transforms as T
from dalikit.transforms import accuracy
from dalikit.transforms.accuracy import EXECUTORS, MEASURED, measured_error
from dalikit.transforms.colour import ColorJitter, Grayscale, RandomInvert
from dalikit.transforms.containers import RandomApply, RandomChoice
from dalikit.transforms.describe import describe
from dalikit.transforms.dino import DataAugmentationDINO
from dalikit.transforms.mixing import MixUp
from dalikit.transforms.on_cpu import OnCPU
from dalikit.transforms.operations import Crop, Flip, InterpolationMode, Operation, Resize

KNOWN = {
    "Crop": {"host": (0.0, 0.0), "dali": (0.0, 0.0)},
    "Flip": {"host": (0.0, 0.0), "dali": (0.0, 0.0)},
    "Resize": {"host": (1.0, 0.01), "dali": (2.0, 0.125)},
    "Resize.bicubic": {"host": (24.0, 0.1), "dali": None},
    "Invert": {"host": (0.0, 0.0), "dali": (0.0, 0.0)},
}


@pytest.fixture
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "MEASURED", KNOWN)


def lines_of(transform: Any) -> list[str]:
    return describe(transform).split("\n")


def steps_of(transform: Any) -> list[str]:
    """The steps' names, with how far each is indented; the columns of a long one stand on a line without a name."""
    indented = [(len(line) - len(line.lstrip()), line.split()[0].split("(")[0]) for line in lines_of(transform)]
    return [f"{indent // 2} {name}" for indent, name in indented if name not in ("not", "exact", "approximated")]


def classification(policy: Any) -> Any:
    """torchvision's reference recipe for ImageNet."""
    return v1.Compose(
        [
            v1.RandomResizedCrop(176),
            v1.RandomHorizontalFlip(),
            policy,
            v1.PILToTensor(),
            v1.ConvertImageDtype(torch.float),
            v1.Normalize(MEAN, STD),
            v1.RandomErasing(0.1),
        ]
    )


@pytest.mark.usefixtures("_known")
def test_a_line_a_step_with_what_is_known_of_it() -> None:
    transform = T.Compose(
        [T.RandomHorizontalFlip(0.25), T.Resize(9), T.Resize(8, "bicubic"), T.ToImage(), T.ToTensor()]
    )
    host, dali = "approximated (max 1, mean 0.01 levels)", "approximated (max 2, mean 0.125 levels)"
    assert describe(transform) == "\n".join(
        f"{step:<39}  {first:<38}  {second:<39}  {operations}".rstrip()
        for step, first, second, operations in [
            ("step", "host", "dali", "operations"),
            ("RandomHorizontalFlip(p=0.25)", "exact", "exact", "Flip"),
            ("Resize(size=9)", host, dali, "Resize"),
            (
                "Resize(size=8, interpolation='bicubic')",
                "approximated (max 24, mean 0.1 levels)",
                "not measured",
                "Resize",
            ),
            ("ToImage()", "exact", "exact", "nothing to do"),
            ("ToTensor()", "not measured", "not measured", "Output"),
        ]
    )


@pytest.mark.usefixtures("_known")
def test_a_step_is_as_exact_as_the_least_exact_of_its_operations() -> None:
    line = lines_of(T.RandomResizedCrop(9))[1]
    assert "approximated (max 1, mean 0.01 levels)" in line
    assert line.endswith("Crop, Resize")


@pytest.mark.parametrize(
    "policy",
    [v1.AutoAugment(), v1.RandAugment(), v1.TrivialAugmentWide(), v1.AugMix()],
    ids=lambda policy: type(policy).__name__,
)
def test_torchvisions_recipe_for_imagenet(policy: Any) -> None:
    name = type(policy).__name__
    lines = lines_of(classification(policy))
    assert [line.split("(")[0].split()[0] for line in lines[1:]] == [
        "RandomResizedCrop",
        "RandomHorizontalFlip",
        name,
        "PILToTensor",
        "ConvertImageDtype",
        "Normalize",
        "RandomErasing",
    ]
    assert {"Warp", "Equalize", "Posterize"} <= set(lines[3].replace(",", "").split())
    assert lines[4].endswith("nothing to do")
    assert lines[-1].startswith("RandomErasing(p=0.1) ")
    assert lines[-1].endswith("Erase")


def test_dinov2s_augmentation() -> None:
    lines = lines_of(dinov2.DataAugmentationDINO((0.32, 1.0), (0.05, 0.32), 8))
    assert [line.strip() for line in lines if line.strip().endswith(("views", "view 1", "view 2", "MultiCrop"))] == [
        "MultiCrop",
        "global_crops: 2 views",
        "view 1",
        "view 2",
        "local_crops: 8 views",
    ]
    applied = [line.strip() for line in lines if line.strip().startswith("RandomApply")]
    assert applied == [f"RandomApply(p={p})" for p in ("0.8", "0", "0.8", "0.9", "0.8", "0.5")]
    assert sum("RandomSolarize(threshold=128, p=0.2)" in line for line in lines) == 1
    assert lines[-2:] == ["  global_crops_teacher: the same as global_crops", "  offsets: always ()"]


def test_a_preset_says_what_it_stands_for() -> None:
    own = lines_of(DataAugmentationDINO((0.32, 1.0), (0.05, 0.32), 8))
    converted = lines_of(dinov2.DataAugmentationDINO((0.32, 1.0), (0.05, 0.32), 8))
    assert own[1].startswith(
        "DataAugmentationDINO(global_crops_scale=(0.32, 1), local_crops_scale=(0.05, 0.32), local_"
    )
    assert [line.split() for line in own[2:]] == [line.split() for line in converted[1:]]


def test_dinov3s_augmentation_and_what_of_it_is_not_on_the_device() -> None:
    lines = lines_of(dinov3.DataAugmentationDINO((0.32, 1.0), (0.05, 0.32), 8, share_color_jitter=True))
    assert lines[1] == "RandomApply(p=0.8)"
    assert "  weak_flag: always True" in lines
    refused = describe(dinov3.DataAugmentationDINO((0.32, 1.0), (0.05, 0.32), 8, gram_teacher_crops_size=28))
    assert "not on the device: gram_teacher_crops_size=28: the gram teacher's crops share the boxes" in refused


def test_the_recipe_of_moco_and_simclr() -> None:
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(224, scale=(0.2, 1.0)),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([v2.GaussianBlur(23, (0.1, 2.0))], p=0.5),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    assert steps_of(transform)[1:] == [
        "0 RandomResizedCrop",
        "0 RandomApply",
        "1 ColorJitter",
        "0 RandomGrayscale",
        "0 RandomApply",
        "1 GaussianBlur",
        "0 RandomHorizontalFlip",
        "0 ToImage",
        "0 ToDtype",
        "0 Normalize",
    ]
    assert "as a whole" not in describe(transform)
    twice = T.MultiCrop([T.Views("views", transform, count=2)])
    assert [line.strip() for line in lines_of(twice)[1:3]] == ["MultiCrop", "views: 2 views"]


def test_what_cannot_be_converted_is_shown_where_it_stands() -> None:
    lines = lines_of(v1.Compose([v1.CenterCrop(9), v1.RandomApply([v1.Lambda(str), v1.RandomInvert()], p=0.25)]))
    assert lines[2] == "RandomApply(p=0.25)"
    assert lines[3].split("  ", 2)[1].strip() == "Lambda()"
    assert lines[3].endswith("not on the device: what its function does is not known here")
    assert lines[4].startswith("  RandomInvert(p=0.5)")


def test_a_plain_function_and_no_transform() -> None:
    (_, line) = lines_of(str)
    assert (
        line
        == "<class 'str'>  not on the device: builtins.type is no transform of dalikit, torchvision, DINOv2 or DINOv3"
    )
    assert describe(None) == "no transform: the decoded image as it is, uint8"


def test_steps_that_do_not_fit_together_are_said_at_the_end() -> None:
    lines = lines_of(v1.Compose([v1.ToTensor(), v1.ColorJitter(0.4)]))
    assert lines[-1].startswith("as a whole: not on the device: ColorJitter(brightness=(0.6, 1.4)")
    assert lines[-1].endswith("must come before ToTensor; it works on uint8 images")


def test_a_choice_of_several_steps_together_is_indented_once_more() -> None:
    choice = RandomChoice(
        [T.Compose([RandomInvert(), T.RandomVerticalFlip()]), T.RandomHorizontalFlip()], p=(0.25, 0.5)
    )
    assert steps_of(choice)[1:] == [
        "0 RandomChoice",
        "1 Compose",
        "2 RandomInvert",
        "2 RandomVerticalFlip",
        "1 RandomHorizontalFlip",
    ]
    assert lines_of(choice)[1] == "RandomChoice(p=(0.25, 0.5))"


@pytest.mark.usefixtures("_known")
def test_a_long_step_has_a_line_of_its_own() -> None:
    lines = lines_of(RandomApply([ColorJitter(0.4, 0.4, 0.2, 0.1)]))
    jitter = "  ColorJitter(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.8, 1.2), hue=(-0.1, 0.1))"
    assert lines[2] == jitter
    assert lines[3].split() == ["not", "measured", "not", "measured", "ColorJitter"]


def test_steps_at_either_end() -> None:
    lines = lines_of(T.Compose([T.Decode(adjust_orientation=True), OnCPU(str), Grayscale(3), T.ToTensor()]))
    assert lines[1].startswith("Decode(adjust_orientation=True) ")
    assert lines[1].endswith("Decode")
    assert lines[2] == f"{'OnCPU(builtins.str)':<32}  in Python, on the CPU"
    assert lines[3].startswith("Grayscale(num_output_channels=3)  ")
    assert lines_of(MixUp(num_classes=3))[1] == "MixUp(num_classes=3)  done to the finished batch"


# What is known of the operations


def test_there_is_an_entry_for_every_operation_and_both_executors() -> None:
    names = {kind.__name__ for kind in get_args(Operation)} - {"Select"}  # which is its cases
    assert {name.split(".")[0] for name in MEASURED} == names | {"Decode", "Erase", "Output"}
    for errors in MEASURED.values():
        assert set(errors) == set(EXECUTORS)
        for error in errors.values():
            assert error is None or (len(error) == 2 and 0.0 <= error[1] <= error[0] <= 255.0)


def test_what_only_moves_pixels_is_exact() -> None:
    for operation in (Crop(0), Flip(0, horizontal=True), "Crop"):
        for executor in EXECUTORS:
            assert measured_error(operation, executor) == (0.0, 0.0)


@pytest.mark.usefixtures("_known")
def test_an_entry_for_an_interpolation_comes_before_the_general_one() -> None:
    assert measured_error(Resize(0, InterpolationMode.BICUBIC, True), "host") == (24.0, 0.1)
    assert measured_error(Resize(0, InterpolationMode.BICUBIC, True), "dali") is None
    assert measured_error(Resize(0, InterpolationMode.BILINEAR, True), "host") == (1.0, 0.01)
    assert measured_error("Equalize", "host") is None
