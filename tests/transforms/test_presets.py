"""DINOv2's ready-made transforms for classification, held against torchvision objects made as DINOv2 makes them."""

from __future__ import annotations

import pytest
from dino_objects import MEAN, STD, dinov2, v1

import dalikit.transforms as T
from dalikit.errors import ArgumentError
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.presets import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    make_classification_eval_transform,
    make_classification_train_transform,
    make_normalize_transform,
)
from dalikit.transforms.torchvision import from_torchvision

BICUBIC = v1.InterpolationMode.BICUBIC


def test_the_constants_are_imagenets() -> None:
    assert (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD) == (MEAN, STD)


def test_normalize() -> None:
    assert make_normalize_transform() == T.Normalize(MEAN, STD)
    assert make_normalize_transform([0.1, 0.2, 0.3], std=[0.25]) == T.Normalize((0.1, 0.2, 0.3), (0.25, 0.25, 0.25))


def test_train_by_default() -> None:
    made = v1.Compose(
        [
            v1.RandomResizedCrop(224, interpolation=BICUBIC),
            v1.RandomHorizontalFlip(0.5),
            dinov2.MaybeToTensor(),
            v1.Normalize(MEAN, STD),
        ]
    )
    assert make_classification_train_transform() == from_torchvision(made)
    compile_recipe(make_classification_train_transform())


def test_eval_by_default() -> None:
    made = v1.Compose(
        [
            v1.Resize(256, interpolation=BICUBIC),
            v1.CenterCrop(224),
            dinov2.MaybeToTensor(),
            v1.Normalize(MEAN, STD),
        ]
    )
    assert make_classification_eval_transform() == from_torchvision(made)
    compile_recipe(make_classification_eval_transform())


def test_every_argument_of_train_counts() -> None:
    assert make_classification_train_transform(
        crop_size=9, interpolation=v1.InterpolationMode.BILINEAR, hflip_prob=0.2, mean=(0.1, 0.2, 0.3), std=[1, 2, 3]
    ) == T.Compose(
        [
            T.RandomResizedCrop(9),
            T.RandomHorizontalFlip(0.2),
            T.ToTensor(),
            T.Normalize((0.1, 0.2, 0.3), (1, 2, 3)),
        ]
    )


def test_without_a_flip_there_is_no_step_for_it() -> None:
    steps = make_classification_train_transform(hflip_prob=0.0).flat()
    assert not any(isinstance(step, T.RandomHorizontalFlip) for step in steps)


def test_every_argument_of_eval_counts() -> None:
    assert make_classification_eval_transform(
        resize_size=11, interpolation="nearest", crop_size=(9, 8), mean=(0.1, 0.2, 0.3), std=[1, 2, 3]
    ) == T.Compose(
        [
            T.Resize(11, "nearest"),
            T.CenterCrop((9, 8)),
            T.ToTensor(),
            T.Normalize((0.1, 0.2, 0.3), (1, 2, 3)),
        ]
    )


def test_arguments_are_keywords_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        make_classification_train_transform(224)  # type: ignore[misc]
    with pytest.raises(TypeError, match="positional"):
        make_classification_eval_transform(224)  # type: ignore[misc]


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"p=-0\.5: must be a number from 0 to 1"):
        make_classification_train_transform(hflip_prob=-0.5)
    with pytest.raises(ArgumentError, match=r"std=\(0.0, 1.0, 1.0\): must not be zero"):
        make_normalize_transform(std=(0, 1, 1))
