"""Several views: how a recipe lays them out, and what each draws."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import dalikit.transforms as T
from dalikit.errors import ArgumentError
from dalikit.transforms.base import Columns, Sizes, TransformRefusalError
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.draws import Draws
from dalikit.transforms.operations import Crop, Flip, Operation
from dalikit.transforms.recipe import SHARED_VIEW

BOX, FLIP = T.RandomResizedCrop(32), T.RandomHorizontalFlip()
LOCAL = T.Compose([T.RandomResizedCrop(16, scale=(0.05, 0.3)), FLIP])


def columns(transform: T.Transform, count: int = 40, seed: int = 3) -> np.ndarray[Any, Any]:
    return compile_recipe(transform).draw(seed, np.arange(count), Sizes.full(count, 90, 120)).matrix


def test_groups_views_and_columns() -> None:
    recipe = compile_recipe(T.MultiCrop([T.Views("global", [BOX, T.CenterCrop(32)]), T.Views("local", LOCAL, 3)]))
    assert [(group.name, len(group.views)) for group in recipe.groups] == [("global", 2), ("local", 3)]
    assert recipe.num_columns == 6 + 4 + 3 * 7
    starts = [view.operations[0].column for group in recipe.groups for view in group.views]  # type: ignore[union-attr]
    assert starts == [0, 6, 10, 17, 24]
    assert not recipe.single
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_the_first_view_draws_what_a_lone_image_draws() -> None:
    """One view is view 0: adding views never changes the others."""
    alone = columns(T.Compose([BOX, FLIP]))
    several = columns(T.MultiCrop([T.Views("a", T.Compose([BOX, FLIP]), 2), T.Views("b", LOCAL, 2)]))
    np.testing.assert_array_equal(several[:, :7], alone)
    fewer = columns(T.MultiCrop([T.Views("a", T.Compose([BOX, FLIP]), 2), T.Views("b", LOCAL, 1)]))
    np.testing.assert_array_equal(several[:, :21], fewer)


def test_every_view_draws_its_own() -> None:
    matrix = columns(T.MultiCrop([T.Views("a", BOX, 4)]), count=60).reshape(60, 4, 6)
    for one in range(4):
        for other in range(one):
            assert (matrix[:, one, :4] != matrix[:, other, :4]).any(axis=1).mean() > 0.95


def test_equal_views_drawn_together_draw_what_they_draw_apart() -> None:
    """Families are for speed alone."""
    other = T.Compose([BOX, FLIP, T.RandomVerticalFlip(0.0)])
    together = columns(T.MultiCrop([T.Views("a", [LOCAL, LOCAL, LOCAL])]))
    apart = columns(T.MultiCrop([T.Views("a", [LOCAL, other, LOCAL])]))
    np.testing.assert_array_equal(together[:, :7], apart[:, :7])
    np.testing.assert_array_equal(together[:, 14:], apart[:, 15:])


def test_shared_steps_draw_once_under_a_view_of_their_own() -> None:
    transform = T.Compose([FLIP, T.MultiCrop([T.Views("a", T.Compose([BOX, FLIP]), 2)])])
    recipe = compile_recipe(transform)
    assert recipe.shared == (Flip(0, horizontal=True),)
    assert recipe.trunk is not None
    assert (recipe.trunk.first_view, recipe.trunk.num_views) == (SHARED_VIEW, 1)
    matrix = columns(transform, count=200)
    flips = matrix[:, [0, 7, 14]]
    assert len({tuple(row) for row in flips.tolist()}) == 8
    np.testing.assert_array_equal(matrix[:, 1:], columns(transform.transforms[1], count=200))


def test_steps_after_the_views_are_done_to_each() -> None:
    tail = [T.CenterCrop(8), T.ToTensor()]
    after = compile_recipe(T.Compose([T.MultiCrop([T.Views("a", BOX, 2)]), *tail]))
    inside = compile_recipe(T.MultiCrop([T.Views("a", T.Compose([BOX, *tail]), 2)]))
    assert after.groups == inside.groups


def test_sizes_come_view_by_view() -> None:
    parameters = compile_recipe(
        T.Compose(
            [T.Resize(60), T.MultiCrop([T.Views("a", [T.Resize(30), T.CenterCrop(9)]), T.Views("b", T.Compose([]))])]
        )
    ).draw(0, np.arange(2), Sizes(np.array([60, 120]), np.array([90, 60])))
    found = [
        [list(zip(s.heights.tolist(), s.widths.tolist(), strict=True)) for s in group] for group in parameters.sizes
    ]
    assert found == [[[(30, 45), (60, 30)], [(9, 9), (9, 9)]], [[(60, 90), (120, 60)]]]


def test_a_refusal_names_the_row_of_the_batch() -> None:
    recipe = compile_recipe(T.MultiCrop([T.Views("a", BOX), T.Views("b", T.RandomCrop(50), 3)]))
    with pytest.raises(TransformRefusalError, match=r"RandomCrop\(size=\(50, 50\)\): the image is 40x90") as caught:
        recipe.draw(0, np.arange(3), Sizes(np.array([50, 60, 40]), np.array([90, 90, 90])))
    assert caught.value.row == 2


@pytest.mark.parametrize("views", [2, 3])
def test_a_refusal_in_a_later_view_names_the_row_too(views: int) -> None:
    """Which view it was makes no other row of it."""
    recipe = compile_recipe(T.MultiCrop([T.Views("a", RefusedLater(), views)]))
    with pytest.raises(TransformRefusalError, match="in the last view") as caught:
        recipe.draw(0, np.arange(3), Sizes.full(3, 40, 90))
    assert caught.value.row == 1


@dataclass(frozen=True)
class RefusedLater(T.Transform):
    """Fails for the second last row of all: the second of three samples in the last view."""

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        assert len(draws) == len(sizes)
        raise TransformRefusalError(len(sizes) - 2, "in the last view")

    def operations(self, column: int) -> tuple[Operation, ...]:
        return (Flip(column, horizontal=True),)


def test_a_refusal_counts_only_where_it_was_drawn() -> None:
    """What is not done to an image cannot fail on it."""
    recipe = compile_recipe(T.RandomApply([T.RandomCrop(50)], p=0.5))
    sizes = Sizes.full(64, 40, 90)
    with pytest.raises(TransformRefusalError) as caught:
        recipe.draw(0, np.arange(64), sizes)
    row = caught.value.row
    drawn = compile_recipe(T.RandomApply([T.CenterCrop(50)], p=0.5)).draw(0, np.arange(64), sizes).matrix[:, 0]
    assert row == int(drawn.argmax())
    untouched = np.flatnonzero(drawn == 0)
    parameters = recipe.draw(0, untouched, Sizes.full(len(untouched), 40, 90))
    assert (parameters.matrix == 0).all()
    assert parameters.sizes[0][0].heights.tolist() == [40] * len(untouched)


def test_names_of_a_group_can_be_given_again() -> None:
    recipe = compile_recipe(T.MultiCrop([T.Views("a", BOX)], aliases={"teacher": "a"}, constants={"offsets": ()}))
    assert (recipe.aliases, recipe.constants) == ((("teacher", "a"),), (("offsets", ()),))
    assert isinstance(recipe.groups[0].views[0].operations[0], Crop)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T.Views("", BOX), r"^name='': must be a word, the key of the group in the batch"),
        (lambda: T.Views(3, BOX), r"^name=3: must be a word"),  # type: ignore[arg-type]
        (lambda: T.Views("a", BOX, 0), r"^count=0 of the views 'a': must be from 1 to 1024"),
        (lambda: T.Views("a", BOX, True), r"^count=True of the views 'a': must be from 1 to 1024"),
        (lambda: T.Views("a", []), r"^count=None of the views 'a': must be from 1 to 1024"),
        (lambda: T.Views("a", [BOX, BOX], 3), r"^count=3 of the views 'a': 2 transforms were given"),
        (lambda: T.Views("a", None), r"^transform=None of the views 'a': must be a transform of dalikit"),
        (lambda: T.Views("a", [BOX, 5]), r"^transform=5 of the views 'a': must be a transform of dalikit"),
        (lambda: T.Views("a", T.ToTensor), r"^transform=<class .*> of the views 'a': must be a transform of"),
        (lambda: T.MultiCrop([T.Views("a", BOX)], constants=5), r"^constants=5: must be a dict with names as keys"),
        (lambda: T.MultiCrop([T.Views("a", BOX)], aliases=[1]), r"^aliases=\[1\]: must be a dict with names as keys"),
        (lambda: T.MultiCrop([T.Views("a", BOX)], constants={1: 2}), r"^constants=\{1: 2\}: must be a dict with names"),
        (lambda: T.MultiCrop([]), r"^views=\[\]: must be a list of Views, at least one"),
        (lambda: T.MultiCrop([BOX]), r"^views=\[.*\]: must be a list of Views, at least one"),
        (lambda: T.MultiCrop(T.Views("a", BOX)), r"^views=.*: must be a list of Views"),
        (
            lambda: T.MultiCrop([T.Views("a", BOX), T.Views("a", BOX)]),
            r"^views: the name 'a' stands twice; every group",
        ),
        (lambda: T.MultiCrop([T.Views("a", BOX)], aliases={"a": "a"}), r"^views: the name 'a' stands twice"),
        (
            lambda: T.MultiCrop([T.Views("a", BOX)], aliases={"b": "c"}),
            r"^aliases: 'b' stands for 'c', which is none of a",
        ),
        (
            lambda: T.MultiCrop([T.Views("a", BOX, 1000), T.Views("b", BOX, 25)]),
            r"^views: at most 1024 views altogether",
        ),
    ],
)
def test_impossible_views_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


VIEWS = T.MultiCrop([T.Views("a", BOX)])


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (T.Compose([VIEWS, VIEWS]), r"^MultiCrop: must stand only once in a transform"),
        (T.MultiCrop([T.Views("a", VIEWS)]), r"^MultiCrop: must not stand inside a view or another transform"),
        (T.Compose([T.ToTensor(), VIEWS]), r"^ToTensor\(\): must come after MultiCrop, or into the transforms of its"),
        (
            T.MultiCrop([T.Views("a", [BOX, T.Compose([BOX, T.ToTensor()])])]),
            r"^the views 'a': some end in floating point \(ToTensor\) and some do not",
        ),
    ],
    ids=["twice", "nested", "floating", "mixed"],
)
def test_views_where_they_cannot_stand_are_refused(transform: T.Transform, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        compile_recipe(transform)
