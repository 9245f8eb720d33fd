"""What users are told was drawn: boxes in the decoded image, flips, factors."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dalikit.transforms as T
from dalikit.transforms.base import Sizes
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.operations import ColorJitter, Select
from dalikit.transforms.report import report_parameters


def report(transform: T.Transform, sizes: Sizes, seed: int = 0) -> Any:
    recipe = compile_recipe(transform)
    return report_parameters(recipe, recipe.draw(seed, np.arange(len(sizes)), sizes), sizes)


def test_a_crops_box_is_in_pixels_of_the_image() -> None:
    sizes = Sizes.full(30, 375, 500)
    transform = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip()])
    matrix = compile_recipe(transform).draw(0, np.arange(30), sizes).matrix
    found = report(transform, sizes)
    np.testing.assert_array_equal(found["crop_box"], matrix[:, :4])
    np.testing.assert_array_equal(found["horizontal_flip"], matrix[:, 6] == 1)
    assert found["horizontal_flip"].dtype == bool
    assert not found["vertical_flip"].any()


GEOMETRY = [
    T.RandomResizedCrop((40, 24)),
    T.Resize(64),
    T.Resize((30, 90)),
    T.CenterCrop(20),
    T.RandomCrop(16, pad_if_needed=True),
    T.RandomHorizontalFlip(),
    T.RandomVerticalFlip(),
    T.Pad((3, 1, 4, 2)),
    T.RandomApply([T.RandomCrop(16, pad_if_needed=True), T.RandomVerticalFlip()]),
    T.RandomChoice([T.CenterCrop(12), T.Compose([T.RandomHorizontalFlip(1.0), T.RandomResizedCrop(31)])]),
]


@given(st.lists(st.sampled_from(GEOMETRY), min_size=1, max_size=5), st.integers(0, 2**32), st.integers(20, 300))
def test_the_box_maps_the_views_corners_to_where_they_come_from(
    steps: list[T.Transform], seed: int, height: int
) -> None:
    """Followed backwards, operation by operation, a point of the view comes out at its place in the box."""
    recipe = compile_recipe(T.Compose(steps))
    sizes = Sizes(np.array([height, 77]), np.array([130, 41]))
    parameters = recipe.draw(seed, np.arange(2), sizes)
    found = report_parameters(recipe, parameters, sizes)
    ((after,),) = parameters.sizes
    (view,) = recipe.groups[0].views
    for row in range(2):
        start = (int(sizes.heights[row]), int(sizes.widths[row]))
        trail: list[Any] = []
        assert follow(view.operations, parameters.matrix[row], start, trail) == (after.heights[row], after.widths[row])
        for y, x in ((0.0, 0.0), (1.0, 1.0), (0.25, 0.75)):
            point = (y * after.heights[row], x * after.widths[row])
            for back in reversed(trail):
                point = back(*point)
            top, left, box_height, box_width = found["crop_box"][row].tolist()
            part_y = 1 - y if found["vertical_flip"][row] else y
            part_x = 1 - x if found["horizontal_flip"][row] else x
            assert point == pytest.approx((top + part_y * box_height, left + part_x * box_width), rel=1e-4, abs=0.02)


def follow(operations: Any, values: Any, size: tuple[int, int], trail: list[Any]) -> tuple[int, int]:
    """Adds for each operation the function that takes a point of its result back; gives the size that comes out."""
    for operation in operations:
        name = type(operation).__name__
        numbers = values[operation.column :][:4].astype(int).tolist()
        if name == "Select":
            size = follow(operation.cases[numbers[0]], values, size, trail)
        elif name == "Crop":
            trail.append(lambda y, x, n=numbers: (y + n[0], x + n[1]))
            size = (numbers[2], numbers[3])
        elif name == "Resize":
            trail.append(lambda y, x, n=numbers, s=size: (y * s[0] / n[0], x * s[1] / n[1]))
            size = (numbers[0], numbers[1])
        elif numbers[0] and operation.horizontal:
            trail.append(lambda y, x, s=size: (y, s[1] - x))
        elif numbers[0]:
            trail.append(lambda y, x, s=size: (s[0] - y, x))
    return size


def test_factors_are_told_and_neutral_where_nothing_was_done() -> None:
    jitter = T.ColorJitter(0.4, 0.4, 0.4, 0.1)
    found = report(T.Compose([T.RandomApply([jitter], p=0.5), T.RandomGrayscale(0.3)]), Sizes.full(200, 30, 30))
    done = found["brightness"] != 1
    assert 60 < done.sum() < 140
    for name, neutral in (("contrast", 1.0), ("saturation", 1.0), ("hue", 0.0)):
        assert ((found[name] != neutral) == done).all()
    assert 30 < found["grayscale"].sum() < 95


def test_two_steps_of_a_class_get_names_of_their_own() -> None:
    found = report(T.Compose([T.RandomGrayscale(0.0), T.RandomGrayscale(1.0)]), Sizes.full(4, 9, 9))
    assert not found["grayscale"].any()
    assert found["grayscale_2"].all()


def test_several_views_come_group_by_group() -> None:
    """A view that lacks a step has the value that does nothing."""
    first, second = T.RandomResizedCrop(9), T.Compose([T.RandomResizedCrop(9), T.RandomSolarize(128, p=1.0)])
    transform = T.Compose(
        [T.RandomGrayscale(1.0), T.MultiCrop([T.Views("a", [first, second]), T.Views("b", first, 3)])]
    )
    found = report(transform, Sizes.full(6, 50, 60))
    assert {name: sorted(part) for name, part in found.items()} == {
        "a": ["crop_box", "grayscale", "horizontal_flip", "solarize", "vertical_flip"],
        "b": ["crop_box", "grayscale", "horizontal_flip", "vertical_flip"],
    }
    assert found["a"]["crop_box"].shape == (2, 6, 4)
    assert found["b"]["crop_box"].shape == (3, 6, 4)
    assert found["a"]["grayscale"].all()
    assert found["a"]["solarize"].tolist() == [[0.0] * 6, [1.0] * 6]


def test_steps_in_a_random_order_are_told_once_each() -> None:
    """Whatever the order of a sample was: what is told is what its own case does."""
    jitter = T.ColorJitter(0.4, 0.3)
    transform = T.RandomOrder([jitter, T.RandomInvert(0.5), T.Compose([jitter, T.RandomSolarize(99)])])
    sizes = Sizes.full(64, 30, 30)
    found = report(transform, sizes)
    assert [name for name in found if "box" not in name and "flip" not in name] == [
        *("brightness", "contrast", "saturation", "hue", "color_order"),
        "invert",
        *("brightness_2", "contrast_2", "saturation_2", "hue_2", "color_order_2"),
        "solarize",
    ]
    recipe = compile_recipe(transform)
    (select,) = recipe.groups[0].views[0].operations
    assert isinstance(select, Select)
    matrix = recipe.draw(0, np.arange(64), sizes).matrix
    for number, order in enumerate(permutations(range(3))):
        rows = matrix[:, select.column] == number
        assert rows.any()
        jitters = [step for step in select.cases[number] if isinstance(step, ColorJitter)]
        for step, name in zip(jitters, ("", "_2") if order.index(0) < order.index(2) else ("_2", ""), strict=True):
            np.testing.assert_array_equal(found[f"brightness{name}"][rows], matrix[rows, step.column + 4])


def test_a_random_order_that_was_not_done_is_told_as_nothing() -> None:
    transform = T.RandomApply([T.RandomOrder([T.ColorJitter((0.5, 0.6)), T.RandomInvert(1.0)])], p=0.5)
    found = report(transform, Sizes.full(99, 9, 9))
    np.testing.assert_array_equal(found["brightness"] == 1, ~found["invert"].astype(bool))
    assert 30 < found["invert"].sum() < 70
