"""The order of iterable datasets: they say themselves what comes next."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dalikit.errors import StateError
from dalikit.fetch import Request
from dalikit.orders.base import MOST_PLACES, Order, OrderState, Progress
from dalikit.orders.base_seed import BaseSeed
from dalikit.orders.packing import pack, unpack
from dalikit.orders.passes import Passes
from dalikit.state import ITERABLE_IS_BOUND

__all__ = ["IterableOrder"]


@dataclass(slots=True)
class IterableProgress(Progress):
    """With where each of those that read is: worker processes, or this one as number 0."""

    readers: dict[int, Any] = field(default_factory=dict)
    """What came with the last batch of each that was taken; absent: none was."""
    next_reader: int = 0
    """Whose batch comes next."""
    began: int = 0
    """`taken`, when the iteration began."""
    promised: int | None = None
    """The dataset's length, if the user asked for it before."""
    untold: bool = False
    """A batch came without its reader's state."""
    loaded: bool = False
    """It is the first iteration after a state was loaded."""


class IterableOrder(Order):
    """Requests without indices, one after the other, until those that read say that the pass is over.

    `Progress.taken` counts batches. Batches come from the workers in turn; one that has ended is passed over. Each
    iteration is the next pass. `set_epoch` sets the pass, that is the key of the augmentation: to tell the dataset is
    the user's, as with torch.

    A state holds, of each worker, what its dataset's `state_dict` was after its last batch that the user took: the
    `state` of the batch, {"worker": number, "count": ..., "ended": ..., "dataset": state_dict}; and whose turn is next.
    Worker processes each hold a copy of the dataset, so their number must be the same in a resume. The beginning of a
    pass needs none of it. A batch that did not arrive, because its delivery failed, comes once more in a resume.

    Args:
        dataset: the iterable one.
        batch_size: samples a batch; None: single samples, which are not collated.
        drop_last: each worker leaves out its last batch if it is short.
        num_workers: worker processes; 0: it is read in this one.
        generator: the loader's: torch draws one number from it whenever an iteration begins. None: nothing is drawn.
        persistent: of the loader: its worker processes live on, and torch draws the number once.
        rank: of this process.
        world_size: ranks that there are.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int | None,
        drop_last: bool,
        num_workers: int,
        generator: torch.Generator | None = None,
        persistent: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._dataset = dataset
        self._batch_size = batch_size
        self._drop_last = drop_last
        self._num_workers = num_workers
        self._seed = BaseSeed(generator, persistent=persistent) if generator is not None else None
        self._rank = rank
        self._world_size = world_size
        self._promised: int | None = None
        self._passes = Passes(IterableProgress(0, 0, 0))

    @property
    def bound_to_ranks(self) -> str | None:
        """It always is."""
        return ITERABLE_IS_BOUND

    @property
    def size(self) -> int:
        """Nobody knows."""
        return MOST_PLACES

    def __len__(self) -> int:
        """Batches in a pass, if the dataset's length is that of a pass over all workers.

        Raises:
            TypeError: the dataset has no length.
        """
        length = self._promised = len(self._dataset)
        if self._batch_size is None:
            return length
        return length // self._batch_size if self._drop_last else math.ceil(length / self._batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Sets the pass of the next iteration."""
        self._passes.enter(epoch)

    # Iteration

    def begin(self) -> IterableProgress:
        """The next pass, or the one that a loaded state is in: then see `resume_states`."""
        if self._seed is not None and self._seed.due:
            self._seed.draw()
        passes, resumed = self._passes.following()
        progress = IterableProgress(passes, passes, 0, loaded=self._passes.resumed)
        if resumed:
            current = self._passes.current
            progress.taken = progress.began = current.taken
            progress.readers, progress.next_reader = dict(current.readers), current.next_reader
        progress.promised = self._promised
        return self._passes.begin(progress)

    def requests(self, progress: Progress) -> Iterator[Request]:
        """Without end. A pure function: may be advanced on any thread."""
        batched, nothing = self._batch_size is not None, np.empty(0, dtype=np.int64)
        passes, taken = progress.passes, progress.taken
        return (Request((), nothing, number, passes, batched) for number in itertools.count(taken + 1))

    def resume_states(self) -> Mapping[int, Any] | None:
        """What the readers of the iteration that began last are to go on from: worker -> the `state` of its last batch.

        A reader that is not among them begins at the beginning. Those with a state have their dataset load
        `state["dataset"]` before it is iterated, and count on from `state["count"]`; one whose dataset then has no more
        ends at once. None: no state was loaded, all begin as they are; {}: one was, of the beginning of a pass, to
        which datasets that live on from an earlier iteration would not go back by themselves.
        """
        current = self._passes.current
        return dict(current.readers) if current.loaded else None

    @property
    def first_worker(self) -> int:
        """Whose batch is to come first in the iteration that began last.

        The others follow in turn: of four workers, with first_worker = 2, batches come from 2 3 0 1 2 3 ...; one that
        has ended is passed over. It is less than the number of workers, and 0 without a resume. Worker numbers here,
        in `resume_states` and in the `state` of batches are those that the dataset sees (`get_worker_info().id`), so
        that each share goes on where it was, in whichever process.
        """
        return self._passes.current.next_reader

    def count(self, progress: Progress) -> None:
        """Notes where the reader of the batch is, and warns if there are more than the dataset promised."""
        assert isinstance(progress, IterableProgress)
        if progress.state is None:
            progress.untold = True
        else:
            worker = int(progress.state["worker"])
            progress.readers[worker] = progress.state
            progress.next_reader = (worker + 1) % max(self._num_workers, 1)
        number = progress.taken - progress.began
        if progress.promised is not None and number > progress.promised:
            self._warn(progress.promised, number)

    def _warn(self, promised: int, number: int) -> None:
        # torch's words, as scripts filter them
        text = (
            f"Length of IterableDataset {self._dataset} was reported to be {promised}(when accessing len(dataloader)), "
            f"but {number} samples have been fetched. "
        )
        if self._num_workers:
            text += (
                "For multiprocessing data-loading, this could be caused by not properly configuring the "
                "IterableDataset replica at each worker. Please see "
                "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for examples."
            )
        warnings.warn(text, stacklevel=4)

    def end_pass(self, progress: Progress) -> None:
        """The next pass follows, from the beginning."""
        passes = progress.passes + 1
        self._passes.end(progress, IterableProgress(passes, passes, 0))

    # State

    def fresh_state(self) -> OrderState:
        """The beginning of the first pass."""
        return self._state(IterableProgress(0, 0, 0))

    def state(self, *, under_way: bool) -> OrderState:
        """Where the user is.

        Raises:
            StateError: within a pass, of a dataset that has no `state_dict`, or one that cannot be written down.
        """
        if self._passes.moved and not under_way:
            passes, resumed = self._passes.following()
            if not resumed:
                return self._state(IterableProgress(passes, passes, 0))
        return self._state(self._passes.current)

    def load(self, state: OrderState) -> None:
        """Goes to where a state says.

        Raises:
            StateError: `extra` is of another kind of order, or of another rank.
        """
        progress = IterableProgress(state.passes, state.epoch, state.place)
        if state.place:
            extra = state.extra or {}
            try:
                readers = {int(reader["worker"]): unpack(reader) for reader in extra["readers"]}
                next_reader, rank = int(extra["next_reader"]), int(extra["rank"])
                beyond = [worker for worker in [*readers, next_reader] if not 0 <= worker < max(self._num_workers, 1)]
            except (KeyError, TypeError, ValueError) as error:
                raise StateError(
                    f"state['extra']: is not what a loader of an iterable dataset gives in its state_dict() ({error!r})"
                ) from None
            if beyond:
                raise StateError(f"state['extra']: has workers {beyond}, the loader has {self._num_workers}")
            if rank != self._rank:
                raise StateError(
                    f"state: is that of rank {rank}, this is rank {self._rank}; with an iterable dataset each rank "
                    "saves and loads its own"
                )
            progress.readers, progress.next_reader = readers, next_reader
        self._passes.resume(progress)

    def _state(self, progress: IterableProgress) -> OrderState:
        extra = None
        if progress.taken:
            if progress.untold:
                raise StateError(self._reason())
            name = type(self._dataset).__name__
            readers = [pack(reader, name) for _, reader in sorted(progress.readers.items())]
            extra = {"readers": readers, "next_reader": progress.next_reader, "rank": self._rank}
        return OrderState(
            passes=progress.passes,
            place=progress.taken,
            epoch=progress.passes,
            world_size=self._world_size,
            sampler={"sampler": None, "num_workers": self._num_workers},
            extra=extra,
        )

    def _reason(self) -> str:
        name = type(self._dataset).__name__
        return (
            f"{name}: an iterable dataset without state_dict() and load_state_dict() cannot say where it is within a "
            "pass. Give it both; or use the map-style form of the data, with __getitem__(index) and len (for images: "
            "dalikit.datasets, or any dataset with get_image_data(index)), where a place is a number; or save between "
            "passes"
        )
