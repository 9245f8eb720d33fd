"""What datasets draw from the global generators: seeded by position, and nearly free for those that draw nothing."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
import torch

from dalikit.callables import ItemSeeder, loader_draws, seed_generators, seeded_generators
from dalikit.generator_states import GeneratorStates

PURPOSE = 32


def draw() -> tuple[float, float, float]:
    """One number from each of the three global generators."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def expected(position: int, seed: int = 5) -> tuple[float, float, float]:
    """What an item at a position draws first."""
    with seeded_generators(seed, position, PURPOSE):
        return draw()


def states() -> tuple[Any, ...]:
    """Of all three generators, comparable."""
    numpy_state = np.random.get_state(legacy=False)
    inner: Any = numpy_state["state"]
    numpy_parts = inner["key"].tobytes(), inner["pos"], numpy_state["has_gauss"], numpy_state["gauss"]
    return random.getstate(), numpy_parts, torch.get_rng_state().numpy().tobytes()


DRAWS: dict[str, Callable[[], Any]] = {
    "random": random.random,
    "numpy": np.random.rand,
    "torch": lambda: torch.rand(()),
    "random's second normal": lambda: random.gauss(0, 1),
    "numpy's second normal": np.random.randn,
    "reseeding": lambda: random.seed(1),
}


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("first", [0, 5, 13])
def test_what_an_item_draws_follows_from_its_position(batch_size: int, first: int) -> None:
    """Whatever the batch, and from whichever position reading begins: a resume draws the same."""
    seeder = ItemSeeder(5, PURPOSE, put_back=True)
    drawn = []
    for start in range(first, 20, batch_size):
        drawn += seeder.read(lambda _: draw(), range(start, min(start + batch_size, 20)))
    assert drawn == [expected(position) for position in range(first, 20)]


@pytest.mark.parametrize("late", [0, 6, 9, 13, 19])
@pytest.mark.parametrize("draws", DRAWS.values(), ids=list(DRAWS))
def test_a_dataset_that_draws_late_is_found_out(late: int, draws: Callable[[], Any]) -> None:
    """Its first draw may come in any item of any batch: the batch is read again, and all follows from positions."""

    def read(position: int) -> Any:
        if position < late:
            return position
        return draws(), draw()

    def run(cuts: list[int]) -> list[Any]:
        seeder = ItemSeeder(5, PURPOSE, put_back=True)
        items = []
        for start, stop in itertools.pairwise(cuts):
            items += seeder.read(lambda row, start=start: read(start + row), range(start, stop))
        return items

    random.gauss(0, 1)  # leave a second number for the next call
    np.random.randn()
    whole = run([0, 20])
    assert whole[:late] == list(range(late))
    assert run([0, 7, 14, 20]) == whole
    assert run(list(range(21))) == whole


def test_a_dataset_that_draws_nothing_is_left_alone() -> None:
    """After its first batch nothing is seeded for it, and each item is read once."""
    seeder = ItemSeeder(5, PURPOSE, put_back=False)
    reads: list[int] = []
    seeder.read(reads.append, range(4))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = states()
    seeder.read(reads.append, range(4, 8))
    assert states() == before
    assert reads == [0, 1, 2, 3] * 2


def test_of_a_dataset_that_draws_from_the_start_one_item_is_read_twice() -> None:
    """The very first, to find out; nothing later on."""
    reads: list[int] = []

    def read(row: int) -> float:
        reads.append(row)
        return random.random()

    seeder = ItemSeeder(5, PURPOSE, put_back=True)
    for start in range(0, 9, 3):
        seeder.read(read, range(start, start + 3))
    assert reads == [0, *[0, 1, 2] * 3]


@pytest.mark.parametrize("draws", [False, True])
def test_the_callers_states_come_back(draws: bool) -> None:
    """In the user's own process, after every batch, and after an exception."""
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    random.gauss(0, 1), np.random.randn()
    before = states()
    seeder = ItemSeeder(5, PURPOSE, put_back=True)
    for _ in range(3):
        seeder.read(lambda row: draw() if draws else row, range(4))
        assert states() == before

    def fail(_: int) -> None:
        draw()
        raise KeyError("the dataset's")

    with pytest.raises(KeyError, match="the dataset's"):
        seeder.read(fail, range(2))
    assert states() == before


def test_in_a_worker_nothing_is_put_back() -> None:
    """The process is the loader's own."""
    seeder = ItemSeeder(5, PURPOSE, put_back=False)
    before = states()
    assert seeder.read(lambda _: draw(), [7]) == [expected(7)]
    assert states() != before


def test_an_error_that_follows_from_a_draw_follows_from_the_position() -> None:
    """In a batch that is read unseeded it is not believed."""
    seeder = ItemSeeder(5, PURPOSE, put_back=True)
    seeder.read(lambda row: row, range(2))

    def fail(_: int) -> None:
        raise ValueError(f"drew {random.random()}")

    with pytest.raises(ValueError, match=f"drew {expected(9)[0]}"):
        seeder.read(fail, [9])


def test_other_threads_blocks_do_not_run_meanwhile() -> None:
    """One that draws under its own key waits until the batch is read."""
    seeder = ItemSeeder(5, PURPOSE, put_back=True)
    seeder.read(lambda _: draw(), [0])  # it is known that items draw
    entered, drawn = threading.Event(), []

    def other() -> None:
        entered.wait(20)
        with seeded_generators(5, 99, PURPOSE):
            drawn.append(draw())

    thread = threading.Thread(target=other)
    thread.start()

    def read(_: int) -> tuple[float, float, float]:
        entered.set()
        assert drawn == []
        return draw()

    items = seeder.read(read, range(50))
    thread.join(20)
    assert items == [expected(position) for position in range(50)]
    assert drawn == [expected(99)]


def test_generators_seeded_for_good() -> None:
    """As `seeded_generators` seeds them; nothing is put back."""
    seed_generators(5, 3, PURPOSE)
    assert draw() == expected(3)
    seed_generators(5, 3, PURPOSE + 1)
    assert draw() != expected(3)


def test_no_items() -> None:
    """Leave the question open."""
    seeder = ItemSeeder(5, PURPOSE, put_back=True)
    assert seeder.read(lambda _: draw(), []) == []
    assert seeder.read(lambda _: draw(), [1]) == [expected(1)]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_items_that_only_look_at_the_seed_see_the_processs(batch_size: int) -> None:
    """In every batch, the first one too, whatever its size."""
    seeder = ItemSeeder(5, PURPOSE, put_back=True)
    torch.manual_seed(77)
    seen = []
    for start in range(0, 6, batch_size):
        seen += seeder.read(lambda _: torch.initial_seed(), range(start, start + batch_size))
    assert seen == [77] * 6


@pytest.mark.parametrize("calls", [0, 1])
def test_items_that_draw_nothing_may_wait_for_another_threads_items(calls: int) -> None:
    """The lock is not held while they are read: one loader may feed another one's dataset."""
    handed: SimpleQueue[int] = SimpleQueue()
    waiting = threading.Event()

    def produce() -> None:
        seeder = ItemSeeder(5, PURPOSE, put_back=True)
        waiting.wait(20)
        for number in range(4):
            handed.put(seeder.read(lambda _, number=number: number, [number])[0])

    seeder = ItemSeeder(5, PURPOSE, put_back=True)
    for _ in range(calls):
        seeder.read(lambda row: row, range(2))
    thread = threading.Thread(target=produce, daemon=True)
    thread.start()

    def take(_: int) -> int:
        waiting.set()
        return handed.get(timeout=20)

    assert seeder.read(take, range(4)) == [0, 1, 2, 3]
    thread.join(20)


def test_the_states_are_taken_between_other_threads_blocks() -> None:
    """Neither a block that is open at the beginning nor one that comes meanwhile is taken for the items' draws."""
    seeder = ItemSeeder(5, PURPOSE, put_back=True)
    entered, leave = threading.Event(), threading.Event()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    before = states()

    def other() -> None:
        with seeded_generators(5, 99, PURPOSE):
            draw()
            entered.set()
            leave.wait(20)

    def read(row: int) -> int:
        if row == 0:
            thread.start()
            entered.wait(20)
        leave.set()
        return row

    thread = threading.Thread(target=other)
    assert seeder.read(read, range(2)) == [0, 1]
    thread.join(20)
    assert states() == before
    assert seeder.read(lambda _: draw(), [7, 8]) == [expected(7), expected(8)]


def test_what_another_threads_loader_draws_is_not_the_items() -> None:
    """They are not read again; those that draw are found out all the same, also if it is this thread's loader."""
    seeder = ItemSeeder(5, PURPOSE, put_back=True)
    reads: list[int] = []

    def order() -> None:
        with loader_draws():
            draw()

    def read(row: int) -> int:
        if row == 0:
            thread = threading.Thread(target=order)
            thread.start()
            thread.join(20)
        reads.append(row)
        return row

    assert seeder.read(read, range(3)) == [0, 1, 2]
    assert reads == [0, 1, 2]

    def own(_: int) -> Any:
        order()
        return draw()

    with seeded_generators(5, 3, PURPOSE):
        expected_own = own(0)
    assert seeder.read(own, [3]) == [expected_own]


def test_the_users_wish_to_end_puts_the_states_back_too() -> None:
    """Also from items that were not known to draw."""
    seeder = ItemSeeder(5, PURPOSE, put_back=True)
    before = states()

    def interrupted(_: int) -> None:
        draw()
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            seeder.read(interrupted, range(2))
        assert states() == before


def test_a_normal_number_drawn_in_advance_comes_back() -> None:
    """Also if the user has set a state with the very words that were seen without one."""
    np.random.seed(3)
    plain = np.random.get_state()
    np.random.randn()
    held = np.random.get_state()
    np.random.randn()
    with seeded_generators(5, 0, PURPOSE):
        draw()
    np.random.set_state(held)
    with seeded_generators(5, 1, PURPOSE):
        draw()
    assert np.random.get_state()[3:] == held[3:]
    following = np.random.randn(3).tolist()
    np.random.set_state(plain)
    assert np.random.randn(4).tolist()[1:] == following
    np.random.set_state(held)
    look = GeneratorStates()
    np.random.randn()  # moves nothing else
    assert look.differ()


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937])
def test_a_generator_of_the_users_is_put_back_as_well(kind: Any) -> None:
    """numpy is asked for the state of one whose memory says nothing; and one that is set meanwhile goes again."""
    own, before = np.random.get_bit_generator(), np.random.get_state()
    try:
        np.random.set_bit_generator(kind(7))
        states = GeneratorStates()
        assert not states.differ()
        first = np.random.randn(3).tolist()
        assert states.differ()
        states.put_back()
        assert not states.differ()
        assert np.random.randn(3).tolist() == first
    finally:
        np.random.set_bit_generator(own)
        np.random.set_state(before)
