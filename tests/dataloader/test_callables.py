"""Global generators around users' callables: seeded by position, and put back."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from dalikit.callables import seeded_generators

Numbers = tuple[float, float, float]


def draw() -> Numbers:
    """One number from each of the three global generators."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def drawn_at(seed: int, position: int, purpose: int = 31) -> Numbers:
    """What is drawn under a key."""
    with seeded_generators(seed, position, purpose):
        return draw()


def test_the_same_key_draws_the_same() -> None:
    """Whatever was drawn before."""
    first = drawn_at(1, 2)
    draw()
    assert drawn_at(1, 2) == first


@pytest.mark.parametrize("key", [(1, 3), (2, 2), (2, 1), (1, 2, 27)], ids=["position", "seed", "swapped", "purpose"])
def test_another_key_draws_something_else(key: tuple[int, ...]) -> None:
    """From every generator; (seed 2, position 1) has nothing of (1, 2)."""
    for one, other in zip(drawn_at(1, 2), drawn_at(*key), strict=True):
        assert one != other


def test_the_largest_numbers_are_seeds_too() -> None:
    """Seed and position have 64 bits."""
    assert drawn_at(2**64 - 1, 2**64 - 1) == drawn_at(2**64 - 1, 2**64 - 1)


def test_positions_draw_evenly() -> None:
    """Over neighbouring positions the first numbers are spread from 0 to 1, and those of the generators unrelated."""
    numbers = np.array([drawn_at(0, position) for position in range(1000)])
    for column in numbers.T:
        assert np.histogram(column, bins=4, range=(0, 1))[0] == pytest.approx([250] * 4, abs=60)
    assert np.abs(np.corrcoef(numbers.T) - np.eye(3)).max() < 0.12


def test_the_callers_states_come_back() -> None:
    """All three go on as if nothing had been."""
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    random.gauss(0, 1)  # keeps a second number for the next call; so does numpy's
    np.random.randn()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    drawn_at(1, 2)
    assert random.getstate() == states[0]
    for now, before in zip(np.random.get_state(), states[1], strict=True):
        assert np.array_equal(now, before)
    assert torch.equal(torch.get_rng_state(), states[2])


def test_the_callers_states_come_back_after_an_exception() -> None:
    """And the exception goes on."""
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    expected = draw()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    with pytest.raises(KeyError, match="the caller's"), seeded_generators(1, 2, 31):
        _draw_and_fail()
    assert draw() == expected


def _draw_and_fail() -> None:
    draw()
    raise KeyError("the caller's")


def test_it_may_be_nested() -> None:
    """The outer one goes on where it was."""
    with seeded_generators(1, 2, 31):
        draw()
        second = draw()
    with seeded_generators(1, 2, 31):
        draw()
        drawn_at(3, 4)
        assert draw() == second


def test_numpy_is_not_imported_for_it() -> None:
    """numpy.random takes its time to load; who has not loaded it draws nothing from it."""
    script = (
        "import sys; from dalikit.callables import seeded_generators\n"
        "with seeded_generators(1, 2, 31): pass\n"
        "assert 'numpy.random' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_blocks_of_several_threads_do_not_meet() -> None:
    """Each draws what it draws alone, and the states are put back in the end."""

    def work(position: int) -> Numbers:
        with seeded_generators(5, position, 28):
            numbers = draw()
            time.sleep(1e-4)  # lets the others run
            return (*numbers[:2], draw()[2])

    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    states = random.getstate(), np.random.get_state()[1], torch.get_rng_state()
    alone = [work(position) for position in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(40))) == alone
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])


def test_a_forked_child_has_a_lock_of_its_own() -> None:
    """Even if another thread held it in the parent."""
    script = (
        "import os, threading\n"
        "from dalikit.callables import seeded_generators\n"
        "inside, leave = threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    with seeded_generators(1, 2, 31):\n"
        "        inside.set(), leave.wait()\n"
        "thread = threading.Thread(target=hold); thread.start(); inside.wait()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    with seeded_generators(1, 2, 31): os._exit(7)\n"
        "status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "leave.set(), thread.join()\n"
        "assert status == 7, status"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=20)
