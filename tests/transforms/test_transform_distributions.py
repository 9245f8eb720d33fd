"""What is drawn has torchvision's distributions, and is the same for ever.

Distributions are compared by the Kolmogorov-Smirnov statistic of two samples, shares by their binomial spread. Seeds
are fixed, so nothing here is left to chance.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from drawn_parameters import draw, drawn_columns, told
from torchvision_import import import_torchvision

import dalikit.transforms as T
from dalikit.transforms.base import Sizes, Transform
from dalikit.transforms.colour import (
    ColorJitter,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from dalikit.transforms.containers import RandomApply, RandomChoice, RandomOrder
from dalikit.transforms.draws import Slot, draw_slots
from dalikit.transforms.erasing import RandomErasing
from dalikit.transforms.filters import GaussianBlur
from dalikit.transforms.gamma import beta
from dalikit.transforms.policies import AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from dalikit.transforms.warps import RandomAffine, RandomPerspective, RandomRotation

torchvision = import_torchvision()

COUNT = 2000
SIZES = [(60, 80), (375, 500), (31, 200)]
Numbers = np.ndarray[Any, Any]


def statistic(ours: Any, theirs: Any) -> float:
    """The two-sample Kolmogorov-Smirnov distance, in units of its spread: beyond 1.95 once in 1000 times by chance."""
    first, second = np.sort(np.asarray(ours, dtype=np.float64)), np.sort(np.asarray(theirs, dtype=np.float64))
    places = np.concatenate([first, second])
    shares = [np.searchsorted(each, places, side="right") / len(each) for each in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max() * math.sqrt(len(first) * len(second) / (len(first) + len(second))))


def assert_alike(ours: Any, theirs: Any) -> None:
    assert statistic(ours, theirs) < 1.95


def assert_share(happened: Any, p: float) -> None:
    """Within four standard deviations of a share of `p`."""
    count = np.size(happened)
    assert abs(np.sum(happened) - count * p) <= 4 * math.sqrt(count * p * (1 - p))


def their_draws(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    torch.manual_seed(0)
    return [function(*arguments) for _ in range(COUNT)]


def test_the_statistic_tells_distributions_apart() -> None:
    generator = np.random.default_rng(0)
    one, same, other = generator.uniform(size=COUNT), generator.uniform(size=COUNT), generator.uniform(0, 1.1, COUNT)
    assert statistic(one, same) < 1.95 < statistic(one, other)


class TestFactors:
    def test_color_jitter(self) -> None:
        ours = told(ColorJitter(0.4, (0.2, 3), 1.5, 0.1), COUNT)
        reference = torchvision.transforms.ColorJitter(0.4, (0.2, 3), 1.5, 0.1)
        theirs = their_draws(
            reference.get_params, reference.brightness, reference.contrast, reference.saturation, reference.hue
        )
        for place, name in enumerate(("brightness", "contrast", "saturation", "hue"), start=1):
            assert_alike(ours[name], [each[place] for each in theirs])
        codes = ours["color_order"].astype(int) @ [64, 16, 4, 1]
        for code in np.unique(codes):
            assert_share(codes == code, 1 / 24)

    def test_blur(self) -> None:
        ours = told(GaussianBlur(3, (0.1, 2.0)), COUNT)["blur_sigma"]
        assert_alike(ours, their_draws(torchvision.transforms.GaussianBlur.get_params, 0.1, 2.0))

    def test_rotation(self) -> None:
        ours = told(RandomRotation((-10, 200)), COUNT)["angle"]
        assert_alike(ours, their_draws(torchvision.transforms.RandomRotation.get_params, [-10, 200]))

    @pytest.mark.parametrize(("height", "width"), SIZES)
    def test_affine(self, height: int, width: int) -> None:
        arguments = (30, (0.1, 0.3), (0.5, 2.0), (-10, 20, -5, 5))
        ours = told(RandomAffine(*arguments), COUNT, height=height, width=width)
        reference = torchvision.transforms.RandomAffine(*arguments)
        theirs = their_draws(
            reference.get_params,
            reference.degrees,
            reference.translate,
            reference.scale,
            reference.shear,
            [width, height],
        )
        assert_alike(ours["angle"], [each[0] for each in theirs])
        assert_alike(ours["scale"], [each[2] for each in theirs])
        for axis in (0, 1):
            assert_alike(ours["translation"][:, axis], [each[1][axis] for each in theirs])
            assert_alike(ours["shear"][:, axis], [each[3][axis] for each in theirs])

    @pytest.mark.parametrize(("height", "width"), SIZES)
    def test_perspective(self, height: int, width: int) -> None:
        """Where the image's corners go."""
        columns = drawn_columns(RandomPerspective(0.5, p=1.0), COUNT, height=height, width=width).astype(np.float64)
        maps = np.concatenate([columns[:, 3:], np.ones((COUNT, 1))], axis=1).reshape(-1, 3, 3)
        corners = np.array([[0, 0, 1], [width - 1, 0, 1], [width - 1, height - 1, 1], [0, height - 1, 1]])
        places = np.linalg.inv(maps) @ corners.T
        ours = np.rint(places[:, :2] / places[:, 2:]).transpose(0, 2, 1)
        theirs = np.array(
            [ends for _, ends in their_draws(torchvision.transforms.RandomPerspective.get_params, width, height, 0.5)]
        )
        for corner in range(4):
            for axis in (0, 1):
                assert_alike(ours[:, corner, axis], theirs[:, corner, axis])


class TestBoxes:
    @pytest.mark.parametrize(("height", "width"), SIZES)
    @pytest.mark.parametrize(
        ("scale", "ratio"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.05, 0.32), (3 / 4, 4 / 3)), ((0.5, 1.0), (0.2, 4.0))]
    )
    def test_random_resized_crop(
        self, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
    ) -> None:
        columns = drawn_columns(T.RandomResizedCrop(8, scale, ratio), COUNT, height=height, width=width)[:, :4]
        image = torch.zeros(1, height, width)
        theirs = np.array(
            their_draws(torchvision.transforms.RandomResizedCrop.get_params, image, list(scale), list(ratio))
        )
        self.assert_boxes(columns, theirs)

    @pytest.mark.parametrize(("height", "width"), SIZES)
    @pytest.mark.parametrize(("scale", "ratio"), [((0.02, 0.33), (0.3, 3.3)), ((0.3, 0.9), (0.5, 1.0))])
    def test_random_erasing(
        self, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
    ) -> None:
        columns = drawn_columns(RandomErasing(1.0, scale, ratio), COUNT, height=height, width=width)
        image = torch.zeros(1, height, width)
        found = np.array(
            [
                each[:4]
                for each in their_draws(torchvision.transforms.RandomErasing.get_params, image, scale, ratio, [0.0])
            ]
        )
        # torchvision answers with the whole image where ten attempts fail, dalikit with a height of 0: nothing erased
        failed = (found[:, 2] == height) & (found[:, 3] == width)
        assert_alike(columns[:, 2] == 0, failed)
        if not failed.all():
            self.assert_boxes(columns[columns[:, 2] > 0], found[~failed])

    @staticmethod
    def assert_boxes(ours: Numbers, theirs: Numbers) -> None:
        (top, left, height, width), (their_top, their_left, their_height, their_width) = (
            boxes.astype(np.float64).T for boxes in (ours, theirs)
        )
        assert_alike(height * width, their_height * their_width)
        assert_alike(np.log(width / height), np.log(their_width / their_height))
        assert_alike(top, their_top)
        assert_alike(left, their_left)


SOMETIMES: list[Callable[[float], Transform]] = [
    lambda p: RandomGrayscale(p),
    lambda p: RandomSolarize(128, p),
    lambda p: RandomPosterize(3, p),
    lambda p: RandomInvert(p),
    lambda p: RandomAutocontrast(p),
    lambda p: RandomEqualize(p),
    lambda p: RandomAdjustSharpness(2, p),
    lambda p: RandomPerspective(p=p),
    lambda p: RandomApply([RandomInvert(1)], p),
]


class TestShares:
    @pytest.mark.parametrize("make", SOMETIMES, ids=lambda make: type(make(0.5)).__name__)
    @pytest.mark.parametrize("p", [0.02, 0.5, 0.8])
    def test_what_is_done_sometimes(self, make: Callable[[float], Transform], p: float) -> None:
        assert_share(drawn_columns(make(p), 10000)[:, 0] == 1, p)

    def test_steps_of_one_class_are_independent(self) -> None:
        steps = draw(RandomApply([RandomInvert(0.5), RandomInvert(0.5)], p=1.0), Sizes.full(10000, 9, 9))[0]
        assert_share((steps[:, 1] == 1) & (steps[:, 2] == 1), 0.25)

    @pytest.mark.parametrize("weights", [None, (1, 2, 5), (0.2, 0.0, 0.3)])
    def test_random_choice(self, weights: tuple[float, ...] | None) -> None:
        parts = [RandomInvert(), RandomEqualize(), RandomGrayscale()]
        chosen = drawn_columns(RandomChoice(parts, weights), 10000)[:, 0]
        random.seed(0)
        theirs = random.choices(range(3), weights, k=10000)
        for number, weight in enumerate(weights or (1, 1, 1)):
            assert_share(chosen == number, weight / sum(weights or (1, 1, 1)))
        assert_alike(chosen, theirs)

    def test_random_order(self) -> None:
        orders = drawn_columns(RandomOrder([RandomInvert(), RandomEqualize(), RandomGrayscale()]), 10000)[:, 0]
        for number in range(6):
            assert_share(orders == number, 1 / 6)

    @pytest.mark.parametrize("transform", [RandAugment(), TrivialAugmentWide()], ids=lambda each: type(each).__name__)
    def test_every_operation_of_a_policy(self, transform: Transform) -> None:
        numbers = told(transform, 10000)["policy_operations"]
        for number in range(14):
            assert_share(numbers == number, 1 / 14)

    def test_every_operation_of_augmix(self) -> None:
        numbers = told(AugMix(chain_depth=2), 3000)["policy_operations"]
        for number in range(13):
            assert_share(numbers == number, 1 / 13)


class TestWeights:
    @pytest.mark.parametrize(("a", "b"), [(0.1, 0.1), (0.2, 0.2), (0.8, 0.8), (1.0, 1.0), (2.5, 2.5), (0.5, 3.0)])
    def test_beta(self, a: float, b: float) -> None:
        (draws,) = draw_slots(3, np.arange(4 * COUNT), np.zeros(4 * COUNT, dtype=np.int64), (Slot(1, 0),))
        found = beta(draws, a, b)
        assert ((found >= 0) & (found <= 1)).all()
        assert_alike(found, np.random.default_rng(1).beta(a, b, 4 * COUNT))

    def test_beta_of_tiny_shapes_is_finite(self) -> None:
        """Its Gamma numbers are too small for floating point; their shares are not."""
        (draws,) = draw_slots(3, np.arange(COUNT), np.zeros(COUNT, dtype=np.int64), (Slot(1, 2),))
        found = beta(draws, 1e-4, 1e-4)
        assert np.isfinite(found).all()
        assert_share(found > 0.5, 0.5)

    def test_beta_of_a_row_follows_from_its_words_alone(self) -> None:
        whole, part = (
            beta(draw_slots(3, np.arange(count), np.zeros(count, dtype=np.int64), (Slot(1, 2),))[0], 0.3, 0.3)
            for count in (500, 20)
        )
        np.testing.assert_array_equal(whole[:20], part)

    @pytest.mark.parametrize("alpha", [0.3, 1.0])
    def test_augmix(self, alpha: float) -> None:
        weights = told(AugMix(alpha=alpha), COUNT)["mixture_weights"]
        generator = np.random.default_rng(2)
        both = generator.dirichlet([alpha] * 2, COUNT)
        chains = generator.dirichlet([alpha] * 3, COUNT) * both[:, 1:]
        assert_alike(weights[:, 0], both[:, 0])
        for chain in range(3):
            assert_alike(weights[:, 1 + chain], chains[:, chain])


FOR_EVER: list[tuple[Transform, list[float]]] = [
    (RandomApply([ColorJitter(0.4)], p=0.9), [1, 4, 0, 4, 4, 1.241778, 1, 1, 0]),
    (RandomChoice([RandomInvert(), GaussianBlur(3)], p=(1, 3)), [1, 0, 1.439155]),
    (ColorJitter(0.4, 0.3, 0.2, 0.1), [3, 0, 1, 2, 1.241778, 1.072252, 0.80228, -0.003630453]),
    (RandomGrayscale(0.5), [1]),
    (GaussianBlur(3), [1.439155]),
    (RandomSolarize(128), [0, 128]),
    (RandomPosterize(3), [1, 3]),
    (RandomInvert(), [0]),
    (RandomAutocontrast(), [0]),
    (RandomEqualize(), [1]),
    (RandomAdjustSharpness(2), [1, 2]),
    (
        RandomAffine(30, (0.1, 0.2), (0.5, 2), (-10, 10, -5, 5)),
        [
            60,
            80,
            0.8818234,
            -0.2410952,
            10.43079,
            0.1476361,
            0.9013891,
            6.21441,
            -13.19097,
            -1,
            -10,
            1.097338,
            -2.105548,
            -3.889237,
        ],
    ),
    (
        RandomRotation(30, expand=True),
        [92, 100, 0.8816942, -0.4718213, 17.61907, 0.4718213, 0.8816942, -34.149, 28.15259],
    ),
    (
        RandomPerspective(p=0.9),
        [1, 60, 80, 1.187799, 0.4120936, -23.75599, -0.2673635, 1.718766, 5.347271, -0.00555912, 0.01063599],
    ),
    (RandAugment(), [2, 6, -0.27, 0.73, 60, 80, 1, -0, 0, 0, 1, 0, 0, 0]),
    (TrivialAugmentWide(), [5, 9, -0.066, 0.934, 60, 80, 1, -0, 0, 0, 1, 0]),
    (AutoAugment("svhn"), [1, 0, 0.1333333, 0.1333333, 60, 80, 1, 0.1333333, 0, 0, 1, 0, 0, -1]),
    (AugMix(), [0.9351663, 0.04316594, 0.01861688, 0.003050893, 7, 10, 0.1, 1.1, 60, 80, 1, -0, 0, 0]),
    (RandomOrder([RandomInvert(), RandomEqualize()]), [0, 0, 1, 0, 0]),
]
"""Transforms, and the first columns that they draw for position 1 of seed 0 and an image of 60x80."""


@pytest.mark.parametrize(("transform", "expected"), FOR_EVER, ids=lambda value: type(value).__name__)
def test_what_is_drawn_never_changes(transform: Transform, expected: list[float]) -> None:
    """A run that is taken up again has to go on as it began, with a later version too."""
    row = drawn_columns(transform, 2)[1, : len(expected)]
    np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)
