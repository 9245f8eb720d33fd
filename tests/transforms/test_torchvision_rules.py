"""Which box is taken and which size comes out: torchvision's rules, written out one image at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import dalikit.transforms as T
from dalikit.transforms.base import Sizes, TransformRefusalError
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.draws import Draws

side = st.integers(1, 3000)
image_sizes = st.lists(st.tuples(side, side), min_size=1, max_size=6)
seeds = st.integers(0, 2**64 - 1)
ATTEMPTS = 10  # boxes that RandomResizedCrop tries
Box = tuple[int, int, int, int]  # top, left, height, width


def random_words(seed: int, count: int, num_blocks: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 2**32, (count, num_blocks, 4), dtype=np.uint32)


def draws_of(words: np.ndarray[Any, Any]) -> Draws:
    nothing = np.zeros(len(words), dtype=np.uint64)
    return Draws(0, nothing, nothing, 0, words)


def as_sizes(pairs: list[tuple[int, int]]) -> Sizes:
    heights, widths = zip(*pairs, strict=True)
    return Sizes(np.array(heights), np.array(widths))


def drawn(transform: T.Transform, words: np.ndarray[Any, Any], pairs: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    """One tuple of parameters an image; that `sizes` agrees with them is checked in passing."""
    columns, after = transform.draw(draws_of(words), as_sizes(pairs))
    rows = [tuple(row) for row in np.stack(columns, axis=1).tolist()]
    assert [row[-2:] for row in rows] == list(zip(after.heights.tolist(), after.widths.tolist(), strict=True))
    return rows


def fraction(word: int) -> float:
    return word / 2**32


def below(word: int, bound: int) -> int:
    return word * bound >> 32


def resized_crop_box(transform: T.RandomResizedCrop, words: list[list[int]], height: int, width: int) -> Box:
    """torchvision's RandomResizedCrop.get_params."""
    (low_scale, high_scale), (low, high) = transform.scale, transform.ratio
    for area_word, ratio_word, top_word, left_word in words:
        area = height * width * (low_scale + (high_scale - low_scale) * fraction(area_word))
        log_ratio = math.log(low) + (math.log(high) - math.log(low)) * fraction(ratio_word)
        w = round(math.sqrt(area * math.exp(log_ratio)))
        h = round(math.sqrt(area / math.exp(log_ratio)))
        if 0 < w <= width and 0 < h <= height:
            return below(top_word, height - h + 1), below(left_word, width - w + 1), h, w
    h, w = height, width
    if width / height < low:
        h = round(width / low)
    elif width / height > high:
        w = round(height * high)
    # dalikit's own: what rounding makes nothing of is one pixel (torchvision fails there)
    h, w = max(h, 1), max(w, 1)
    return (height - h) // 2, (width - w) // 2, h, w


def resized_size(size: int, max_size: int | None, height: int, width: int) -> tuple[int, int]:
    """torchvision's _compute_resized_output_size."""
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = size, int(size * long / short)
    if max_size is not None and new_long > max_size:
        new_short, new_long = int(max_size * new_short / new_long), max_size
        new_short = max(new_short, 1)  # dalikit's own: torchvision fails at 0
    new_width, new_height = (new_short, new_long) if width <= height else (new_long, new_short)
    return new_height, new_width


def center_crop_box(crop_height: int, crop_width: int, height: int, width: int) -> Box:
    """torchvision's center_crop: pads first where the image is smaller."""
    left = (crop_width - width) // 2 if crop_width > width else 0
    top = (crop_height - height) // 2 if crop_height > height else 0
    padded_height, padded_width = max(height, crop_height), max(width, crop_width)
    inner_top = int(round((padded_height - crop_height) / 2.0))  # noqa: RUF046 as torchvision has it
    inner_left = int(round((padded_width - crop_width) / 2.0))  # noqa: RUF046
    return inner_top - top, inner_left - left, crop_height, crop_width


def random_crop_box(transform: T.RandomCrop, words: list[int], height: int, width: int) -> Box | None:
    """torchvision's RandomCrop.forward in coordinates of the unpadded image; None where it raises."""
    crop_height, crop_width = transform.size
    left, top, right, bottom = transform.padding or (0, 0, 0, 0)
    height, width = height + top + bottom, width + left + right
    if transform.pad_if_needed and width < crop_width:
        left += crop_width - width
        width += 2 * (crop_width - width)
    if transform.pad_if_needed and height < crop_height:
        top += crop_height - height
        height += 2 * (crop_height - height)
    if height < crop_height or width < crop_width:
        return None
    row, column = below(words[0], height - crop_height + 1), below(words[1], width - crop_width + 1)
    return row - top, column - left, crop_height, crop_width


ranges = st.tuples(st.floats(0.01, 50.0), st.floats(0.01, 50.0)).map(lambda pair: tuple(sorted(pair)))
shares = st.tuples(st.floats(1e-6, 1.0), st.floats(1e-6, 1.0)).map(lambda pair: tuple(sorted(pair)))


@given(image_sizes, seeds, st.just((0.08, 1.0)) | shares, st.just((3 / 4, 4 / 3)) | ranges)
def test_random_resized_crop_takes_torchvisions_box(
    pairs: list[tuple[int, int]], seed: int, scale: Any, ratio: Any
) -> None:
    transform = T.RandomResizedCrop((30, 40), scale=scale, ratio=ratio)
    words = random_words(seed, len(pairs), ATTEMPTS)
    rows = drawn(transform, words, pairs)
    for row, image_words, (height, width) in zip(rows, words.tolist(), pairs, strict=True):
        assert row == (*resized_crop_box(transform, image_words, height, width), 30, 40)
        top, left, box_height, box_width = row[:4]
        assert 0 <= top <= top + box_height <= height
        assert 0 <= left <= left + box_width <= width
        assert min(box_height, box_width) >= 1


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [
        (100, 1000, (0, 433, 100, 133)),
        (1000, 100, (433, 0, 133, 100)),
        (1, 3000, (0, 1499, 1, 1)),
        (3000, 1, (1499, 0, 1, 1)),
    ],
)
def test_random_resized_crop_falls_back_to_the_central_box(height: int, width: int, box: Box) -> None:
    """The whole area at a usual ratio never fits into a strip: all ten attempts fail."""
    transform = T.RandomResizedCrop(8, scale=(1.0, 1.0))
    words = random_words(0, 1, ATTEMPTS)
    assert drawn(transform, words, [(height, width)]) == [(*box, 8, 8)]
    assert resized_crop_box(transform, words[0].tolist(), height, width) == box


def test_random_resized_crop_takes_the_first_attempt_that_fits() -> None:
    """With attempts 0 to k - 1 made too large, attempt k decides, for every k of ten."""
    transform = T.RandomResizedCrop(8, scale=(0.1, 1.0), ratio=(0.5, 2.0))
    words = random_words(3, 1, 10)
    words[0, :, 0] = 2**31  # half the area and a square: fits
    words[0, :, 1] = 2**31
    for attempt in range(10):
        expected = resized_crop_box(transform, words[0, attempt:].tolist(), 200, 200)
        assert drawn(transform, words, [(200, 200)])[0][:4] == expected
        words[0, attempt, :2] = 2**32 - 1  # the whole area at ratio 2: does not
    assert drawn(transform, words, [(200, 200)])[0][:4] == (0, 0, 200, 200)


def test_random_resized_crop_never_takes_an_empty_box() -> None:
    """In an image of a few pixels most attempts round to nothing."""
    pairs = [(height, width) for height in range(1, 6) for width in range(1, 6)] * 20
    transform = T.RandomResizedCrop(4)
    words = random_words(0, len(pairs), ATTEMPTS)
    expected = [
        resized_crop_box(transform, *row) for row in zip(words.tolist(), *zip(*pairs, strict=True), strict=True)
    ]
    assert [row[:4] for row in drawn(transform, words, pairs)] == expected
    assert min(min(box[2:]) for box in expected) == 1


@given(image_sizes, st.integers(1, 600), st.none() | st.integers(1, 700))
def test_resize_of_the_shorter_side_is_torchvisions(pairs: list[tuple[int, int]], size: int, over: int | None) -> None:
    max_size = None if over is None else size + over
    transform = T.Resize(size, max_size=max_size)
    rows = drawn(transform, random_words(0, len(pairs), 0), pairs)
    assert rows == [resized_size(size, max_size, *pair) for pair in pairs]
    assert max_size is None or max(map(max, rows)) <= max_size
    assert min(map(min, rows)) >= 1


@given(image_sizes, side, side)
def test_resize_to_a_pair_gives_that_pair(pairs: list[tuple[int, int]], height: int, width: int) -> None:
    assert drawn(T.Resize((height, width)), random_words(0, len(pairs), 0), pairs) == [(height, width)] * len(pairs)


@given(image_sizes, side, side)
def test_center_crop_takes_torchvisions_box(pairs: list[tuple[int, int]], height: int, width: int) -> None:
    rows = drawn(T.CenterCrop((height, width)), random_words(0, len(pairs), 0), pairs)
    assert rows == [center_crop_box(height, width, *pair) for pair in pairs]


paddings = st.none() | st.integers(0, 300) | st.lists(st.integers(0, 300), min_size=2, max_size=2).map(tuple)
paddings |= st.lists(st.integers(0, 300), min_size=4, max_size=4).map(tuple)


@given(image_sizes, seeds, st.tuples(side, side), paddings, st.booleans())
def test_random_crop_takes_torchvisions_box(
    pairs: list[tuple[int, int]], seed: int, size: tuple[int, int], padding: Any, pad_if_needed: bool
) -> None:
    transform = T.RandomCrop(size, padding=padding, pad_if_needed=pad_if_needed)
    words = random_words(seed, len(pairs), 1)
    expected = [random_crop_box(transform, words[row, 0].tolist(), *pair) for row, pair in enumerate(pairs)]
    if None in expected:
        with pytest.raises(TransformRefusalError, match=r"resize it first, or give pad_if_needed=True") as caught:
            drawn(transform, words, pairs)
        assert caught.value.row == expected.index(None)
    else:
        assert drawn(transform, words, pairs) == expected


def test_random_crop_names_the_image_that_is_too_small() -> None:
    with pytest.raises(TransformRefusalError, match=r"RandomCrop\(size=\(64, 32\)\): the image is 50x60 ") as caught:
        T.RandomCrop((64, 32), padding=(5, 0)).draw(draws_of(random_words(0, 2, 1)), as_sizes([(64, 22), (50, 50)]))
    assert caught.value.row == 1


def test_random_crop_reaches_every_place_and_no_other() -> None:
    transform = T.RandomCrop(4, padding=1)
    rows = drawn(transform, random_words(1, 400, 1), [(4, 5)] * 400)
    assert {row[:2] for row in rows} == {(top, left) for top in (-1, 0, 1) for left in (-1, 0, 1, 2)}


@given(seeds, st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_flips_follow_their_probability(seed: int, probability: float) -> None:
    for flip in (T.RandomHorizontalFlip(probability), T.RandomVerticalFlip(probability)):
        words = random_words(seed, 2000, 1)
        (column,), _ = flip.draw(draws_of(words), Sizes.full(2000, 3, 4))
        assert column.tolist() == [int(fraction(word) < probability) for word in words[:, 0, 0].tolist()]
        assert abs(column.mean() - probability) < 0.06


def test_both_flips_of_a_sample_are_independent() -> None:
    recipe = compile_recipe(T.Compose([T.RandomHorizontalFlip(), T.RandomVerticalFlip(), T.RandomHorizontalFlip()]))
    matrix = recipe.draw(0, np.arange(4000), Sizes.full(4000, 3, 4)).matrix
    cells = np.bincount((matrix @ [4, 2, 1]).astype(np.int64), minlength=8)
    assert ((cells - 500.0) ** 2 / 500.0).sum() < 41  # chi-square, 7 degrees of freedom, 1 - 1e-6


def test_sizes_are_handed_from_step_to_step() -> None:
    """The crop is drawn for what the resize gives, not for the file's size."""
    recipe = compile_recipe(T.Compose([T.Resize(50), T.CenterCrop((60, 40))]))
    parameters = recipe.draw(0, np.arange(2), as_sizes([(100, 200), (400, 100)]))
    assert parameters.matrix.tolist() == [[50, 100, -5, 30, 60, 40], [200, 50, 70, 5, 60, 40]]
    ((sizes,),) = parameters.sizes
    assert len(sizes) == 2
    assert sizes.heights.tolist() == [60, 60]


@given(image_sizes, st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 100))
def test_a_batch_draws_what_its_samples_draw_alone(pairs: list[tuple[int, int]], seed: int, position: int) -> None:
    assume(position + len(pairs) < 2**63)
    recipe = compile_recipe(T.Compose([T.RandomResizedCrop(20), T.RandomHorizontalFlip(), T.RandomCrop(10)]))
    positions = position + np.arange(len(pairs))
    whole = recipe.draw(seed, positions, as_sizes(pairs)).matrix
    for row, pair in enumerate(pairs):
        alone = recipe.draw(seed, positions[row : row + 1], as_sizes([pair])).matrix
        np.testing.assert_array_equal(whole[row : row + 1], alone)


def test_the_parameters_of_the_imagenet_recipe_stay_what_they_are() -> None:
    """ORDER guard: if this changes, every run that is resumed continues with other pixels."""
    steps = [T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize((0.485,) * 3, (0.229,) * 3)]
    recipe = compile_recipe(T.Compose(steps))
    assert recipe.draw(0, np.arange(4), Sizes.full(4, 375, 500)).matrix.tolist() == [
        [0, 15, 375, 480, 224, 224, 1],
        [24, 22, 347, 348, 224, 224, 0],
        [17, 94, 247, 201, 224, 224, 0],
        [158, 168, 209, 228, 224, 224, 0],
    ]


def test_what_classes_draw_under_stays_what_it_is() -> None:
    """ORDER guard: a class's number in the counter is never changed or given to another."""
    classes = (T.RandomResizedCrop, T.RandomCrop, T.RandomHorizontalFlip, T.RandomVerticalFlip)
    assert [kind.purpose for kind in classes] == [1, 2, 3, 4]
