"""What a saved state says of the samples to come, on any number of ranks: no loader and no data are needed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import samplers
from dalikit.errors import StateError
from dalikit.state import FOREIGN_IS_BOUND, ITERABLE_IS_BOUND, LoaderState, check_state, why_bound_to_ranks
from samplers import (
    EndlessSampler,
    FiniteSampler,
    InfiniteSampler,
    KeyedEpochSampler,
    KeyedInfiniteSampler,
    Sampler,
    ShardedInfiniteSampler,
)

__all__ = ["Batches", "Forecast", "Next", "Share", "Where", "bound_to_ranks", "sampler_of", "untold"]

_MOST_SHUFFLED = 10**8
"""Samples that are shuffled to print a few of them: some seconds, and 0.8 GB."""

_MOST_CHAINED = 10**7
"""The same, for DINOv2's first shuffle, which takes ten times as much of both."""

_MOST_DRAWN = 2 * 10**9
"""Random numbers that are drawn and thrown away to get to an epoch: 5 s."""

_WEIGHTS = "weights"
"""Key of an identity that holds a hash of weights: they are not in a state themselves."""

_OF_A_RANK = frozenset({"rank", "world_size"})
"""Keys of an identity that a state does not hold: its sampler is that of all ranks."""

_NO_WEIGHTS = "which rows come follows from weights, of which a state holds only a hash"


@dataclass(frozen=True, slots=True)
class Share:
    """Neighbouring ranks that have as many samples left of the pass."""

    start: int
    """Ranks [start, stop)."""
    stop: int
    samples: int
    """Of each of them."""
    common: int
    """What batches are made of where short ones are left out; see `FiniteSampler.common_samples`."""


@dataclass(frozen=True, slots=True)
class Batches:
    """What is left of a pass, in batches."""

    most: int
    """Of one rank: the steps that are left."""
    least: int
    """Of one rank."""
    done_earlier: int
    """Ranks that have fewer than `most`."""
    last: int
    """Samples of all ranks together in the last step; 0: there is none."""
    left_out: int
    """Samples that a rank has and that come in no batch."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where in its epochs a rank of an endless sampler is."""

    epoch: int
    place: int
    """Of the sample that comes next, within the epoch."""
    size: int
    """Samples in an epoch."""
    own: bool
    """Epochs are over a shard of this rank's own; else they are those of all ranks."""


@dataclass(frozen=True, slots=True)
class Next:
    """The samples that come next on a rank."""

    places: list[int]
    """In the pass, of all ranks."""
    indices: list[int] | None
    """Rows of the dataset; None: they are not told."""
    reason: str | None = None
    """Why not."""


def untold(identity: Mapping[str, Any]) -> str | None:
    """Why nothing can be told of an order; None: it is that of a sampler of the package `samplers`.

    Args:
        identity: the `sampler` of a state.
    """
    name = identity.get("sampler")
    if "batch_sampler" in identity:
        return "a torch-style sampler says itself what comes next"
    if name is None:
        return "an iterable dataset says itself what comes next"
    if _class_of(name) is None:
        return f"this dalikit has no sampler {str(name)[:80]!r}; use the one that made the state"
    return None


def bound_to_ranks(identity: Mapping[str, Any]) -> str | None:
    """Why a state is good for its own number of ranks alone, in the words of loading it; None: for any.

    Args:
        identity: the `sampler` of a state.
    """
    name = identity.get("sampler")
    if "batch_sampler" in identity:
        return FOREIGN_IS_BOUND
    if name is None:
        return ITERABLE_IS_BOUND
    kind = _class_of(name)
    if kind is None:
        return untold(identity)
    return None if kind.elastic else why_bound_to_ranks(kind.__name__)


def sampler_of(identity: Mapping[str, Any], rank: int, world_size: int) -> Sampler:
    """The sampler that a state speaks of, for a rank of any number of ranks, at its beginning.

    It costs nothing to make, however large the numbers are.

    Args:
        identity: the `sampler` of a state: class and arguments, as `Sampler.identity` gives them.
        rank: from 0 to world_size - 1.
        world_size: ranks that there are. Samplers that are the same on every rank do not ask.

    Raises:
        StateError: it is none of the package `samplers`, has arguments that it cannot have, or follows from weights,
            which a state does not hold.
    """
    if identity.get(_WEIGHTS) is not None:
        raise StateError(f"state['sampler']: {_NO_WEIGHTS}; make the sampler with its weights, and load the state")
    name = identity.get("sampler")
    kind = _class_of(name)
    if kind is None or "batch_sampler" in identity:
        raise StateError(f"state['sampler']: must name a sampler of the package samplers, came {str(name)[:80]!r}")
    ranks = {"start": rank, "step": world_size, "rank": rank, "num_replicas": world_size}
    count = {"dataset": identity.get("sample_count"), "advance": 0}
    taken = inspect.signature(kind).parameters
    try:
        made = kind(**{key: value for key, value in {**identity, **count, **ranks}.items() if key in taken})
    except (TypeError, ValueError) as error:
        raise StateError(f"state['sampler']: cannot be {kind.__name__}'s: {error}") from None
    told: dict[str, Any] = {key: value for key, value in made.identity().items() if key not in _OF_A_RANK}
    if told != identity:
        keys = sorted(key for key in {*told, *identity} if (key in told, told.get(key)) != (True, identity.get(key)))
        raise StateError(
            f"state['sampler']: this dalikit's {kind.__name__} has another {', '.join(map(repr, keys)):.200}; use "
            "the dalikit that made the state"
        )
    return made


def _class_of(name: Any) -> type[Sampler] | None:
    """A class of the package `samplers` that can be made."""
    kind = getattr(samplers, name, None) if isinstance(name, str) and name in samplers.__all__ else None
    return kind if isinstance(kind, type) and issubclass(kind, Sampler) and not inspect.isabstract(kind) else None


class Forecast:
    """How a state goes on, on some number of ranks.

    What holds for thousands of ranks is worked out from the first and the last of them: what is left of a pass is
    dealt out in turn, so that some first ranks may have one sample more than the others.

    Args:
        state: of a loader with a sampler of the package `samplers`; see `untold`.
        world_size: ranks that go on.

    Raises:
        StateError: the state is none that a loader makes, or would not load on so many ranks; see `bound_to_ranks`.
    """

    def __init__(self, state: LoaderState, world_size: int) -> None:
        identity = state.sampler
        if identity.get(_WEIGHTS) is not None:  # places do not depend on them
            identity = {key: value for key, value in identity.items() if key != _WEIGHTS}
        self._identity = identity
        self._sampler = sampler = sampler_of(identity, 0, state.world_size)
        check_state(state, state, size=sampler.size, adopt=frozenset(), bound_to_ranks=None)
        bound = bound_to_ranks(identity)
        if bound is not None and world_size != state.world_size:
            raise StateError(f"world_size={world_size}: the state was made by {state.world_size} ranks; {bound}")
        self.state = state
        self.world_size = world_size
        self.size = sampler.size
        """Places in a pass; None: endless."""
        self.alike = sampler.elastic and sampler_of(identity, 0, 2).step == 1
        """Whether every rank gets the same samples, and goes through the whole pass by itself."""

    @property
    def left(self) -> int | None:
        """Places of the pass that are not taken; None: endless."""
        return None if self.size is None else self.size - self.state.place

    @property
    def shares(self) -> list[Share]:
        """What each rank gets of the rest of the pass; empty: endless."""
        first, last = (self._rest(rank)[0] for rank in (0, self.world_size - 1))
        if not (isinstance(first, FiniteSampler) and isinstance(last, FiniteSampler)):
            return []
        stop = self.world_size
        more = (self.left or 0) % stop if first.num_samples != last.num_samples else stop
        shares = [Share(0, more, first.num_samples, first.common_samples)]
        return shares if more == stop else [*shares, Share(more, stop, last.num_samples, last.common_samples)]

    @property
    def repeated(self) -> int:
        """Samples that come twice in the pass, so that all ranks have as many."""
        return 0 if self.alike else max(0, self._given() - (self.left or 0))

    @property
    def dropped(self) -> int:
        """Samples of the pass that no rank gets, so that all ranks have as many."""
        return 0 if self.alike else max(0, (self.left or 0) - self._given())

    def batches(self, batch_size: int, *, drop_last: bool) -> Batches | None:
        """The rest of the pass in batches; None: endless.

        Args:
            batch_size: samples of a rank.
            drop_last: whether the loader leaves out short batches.
        """
        shares = self.shares
        if not shares:
            return None
        counts = [share.common // batch_size if drop_last else -(-share.samples // batch_size) for share in shares]
        most, last, left_out, done_earlier = max(counts), 0, 0, 0
        for share, count in zip(shares, counts, strict=True):
            ranks = share.stop - share.start
            left_out += ranks * max(0, share.samples - count * batch_size)
            if count < most:
                done_earlier += ranks
            elif most:
                last += ranks * min(batch_size, share.samples - (most - 1) * batch_size)
        return Batches(most, min(counts), done_earlier, last, left_out)

    def where(self, rank: int) -> Where | None:
        """Where a rank of an endless sampler is; None: passes end."""
        sampler, first = self._rest(rank)
        if not isinstance(sampler, EndlessSampler):
            return None
        if isinstance(sampler, ShardedInfiniteSampler):
            size = _shard(sampler)
            return Where(first // size, first % size, size, own=True)
        size = sampler.sample_count * int(self._identity.get("repeats", 1))
        place = int(sampler.places(first, first + 1)[0])
        return Where(place // size, place % size, size, own=False)

    def next(self, rank: int, count: int) -> Next:
        """What a loader that goes on on this rank yields first: as much as is asked for, up to the pass's end.

        Args:
            rank: from 0 to world_size - 1.
            count: samples.
        """
        sampler, first = self._rest(rank)
        places = sampler.places(first, first + count).tolist()
        reason = _NO_WEIGHTS if self._identity is not self.state.sampler else _too_dear(sampler, max(places, default=0))
        if reason is not None:
            return Next(places, None, reason)
        epoch = 0 if self.size is None else self.state.epoch
        return Next(places, sampler.stretch(epoch, first, first + count)[0].tolist())

    def _rest(self, rank: int) -> tuple[Sampler, int]:
        """A rank's sampler, and the first of its samples that is not taken."""
        sampler = sampler_of(self._identity, rank, self.world_size)
        if sampler.elastic:
            return sampler.after(self.state.place), 0
        return sampler, -(-self.state.place // sampler.step)

    def _given(self) -> int:
        """Samples that all ranks together get in the rest of the pass."""
        return sum((share.stop - share.start) * share.samples for share in self.shares)


def _shard(sampler: ShardedInfiniteSampler) -> int:
    """Samples that a rank owns."""
    count, ranks = sampler.sample_count, sampler.step
    return count // ranks if sampler.shuffle else -(-(count - sampler.start) // ranks)


def _too_dear(sampler: Sampler, last: int) -> str | None:
    """Why rows are not told up to a place: the whole order would have to be worked out for them. None: they are cheap.

    A state may come from anybody, and say that there are 10**12 samples.
    """
    if not sampler.shuffle or isinstance(sampler, KeyedEpochSampler | KeyedInfiniteSampler):
        return None
    count = sampler.sample_count
    laps = max(1, -(-(sampler.size or 0) // count))
    costs = [(laps * count, _MOST_SHUFFLED, "{:,} samples would have to be shuffled")]
    if isinstance(sampler, InfiniteSampler):
        costs.append((last, _MOST_DRAWN, "{:,} random numbers would have to be drawn"))
    if isinstance(sampler, ShardedInfiniteSampler) and not sampler.use_new_shuffle_tensor_slice:
        costs.append((_shard(sampler), _MOST_CHAINED, "{:,} samples would have to be shuffled one after the other"))
    dear = next((text.format(cost) for cost, most, text in costs if cost > most), None)
    return None if dear is None else f"{dear} for it; load the state into a loader to see them"
