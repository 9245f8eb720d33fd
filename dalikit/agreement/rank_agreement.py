"""When the ranks of a run are compared, how long one waits for the others, and what becomes of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from dalikit.agreement.comparison import Comparison, Store, pauses
from dalikit.distributed import initialised
from dalikit.errors import RankMismatchError

__all__ = ["GIVE_UP_AFTER", "WARN_AFTER", "RankAgreement"]

WARN_AFTER = 10.0
"""Seconds for which a rank waits for the others before it says so."""

GIVE_UP_AFTER = 60.0
"""Seconds after which it goes on without them."""

_LOG = logging.getLogger("dalikit")
_ORDINALS = itertools.count()


class RankAgreement:
    """Compares what the ranks of a run load, for one loader whose sampler is shared out among them.

    Ranks that load with different seeds, of different datasets, or from different positions train without a word, on
    some samples twice and on others never. So each tells what it loads, and if they differ, every rank raises.

    **Over the store, not by a collective.** The ranks meet in the key-value store of the default process group, the one
    that set the group up. It is there with gloo and with NCCL, needs no GPU, and may be used from any thread at any
    time. A collective would have to be called by all ranks in one order: one that begins its loader before a step of
    the training, while another does so after it, would hang both, or mix the two up; with NCCL it would need a device.

    **Costs.** A rank that agrees does five operations (the last one nine), and one every quarter of a second while it
    waits for others, whatever the number of ranks: each counts itself under a hash of what it loads, and if all are
    under one hash, all is said. Only where they are not are all records read, by one rank, which tells the others.

    **How to call it.** `check(record)` when the first iteration begins, and when the first begins after a state was
    loaded; `finish()` when any other begins; `withdraw()` when a state is loaded. All on the user's thread; Ctrl-C
    ends the waiting. Nothing is compared, and `check` returns at once, where no process group is initialised, where
    the group is not the loader's ranks (a mesh with model-parallel ranks), and where it has no store (MPI).

    **Ranks that do not come** hold nobody up for ever: after `warn_after` seconds a warning says for which ranks this
    one waits, after `give_up_after` it goes on, and the comparison is `pending`. Those that come later are compared
    with it, and `finish` tells it how that ended. If it loads a state before that, it takes back what it has said, and
    says anew, in the same comparison, at the next `check`: so a rank that has looked at a batch, alone, before all
    ranks loaded a state, is compared by where it is then.
    A store that fails, because rank 0 is gone, say, is a warning: it is for the training to notice that.

    Args:
        rank: this rank.
        world_size: number of ranks among which the sampler is shared out.
        store: in place of the default process group's; for tests.
        ordinal: which loader of this process it is. Default None: the next one. The n-th of each rank is one and the
            same loader, so ranks have to make their loaders in one order.
        warn_after: seconds; see above. Default 10.
        give_up_after: seconds; see above. Default 60: ranks start minutes apart, but only before the group is set up.
    """

    def __init__(
        self,
        *,
        rank: int,
        world_size: int,
        store: Store | None = None,
        ordinal: int | None = None,
        warn_after: float = WARN_AFTER,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> None:
        self._rank = rank
        self._world_size = world_size
        self._store = store
        self._ordinal = next(_ORDINALS) if ordinal is None else ordinal
        self._warn_after = warn_after
        self._give_up_after = give_up_after
        self._round = 0
        self._pending: Comparison | None = None
        self._told = False  # whether what this rank has said in it holds

    @property
    def pending(self) -> bool:
        """Whether this rank has begun a comparison and not yet heard from all the others."""
        return self._pending is not None

    def check(self, record: Mapping[str, Any]) -> None:
        """Waits for all ranks, and compares.

        Args:
            record: what has to be the same on all ranks: numbers, strings, lists and dicts, ready for JSON.

        Raises:
            RankMismatchError: they differ. Every rank raises it, with the same text: which ranks differ in what.
        """
        self.withdraw()
        self.finish()
        store = self._store if self._store is not None else _group_store(self._rank, self._world_size)
        if store is None:
            # Counted all the same: ranks stay in step if one begins before the group is set up and another after it.
            self._round += 1
            return
        with self._tolerated():
            if self._pending is None:
                self._pending = Comparison(store, self._ordinal, self._round, self._rank, self._world_size)
                self._round += 1
            self._pending.enter(json.dumps(record, sort_keys=True))
            self._told = True
            if self._waited_for(self._pending):
                self._conclude(self._pending)

    def finish(self) -> None:
        """Ends a comparison that is pending, if all ranks have come meanwhile; costs one operation, or none.

        Raises:
            RankMismatchError: as `check`.
        """
        comparison = self._pending
        if comparison is None or not self._told:
            return
        with self._tolerated():
            if comparison.complete():
                self._conclude(comparison)

    def withdraw(self) -> None:
        """Takes back what this rank has said, if the comparison is pending and the others have not come meanwhile."""
        comparison = self._pending
        if comparison is None or not self._told:
            return
        with self._tolerated():
            self._told = not comparison.leave()

    def _conclude(self, comparison: Comparison) -> None:
        text = comparison.verdict()
        self._pending = None
        self._told = False
        if text:
            raise RankMismatchError(text)

    def _waited_for(self, comparison: Comparison) -> bool:
        """Whether all ranks have come in time.

        By looking again and again. The store's own `wait` would hold up all other threads that use the store, Ctrl-C
        too, and prints warnings of its own each time that it ends in vain.
        """
        begin, warned = time.monotonic(), False
        for pause in pauses():
            if comparison.complete():
                return True
            waited = time.monotonic() - begin
            if waited >= self._give_up_after:
                break
            if waited >= self._warn_after and not warned:
                warned = True
                self._warn_of_waiting(comparison)
            time.sleep(pause)
        _LOG.warning(
            "rank %d goes on after %g s without a comparison of what the ranks load: %s not there",
            self._rank,
            self._give_up_after,
            comparison.missing(),
        )
        return False

    def _warn_of_waiting(self, comparison: Comparison) -> None:
        _LOG.warning(
            "rank %d waits for %s to iterate over loader number %d too, to compare what the ranks load, and goes on "
            "without that after %g s. Its sampler is shared out among %d ranks, so each of them has to iterate over "
            "it; a loader for one rank alone is made with rank=0, world_size=1",
            self._rank,
            comparison.missing(),
            self._ordinal + 1,
            self._give_up_after,
            self._world_size,
        )

    @contextlib.contextmanager
    def _tolerated(self) -> Iterator[None]:
        """A store that fails ends the comparison, not the training."""
        try:
            yield
        except (RuntimeError, OSError) as error:  # torch.distributed's errors are RuntimeErrors
            self._pending = None
            self._told = False
            _LOG.warning(
                "what the ranks load was not compared: the process group's store failed on rank %d (%s: %s)",
                self._rank,
                type(error).__name__,
                str(error).partition("\n")[0],
            )


def _group_store(rank: int, world_size: int) -> Store | None:
    """The default process group's store, if it is the group of these ranks and has one."""
    distributed = initialised()
    if distributed is None or (distributed.get_rank(), distributed.get_world_size()) != (rank, world_size):
        return None
    try:
        store: Store | None = distributed.group.WORLD.get_group_store()
    except RuntimeError:
        return None
    return store
