"""The order of dalikit's own samplers: any stretch of it can be asked for, so a place is a number."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from typing import Any

import torch

from dalikit.errors import StateError
from dalikit.fetch import Request
from dalikit.orders.base import Order, OrderState, Progress
from dalikit.orders.base_seed import BaseSeed
from dalikit.orders.passes import Passes
from dalikit.state import why_bound_to_ranks
from samplers import FiniteSampler, KeyedEpochSampler, Sampler, position

__all__ = ["SamplerOrder"]

_LOG = logging.getLogger("dalikit")


class SamplerOrder(Order):
    """Batches of a sampler of the package `samplers`.

    `Progress.taken` counts samples of this rank: batches times batch size, so that all ranks agree at an uneven end
    too. A state fits any batch size, any rank's state is good for all, and, where the sampler is elastic, for any
    number of ranks: what is left of the pass is dealt out from the state's place on.

    Args:
        sampler: says which sample comes next.
        own: the loader made the sampler itself: each iteration is a new pass, after one that was cut short too, and
            the sampler's epoch follows the pass. Else the epoch is the user's to set. A KeyedEpochSampler's follows
            the pass in any case: to set it would be forgotten.
        batch_size: samples a batch; None: single samples, which are not collated.
        drop_last: leave out the last batch of a pass if it is short.
        generator: one from which torch would draw a number whenever an iteration begins; so it is drawn here. None:
            nothing is drawn.
        persistent: see BaseSeed.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        own: bool,
        batch_size: int | None,
        drop_last: bool,
        generator: torch.Generator | None = None,
        persistent: bool = False,
    ) -> None:
        self.sampler = sampler
        own = own or isinstance(sampler, KeyedEpochSampler)
        self._own = own
        self._batch_size = batch_size
        self._drop_last = drop_last
        self._seed = BaseSeed(generator, persistent=persistent) if generator is not None else None
        self._advanced = (sampler.epoch, sampler.taken)  # the pass in which `advance` has taken some
        self._seen = self._epoch_set()
        # torch's loader draws a new order for every iteration of its own, after one that was cut short too.
        self._passes = Passes(Progress(sampler.epoch, sampler.epoch, sampler.taken), repeat=not own)

    @property
    def size(self) -> int | None:
        """The sampler's."""
        return self.sampler.size

    @property
    def bound_to_ranks(self) -> str | None:
        """Unless the sampler is elastic."""
        return None if self.sampler.elastic else why_bound_to_ranks(type(self.sampler).__name__)

    @property
    def begins_late(self) -> bool:
        """Unless torch would draw a number: frameworks iterate to see whether it works, and set the epoch after.

        So an iterator of which nothing was asked is no pass, and a loaded state stays in force.
        """
        return self._seed is None

    def begin(self) -> Progress:
        """From where a loaded state left off, else from the beginning of a pass, or from where `advance` led in it."""
        if self._seed is not None and self._seed.due:
            self._seed.draw()
        beginning = self._beginning()
        self._warn_of_what_is_left(beginning)
        return self._passes.begin(beginning)

    def _warn_of_what_is_left(self, beginning: Progress) -> None:
        """A state that was loaded said another pass: what was left of that one is not taken."""
        loaded, size = self._passes.current, self.size
        place = loaded.base + loaded.taken * self.sampler.step
        if not self._passes.resumed or beginning.passes == loaded.passes or size is None or not 0 < place < size:
            return
        _LOG.warning(
            "set_epoch(%d) leaves the pass %d of the state that was loaded: %d samples of it are not taken; "
            "set_epoch(%d) goes on in it",
            beginning.passes,
            loaded.passes,
            size - place,
            loaded.passes,
        )

    def mark(self) -> Any:
        """As Order."""
        return self._passes.mark(), self._seen

    def go_back(self, mark: Any) -> None:
        """As Order."""
        passes, self._seen = mark
        self._passes.go_back(passes)

    def requests(self, progress: Progress) -> Iterator[Request]:
        """A pure function of the place: may be advanced on any thread."""
        return _requests(
            self.sampler.after(progress.base) if progress.base else self.sampler,
            epoch=progress.epoch,
            passes=progress.passes,
            taken=progress.taken,
            batch_size=self._batch_size,
            drop_last=self._drop_last,
        )

    def end_pass(self, progress: Progress) -> None:
        """The next pass follows, unless another was entered meanwhile."""
        passes = progress.passes + 1
        self._passes.end(progress, Progress(passes, passes if self._own else self.sampler.epoch, 0))

    def __len__(self) -> int:
        """Batches in the present pass of this rank.

        Raises:
            TypeError: the sampler is endless.
        """
        taken, size = self._advance_of(self._place(under_way=False).passes), self._batch_size or 1
        end = _end(self.sampler, taken, size, drop_last=self._drop_last)
        if end is None:
            raise TypeError(f"object of type 'DataLoader' has no len(): {self.sampler!r} is endless")
        return max(0, -(-(end - taken) // size))

    def set_epoch(self, epoch: int) -> None:
        """Sets the pass of the next iteration. An endless sampler has one pass: nothing happens."""
        if isinstance(self.sampler, FiniteSampler):
            if not self._own:
                self.sampler.set_epoch(epoch)
            self._seen = self._epoch_set()
            self._passes.enter(epoch)

    def fresh_state(self) -> OrderState:
        """The beginning of the first pass."""
        return self._state(Progress(0, 0, 0))

    def state(self, *, under_way: bool) -> OrderState:
        """Where the user is; costs nothing."""
        return self._state(self._place(under_way=under_way))

    def load(self, state: OrderState) -> None:
        """Goes to where a state says; the sampler's epoch is set to its.

        Raises:
            StateError: the epoch is not the pass, though it follows the pass.
        """
        if self._own and state.epoch != state.passes:
            raise StateError(
                f"state['epoch']={state.epoch}, state['passes']={state.passes}: must be equal with this sampler; give "
                "what state_dict() gave, unchanged"
            )
        if isinstance(self.sampler, FiniteSampler) and not self._own:
            self.sampler.set_epoch(state.epoch)
        self._seen = self._epoch_set()
        base, taken = 0, -(-state.place // self.sampler.step)
        if state.place % self.sampler.step and self.sampler.elastic:  # other ranks left off between two rounds of ours
            base, taken = state.place, 0
        self._passes.resume(Progress(state.passes, state.epoch, taken, base))

    def _state(self, progress: Progress) -> OrderState:
        identity = self.sampler.identity()
        world_size = int(identity.pop("world_size"))
        identity.pop("rank")
        size = self.sampler.size
        place = progress.base + progress.taken * world_size
        return OrderState(
            passes=progress.passes,
            place=place if size is None else min(place, size),
            epoch=progress.epoch,
            world_size=world_size,
            sampler=identity,
        )

    def _beginning(self) -> Progress:
        """Where the next iteration begins."""
        if self._epoch_set() != self._seen:  # on the sampler itself, as scripts for torch do
            self._seen = self._epoch_set()
            self._passes.enter(self.sampler.epoch)
        current = self._passes.current
        passes, resumed = self._passes.following()
        epoch = passes if self._own else self.sampler.epoch
        # A state from between two passes was made before the epoch of the next was set. Within a pass another epoch is
        # another order, in which nothing was taken yet.
        if resumed and (epoch == current.epoch or not (current.taken or current.base)):
            return Progress(passes, epoch, current.taken, current.base)
        return Progress(passes, epoch, self._advance_of(passes))

    def _epoch_set(self) -> tuple[int, int]:
        """Differs if the epoch was set on the sampler meanwhile.

        Where the sampler's epoch follows the pass, to set the same one again is to go back to it. Elsewhere the order
        is that of the epoch in any case, and the passes count on.
        """
        sampler = self.sampler
        return sampler.epoch, sampler.epochs_set if self._own and isinstance(sampler, FiniteSampler) else 0

    def _advance_of(self, passes: int) -> int:
        """Samples of this rank that `advance` has taken of a pass."""
        return self._advanced[1] if passes == self._advanced[0] else 0

    def _place(self, *, under_way: bool) -> Progress:
        """Where the loader is: in the iteration under way or the one that was cut short, else where the next begins."""
        moved = self._passes.moved or self._epoch_set() != self._seen
        return self._beginning() if moved and not under_way else self._passes.current


def _requests(
    sampler: Sampler, *, epoch: int, passes: int, taken: int, batch_size: int | None, drop_last: bool
) -> Iterator[Request]:
    """The batches of one pass, from the sample `taken` of this rank on."""
    size = 1 if batch_size is None else batch_size
    end = _end(sampler, taken, size, drop_last=drop_last)
    for start in itertools.count(taken, size):
        stop = start + size if end is None else min(start + size, end)
        if stop <= start:
            return
        indices, places = sampler.stretch(epoch, start, stop)
        yield Request(indices, position(passes, places), start + size, passes, batched=batch_size is not None)


def _end(sampler: Sampler, taken: int, size: int, *, drop_last: bool) -> int | None:
    """Where the batches of a pass end, in samples of this rank; None: never."""
    if not isinstance(sampler, FiniteSampler):
        return None
    if not drop_last:
        return sampler.num_samples
    return taken + (sampler.common_samples - taken) // size * size
