"""What elastic samplers keep: the rest of a pass, dealt out to any number of ranks. Inherited beside the contract."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import samplers as package
from samplers import FiniteSampler, Sampler

CASES = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.differing_executors])


@dataclass(frozen=True)
class Run:
    """A pass whose number of ranks changes."""

    n: int
    worlds: tuple[int, ...]
    rounds: tuple[int, ...]
    """Samples that each rank takes before the number of ranks changes."""
    seed: int
    epoch: int


RUNS = st.builds(
    Run,
    n=st.integers(1, 60),
    worlds=st.tuples(*[st.integers(1, 7)] * 4),
    rounds=st.tuples(*[st.integers(0, 12)] * 3),
    seed=st.integers(0, 2**34),
    epoch=st.integers(0, 5),
)


class ElasticContract:
    """Held by every sampler whose order does not depend on the number of ranks."""

    ranked = True
    padded = False
    cut = False
    endless = False
    even = True  # whether `common_samples` are those that all ranks have

    def build(self, n: int, world: int = 1, rank: int = 0, seed: int = 0, advance: int = 0) -> Sampler:
        """The sampler of `rank`, over `n` samples."""
        raise NotImplementedError

    def ranks(self, run: Run, world: int, base: int) -> list[Sampler]:
        """The samplers of all ranks for what is left after `base` places."""
        return [self.build(run.n, world, rank, run.seed).after(base) for rank in range(world)]

    def last_places(self, base: int, size: int, world: int) -> list[int]:
        """The places that are to come last, padding among them."""
        rest = size - base
        if self.padded:
            return [place % size for place in range(base, base - (-rest // world) * world)]
        return list(range(base, base + rest // world * world if self.cut else size))

    def size(self, run: Run) -> int:
        """Places of a pass; as many as are looked at, of an endless one."""
        return self.build(run.n).size or 150

    @CASES
    @given(RUNS)
    def test_ranks_that_change_take_the_uncut_order(self, run: Run) -> None:
        """Nothing twice and nothing lost; padding and what is dropped are those of the last number of ranks alone."""
        size, epoch = self.size(run), 0 if self.endless else run.epoch
        order, places = self.build(run.n, 1, 0, run.seed).stretch(epoch, 0, size)
        assert places.tolist() == list(range(size))
        worlds = run.worlds if self.ranked else (1, 1, 1, 1)
        base, seen = 0, Counter[int]()
        for step, world in enumerate(worlds):
            rounds = min(run.rounds[step], (size - base) // world) if step < 3 else (size - base) // world + 1
            parts = [rank.stretch(epoch, 0, rounds) for rank in self.ranks(run, world, base)]
            for indices, where in parts:
                fresh = where[where < size]
                assert indices[where < size].tolist() == order[fresh].tolist()
                seen.update(where.tolist())
            if step < 3:
                assert {len(indices) for indices, _ in parts} == {rounds}
                base += rounds * world
        last = range(base, base + rounds * worlds[-1]) if self.endless else self.last_places(base, size, worlds[-1])
        assert seen == Counter([*range(base), *last])

    @CASES
    @given(RUNS, st.integers(0, 60))
    def test_ranks_of_a_rest_agree_on_what_they_have_in_common(self, run: Run, base: int) -> None:
        """So that loaders that leave out short batches make as many on every rank."""
        if self.endless:
            return
        ranks = self.ranks(run, run.worlds[0] if self.ranked else 1, min(base, self.size(run)))
        lengths = [rank.num_samples for rank in ranks if isinstance(rank, FiniteSampler)]
        common = [rank.common_samples for rank in ranks if isinstance(rank, FiniteSampler)]
        assert common == ([min(lengths)] * len(ranks) if self.even else lengths)
        assert max(lengths) - min(lengths) <= 1
        assert [len(rank.indices(0, 10**6)) for rank in ranks] == lengths

    @CASES
    @given(RUNS, st.integers(0, 60))
    def test_the_epoch_after_a_rest_is_whole(self, run: Run, base: int) -> None:
        """The sampler that a rest was taken of has not changed, nor has the rest's own beginning."""
        world = run.worlds[0] if self.ranked else 1
        sampler, fresh = (self.build(run.n, world, world - 1, run.seed) for _ in range(2))
        epoch, base = 0 if self.endless else run.epoch + 1, min(base, self.size(run))
        sampler.after(base).stretch(epoch, 0, 40)
        for whole in (sampler, sampler.after(base).after(0)):
            got, wanted = whole.stretch(epoch, 0, 200), fresh.stretch(epoch, 0, 200)
            assert np.array_equal(got, wanted)

    @CASES
    @given(RUNS, st.integers(0, 60), st.lists(st.integers(0, 50), min_size=2, max_size=6))
    def test_parts_of_a_rest_come_in_any_order(self, run: Run, base: int, cuts: list[int]) -> None:
        """Whatever `advance` was, and in another process."""
        world = run.worlds[0] if self.ranked else 1
        base, sampler = min(base, self.size(run)), self.build(run.n, world, 0, run.seed)
        whole = sampler.after(base).stretch(0, 0, 60)
        rest = self.build(run.n, world, 0, run.seed, 0 if sampler.num_samples == 0 else 1).after(base)
        rest.stretch(0, 0, 10)
        for chosen in (rest, pickle.loads(pickle.dumps(rest))):
            for first, last in itertools.pairwise(cuts):
                first, last = sorted((first, last))
                assert np.array_equal(chosen.stretch(0, first, last), [column[first:last] for column in whole])

    def test_nothing_of_a_rest_is_taken(self) -> None:
        """In the epoch in which the sampler is."""
        sampler = self.build(23, 1, 0, 5, 30)
        rest = sampler.after(7)
        assert (rest.epoch, rest.taken) == (sampler.epoch, 0)
        assert np.array_equal(rest.indices(0, 9), rest.stretch(rest.epoch, 0, 9)[0])
        assert next(iter(rest)) == rest.indices(0, 1)[0]

    def test_a_rest_says_what_it_is(self) -> None:
        """Its identity and its repr hold the place."""
        sampler = self.build(23, 1, 0, 5, 30)
        rest = sampler.after(7)
        assert rest.identity() == {"after": 7, **sampler.identity()}
        assert rest.after(0).identity() == sampler.identity()
        assert repr(rest).endswith(").after(7)")
        if "weights" not in sampler.identity():
            again = eval(repr(rest), vars(package))
            assert (again.epoch, repr(again)) == (rest.epoch, repr(rest))
            assert np.array_equal(again.indices(0, 50), rest.indices(0, 50))

    def test_a_place_that_is_none_is_refused(self) -> None:
        """The end of a pass is a place: nothing is left after it."""
        sampler = self.build(23)
        stop = 2**61 if sampler.size is None else sampler.size + 1
        assert len(sampler.after(stop - 1).indices(0, 5)) == (5 if self.endless else 0)
        for place in (-1, stop):
            with pytest.raises(ValueError, match=rf"place is {place}, but must lie in \[0, {stop}\)\. Pass how many"):
                sampler.after(place)
        with pytest.raises(TypeError, match=r"place is 1\.0 \(float\), but must be a whole number"):
            sampler.after(1.0)  # type: ignore[arg-type]
