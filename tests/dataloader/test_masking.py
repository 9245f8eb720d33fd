"""iBOT's masks: DINOv2's blocks, from Python's generator or from a key."""

from __future__ import annotations

import math
import pickle
import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalikit.errors import ArgumentError
from dalikit.masking import KeyedSource, MaskingGenerator

Mask = npt.NDArray[np.bool_]


def mask_as_dinov2(generator: MaskingGenerator, number: int) -> Mask:
    """What DINOv2's MaskingGenerator does with Python's `random`, written anew on an array."""
    (height, width), mask = generator.get_shape(), np.zeros(generator.get_shape(), dtype=np.bool_)
    while mask.sum() < number:
        most = min(number - mask.sum(), generator.max_num_patches)
        for _ in range(10):
            area = random.uniform(generator.min_num_patches, most)
            aspect = math.exp(random.uniform(*generator.log_aspect_ratio))
            rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if columns < width and rows < height:
                top, left = random.randint(0, height - rows), random.randint(0, width - columns)
                block = mask[top : top + rows, left : left + columns]
                if 0 < (~block).sum() <= most:
                    block[:] = True
                    break
        else:
            return mask
    return mask


@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.integers(0, 2**32),
    st.floats(0, 1),
    st.integers(1, 16),
    st.floats(1, 200),
)
def test_from_pythons_generator_masks_are_dinov2s(
    size: tuple[int, int], seed: int, share: float, least: int, most: float
) -> None:
    """Bit for bit, and the generator is left in the same state."""
    generator = MaskingGenerator(size, min_num_patches=least, max_num_patches=most)
    number = int(share * generator.num_patches)
    random.seed(seed)
    expected, state = mask_as_dinov2(generator, number), random.getstate()
    random.seed(seed)
    assert np.array_equal(generator(number), expected)
    assert random.getstate() == state


@given(st.tuples(st.integers(1, 20), st.integers(1, 20)), st.integers(0, 2**63 - 1), st.floats(0, 1))
def test_no_more_patches_are_masked_than_asked_for(size: tuple[int, int], position: int, share: float) -> None:
    """It decides DINOv2's `upperbound`; shape and type are those of a numpy mask."""
    generator = MaskingGenerator(size, max_num_patches=0.5 * size[0] * size[1])
    number = int(share * generator.num_patches)
    mask = generator(number, KeyedSource(1, position))
    assert mask.shape == generator.get_shape() == size
    assert mask.dtype == np.bool_
    assert mask.sum() <= number


def test_without_a_number_nothing_is_masked() -> None:
    """And nothing is drawn."""
    state = random.getstate()
    assert not MaskingGenerator(16, max_num_patches=128)().any()
    assert random.getstate() == state


def test_a_key_and_pythons_generator_draw_from_one_distribution() -> None:
    """Over 3000 masks: how many patches, and how often each of them, agree within chance."""
    generator = MaskingGenerator((8, 12), max_num_patches=48)
    random.seed(1)
    sources: list[Any] = [random, KeyedSource(1, 1)]
    masks = [generator.masks([40] * 3000, source) for source in sources]
    counts = [part.sum(axis=(1, 2)) for part in masks]
    assert counts[0].mean() == pytest.approx(counts[1].mean(), abs=0.15)
    assert counts[0].std() == pytest.approx(counts[1].std(), rel=0.25)
    assert np.abs(masks[0].mean(axis=0) - masks[1].mean(axis=0)).max() < 0.06


def test_masks_follow_from_their_key() -> None:
    """The same key draws the same; another seed, position or purpose another; global generators decide nothing."""
    generator = MaskingGenerator(16, max_num_patches=128)
    first = generator(100, KeyedSource(1, 2))
    random.seed(1)
    assert np.array_equal(generator(100, KeyedSource(1, 2)), first)
    for key in [(1, 3), (2, 2), (2, 1), (1, 2, 5)]:
        assert not np.array_equal(generator(100, KeyedSource(*key)), first)


def test_several_masks_are_those_drawn_one_by_one() -> None:
    """From one source, in order."""
    generator, numbers = MaskingGenerator((9, 7), max_num_patches=30), [30, 0, 63, 5]
    together = generator.masks(numbers, KeyedSource(0, 0))
    source = KeyedSource(0, 0)
    assert np.array_equal(together, [generator(number, source) for number in numbers])
    together[0, 0, 0] = True  # an array of its own, that may be written


def test_the_first_masks_stay_as_they_are() -> None:
    """Another mask here would be a change of every run's batches."""
    mask = MaskingGenerator((3, 5), max_num_patches=8)(8, KeyedSource(0, 0))
    assert ["".join(".X"[bit] for bit in row) for row in mask.tolist()] == ["XXXXX", "..XXX", "....."]


def test_a_keyed_source_draws_evenly() -> None:
    """In its bounds, both ends of whole numbers included, over more numbers than are drawn at a time."""
    source = KeyedSource(3, 4)
    numbers = [source.uniform(-1, 3) for _ in range(6000)]
    assert min(numbers) >= -1
    assert max(numbers) < 3
    assert np.histogram(numbers, bins=4, range=(-1, 3))[0] == pytest.approx([1500] * 4, abs=140)
    assert np.bincount([source.randint(2, 5) for _ in range(6000)]) == pytest.approx([0, 0, *[1500] * 4], abs=140)
    assert {source.randint(7, 7) for _ in range(10)} == {7}


def test_pickled_it_draws_the_same() -> None:
    """For worker processes."""
    generator = MaskingGenerator(16, max_num_patches=128)
    copy = pickle.loads(pickle.dumps(generator))
    assert np.array_equal(copy(100, KeyedSource(1, 2)), generator(100, KeyedSource(1, 2)))


def test_attributes_are_dinov2s() -> None:
    """By the same names; `num_masking_patches` is the largest block where none is given."""
    generator = MaskingGenerator((4, 6), num_masking_patches=10, max_aspect=2.0)
    assert (generator.height, generator.width, generator.num_patches, generator.num_masking_patches) == (4, 6, 24, 10)
    assert (generator.min_num_patches, generator.max_num_patches) == (4, 10)
    assert generator.log_aspect_ratio == (math.log(0.3), math.log(2.0))
    assert repr(generator) == "MaskingGenerator(4, 6, blocks of [4 ~ 10] patches, aspect ratios 0.300 ~ 2.000)"
    assert MaskingGenerator(14, max_num_patches=np.float64(9.5)).get_shape() == (14, 14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_size": 0}, r"input_size=0: must be \(height, width\) in patches, or one number of at least 1"),
        ({"input_size": (4, 5, 6)}, r"input_size=\(4, 5, 6\): must be \(height, width\)"),
        ({"input_size": 14.5}, r"input_size=14.5: must be \(height, width\)"),
        ({"max_num_patches": None}, "max_num_patches=None: must be given, or num_masking_patches instead of it"),
        ({"max_num_patches": 0}, "max_num_patches=0: must be a number above 0"),
        ({"min_num_patches": True}, "min_num_patches=True: must be a number above 0"),
        ({"min_aspect": -1}, "min_aspect=-1: must be a number above 0"),
        ({"max_aspect": math.inf}, "max_aspect=inf: must be a number above 0"),
        ({"max_aspect": 0.1}, "min_aspect=0.3: must not be above max_aspect=0.1"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    """Each is named."""
    with pytest.raises(ArgumentError, match=message):
        MaskingGenerator(**{"input_size": 8, "max_num_patches": 32, **arguments})  # type: ignore[arg-type]
