"""A loader's states: makes them, admits those that fit, and compares those of all ranks."""

from __future__ import annotations

import logging
from typing import Any

from dalikit.agreement import RankAgreement
from dalikit.arguments import describe
from dalikit.orders import Order, OrderState, OwnOrder, SamplerOrder
from dalikit.state import LoaderState, check_state, describe_differences, describe_rest

__all__ = ["Checkpointer"]

_LOG = logging.getLogger("dalikit")

_COMPARED = ("seed", "dataset", "sampler", "passes", "place", "epoch", "exclude")
"""Of a state: what has to be the same on all ranks."""


class Checkpointer:
    """What a loader says of itself in its states.

    A copy by pickle compares its ranks anew.

    Args:
        order: where the loader is.
        dataset: what it reads.
        seed_was_given: by the user; else a state brings its own.
        batch_size: samples a batch of this rank.
        pixels: `transform`, `executor` and `exclude` of a LoaderState.
    """

    def __init__(
        self, order: Order, dataset: Any, *, seed_was_given: bool, batch_size: int | None, **pixels: str | None
    ) -> None:
        self._order = order
        self._dataset = dataset
        self._seed_was_given = seed_was_given
        self._batch_size = batch_size
        self._pixels: dict[str, Any] = pixels
        self._compared = False
        self._agreement = _agreement_for(order)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_compared", "_agreement")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._compared = False
        self._agreement = _agreement_for(self._order)

    def make(self, seed: int, *, under_way: bool) -> LoaderState:
        """Where the loader is.

        Raises:
            StateError: that cannot be told.
        """
        return self._make(self._order.state(under_way=under_way), seed)

    def _make(self, order: OrderState, seed: int) -> LoaderState:
        return LoaderState.of_order(order, seed=seed, dataset=describe(self._dataset), **self._pixels)

    def admit(self, state: Any, seed: int) -> LoaderState:
        """Reads what `state_dict` gave, and logs what is otherwise here.

        Raises:
            StateError: it does not fit this loader; both sides are shown.
        """
        order = self._order
        theirs = LoaderState.from_dict(state)
        mine = LoaderState.from_dict(self._make(order.fresh_state(), seed).to_dict())  # as plain as theirs
        check_state(theirs, mine, size=order.size, adopt=self._adoptable(), bound_to_ranks=order.bound_to_ranks)
        for sentence in describe_differences(theirs, mine):
            _LOG.warning(sentence)
        if theirs.world_size != mine.world_size:
            _LOG.info(describe_rest(theirs, mine.world_size, size=order.size, batch_size=self._batch_size))
        self._compared = False
        if self._agreement is not None:
            self._agreement.withdraw()
        return theirs

    def _adoptable(self) -> frozenset[str]:
        """What a state may bring along: a seed that nobody has given, and with it that of our own sampler."""
        if self._seed_was_given:
            return frozenset()
        return frozenset({"seed", "sampler.seed"} if isinstance(self._order, OwnOrder) else {"seed"})

    def compare_ranks(self, seed: int) -> None:
        """Whether all ranks load the same, when the first iteration has begun, or the first after a state was admitted.

        Raises:
            RankMismatchError: they do not.
        """
        if self._agreement is None:
            return
        compared, self._compared = self._compared, False  # after a difference all ranks compare again
        if compared:
            self._agreement.finish()
        else:
            state = self.make(seed, under_way=True).to_dict()
            self._agreement.check({name: state.get(name) for name in _COMPARED} | {"batch_size": self._batch_size})
        self._compared = True


def _agreement_for(order: Order) -> RankAgreement | None:
    """None: the sampler is not shared out among ranks."""
    if not isinstance(order, SamplerOrder) or order.sampler.step == 1:
        return None
    return RankAgreement(rank=order.sampler.start, world_size=order.sampler.step)
