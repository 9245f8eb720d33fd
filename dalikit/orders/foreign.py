"""The order of torch-style samplers: any iterable of indices, or of batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dalikit.errors import StateError
from dalikit.fetch import Request
from dalikit.orders.base import MOST_PLACES, Order, OrderState, Progress
from dalikit.orders.base_seed import BaseSeed
from dalikit.orders.foreign_pass import NOTHING_TAKEN, ForeignPass
from dalikit.orders.foreign_source import ForeignSource
from dalikit.orders.foreign_state import ForeignState, Start
from dalikit.orders.passes import Passes
from dalikit.orders.sampler_state import SamplerState
from dalikit.state import FOREIGN_IS_BOUND
from samplers import position

__all__ = ["ForeignOrder"]


@dataclass(slots=True)
class ForeignProgress(Progress):
    """With what draws the batches."""

    drawn: ForeignPass | None = None
    """None: the iteration did not begin yet."""
    first: int = 0
    """`taken`, when it began."""
    origin: ForeignState | None = None
    """What was loaded; or where the pass began, as far as that is not in `drawn`."""


class ForeignOrder(Order):
    """Batches of a torch-style sampler or batch sampler, in torch's order.

    The sampler is iterated anew for each iteration, and each is the next pass. `Progress.taken` counts batches: they
    may differ in length, and the sampler may be endless. The position of a sample is (samples of this rank in the pass
    before it) x world_size + rank, in its pass.

    Indices reach the dataset as the sampler gave them. They are drawn ahead of the user, but what that asked of the
    sampler's own generator beyond what torch would have asked is taken back when an iteration is cut short.

    A state brings the sampler back to where it was, at its next iteration. One that has `state_dict` and
    `load_state_dict` is asked for its state after every batch, and goes on from there. Any other is iterated once more
    and has to give the same indices again; its generator (`sampler.generator`), or torch's global one if it draws from
    that, has the same state for it. A later pass of a sampler that draws from the global generator is the user's to
    seed, as ever. A sampler's own generator that the user seeds after a load decides the pass to come, unless that is
    one of which some was taken.

    Args:
        sampler: any iterable of indices, which may be anything. Without effect beside a batch sampler.
        batch_sampler: any iterable of batches of indices: lists, tuples, tensors, arrays. torch's BatchSampler for a
            `sampler` with a batch size; None: indices come one by one, and their items are not collated.
        generator: the loader's: torch draws one number from it whenever an iteration begins. None: from the global one.
        num_workers: of the loader: with worker processes torch iterates a sampler twice and reads ahead.
        prefetch_factor: of the loader.
        persistent: of the loader: its worker processes live on, and torch draws the number once.
        rank: of this process.
        world_size: ranks that there are. They decide about positions, not about the order.
    """

    drawn_by_user = True

    def __init__(
        self,
        sampler: Any,
        batch_sampler: Any = None,
        *,
        generator: torch.Generator | None = None,
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        persistent: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._source = ForeignSource(sampler, batch_sampler)
        self._seed = BaseSeed(generator, persistent=persistent)
        self._workers = num_workers > 0
        self._ahead = num_workers * (prefetch_factor or 2) if num_workers else 0  # as far as torch reads ahead
        self._rank = rank
        self._world_size = world_size
        self._passes = Passes(ForeignProgress(0, 0, 0))
        self._global = True  # whether the sampler may draw from torch's global generator
        self._loaded_at: torch.Tensor | None = None  # state of the sampler's own generator when a state was loaded
        self._end: SamplerState | None = None  # the sampler's own at the end of the pass that ended last

    @property
    def bound_to_ranks(self) -> str | None:
        """It always is."""
        return FOREIGN_IS_BOUND

    @property
    def size(self) -> int:
        """Nobody knows."""
        return MOST_PLACES

    def __len__(self) -> int:
        """Batches in a pass.

        Raises:
            TypeError: the sampler has no length.
        """
        return len(self._source)

    def set_epoch(self, epoch: int) -> None:
        """Sets the pass of the next iteration, and the sampler's epoch if it has `set_epoch`."""
        self._source.set_epoch(epoch)
        self._passes.enter(epoch)

    # Iteration

    def begin(self) -> ForeignProgress:
        """Iterates the sampler: the next pass, or the one that a loaded state is in.

        Raises:
            StateError: the sampler does not come to where the state left off.
        """
        passes, origin = self._following()
        self._take_back()
        if origin is None:
            origin = self._origin()
            drawn = ForeignPass(self._source, self._seed, self._start())
        else:
            way = ForeignPass.replayed if origin.sampler is None else ForeignPass.continued
            drawn = way(self._source, self._seed, self._start(), origin)
        self._end = None
        taken = origin.batches
        progress = ForeignProgress(passes, self._source.epoch or 0, taken, drawn=drawn, first=taken, origin=origin)
        return self._passes.begin(progress)

    def _following(self) -> tuple[int, ForeignState | None]:
        """The pass of the next iteration, and what it goes on from, if that is a loaded state."""
        passes, same = self._passes.following()
        origin = self._passes.current.origin if self._passes.resumed else None
        if origin is None:
            return passes, None
        epoch = self._source.epoch
        if not origin.batches:  # from between two passes: whichever comes next begins there
            start = None if self._seeded_since() else origin.start
            return passes, replace(origin, epoch=epoch, start=start)
        if same and origin.epoch == epoch:
            return passes, origin
        # The user sent the sampler to another epoch: that is another pass.
        return passes + (same and not self._passes.moved), None

    def requests(self, progress: Progress) -> Iterator[Request]:
        """Draws from the sampler: on the user's thread."""
        assert isinstance(progress, ForeignProgress)
        assert progress.drawn is not None
        drawn, batched, taken = progress.drawn, self._source.batched, progress.taken
        while True:
            local = drawn.samples
            batch = drawn.draw(surely=progress.taken - progress.first + self._ahead)
            self._global = drawn.start is not None
            if batch is None:
                return
            taken += 1
            places = np.arange(local, local + len(batch)) * self._world_size + self._rank
            positions = position(progress.passes, places)
            yield Request(batch, positions, taken, progress.passes, batched, drawn.state())

    def end_pass(self, progress: Progress) -> None:
        """The next pass follows."""
        assert isinstance(progress, ForeignProgress)
        assert progress.origin is not None
        if self._passes.end(progress, ForeignProgress(progress.passes + 1, progress.epoch, 0)):
            self._end = progress.origin.sampler if progress.state is None else progress.state.get("sampler")

    def _start(self) -> Start:
        """How torch would begin an iteration now."""
        generator, due = self._source.generator, self._seed.due
        state = (torch.default_generator if generator is None else generator).get_state()
        return Start(state, own=generator is not None, base_seed=due, twice=due and self._workers)

    def _take_back(self) -> None:
        """Leaves a generator where torch would have left it when the last iteration was cut short."""
        last = self._passes.current
        if last.drawn is not None:
            last.drawn.rewind(last.taken - last.first + self._ahead)
        elif last.origin is not None and self._following()[1] is None and not self._seeded_since():
            ForeignPass.leave(self._source, self._seed, last.origin, self._ahead)

    def _seeded_since(self) -> bool:
        """Whether the user has seeded the sampler's own generator since a state was loaded: for the pass to come."""
        generator, then = self._source.generator, self._loaded_at
        return generator is not None and then is not None and not torch.equal(generator.get_state(), then)

    def _origin(self) -> ForeignState:
        """The beginning of a pass that begins now, but for its `start`."""
        sampler = self._end
        if sampler is None and self._source.stateful is not None:
            sampler = SamplerState.of(self._source.stateful, repr(self._source))
        return ForeignState(
            batches=0,
            samples=0,
            rank=self._rank,
            epoch=self._source.epoch,
            indices=None if sampler is not None else NOTHING_TAKEN,
            sampler=sampler,
            finished=self._end is not None,
        )

    # State

    def fresh_state(self) -> OrderState:
        """The beginning of the first pass, without what would bring the sampler there."""
        return self._order_state(0, None)

    def state(self, *, under_way: bool) -> OrderState:
        """Where the user is.

        Raises:
            StateError: the sampler's own state holds what cannot be written down.
        """
        current = self._passes.current
        if current.drawn is None or (self._passes.moved and not under_way):
            passes, origin = self._following()
            return self._order_state(passes, origin or self._now())
        assert current.origin is not None
        epoch = current.origin.epoch
        if current.state is None:
            return self._order_state(current.passes, replace(current.origin, start=current.drawn.start))
        taken = ForeignState(
            batches=current.taken, rank=self._rank, epoch=epoch, start=current.drawn.start, **current.state
        )
        return self._order_state(current.passes, taken)

    def load(self, state: OrderState) -> None:
        """Goes to where a state says; the sampler's epoch is set to its, and the sampler itself follows in `begin`.

        Raises:
            StateError: `extra` is of another kind of order, or of another rank.
        """
        origin = ForeignState.from_dict(state.extra)
        of_rank = origin.sampler is not None or (origin.start is not None and origin.start.own)
        if of_rank and origin.rank != self._rank:
            raise StateError(
                f"state: is that of rank {origin.rank}, this is rank {self._rank}; with {self._source!r}, which has a "
                "state of its own, each rank saves and loads its own"
            )
        if origin.epoch is not None and origin.epoch != self._source.epoch:
            self._source.set_epoch(origin.epoch)
        self._passes.resume(ForeignProgress(state.passes, state.epoch, origin.batches, origin=origin))
        generator = self._source.generator
        self._loaded_at = None if generator is None else generator.get_state()
        self._end = None

    def _now(self) -> ForeignState:
        """The beginning of a pass that would begin now."""
        self._take_back()
        start = self._start()
        origin = self._origin()
        return replace(origin, start=start if origin.sampler is None and (start.own or self._global) else None)

    def _order_state(self, passes: int, state: ForeignState | None) -> OrderState:
        return OrderState(
            passes=passes,
            place=0 if state is None else state.samples * self._world_size,
            epoch=0 if state is None else state.epoch or 0,
            world_size=self._world_size,
            sampler=self._source.identity(),
            extra=None if state is None else state.to_dict(),
        )
