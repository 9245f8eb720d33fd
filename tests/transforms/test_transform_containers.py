"""RandomApply, RandomChoice and RandomOrder: cases of which each sample goes through one."""

from __future__ import annotations

import re
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from drawn_parameters import draw, drawn_columns, told

import dalikit.transforms as T
from dalikit.errors import ArgumentError
from dalikit.transforms import operations as op
from dalikit.transforms.base import Sizes, Transform, TransformRefusalError
from dalikit.transforms.colour import ColorJitter, Grayscale, RandomInvert, RandomSolarize
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.containers import RandomApply, RandomChoice, RandomOrder
from dalikit.transforms.erasing import RandomErasing
from dalikit.transforms.filters import GaussianBlur
from dalikit.transforms.warps import Pad, RandomAffine

JITTER = ColorJitter(0.4, 0.4, 0.4, 0.1)
GRAY = Grayscale(num_output_channels=3)


class TestRandomApply:
    def test_is_a_select_between_nothing_and_all(self) -> None:
        (select,) = compile_recipe(RandomApply([JITTER, GRAY])).groups[0].views[0].operations
        assert select == op.Select(0, ((), (op.ColorJitter(1), op.Grayscale())))

    def test_what_was_chosen_draws_as_it_always_does_and_the_rest_draws_nothing(self) -> None:
        sometimes, always = (drawn_columns(RandomApply([JITTER], p=p), 400) for p in (0.5, 1.0))
        chosen = sometimes[:, 0] == 1
        assert 150 < chosen.sum() < 250
        np.testing.assert_array_equal(sometimes[chosen], always[chosen])
        assert not sometimes[~chosen].any()
        np.testing.assert_array_equal(always[:, 1:], drawn_columns(JITTER, 400))

    def test_users_are_told_what_does_nothing_where_it_was_not_applied(self) -> None:
        transform = RandomApply([JITTER, GRAY])
        numbers, applied = told(transform, 100), drawn_columns(transform, 100)[:, 0] == 1
        assert set(numbers["brightness"][~applied].tolist()) == {1.0}
        assert set(numbers["hue"][~applied].tolist()) == {0.0}
        assert set(numbers["color_order"][~applied].ravel().tolist()) == {float(op.NOTHING)}
        np.testing.assert_array_equal(numbers["grayscale"], applied)

    def test_sizes_are_those_of_what_was_applied(self) -> None:
        columns, after = draw(RandomApply([Pad(2), T.CenterCrop((10, 12))]), Sizes.full(100, 30, 40))
        applied = columns[:, 0] == 1
        np.testing.assert_array_equal(after.heights, np.where(applied, 10, 30))
        np.testing.assert_array_equal(after.widths, np.where(applied, 12, 40))

    def test_an_image_is_refused_only_where_the_part_is_applied(self) -> None:
        transform = RandomApply([GaussianBlur(9)])
        heights = np.full(50, 3)
        applied = drawn_columns(transform, 50)[:, 0] == 1
        sizes = Sizes(np.where(applied, 20, heights), np.full(50, 20))
        draw(transform, sizes)
        row = int(np.flatnonzero(applied)[3])
        sizes.heights[row] = 3
        with pytest.raises(TransformRefusalError, match="the image is 3x20") as caught:
            draw(transform, sizes)
        assert caught.value.row == row

    def test_a_compose_counts_as_its_parts(self) -> None:
        assert RandomApply(T.Compose([JITTER, GRAY]), 0.3) == RandomApply([JITTER, GRAY], p=0.3)
        assert RandomApply([T.Compose([JITTER, GRAY])]).operations(0) == ()

    def test_nested_containers_multiply(self) -> None:
        inner = RandomApply([RandomInvert(p=1)], p=0.5)
        inverted = told(RandomApply([inner], p=0.5), 4000)["invert"]
        assert 0.2 < inverted.mean() < 0.3


class TestRandomChoice:
    def test_each_transform_is_a_case(self) -> None:
        transform = RandomChoice([JITTER, T.Compose([GRAY, GaussianBlur(3)]), RandomAffine(3)])
        (select,) = compile_recipe(transform).groups[0].views[0].operations
        assert isinstance(select, op.Select)
        assert [tuple(type(each) for each in case) for case in select.cases] == [
            (op.ColorJitter,),
            (op.Grayscale, op.GaussianBlur),
            (op.Warp,),
        ]
        assert set(drawn_columns(transform, 100)[:, 0].tolist()) == {0.0, 1.0, 2.0}

    @pytest.mark.parametrize(("weights", "seen"), [((0, 1, 0), {1.0}), ((0, 2, 5), {1.0, 2.0}), ((1, 0, 0), {0.0})])
    def test_a_weight_of_nothing_is_never_taken(self, weights: tuple[float, ...], seen: set[float]) -> None:
        columns = drawn_columns(RandomChoice([JITTER, GRAY, RandomInvert()], p=weights), 2000)
        assert set(columns[:, 0].tolist()) == seen

    def test_equal_weights_are_no_weights(self) -> None:
        one, other = (drawn_columns(RandomChoice([GRAY, RandomInvert()], p), 500) for p in (None, (3, 3)))
        np.testing.assert_array_equal(one, other)


class TestRandomOrder:
    def test_every_order_is_a_case(self) -> None:
        parts = [JITTER, GRAY, RandomInvert()]
        transform = RandomOrder(parts)
        assert transform.cases == tuple(permutations(parts))
        assert set(drawn_columns(transform, 500)[:, 0].tolist()) == set(range(6))

    def test_all_is_done_in_every_order(self) -> None:
        numbers = told(RandomOrder([GRAY, RandomInvert(p=1)]), 50)
        assert list(numbers) == ["grayscale", "invert"]

    def test_more_than_four_are_refused(self) -> None:
        RandomOrder([GRAY] * 4)
        with pytest.raises(ArgumentError, match="RandomOrder takes at most 4, came 5; make a Compose of some"):
            RandomOrder([GRAY] * 5)


NOT_ON_IMAGES: list[Transform] = [
    T.ToTensor(),
    T.Normalize((0.5,), (0.5,)),
    T.Decode(),
    RandomErasing(),
    T.MultiCrop([T.Views("a", T.RandomResizedCrop(8))]),
]


@pytest.mark.parametrize("kind", [RandomApply, RandomChoice, RandomOrder])
@pytest.mark.parametrize("part", NOT_ON_IMAGES, ids=lambda part: type(part).__name__)
def test_only_transforms_of_images_can_be_chosen_by_chance(kind: Any, part: Transform) -> None:
    message = f"transforms: {type(part).__name__} must stand outside; only transforms of images can be chosen by chance"
    for parts in ([part], [GRAY, T.Compose([GRAY, part])], [RandomInvert(), part]):
        with pytest.raises(ArgumentError, match=re.escape(message)):
            kind(parts)


@pytest.mark.parametrize("kind", [RandomApply, RandomChoice, RandomOrder])
def test_parts_must_be_a_list_of_transforms(kind: Any) -> None:
    with pytest.raises(ArgumentError, match="must be a list of dalikit transforms"):
        kind(GRAY)
    with pytest.raises(ArgumentError, match=re.escape("transforms[1]='x': must be a transform of dalikit.transforms")):
        kind([GRAY, "x"])


BAD: list[tuple[type[Transform], dict[str, Any], str]] = [
    *[(RandomApply, {"p": value}, f"p={value!r}: must be a number from 0 to 1") for value in (-0.1, 2, None, True)],
    *[(RandomChoice, {"p": value}, f"p={value!r}: must be a sequence of 2 ") for value in ((1,), (1, 2, 3), "ab")],
    *[
        (RandomChoice, {"p": value}, f"p={value!r}: should be a sequence, a weight for each of the 2")
        for value in (1, {})
    ],
    *[
        (RandomChoice, {"p": value}, f"p={value!r}: weights must be at least 0, and one of them above 0")
        for value in ((0, 0), (-1, 2))
    ],
]


@pytest.mark.parametrize(("kind", "arguments", "message"), BAD)
def test_a_bad_argument_is_named_with_what_is_allowed(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        kind([GRAY, RandomSolarize(128)], **arguments)


def test_a_choice_needs_a_list_of_one_or_more() -> None:
    with pytest.raises(ArgumentError, match="must hold at least one transform to choose"):
        RandomChoice([])
    with pytest.raises(ArgumentError, match="must be a list of dalikit transforms to choose from, came a Compose"):
        RandomChoice(T.Compose([GRAY]))
