"""What transforms of colour take, draw and come down to; and what holds for every transform of torchvision's."""

from __future__ import annotations

import inspect
import pickle
import re
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from drawn_parameters import draw, drawn_columns, sizes_of, told
from torchvision_import import import_torchvision

from dalikit.errors import ArgumentError
from dalikit.transforms import colour, containers, filters, policies, warps
from dalikit.transforms import operations as op
from dalikit.transforms.base import Transform, TransformRefusalError
from dalikit.transforms.compiler import compile_recipe

torchvision = import_torchvision()

NAN, INF = float("nan"), float("inf")
JITTER = colour.ColorJitter(0.4, 0.3, 0.2, 0.1)
EVERY: dict[int, Transform] = {
    6: containers.RandomApply([JITTER]),
    7: containers.RandomChoice([JITTER, filters.GaussianBlur(3)], p=[1, 3]),
    8: JITTER,
    9: colour.RandomGrayscale(),
    10: filters.GaussianBlur((5, 3)),
    11: colour.RandomSolarize(128),
    12: colour.RandomPosterize(3),
    13: colour.RandomInvert(),
    14: colour.RandomAutocontrast(),
    15: colour.RandomEqualize(),
    16: colour.RandomAdjustSharpness(2),
    17: warps.RandomAffine(30, (0.1, 0.2), (0.5, 2), (-10, 10, -5, 5), "bilinear", (1, 2, 3), (4, 5)),
    18: warps.RandomRotation((-10, 20), "bilinear", True, (4, 5), 7),
    19: warps.RandomPerspective(0.4, 0.6),
    20: policies.RandAugment(3, 5),
    21: policies.TrivialAugmentWide(),
    22: policies.AutoAugment("svhn", fill=(1, 2, 3)),
    23: policies.AugMix(mixture_width=2, chain_depth=1),
    26: containers.RandomOrder([JITTER, colour.RandomInvert()]),
}
"""One of each class that draws, by the number of the class in the random counter."""
WITHOUT_DRAWS: list[Transform] = [colour.Grayscale(3), warps.Pad(3)]


def named(transform: Transform) -> str:
    return type(transform).__name__


@pytest.mark.parametrize(
    ("purpose", "transform"), EVERY.items(), ids=lambda value: value if isinstance(value, int) else ""
)
def test_the_number_in_the_random_counter_is_fixed(purpose: int, transform: Transform) -> None:
    assert transform.purpose == purpose


@pytest.mark.parametrize("transform", [*EVERY.values(), *WITHOUT_DRAWS], ids=named)
def test_arguments_have_torchvisions_names_order_and_defaults(transform: Transform) -> None:
    theirs = inspect.signature(getattr(torchvision.transforms, named(transform))).parameters
    ours = inspect.signature(type(transform)).parameters
    assert list(ours) == list(theirs)
    for name, argument in ours.items():
        default = theirs[name].default
        assert getattr(argument.default, "value", argument.default) == getattr(default, "value", default), name


@pytest.mark.parametrize("transform", [*EVERY.values(), *WITHOUT_DRAWS], ids=named)
def test_a_transform_is_a_value_whose_checked_arguments_are_arguments_again(transform: Transform) -> None:
    assert replace(transform) == transform  # type: ignore[type-var]
    copy = pickle.loads(pickle.dumps(transform))
    assert copy == transform
    assert hash(copy) == hash(transform)
    assert sum(other == transform for other in [*EVERY.values(), *WITHOUT_DRAWS]) == 1


@pytest.mark.parametrize("transform", EVERY.values(), ids=named)
def test_a_row_follows_from_seed_and_position_alone(transform: Transform) -> None:
    """Not from the images beside it; another seed gives another."""
    pairs = [(60 + row, 90 - row) for row in range(40)]
    whole, after = draw(transform, sizes_of(pairs), seed=5)
    fewer, after_fewer = draw(transform, sizes_of(pairs[:7]), seed=5)
    np.testing.assert_array_equal(whole[:7], fewer)
    np.testing.assert_array_equal(after.heights[:7], after_fewer.heights)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    assert (whole != draw(transform, sizes_of(pairs), seed=6)[0]).any()


@pytest.mark.parametrize("transform", [*EVERY.values(), *WITHOUT_DRAWS], ids=named)
def test_what_users_are_told_has_a_row_a_sample(transform: Transform) -> None:
    numbers = told(transform, 9)
    assert all(len(values) == 9 for values in numbers.values())
    recipe = compile_recipe(transform)
    assert recipe.num_columns == drawn_columns(transform, 1).shape[1]


ONE_OPERATION = {
    colour.RandomGrayscale(0.3): op.Grayscale(),
    colour.RandomSolarize(128.5): op.Solarize(6),
    colour.RandomPosterize(3): op.Posterize(6),
    colour.RandomInvert(): op.Invert(),
    colour.RandomAutocontrast(): op.Autocontrast(),
    colour.RandomEqualize(): op.Equalize(),
    colour.RandomAdjustSharpness(2.5): op.Sharpness(6),
}
CONSTANTS = {colour.RandomSolarize: 128.5, colour.RandomPosterize: 3, colour.RandomAdjustSharpness: 2.5}


@pytest.mark.parametrize(("transform", "operation"), ONE_OPERATION.items(), ids=lambda value: named(value))
def test_what_is_done_sometimes_is_a_case_of_a_select(transform: Any, operation: op.Operation) -> None:
    assert transform.operations(5) == (op.Select(5, ((), (operation,))),)
    columns = drawn_columns(transform, 100)
    assert set(columns[:, 0].tolist()) == {0.0, 1.0}
    assert columns[:, 1:].tolist() == [[CONSTANTS[type(transform)]]] * 100 if type(transform) in CONSTANTS else True


@pytest.mark.parametrize("transform", ONE_OPERATION, ids=named)
@pytest.mark.parametrize(("p", "done"), [(0, 0.0), (1, 1.0)])
def test_never_and_always(transform: Any, p: int, done: float) -> None:
    assert set(drawn_columns(replace(transform, p=p), 1000)[:, 0].tolist()) == {done}


def test_users_are_told_where_a_colour_is_changed() -> None:
    for transform, name in zip(
        ONE_OPERATION, ("grayscale", "solarize", "posterize", "invert", "autocontrast", "equalize"), strict=False
    ):
        flags = told(transform, 50)[name]
        np.testing.assert_array_equal(flags, drawn_columns(transform, 50)[:, 0] == 1)
    factors = told(colour.RandomAdjustSharpness(2.5), 50)["sharpness"]
    assert set(factors.tolist()) == {1.0, 2.5}


class TestColorJitter:
    def test_is_one_operation(self) -> None:
        assert JITTER.operations(3) == (op.ColorJitter(3),)

    def test_ranges_are_torchvisions(self) -> None:
        for arguments in [
            (0.4, 1.5, (0.2, 0.3), 0.5),
            (0, (1, 1), 1, (-0.1, 0.2)),
            ((0, 5), 0.0, np.float32(0.5), (0, 0)),
        ]:
            ours, theirs = colour.ColorJitter(*arguments), torchvision.transforms.ColorJitter(*arguments)
            for name, neutral in (("brightness", 1.0), ("contrast", 1.0), ("saturation", 1.0), ("hue", 0.0)):
                assert getattr(ours, name) == (getattr(theirs, name) or (neutral, neutral))

    def test_none_is_how_torchvision_keeps_what_is_off(self) -> None:
        assert colour.ColorJitter(None, 0.1, None, None) == colour.ColorJitter(contrast=0.1)

    def test_every_order_occurs(self) -> None:
        orders = drawn_columns(JITTER, 2000)[:, :4].astype(int)
        assert {tuple(order) for order in orders.tolist()} == set(permutations(range(4)))

    def test_what_is_off_stands_in_no_order_and_has_a_neutral_factor(self) -> None:
        columns = drawn_columns(colour.ColorJitter(contrast=(1, 2), hue=0.0), 500)
        assert set(columns[:, :4].ravel().tolist()) == {1.0, float(op.NOTHING)}
        assert ((columns[:, :4] == 1).sum(axis=1) == 1).all()
        np.testing.assert_array_equal(columns[:, [4, 6, 7]], [[1.0, 1.0, 0.0]] * 500)
        assert len(set(columns[:, 5].tolist())) > 490

    def test_factors_of_one_row_do_not_depend_on_another_or_on_the_order(self) -> None:
        """Order and brightness come from one word."""
        columns = drawn_columns(colour.ColorJitter(0.4, 0.4, 0.4, 0.4), 20000).astype(np.float64)
        numbers = np.concatenate([np.argsort(columns[:, :4], axis=1)[:, :1], columns[:, 4:]], axis=1)
        correlation = np.corrcoef(numbers.T) - np.eye(5)
        assert np.abs(correlation).max() < 0.03

    def test_tells_factors_and_order(self) -> None:
        numbers, columns = told(JITTER, 20), drawn_columns(JITTER, 20)
        assert list(numbers) == ["brightness", "contrast", "saturation", "hue", "color_order"]
        for place, name in enumerate(("brightness", "contrast", "saturation", "hue"), start=4):
            np.testing.assert_array_equal(numbers[name], columns[:, place])
        np.testing.assert_array_equal(numbers["color_order"], columns[:, :4])


def test_gray_is_always_told() -> None:
    assert colour.Grayscale(num_output_channels=3).operations(7) == (op.Grayscale(),)
    assert told(colour.Grayscale(3), 4)["grayscale"].tolist() == [True] * 4


class TestGaussianBlur:
    def test_the_window_is_width_then_height(self) -> None:
        """As in torchvision's functional, which takes the PIL image's order (kx, ky)."""
        assert filters.GaussianBlur((5, 3)).operations(2) == (op.GaussianBlur(2, (5, 3)),)
        assert filters.GaussianBlur(7) == filters.GaussianBlur((7, 7)) == filters.GaussianBlur([7])

    def test_a_single_sigma_is_always_taken(self) -> None:
        assert set(told(filters.GaussianBlur(3, 1.5), 50)["blur_sigma"].tolist()) == {1.5}

    def test_an_image_too_small_to_be_reflected_is_refused(self) -> None:
        sizes = sizes_of([(9, 9), (3, 3), (9, 2), (2, 9)])
        with pytest.raises(TransformRefusalError, match=re.escape("(kernel_size=(5, 5)): the image is 9x2")) as caught:
            draw(filters.GaussianBlur(5), sizes)
        assert caught.value.row == 2


BAD: list[tuple[type[Transform], dict[str, Any], str]] = [
    (colour.ColorJitter, {"brightness": -0.1}, "if brightness is a single number, it must be non negative"),
    *[
        (colour.ColorJitter, {"contrast": value}, "should be a single number or a list/tuple with length 2")
        for value in ("0.4", (0.1,), (1, 2, 3), True, NAN, {})
    ],
    *[
        (colour.ColorJitter, {"saturation": value}, "values should be between (0, inf), smaller one first")
        for value in ((2, 1), (-1, 1))
    ],
    (colour.ColorJitter, {"saturation": (1, INF)}, "must be a sequence of 2 finite numbers"),
    (colour.ColorJitter, {"hue": -0.1}, "if hue is a single number, it must be non negative"),
    *[
        (colour.ColorJitter, {"hue": value}, "values should be between (-0.5, 0.5), smaller one first")
        for value in (0.6, (-0.6, 0), (0.2, 0.1))
    ],
    *[
        (colour.Grayscale, {"num_output_channels": value}, "write Grayscale(num_output_channels=3)")
        for value in (1, 2, True, "3")
    ],
    (colour.Grayscale, {}, "num_output_channels=1: images have three channels here"),
    *[
        (kind, {"p": p, **extra}, "must be a number from 0 to 1")
        for kind, extra in (
            (colour.RandomGrayscale, {}),
            (colour.RandomSolarize, {"threshold": 1}),
            (colour.RandomPosterize, {"bits": 1}),
            (colour.RandomInvert, {}),
            (colour.RandomAutocontrast, {}),
            (colour.RandomEqualize, {}),
            (colour.RandomAdjustSharpness, {"sharpness_factor": 1}),
        )
        for p in (-0.1, 1.1, None, "1", True)
    ],
    *[
        (colour.RandomSolarize, {"threshold": value}, "must be a finite number")
        for value in ("1", None, NAN, INF, (1,))
    ],
    *[(colour.RandomPosterize, {"bits": value}, "must be a whole number from 0 to 8") for value in (-1, 9, 2.5, True)],
    *[
        (colour.RandomAdjustSharpness, {"sharpness_factor": value}, "must be a finite number of at least 0")
        for value in (-0.1, None, NAN)
    ],
    *[
        (filters.GaussianBlur, {"kernel_size": value}, "should be an odd and positive number, or two (width, height)")
        for value in (4, (3, 4), (2, 3))
    ],
    *[
        (filters.GaussianBlur, {"kernel_size": value}, "must be an int or a pair (width, height) of pixels")
        for value in (0, -1, (), (1, 3, 5), "3", 2.5, None)
    ],
    *[
        (filters.GaussianBlur, {"kernel_size": 3, "sigma": value}, "if sigma is a single number, it must be positive")
        for value in (0, -1.5)
    ],
    *[
        (
            filters.GaussianBlur,
            {"kernel_size": 3, "sigma": value},
            "values should be positive and of the form (min, max)",
        )
        for value in ((0, 1), (2, 1), (-1, 1))
    ],
    *[
        (filters.GaussianBlur, {"kernel_size": 3, "sigma": value}, "a single number or a list/tuple with length 2")
        for value in ((1,), "12", None, (1, 2, 3), True)
    ],
]


@pytest.mark.parametrize(("kind", "arguments", "message"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_argument_is_named_with_what_is_allowed(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)) as caught:
        kind(**arguments)
    if arguments:
        assert any(f"{name}={value!r}" in str(caught.value) for name, value in arguments.items())
