"""Philox4x32-10 is Random123's, and the words of a sample follow from seed, position and slot alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dalikit.transforms as T
from dalikit.transforms.base import Sizes
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.draws import Draws, Slot, Words, draw_slots, integers, uniform
from dalikit.transforms.philox import philox4x32

word32 = st.integers(0, 2**32 - 1)
position63 = st.integers(0, 2**63 - 1)
ONES = 0xFFFFFFFF

# Random123-1.14.0, tests/kat_vectors: counter, key, result
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def scalar_philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox4x32-10 as the paper writes it, in Python's whole numbers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (product1 >> 32) ^ c1 ^ k0, product1 & ONES, (product0 >> 32) ^ c3 ^ k1, product0 & ONES
        k0, k1 = (k0 + 0x9E3779B9) & ONES, (k1 + 0xBB67AE85) & ONES
    return c0, c1, c2, c3


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers_of_random123(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert tuple(philox4x32(counter, key).tolist()) == expected
    assert scalar_philox(counter, key) == expected


@given(st.tuples(word32, word32, word32, word32), st.tuples(word32, word32))
def test_equals_a_scalar_twin(counter: tuple[int, int, int, int], key: tuple[int, int]) -> None:
    assert tuple(philox4x32(counter, key).tolist()) == scalar_philox(counter, key)


def test_counters_broadcast() -> None:
    rows, columns = np.arange(3)[:, None], np.arange(5)[None, :]
    words = philox4x32((columns, 7, rows, 9), (1, 2))
    assert words.shape == (3, 5, 4)
    assert words.dtype == np.uint32
    for row, column in np.ndindex(3, 5):
        assert tuple(words[row, column].tolist()) == scalar_philox((column, 7, row, 9), (1, 2))


def draw_words(seed: int, positions: np.ndarray[Any, Any], slots: tuple[Slot, ...], view: int = 0) -> list[Words]:
    """All words of every slot."""
    drawn = draw_slots(seed, positions, np.full(len(positions), view), slots)
    return [draws.blocks(0, slot.num_blocks) for draws, slot in zip(drawn, slots, strict=True)]


@given(st.integers(0, 2**64 - 1), position63, st.integers(0, ONES >> 16), st.integers(1, 4), st.integers(0, 65535))
def test_words_of_a_sample_are_philox_of_seed_position_and_slot(
    seed: int, position: int, purpose: int, num_blocks: int, view: int
) -> None:
    (words,) = draw_words(seed, np.array([position]), (Slot(purpose, num_blocks),), view)
    key, place = (seed & ONES, seed >> 32), (position & ONES, position >> 32)
    expected = [scalar_philox((block, purpose << 16 | view, *place), key) for block in range(num_blocks)]
    assert words.shape == (1, num_blocks, 4)
    assert [tuple(block) for block in words[0].tolist()] == expected


@given(st.lists(position63, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_order_and_neighbours_do_not_matter(positions: list[int], random: object) -> None:
    slots = (Slot(1, 3), Slot(2, 1))
    order = random.sample(range(len(positions)), k=max(len(positions) // 2, 1))  # type: ignore[attr-defined]
    whole = draw_words(5, np.array(positions), slots)
    part = draw_words(5, np.array([positions[place] for place in order]), slots)
    for all_words, some_words in zip(whole, part, strict=True):
        np.testing.assert_array_equal(all_words[order], some_words)


@pytest.mark.parametrize("other", [(1, 4, 3, 0), (0, 5, 3, 0), (0, 4, 4, 0), (0, 4, 3, 1)])
def test_seed_position_purpose_and_view_each_change_the_words(other: tuple[int, int, int, int]) -> None:
    seed, position, purpose, view = other
    first = draw_words(0, np.array([4]), (Slot(3, 1),))[0]
    second = draw_words(seed, np.array([position]), (Slot(purpose, 1),), view)[0]
    assert (first != second).all()


def test_positions_beyond_32_bits_matter() -> None:
    words = draw_words(0, np.array([7, 7 + 2**32, 7 + 2**33, 7 + 2**62]), (Slot(1, 1),))[0]
    assert len({tuple(row) for row in words[:, 0].tolist()}) == 4


def test_seeds_beyond_32_bits_matter() -> None:
    seeds = (3, 3 + 2**32, 3 + 2**63)
    assert len({tuple(draw_words(seed, np.array([0]), (Slot(1, 1),))[0].ravel().tolist()) for seed in seeds}) == 3


@given(st.integers(0, 2**64 - 1), st.lists(position63, min_size=1, max_size=9), st.integers(0, 3), st.integers(0, 6))
def test_further_blocks_and_some_of_the_rows_are_the_same_words(
    seed: int, positions: list[int], ready: int, block: int
) -> None:
    """What is drawn at first, with the other slots, and what is drawn later cannot be told apart."""
    places, views = np.array(positions), np.arange(len(positions))
    (whole,) = draw_slots(seed, places, views, (Slot(5, 8),))
    (lazy,) = draw_slots(seed, places, views, (Slot(5, ready),))
    rows = np.arange(len(positions))[::-2]
    np.testing.assert_array_equal(lazy.words(block), whole.words(block))
    np.testing.assert_array_equal(lazy.of(rows).words(block), whole.words(block)[rows])
    np.testing.assert_array_equal(lazy.blocks(1, 8), whole.blocks(1, 8))
    assert (len(lazy), len(lazy.of(rows))) == (len(positions), len(rows))


def test_a_step_without_a_slot_can_draw_too() -> None:
    positions = np.array([3, 9], dtype=np.uint64)
    (slot,) = draw_slots(7, np.array([3, 9]), np.array([0, 2]), (Slot(4, 1),))
    np.testing.assert_array_equal(Draws(7, positions, np.array([0, 2], dtype=np.uint64), 4).words(), slot.words())


def test_no_slots_draw_nothing() -> None:
    assert draw_words(0, np.arange(3), ()) == []


BOX, FLIP = T.RandomResizedCrop(32), T.RandomHorizontalFlip()


@pytest.mark.parametrize(
    "extra", [T.RandomVerticalFlip(), T.RandomCrop(8, pad_if_needed=True), T.Resize(50), T.CenterCrop(9), T.Decode()]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_further_step_never_changes_what_the_others_draw(extra: T.Transform, place: int) -> None:
    """The counter holds the class of a step and how many of its class come before it, never its place."""
    if isinstance(extra, T.Decode):
        place = 0  # stands nowhere else
    steps = [BOX, FLIP]
    steps.insert(place, extra)
    box_start = extra.num_columns if place == 0 else 0
    positions, sizes = np.arange(200), Sizes.full(200, 60, 80)
    plain = compile_recipe(T.Compose([BOX, FLIP])).draw(9, positions, sizes).matrix
    longer = compile_recipe(T.Compose(steps)).draw(9, positions, sizes).matrix
    flip_column = 6 + (extra.num_columns if place <= 1 else 0)
    np.testing.assert_array_equal(longer[:, flip_column], plain[:, 6])
    if place > 0 or isinstance(extra, T.RandomVerticalFlip):  # what comes before and changes the size, changes the box
        np.testing.assert_array_equal(longer[:, box_start : box_start + 6], plain[:, :6])


def test_a_second_step_of_a_class_draws_words_of_its_own() -> None:
    flips = compile_recipe(T.Compose([FLIP, FLIP, FLIP])).draw(0, np.arange(64), Sizes.full(64, 4, 4)).matrix
    alone = compile_recipe(FLIP).draw(0, np.arange(64), Sizes.full(64, 4, 4)).matrix
    np.testing.assert_array_equal(flips[:, :1], alone)
    assert len({tuple(column) for column in flips.T.tolist()}) == 3


def test_uniform_covers_its_interval() -> None:
    words = np.array([0, 1, 2**31, ONES], dtype=np.uint32)
    assert uniform(words).tolist() == [0.0, 2.0**-32, 0.5, 1.0 - 2.0**-32]
    low, high = uniform(words, -2.0, 6.0)[[0, 3]]
    assert low == -2.0
    assert 5.999 < high < 6.0


@given(word32, st.integers(1, 2**20))
def test_integers_are_multiplied_and_shifted(word: int, bound: int) -> None:
    (number,) = integers(np.array([word], dtype=np.uint32), bound).tolist()
    assert number == word * bound >> 32
    assert 0 <= number < bound


def test_integers_take_a_bound_for_each_word() -> None:
    assert integers(np.full(3, ONES, dtype=np.uint32), np.array([1, 10, 256])).tolist() == [0, 9, 255]


@pytest.mark.parametrize("word", range(4))
def test_words_are_uniform(word: int) -> None:
    """Chi-square over 64 cells of 64,000 samples, far beyond the 1 - 1e-6 quantile of 63 degrees of freedom: 131."""
    words = draw_words(12345, np.arange(64_000), (Slot(1, 1),))[0][:, 0, word]
    for cells in (integers(words, 64), (uniform(words) * 64).astype(np.int64)):
        counts = np.bincount(cells, minlength=64)
        assert ((counts - 1000.0) ** 2 / 1000.0).sum() < 131
