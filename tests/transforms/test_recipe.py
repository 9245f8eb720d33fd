"""Transforms are values; a recipe is a transform checked as a whole and brought down to operations."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dalikit.transforms as T
from dalikit.errors import ArgumentError
from dalikit.transforms.base import Sizes
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.operations import Crop, Flip, Resize
from dalikit.transforms.purposes import Purpose
from dalikit.transforms.recipe import Recipe, View

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EVERY = [
    T.Decode(adjust_orientation=True),
    T.RandomResizedCrop(224, interpolation="bicubic"),
    T.Resize(256, max_size=400),
    T.CenterCrop((3, 4)),
    T.RandomCrop(8, padding=1, fill=(1, 2, 3)),
    T.RandomHorizontalFlip(0.1),
    T.RandomVerticalFlip(),
    T.ToTensor(),
    T.Normalize(MEAN, STD),
    T.Compose([T.ToTensor(), T.Compose([])]),
]


def view_of(recipe: Recipe) -> View:
    """The only view."""
    ((view,),) = (group.views for group in recipe.groups)
    return view


@pytest.mark.parametrize("transform", EVERY, ids=lambda transform: type(transform).__name__)
def test_a_transform_is_a_value(transform: T.Transform) -> None:
    """It pickles, compares, hashes, prints as it is written, and cannot be changed."""
    copy = pickle.loads(pickle.dumps(transform))
    assert copy == transform
    assert copy is not transform
    assert hash(copy) == hash(transform)
    assert sum(other == transform for other in EVERY) == 1
    with pytest.raises(FrozenInstanceError):
        transform.size = 5  # type: ignore[attr-defined]


def test_repr_tells_every_argument() -> None:
    assert repr(T.CenterCrop(3)) == "CenterCrop(size=(3, 3))"
    assert repr(T.Compose([T.RandomHorizontalFlip(), T.ToTensor()])) == (
        "Compose(transforms=(RandomHorizontalFlip(p=0.5), ToTensor()))"
    )
    assert "interpolation=<InterpolationMode.BICUBIC: 'bicubic'>" in repr(EVERY[1])


def test_a_compose_among_the_parts_counts_as_its_parts() -> None:
    a, b, c = T.CenterCrop(3), T.RandomHorizontalFlip(), T.ToTensor()
    nested = T.Compose([T.Compose([a, T.Compose([])]), T.Compose([T.Compose([b]), c])])
    assert nested.flat() == T.Compose(iter([a, b, c])).flat() == (a, b, c)
    assert nested != T.Compose([a, b, c])
    one, other = compile_recipe(nested), compile_recipe(T.Compose([a, b, c]))
    assert (one.groups, one.num_columns) == (other.groups, other.num_columns)


def test_a_recipe_pickles_and_draws_the_same() -> None:
    recipe = compile_recipe(T.Compose([T.RandomResizedCrop(8), T.RandomHorizontalFlip(), T.ToTensor()]))
    copy = pickle.loads(pickle.dumps(recipe))
    assert copy == recipe
    sizes = Sizes.full(5, 30, 40)
    np.testing.assert_array_equal(copy.draw(1, np.arange(5), sizes).matrix, recipe.draw(1, np.arange(5), sizes).matrix)


def test_the_fingerprint_tells_recipes_apart() -> None:
    prints = [compile_recipe(transform).fingerprint for transform in (None, *EVERY[:-3])]
    assert len(set(prints)) == len(prints)
    assert compile_recipe(T.CenterCrop(8)).fingerprint == compile_recipe(T.CenterCrop((8, 8))).fingerprint
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in prints)


def test_no_transform_is_the_decoded_image() -> None:
    recipe = compile_recipe(None)
    assert (view_of(recipe).operations, recipe.num_columns, recipe.floating) == ((), 0, False)
    assert recipe.decode == T.Decode()
    parameters = recipe.draw(0, np.arange(2), Sizes.full(2, 30, 40))
    assert parameters.matrix.shape == (2, 0)
    assert parameters.sizes[0][0].widths.tolist() == [40, 40]


def test_operations_name_the_columns_they_read() -> None:
    steps = [T.Decode(adjust_orientation=True), T.Resize(50), T.RandomResizedCrop(8), T.RandomVerticalFlip()]
    recipe = compile_recipe(T.Compose([*steps, T.RandomCrop(4, fill=9), T.CenterCrop(3)]))
    bilinear = T.InterpolationMode.BILINEAR
    assert view_of(recipe).operations == (
        Resize(0, bilinear, True),
        Crop(2),
        Resize(6, bilinear, True),
        Flip(8, horizontal=False),
        Crop(9),
        Crop(13, (0, 0, 0)),
    )
    assert recipe.num_columns == 17
    assert recipe.decode.adjust_orientation


def test_only_a_crop_with_padding_may_reach_over_the_edge() -> None:
    def fill(transform: T.Transform) -> Any:
        (operation,) = transform.operations(0)
        assert isinstance(operation, Crop)
        return operation.fill

    assert fill(T.RandomCrop(4, fill=9)) is None
    assert fill(T.RandomCrop(4, padding=1, fill=9)) == (9, 9, 9)
    assert fill(T.RandomCrop(4, pad_if_needed=True, fill=(1, 2, 3))) == (1, 2, 3)


def test_parameters_are_whole_numbers_in_float32() -> None:
    matrix = compile_recipe(T.RandomResizedCrop(8)).draw(0, np.arange(50), Sizes.full(50, 3000, 4001)).matrix
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    np.testing.assert_array_equal(matrix, matrix.astype(np.int64))


numbers = st.floats(-3.0, 3.0)
nonzero = st.floats(0.05, 5.0) | st.floats(-5.0, -0.05)
normalizations = st.tuples(st.tuples(numbers, numbers, numbers), st.tuples(nonzero, nonzero, nonzero))


@given(st.lists(normalizations, max_size=4))
def test_several_normalizations_fold_into_one(steps: list[tuple[Any, Any]]) -> None:
    recipe = compile_recipe(T.Compose([T.ToTensor(), *(T.Normalize(mean, std) for mean, std in steps)]))
    levels = np.arange(256.0)[:, None] * np.ones(3)
    expected = levels / 255.0
    size = np.ones_like(expected)  # of the numbers on the way: what rounding is measured by
    for mean, std in steps:
        size = (size + np.abs(expected) + np.abs(mean)) / np.abs(std)
        expected = (expected - np.array(mean)) / np.array(std)
    output = view_of(recipe).output
    folded = levels * output.scale + output.shift
    assert (np.abs(folded - expected) <= 1e-13 * size).all()


def test_to_tensor_alone_divides_by_255() -> None:
    output = view_of(compile_recipe(T.ToTensor())).output
    assert output.floating
    assert output.scale == (1 / 255, 1 / 255, 1 / 255)
    assert output.shift == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("step", [T.RandomHorizontalFlip(), T.RandomVerticalFlip(), T.RandomCrop(8)])
def test_what_only_moves_pixels_may_stand_behind_to_tensor(step: T.Transform) -> None:
    behind = compile_recipe(T.Compose([T.Resize(20), T.ToTensor(), step, T.Normalize(MEAN, STD)]))
    before = compile_recipe(T.Compose([T.Resize(20), step, T.ToTensor(), T.Normalize(MEAN, STD)]))
    assert behind.groups == before.groups


@pytest.mark.parametrize(
    "step", [T.Resize(8), T.RandomResizedCrop(8), T.CenterCrop(8), T.RandomCrop(8, padding=1, fill=9)]
)
@pytest.mark.parametrize("tail", [[T.ToTensor()], [T.ToTensor(), T.Normalize(MEAN, STD)]])
def test_what_makes_pixels_is_refused_behind_to_tensor(step: T.Transform, tail: list[T.Transform]) -> None:
    name = type(step).__name__
    with pytest.raises(ArgumentError, match=rf"^{name}\(.*: must come before ToTensor; it works on uint8 images"):
        compile_recipe(T.Compose([*tail, step]))


def test_normalize_before_to_tensor_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"^Normalize\(mean=.*: must come after ToTensor; it works on floating"):
        compile_recipe(T.Compose([T.Normalize(MEAN, STD), T.ToTensor()]))
    with pytest.raises(ArgumentError, match=r"must come after ToTensor"):
        compile_recipe(T.Normalize(MEAN, STD))


def test_a_second_to_tensor_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"^ToTensor: must stand only once in a transform"):
        compile_recipe(T.Compose([T.ToTensor(), T.ToTensor()]))


def test_decode_stands_first_or_not_at_all() -> None:
    with pytest.raises(ArgumentError, match=r"^Decode: must be the first step of the transform"):
        compile_recipe(T.Compose([T.CenterCrop(8), T.Decode()]))
    with pytest.raises(ArgumentError, match=r"^Decode: must be the first step"):
        compile_recipe(T.Compose([T.Decode(), T.Decode()]))
    assert compile_recipe(T.Compose([T.Compose([T.Decode(adjust_orientation=True)])])).decode.adjust_orientation


@pytest.mark.parametrize("thing", [str, 5, "RandomResizedCrop", [T.ToTensor()]])
def test_what_is_no_transform_is_refused(thing: Any) -> None:
    with pytest.raises(
        ArgumentError,
        match=r"^transform=.*must be a transform of dalikit\.transforms or torchvision, a function or None, came \w",
    ):
        compile_recipe(thing)


def test_a_class_may_stand_256_times() -> None:
    assert compile_recipe(T.Compose([T.RandomHorizontalFlip()] * 256)).num_columns == 256
    with pytest.raises(ArgumentError, match=r"^RandomHorizontalFlip: at most 256 in one transform"):
        compile_recipe(T.Compose([T.RandomHorizontalFlip()] * 257))


def test_the_fingerprint_has_no_memory_addresses() -> None:
    """It is the same in another process."""

    def fingerprint() -> str:
        return compile_recipe(T.MultiCrop([T.Views("a", T.CenterCrop(8))], constants={"f": object()})).fingerprint

    kept = object()  # so that the next object lies elsewhere
    assert fingerprint() == fingerprint()
    assert " at 0x" in repr(kept)
    assert " at 0x" not in compile_recipe(T.OnCPU(partial(max, kept))).description


def test_the_fingerprint_tells_functions_apart() -> None:
    """By their bytecode, constants and names; a function that stands elsewhere in a file is the same."""
    functions = [lambda x: x, lambda x: x + 1, lambda x: x + 2, lambda x: x.a, lambda x: x.b, lambda x: [y for y in x]]  # noqa: C416
    prints = [compile_recipe(T.OnCPU(function)).fingerprint for function in functions]
    assert len(set(prints)) == len(prints)
    again = lambda x: x + 1  # noqa: E731
    assert compile_recipe(T.OnCPU(again)).fingerprint == prints[1]
    assert repr(T.OnCPU(str)) == "OnCPU(builtins.str)"


def test_the_fingerprint_of_a_function_is_the_same_in_another_process() -> None:
    """Sets among its constants have another order there."""
    script = "import dalikit.transforms as T\nprint(T.OnCPU(lambda x: x in {'a', 'b', 'c'} or [lambda: x]))"
    run = partial(subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, check=True)
    texts = {run(env={**os.environ, "PYTHONHASHSEED": seed}).stdout for seed in "123"}
    assert len(texts) == 1


@pytest.mark.parametrize("value", [0.5, -1, 256, (1, 2, 3.5), (0, 300, 0)])
def test_what_is_erased_in_a_uint8_image_must_be_a_level(value: Any) -> None:
    erasing = T.RandomErasing(value=value)
    for steps in ([erasing], [T.PILToTensor(), erasing], [erasing, T.ToTensor()]):
        with pytest.raises(ArgumentError, match=r"^value=\(.*\) of RandomErasing: must be whole numbers from 0 to 255"):
            compile_recipe(T.Compose(steps))
    compile_recipe(T.Compose([T.ToTensor(), erasing]))
    compile_recipe(T.RandomErasing(value=(0, 255, 7.0)))


def test_nothing_but_conversions_may_stand_behind_an_erasure() -> None:
    for step in (T.RandomHorizontalFlip(), T.Resize(8)):
        with pytest.raises(ArgumentError, match=r"^R.*: must come before RandomErasing, which is done to the finished"):
            compile_recipe(T.Compose([T.ToTensor(), T.RandomErasing(), step]))


@pytest.mark.parametrize("step", [T.ConvertImageDtype("float32"), T.ToDtype("float16"), T.ToDtype(scale=True)])
def test_a_conversion_from_floating_point_to_floating_point_does_nothing(step: T.Transform) -> None:
    steps = [T.ToTensor(), T.Normalize(MEAN, STD)]
    expected = compile_recipe(T.Compose(steps)).groups
    assert compile_recipe(T.Compose([steps[0], step, steps[1]])).groups == expected
    assert compile_recipe(T.Compose([*steps, step])).groups == expected


def test_what_is_erased_before_a_normalize_is_normalized_with_the_rest() -> None:
    """Held against torch's arithmetic, step by step."""
    recipe = compile_recipe(
        T.Compose(
            [
                *(T.RandomErasing(1.0, value=(10, 20, 30)), T.ToTensor()),
                *(T.RandomErasing(1.0, value=(0.1, 0.2, 0.3)), T.Normalize(MEAN, STD)),
                *(T.RandomErasing(1.0, value=(1, 2, 3)), T.Normalize((0.5, 0.25, 0.125), (2, 4, 8))),
            ]
        )
    )
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    last_mean, last_std = torch.tensor([0.5, 0.25, 0.125]), torch.tensor([2.0, 4.0, 8.0])
    first = ((torch.tensor([10.0, 20.0, 30.0]) / 255 - mean) / std - last_mean) / last_std
    second = ((torch.tensor([0.1, 0.2, 0.3]) - mean) / std - last_mean) / last_std
    third = (torch.tensor([1.0, 2.0, 3.0]) - last_mean) / last_std
    found = [torch.tensor(erase.value) for erase in view_of(recipe).output.erase]
    torch.testing.assert_close(found, [first, second, third], rtol=1e-6, atol=1e-6)


class TestPurposes:
    """The numbers that decide what is drawn."""

    def test_no_number_stands_twice(self) -> None:
        classes = [kind for kind in vars(T).values() if isinstance(kind, type) and issubclass(kind, T.Transform)]
        numbers = [kind.purpose for kind in classes if kind.purpose]
        assert len(set(numbers)) == len(numbers) == 27
        assert all(isinstance(number, Purpose) for number in numbers)
        assert len({purpose.value for purpose in Purpose.__members__.values()}) == len(Purpose.__members__)

    def test_numbers_never_change(self) -> None:
        names = (
            "NOTHING RANDOM_RESIZED_CROP RANDOM_CROP RANDOM_HORIZONTAL_FLIP RANDOM_VERTICAL_FLIP RANDOM_ERASING "
            "RANDOM_APPLY RANDOM_CHOICE COLOR_JITTER RANDOM_GRAYSCALE GAUSSIAN_BLUR RANDOM_SOLARIZE RANDOM_POSTERIZE "
            "RANDOM_INVERT RANDOM_AUTOCONTRAST RANDOM_EQUALIZE RANDOM_ADJUST_SHARPNESS RANDOM_AFFINE RANDOM_ROTATION "
            "RANDOM_PERSPECTIVE RAND_AUGMENT TRIVIAL_AUGMENT_WIDE AUTO_AUGMENT AUG_MIX MIX_UP CUT_MIX RANDOM_ORDER "
            "MASKS FUNCTION REPLACEMENT MIXING_CHOICE COLLATION ITEM WORKER"
        )
        assert [(name, Purpose[name].value) for name in names.split()] == [
            (name, number) for number, name in enumerate(Purpose.__members__)
        ]
