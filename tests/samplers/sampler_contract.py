"""What every sampler keeps. A test class inherits FiniteContract or EndlessContract and says how to build one."""

from __future__ import annotations

import itertools
import json
import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import samplers as package
from samplers import EndlessSampler, FiniteSampler, Sampler, position

CASES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
# n samples, world_size, rank, seed
LAYOUTS = st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(0, 5), st.integers(0, 2**34)).map(
    lambda drawn: (max(drawn[0], drawn[1]), drawn[1], drawn[2] % drawn[1], drawn[3])
)


class Numbers:
    """A dataset in which sample i is i."""

    def __getitem__(self, index: int) -> int:
        """Sample `index`."""
        return index

    def __len__(self) -> int:
        """More samples than any test asks for."""
        return 10**6


class SamplerContract:
    """Held by every sampler."""

    ranked = True  # whether ranks get different samples
    padded = False  # whether a pass may repeat samples
    cut = False  # whether a pass may leave out the last samples
    pickled_bytes = 1000  # what a sampler of 5000 samples takes at most

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> Sampler:
        """The sampler of `rank`, over `n` samples."""
        raise NotImplementedError

    def first(self, sampler: Sampler, count: int) -> list[int]:
        """The first `count` indices of the stream from `advance` on, through as many passes as it takes."""
        raise NotImplementedError

    def test_iterating_twice_gives_the_same_twice(self) -> None:
        sampler = self.build(23, 2, 1, 5)
        assert list(itertools.islice(sampler, 30)) == list(itertools.islice(sampler, 30))

    def test_two_iterators_do_not_disturb_each_other(self) -> None:
        sampler = self.build(23, 2, 1, 5)
        expected = list(itertools.islice(sampler, 11))
        one, other = iter(sampler), iter(sampler)
        mixed = [(next(one), next(other)) for _ in range(len(expected))]
        assert mixed == [(index, index) for index in expected]

    def test_iteration_gives_python_ints_that_indices_gives_as_int64(self) -> None:
        sampler = self.build(23, 2, 0, 5)
        expected = list(itertools.islice(sampler, 12))
        got = sampler.indices(0, len(expected))
        assert {type(index) for index in expected} == {int}
        assert got.dtype == np.int64
        assert got.tolist() == expected

    def test_iteration_goes_on_across_its_chunks(self) -> None:
        sampler = self.build(20_000, 1, 0, 5)
        assert list(itertools.islice(sampler, 20_000)) == sampler.indices(0, 20_000).tolist()

    @CASES
    @given(LAYOUTS, st.lists(st.integers(0, 200), min_size=2, max_size=8))
    def test_a_stretch_is_the_same_however_it_is_cut(self, layout: tuple[int, int, int, int], cuts: list[int]) -> None:
        sampler, cuts = self.build(*layout), sorted(cuts)
        whole = sampler.indices(cuts[0], cuts[-1])
        parts = [sampler.indices(start, stop) for start, stop in itertools.pairwise(cuts)]
        assert np.concatenate(parts).tolist() == whole.tolist()
        parts = [sampler.positions(start, stop) for start, stop in itertools.pairwise(cuts)]
        assert np.concatenate(parts).tolist() == sampler.positions(cuts[0], cuts[-1]).tolist()

    @CASES
    @given(LAYOUTS, st.integers(0, 150))
    def test_advance_drops_the_first_samples_of_the_rank(self, layout: tuple[int, int, int, int], advance: int) -> None:
        whole = self.first(self.build(*layout), advance + 40)
        assert self.first(self.build(*layout, advance=advance), 40) == whole[advance:]

    @CASES
    @given(LAYOUTS, st.integers(0, 150))
    def test_advance_drops_the_first_positions_of_the_rank(
        self, layout: tuple[int, int, int, int], advance: int
    ) -> None:
        sampler = self.build(*layout, advance=advance)
        share = getattr(sampler, "num_samples", None)
        whole = self.build(*layout)
        if isinstance(whole, FiniteSampler):
            whole.set_epoch(advance // whole.num_samples)
            advance %= whole.num_samples
        got = sampler.positions(0, 40)
        assert got.tolist() == whole.positions(advance, min(advance + 40, share or 10**6)).tolist()

    @CASES
    @given(LAYOUTS, st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
    def test_a_stretch_of_any_epoch_does_not_depend_on_where_the_sampler_stands(
        self, layout: tuple[int, int, int, int], advance: int, first: int, count: int, epoch: int
    ) -> None:
        whole = self.build(*layout)
        if isinstance(whole, FiniteSampler):
            whole.set_epoch(epoch)
        indices, places = self.build(*layout, advance=advance).stretch(whole.epoch, first, first + count)
        assert indices.tolist() == whole.indices(first, first + count).tolist()
        assert places.tolist() == whole.places(first, first + count).tolist()

    def test_a_stretch_that_is_none_is_refused(self) -> None:
        with pytest.raises(ValueError, match="stop is 2, less than start=5"):
            self.build(23).stretch(0, 5, 2)
        with pytest.raises(ValueError, match="epoch is -1"):
            self.build(23).stretch(-1, 0, 2)

    def test_what_is_taken_of_the_epoch_is_what_advance_leaves_of_it(self) -> None:
        sampler = self.build(23, advance=30)
        assert sampler.taken == 30 - sampler.epoch * (sampler.num_samples or 0)

    def test_positions_are_those_of_the_places(self) -> None:
        sampler = self.build(23, 2, 1, 5, 30)
        assert sampler.places(1, 9).dtype == sampler.positions(1, 9).dtype == np.int64
        epoch = getattr(sampler, "epoch", 0)
        assert sampler.positions(1, 9).tolist() == position(epoch, sampler.places(1, 9)).tolist()

    def test_parts_can_be_asked_for_in_any_order(self) -> None:
        expected = {start: self.build(50, 2, 1, 3).indices(start, start + 7).tolist() for start in range(0, 400, 7)}
        sampler = self.build(50, 2, 1, 3)
        starts = list(expected)
        random.Random(0).shuffle(starts)
        assert all(sampler.indices(start, start + 7).tolist() == expected[start] for start in starts)

    def test_it_gives_the_same_in_every_thread_at_once(self) -> None:
        sampler, expected = self.build(300, 1, 0, 3), self.build(300, 1, 0, 3).indices(0, 3000).tolist()
        together = threading.Barrier(4)

        def ask(turn: int) -> bool:
            together.wait(10)
            starts = range(0, 3000, 50) if turn % 2 else range(2950, -1, -50)
            return all(sampler.indices(start, start + 50).tolist() == expected[start : start + 50] for start in starts)

        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(ask, range(4)))

    def test_an_array_that_came_from_it_is_the_callers_own(self) -> None:
        sampler = self.build(23, 1, 0, 5)
        expected = sampler.indices(0, 10).tolist()
        sampler.indices(0, 10)[:] = -1
        assert sampler.indices(0, 10).tolist() == expected

    def test_it_pickles_small_and_gives_the_same_afterwards(self) -> None:
        sampler = self.build(5000, 2, 1, 5, 3)
        expected = sampler.indices(10, 200).tolist()
        data = pickle.dumps(sampler)
        assert len(data) < self.pickled_bytes
        assert pickle.loads(data).indices(10, 200).tolist() == expected

    def test_its_repr_makes_it_again(self) -> None:
        sampler = self.build(23, 2, 1, 5, 30)
        again = eval(repr(sampler), vars(package))
        assert repr(again) == repr(sampler)
        assert again.identity() == sampler.identity()
        assert again.indices(0, 50).tolist() == sampler.indices(0, 50).tolist()

    def test_its_identity_survives_json_and_knows_nothing_of_where_it_stands(self) -> None:
        identity = self.build(23, 2, 1, 5).identity()
        assert json.loads(json.dumps(identity)) == identity
        assert identity == self.build(23, 2, 1, 5, 7).identity()
        assert identity["sampler"] == type(self.build(1)).__name__
        assert identity["sample_count"] == 23

    def test_identities_of_other_streams_differ(self) -> None:
        identity = self.build(23, 2, 1, 5).identity()
        assert identity != self.build(24, 2, 1, 5).identity()
        if self.ranked:
            other = self.build(23, 2, 0, 5).identity()
            assert {key for key in identity if identity[key] != other[key]} == {"rank"}
            assert identity != self.build(23, 3, 1, 5).identity()

    def test_it_cannot_be_changed(self) -> None:
        for name in ("sample_count", "seed", "shuffle", "start", "step", "size", "advance"):
            with pytest.raises(AttributeError):
                setattr(self.build(23), name, 1)

    def test_numpy_integers_are_as_good_as_ints(self) -> None:
        sampler = self.build(*(np.int32(number) for number in (23, 2, 1, 5, 30)))  # type: ignore[arg-type]
        assert repr(sampler) == repr(self.build(23, 2, 1, 5, 30))

    def test_an_interval_that_is_none_is_refused(self) -> None:
        sampler = self.build(23)
        with pytest.raises(ValueError, match=r"start is -1, but must lie in \[0"):
            sampler.indices(-1, 3)
        with pytest.raises(ValueError, match="stop is 2, less than start=5"):
            sampler.places(5, 2)
        with pytest.raises(TypeError, match=r"stop is 2\.5 \(float\)"):
            sampler.positions(0, 2.5)  # type: ignore[arg-type]
        assert sampler.indices(4, 4).shape == (0,)

    def test_global_random_states_are_left_alone(self) -> None:
        torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
        python_before = random.getstate()
        self.first(self.build(23, 2, 1, 5, 30), 100)
        assert torch.equal(torch.get_rng_state(), torch_before)
        assert np.random.get_state()[1].tolist() == numpy_before  # type: ignore[index]
        assert random.getstate() == python_before

    def test_it_is_a_sampler_for_a_torch_dataloader(self) -> None:
        loader = DataLoader(Numbers(), batch_size=4, sampler=self.build(23, 2, 1, 5, 3))  # type: ignore[arg-type,var-annotated]
        got = torch.cat(list(itertools.islice(loader, 2))).tolist()
        assert got == self.build(23, 2, 1, 5, 3).indices(0, 8).tolist()


class FiniteContract(SamplerContract):
    """Held by samplers whose passes end."""

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> FiniteSampler:
        raise NotImplementedError

    def first(self, sampler: Sampler, count: int) -> list[int]:
        assert isinstance(sampler, FiniteSampler)
        taken: list[int] = []
        while len(taken) < count:
            taken += sampler
            sampler.set_epoch(sampler.epoch + 1)
        return taken[:count]

    @CASES
    @given(LAYOUTS, st.integers(0, 9))
    def test_the_ranks_share_all_places_of_a_pass(self, layout: tuple[int, int, int, int], epoch: int) -> None:
        n, world, _, seed = layout
        places: list[int] = []
        for rank in range(world if self.ranked else 1):
            sampler = self.build(n, world, rank, seed)
            sampler.set_epoch(epoch)
            own = sampler.positions(0, 10**6)
            assert own.tolist() == [(epoch << 40) + place for place in sampler.places(0, 10**6)]
            places += sampler.places(0, 10**6).tolist()
        assert self.build(n, world, 0, seed).size is not None
        size = self.build(n, world, 0, seed).size
        assert sorted(set(places)) == list(range(size - size % world if self.cut else size))
        assert self.padded or len(places) == len(set(places))

    @CASES
    @given(LAYOUTS, st.integers(0, 9))
    def test_a_place_holds_one_index_whatever_the_number_of_ranks(
        self, layout: tuple[int, int, int, int], epoch: int
    ) -> None:
        n, world, _, seed = layout
        single = self.build(n, 1, 0, seed)
        single.set_epoch(epoch)
        order = dict(zip(single.places(0, 10**6).tolist(), single.indices(0, 10**6).tolist(), strict=True))
        for rank in range(world):
            sampler = self.build(n, world, rank, seed)
            sampler.set_epoch(epoch)
            got = zip(sampler.places(0, 10**6).tolist(), sampler.indices(0, 10**6).tolist(), strict=True)
            assert all(order[place] == index for place, index in got)

    @CASES
    @given(LAYOUTS, st.integers(0, 150))
    def test_its_length_is_what_iteration_yields(self, layout: tuple[int, int, int, int], advance: int) -> None:
        sampler = self.build(*layout, advance=advance)
        assert len(sampler) == len(list(sampler)) == len(sampler.indices(0, 10**6))
        assert len(sampler) == sampler.num_samples - advance % sampler.num_samples
        assert sampler.epoch == advance // sampler.num_samples
        assert sampler.advance == advance

    def test_another_epoch_is_whole_and_leaves_advance_behind_for_good(self) -> None:
        sampler = self.build(23, 2, 1, 5, 3)
        sampler.set_epoch(0)
        assert len(sampler) == sampler.num_samples - 3
        sampler.set_epoch(1)
        assert (len(sampler), sampler.advance) == (sampler.num_samples, sampler.num_samples)
        sampler.set_epoch(0)
        assert (len(sampler), sampler.advance) == (sampler.num_samples, 0)

    def test_an_iterator_under_way_stays_in_its_epoch(self) -> None:
        sampler = self.build(20_000, 1, 0, 5)
        expected, stream = list(sampler), iter(sampler)
        sampler.set_epoch(1)
        assert list(stream) == expected

    def test_epochs_come_in_any_order(self) -> None:
        fresh = {}
        for epoch in range(8):
            sampler = self.build(23, 2, 1, 5)
            sampler.set_epoch(epoch)
            fresh[epoch] = list(sampler)
        for epoch in (3, 0, 7, 7, 1, 0, 6, 2, 5, 4):
            sampler.set_epoch(epoch)
            assert list(sampler) == fresh[epoch]

    def test_what_lies_behind_the_end_is_empty(self) -> None:
        sampler = self.build(23)
        assert sampler.indices(10**6, 10**7).shape == (0,)
        assert sampler.indices(sampler.num_samples - 1, 10**7).shape == (1,)

    def test_an_epoch_that_is_none_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"epoch is 8388608, but must lie in \[0, 8388608\)"):
            self.build(23).set_epoch(2**23)
        with pytest.raises(ValueError, match="epoch is -1"):
            self.build(23).set_epoch(-1)
        with pytest.raises(TypeError, match="epoch is None"):
            self.build(23).set_epoch(None)  # type: ignore[arg-type]

    def test_an_advance_past_the_last_epoch_is_refused(self) -> None:
        with pytest.raises(ValueError, match=f"advance is {2**50}, .* pass how many of its samples were taken"):
            self.build(23, advance=2**50)


class EndlessContract(SamplerContract):
    """Held by samplers without end."""

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> EndlessSampler:
        raise NotImplementedError

    def first(self, sampler: Sampler, count: int) -> list[int]:
        return list(itertools.islice(sampler, count))

    def share(self, n: int, world: int, rank: int) -> int:
        """Samples of `rank` in a pass."""
        raise NotImplementedError

    @CASES
    @given(LAYOUTS, st.integers(0, 9))
    def test_the_ranks_share_all_places_of_the_first_passes(
        self, layout: tuple[int, int, int, int], passes: int
    ) -> None:
        n, world, _, seed = layout
        shares = [self.share(n, world, rank) for rank in range(world)]
        got = [self.build(n, world, rank, seed).positions(0, shares[rank] * passes) for rank in range(world)]
        places = sorted(np.concatenate(got).tolist())
        assert len(set(places)) == len(places)
        if len(set(shares)) == 1 or isinstance(self.build(1), package.InfiniteSampler):
            assert places == list(range(sum(shares) * passes))

    def test_it_has_no_length(self) -> None:
        with pytest.raises(TypeError, match="has no len"):
            len(self.build(23))  # type: ignore[arg-type]
        assert not hasattr(self.build(23), "set_epoch")
        assert self.build(23).size is None

    def test_what_lies_behind_the_last_position_is_refused(self) -> None:
        with pytest.raises(
            ValueError, match=r"stop is 4611686018427387904, 1 after advance, .* ask for an earlier part"
        ):
            self.build(23, advance=1).indices(2**62 - 1, 2**62)
        end = (2**63 - 1 - 23) // 2
        last = self.build(23, advance=end - 5)
        assert last.positions(0, 5).max() < 2**63
        with pytest.raises(ValueError, match=f"stop is 6, {end - 5} after advance, .* uses up after {end} samples"):
            last.positions(0, 6)
        with pytest.raises(ValueError, match=r"advance is 4611686018427387904, but must lie in \[0, "):
            self.build(23, advance=2**62)
        with pytest.raises(ValueError, match="advance is -1"):
            self.build(23, advance=-1)
