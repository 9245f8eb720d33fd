"""DataAugmentationDINO: DINOv2's constructor and crops; the blur as the released code does it, or as the paper says."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import numpy as np
import pytest

import dalikit.transforms as T
from dalikit.errors import ArgumentError
from dalikit.transforms.base import Sizes
from dalikit.transforms.colour import ColorJitter, RandomGrayscale, RandomSolarize
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.containers import RandomApply
from dalikit.transforms.dino import DataAugmentationDINO
from dalikit.transforms.filters import GaussianBlur
from dalikit.transforms.operations import Crop, Select
from dalikit.transforms.operations import Solarize as SolarizeOperation
from dalikit.transforms.presets import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

SCALES: Any = ((0.32, 1.0), (0.05, 0.32))
COUNT = 4000


def steps_of(augmentation: DataAugmentationDINO) -> dict[str, list[tuple[T.Transform, ...]]]:
    crop = augmentation.expand()
    return {group.name: [each.flat() for each in group.transform] for group in crop.views}


def blurs_of(augmentation: DataAugmentationDINO) -> list[float]:
    views = [view for group in steps_of(augmentation).values() for view in group]
    return [
        step.p
        for steps in views
        for step in steps
        if isinstance(step, RandomApply) and step.transforms == (GaussianBlur(9, (0.1, 2.0)),)
    ]


def test_the_constructor_is_dinov2s_with_more_behind_it() -> None:
    parameters = inspect.signature(DataAugmentationDINO).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert defaults == {
        "global_crops_scale": inspect.Parameter.empty,
        "local_crops_scale": inspect.Parameter.empty,
        "local_crops_number": inspect.Parameter.empty,
        "global_crops_size": 224,
        "local_crops_size": 96,
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "blur_probabilities": DataAugmentationDINO.RELEASED_BLUR,
    }
    keyword_only = [name for name, each in parameters.items() if each.kind is inspect.Parameter.KEYWORD_ONLY]
    assert keyword_only == ["mean", "std", "blur_probabilities"]


def test_the_steps_of_each_crop() -> None:
    def crop(size: int, scale: Any, blur: float, *more: T.Transform) -> tuple[T.Transform, ...]:
        return (
            T.RandomResizedCrop(size, scale=scale, interpolation="bicubic"),
            T.RandomHorizontalFlip(0.5),
            RandomApply([ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
            RandomGrayscale(0.2),
            RandomApply([GaussianBlur(9, (0.1, 2.0))], p=blur),
            *more,
            T.ToTensor(),
            T.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
        )

    first, second = crop(224, SCALES[0], 0.0), crop(224, SCALES[0], 0.9, RandomSolarize(128, 0.2))
    assert steps_of(DataAugmentationDINO(*SCALES, 3)) == {
        "global_crops": [first, second],
        "local_crops": [crop(96, SCALES[1], 0.5)] * 3,
    }


def test_the_blur_is_the_released_codes_unless_the_papers_is_asked_for() -> None:
    assert blurs_of(DataAugmentationDINO(*SCALES, 1)) == [0.0, 0.9, 0.5]
    paper = DataAugmentationDINO(*SCALES, 1, blur_probabilities=DataAugmentationDINO.PAPER_BLUR)
    assert blurs_of(paper) == [1.0, 0.1, 0.5]
    assert blurs_of(DataAugmentationDINO(*SCALES, 1, blur_probabilities=[0.1, 0.2, 0.3])) == [0.1, 0.2, 0.3]


def test_the_docstring_says_where_the_blur_comes_from() -> None:
    documentation = inspect.getdoc(DataAugmentationDINO) or ""
    assert "facebookresearch/dinov2#411" in documentation
    assert "DataAugmentationDINO.PAPER_BLUR" in documentation


def test_a_recipe_has_dinov2s_names() -> None:
    recipe = compile_recipe(DataAugmentationDINO(*SCALES, 8))
    assert [(group.name, len(group.views), group.floating) for group in recipe.groups] == [
        ("global_crops", 2, True),
        ("local_crops", 8, True),
    ]
    assert dict(recipe.aliases) == {"global_crops_teacher": "global_crops"}
    assert dict(recipe.constants) == {"offsets": ()}


def test_crops_have_their_sizes_and_shares_of_the_area() -> None:
    recipe = compile_recipe(DataAugmentationDINO(*SCALES, 2, global_crops_size=(28, 42), local_crops_size=14))
    drawn = recipe.draw(1, np.arange(COUNT), Sizes.full(COUNT, 300, 400))
    sides = [[(set(view.heights.tolist()), set(view.widths.tolist())) for view in group] for group in drawn.sizes]
    assert sides == [[({28}, {42})] * 2, [({14}, {14})] * 2]
    limits = []
    for group in recipe.groups:
        box = group.views[0].operations[0]
        assert isinstance(box, Crop)
        shares = drawn.matrix[:, box.column + 2] * drawn.matrix[:, box.column + 3] / (300 * 400)
        limits.append([float(shares.min()), float(shares.max())])
    np.testing.assert_allclose(limits, [(0.32, 1.0), (0.05, 0.32)], atol=0.01)


def test_the_first_global_crop_is_never_blurred_and_the_second_nearly_always() -> None:
    recipe = compile_recipe(DataAugmentationDINO(*SCALES, 1))
    matrix = recipe.draw(1, np.arange(COUNT), Sizes.full(COUNT, 300, 400)).matrix
    often = []
    for group in recipe.groups:
        for view in group.views:
            selects = [operation for operation in view.operations if isinstance(operation, Select)]
            (blur,) = [each for each in selects if type(each.cases[1][0]).__name__ == "GaussianBlur"]
            often.append(float(matrix[:, blur.column].mean()))
    assert often[0] == 0.0
    assert abs(often[1] - 0.9) < 0.02
    assert abs(often[2] - 0.5) < 0.03


def test_only_the_second_global_crop_is_solarized() -> None:
    recipe = compile_recipe(DataAugmentationDINO(*SCALES, 1))
    texts = [repr(view.operations) for group in recipe.groups for view in group.views]
    assert [SolarizeOperation.__name__ in text for text in texts] == [False, True, False]


def test_without_local_crops_the_key_is_there_and_empty() -> None:
    recipe = compile_recipe(DataAugmentationDINO(*SCALES, 0))
    assert [group.name for group in recipe.groups] == ["global_crops"]
    assert dict(recipe.constants) == {"offsets": (), "local_crops": ()}


def test_mean_and_std_reach_the_output() -> None:
    recipe = compile_recipe(DataAugmentationDINO(*SCALES, 1, mean=0.5 * np.ones(3), std=[0.25] * 3))
    output = recipe.groups[0].views[0].output
    np.testing.assert_allclose(output.scale or (), [4 / 255] * 3)
    np.testing.assert_allclose(output.shift or (), [-2.0] * 3)


def test_it_is_a_value() -> None:
    made = DataAugmentationDINO([0.32, 1.0], (0.05, 0.32), 8)
    assert made == pickle.loads(pickle.dumps(made)) == DataAugmentationDINO(*SCALES, 8)
    assert hash(made) == hash(DataAugmentationDINO(*SCALES, 8))
    assert repr(made).startswith("DataAugmentationDINO(global_crops_scale=(0.32, 1.0), local_crops_scale=(0.05, 0.32)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"global_crops_scale": (0.5, 1.5)}, r"global_crops_scale=\(0.5, 1.5\): must be \(minimum, maximum\)"),
        ({"local_crops_scale": 0.3}, "local_crops_scale=0.3: must be a sequence of 2 numbers"),
        ({"local_crops_number": -1}, "local_crops_number=-1: must be a whole number from 0 to 1022"),
        ({"local_crops_number": 1023}, "local_crops_number=1023: must be a whole number from 0 to 1022"),
        ({"local_crops_number": 1.5}, "local_crops_number=1.5: must be a whole number"),
        ({"global_crops_size": 0}, "global_crops_size=0: must be an int or a pair"),
        ({"local_crops_size": "9"}, "local_crops_size='9': must be an int or a pair"),
        ({"mean": (1, 2)}, r"mean=\(1, 2\): must be a sequence of 1 or 3 finite numbers"),
        ({"std": (0, 1, 1)}, r"std=\(0.0, 1.0, 1.0\): must not be zero"),
        ({"blur_probabilities": 0.5}, "blur_probabilities=0.5: must be a sequence of 3 numbers"),
        ({"blur_probabilities": (0.1, 0.2, 1.5)}, "blur_probabilities=1.5: must be a number from 0 to 1"),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused_by_its_own_name(arguments: dict[str, Any], message: str) -> None:
    good = {"global_crops_scale": SCALES[0], "local_crops_scale": SCALES[1], "local_crops_number": 8}
    with pytest.raises(ArgumentError, match=message):
        DataAugmentationDINO(**(good | arguments))
