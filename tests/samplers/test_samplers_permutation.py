"""The random orders behind the samplers."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import sampler_twins
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplers import permutation
from samplers.permutation import (
    OrderCache,
    TorchEpochs,
    choice_order,
    hashed_seed,
    inside_out_order,
    torch_order,
)

CASES = settings(max_examples=60, deadline=None)


def shuffled(count: int, seed: int) -> Iterator[list[int]]:
    """DINOv2's epochs, draw by draw."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield sampler_twins.forward_shuffle(count, generator)


@CASES
@given(st.integers(1, 400), st.integers(0, 2**64 - 1))
def test_inside_out_order_equals_the_loop(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    expected = sampler_twins.inside_out_shuffle(list(range(count)), generator)
    assert inside_out_order(count, seed).tolist() == expected


def test_inside_out_order_of_many_samples_equals_the_loop() -> None:
    """The draws in one go: `random_raw % (i + 1)` is the stream of torch.randint, which the test above holds."""
    count = 200_000
    draws = np.random.RandomState(11)._bit_generator.random_raw(count - 1)
    result = [0] * count
    for i, j in enumerate([0, *(draws % np.arange(2, count + 1, dtype=np.uint64)).tolist()]):
        result[i] = result[j]
        result[j] = i
    assert inside_out_order(count, 11).tolist() == result


@CASES
@given(st.integers(1, 60), st.integers(0, 2**63), st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_epochs_of_one_generator_are_the_same_in_any_order(count: int, seed: int, asked: list[int]) -> None:
    stream = shuffled(count, seed)
    expected = [next(stream) for _ in range(43)]
    epochs = TorchEpochs(count, seed)
    for epoch in asked:
        assert epochs.orders(epoch, 3).tolist() == [index for order in expected[epoch : epoch + 3] for index in order]


def test_going_back_stays_right_when_states_have_been_let_go() -> None:
    expected = {epoch: TorchEpochs(7, 3).orders(epoch, 1).tolist() for epoch in range(0, 400, 13)}
    epochs = TorchEpochs(7, 3)
    for epoch in [*range(400), *range(399, -1, -1)]:
        order = epochs.orders(epoch, 1).tolist()
        assert order == expected.get(epoch, order)
    assert len(epochs._states) <= permutation._STATES_KEPT


def test_skipping_many_epochs_ends_where_walking_does() -> None:
    """Across several chunks of thrown-away draws."""
    walked = TorchEpochs(1000, 5)
    for epoch in range(300):
        last = walked.orders(epoch, 1)
    assert TorchEpochs(1000, 5).orders(299, 1).tolist() == last.tolist()


def test_an_interrupt_while_skipping_does_not_spoil_the_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs, expected = TorchEpochs(100, 5), TorchEpochs(100, 5).orders(50, 1).tolist()
    epochs.orders(3, 1)

    def interrupted(draws: int, generator: torch.Generator) -> None:
        torch.empty(draws // 2, dtype=torch.int32).random_(generator=generator)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(permutation, "_throw_away", interrupted)
        with pytest.raises(KeyboardInterrupt):
            epochs.orders(50, 1)
    assert epochs.orders(50, 1).tolist() == expected


def test_every_step_th_place_is_taken_of_each_epoch_anew() -> None:
    whole = [TorchEpochs(11, 5).orders(epoch, 1) for epoch in range(4)]
    expected = np.concatenate([order[3::4] for order in whole])
    part = TorchEpochs(11, 5).orders(0, 4, 3, 4)
    assert part.tolist() == expected.tolist()
    assert part.base is None or part.base.size == part.size, "the rest of the permutation is not kept alive"


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_orders_do_not_depend_on_their_dtype(count: int) -> None:
    order = torch_order(count, 9)
    assert order.dtype == np.int32
    assert order.tolist() == torch.randperm(count, generator=torch.Generator().manual_seed(9)).tolist()


@CASES
@given(st.integers(1, 300), st.data(), st.integers(0, 2**90))
def test_choice_of_places_equals_choice_of_values(population: int, data: st.DataObject, seed: int) -> None:
    size = data.draw(st.integers(1, population))
    values = np.arange(population) * 3
    expected = np.random.default_rng(seed).choice(values, size, replace=False)
    assert (choice_order(population, size, seed) * 3).tolist() == expected.tolist()


def test_hashed_seeds_are_64_bits_of_the_pair() -> None:
    assert hashed_seed(0, 0) == 15793235383387715774
    assert len({hashed_seed(seed, epoch) for seed in range(50) for epoch in range(50)}) == 2500
    assert hashed_seed(5 + 2**32, 0) != hashed_seed(5, 1)


def test_the_cache_holds_two_orders_and_lets_go_of_the_oldest() -> None:
    cache, built = OrderCache(), []

    def build(number: int) -> permutation.Order:
        built.append(number)
        return np.full(3, number)

    assert [int(cache.get(number, build)[0]) for number in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert built == [1, 2, 3, 2]


def test_the_cache_builds_an_order_once_for_all_threads() -> None:
    cache, built, together = OrderCache(), [], threading.Barrier(8)

    def build(number: int) -> permutation.Order:
        built.append(number)
        return np.arange(3)

    def ask() -> None:
        together.wait(10)
        cache.get(4, build)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert built == [4]


def test_what_holds_state_pickles_and_copies_without_it() -> None:
    cache, epochs = OrderCache(limit=1), TorchEpochs(1000, 5)
    expected = cache.get(3, lambda number: epochs.orders(number, 1)).tolist()
    for fresh_cache, fresh_epochs in (pickle.loads(pickle.dumps((cache, epochs))), copy.deepcopy((cache, epochs))):
        assert len(pickle.dumps((fresh_cache, fresh_epochs))) < 300
        assert fresh_epochs.orders(3, 1).tolist() == expected
        assert fresh_cache.get(3, np.arange).tolist() == [0, 1, 2], "built anew"
