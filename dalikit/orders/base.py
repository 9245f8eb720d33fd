"""What all orders have in common: which samples each batch holds, pass after pass, and where the user is in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dalikit.fetch import Request
from dalikit.state import OrderState

__all__ = ["MOST_PLACES", "Order", "OrderState", "Progress"]

MOST_PLACES = 2**61
"""The size of a pass whose length nobody knows: far enough from the end of 63-bit positions to go on."""


@dataclass(slots=True)
class Progress:
    """Where one iteration is. Its loader moves it on with every batch that the user takes."""

    passes: int
    """Complete passes before this one."""
    epoch: int
    """The sampler's: the pass too, but where `set_epoch` was forgotten."""
    taken: int
    """How much of the pass the user has had, in the order's own unit; what `Request.taken` counts."""
    base: int = 0
    """The place from which `taken` counts: what lies before was taken by any number of ranks."""
    state: Any = None
    """The `Request.state` of the last batch that was taken, or what a loaded state brought; None: nothing was taken."""
    begun: bool = False
    """An iteration began here."""


class Order(ABC):
    """Made by the loader, one for its life. All methods are called on the user's thread."""

    drawn_by_user: bool = False
    """Whether `requests` must be advanced on the user's thread, as it may draw from the global generators."""

    @property
    def begins_late(self) -> bool:
        """Whether `begin` waits until the first batch is asked for; else it is called where the iterator is made."""
        return False

    @property
    @abstractmethod
    def bound_to_ranks(self) -> str | None:
        """Why a state of another number of ranks cannot be loaded, and what to use; None: it can."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Places in a pass, of all ranks together, beyond which no state may lie; None: one endless pass."""

    @abstractmethod
    def begin(self) -> Progress:
        """Enters the next iteration: from where a loaded state left off, else from the beginning of a pass."""

    def mark(self) -> Any:
        """Where all is, for `go_back`; None: an order that does not begin late."""
        return None

    def go_back(self, mark: Any) -> None:  # noqa: B027 - as above
        """The iteration that began since could not be opened: it is none, and the next one begins where it would."""

    @abstractmethod
    def requests(self, progress: Progress) -> Iterator[Request]:
        """The batches from a place on, `begin`'s. Advanced ahead of the user.

        If they are advanced on another thread than the user's, `progress` is not read after the first.
        """

    def count(self, progress: Progress) -> None:  # noqa: B027 (most orders need not know)
        """The user has one more batch, and `progress` was moved on to it."""

    @abstractmethod
    def end_pass(self, progress: Progress) -> None:
        """The iteration came to the pass's end."""

    @abstractmethod
    def __len__(self) -> int:
        """Batches in a pass of this rank. Raises TypeError if that is not known."""

    @abstractmethod
    def set_epoch(self, epoch: int) -> None:
        """Sets the pass of the next iteration."""

    @abstractmethod
    def fresh_state(self) -> OrderState:
        """The beginning of the first pass: what tells whether a state is of this order. Never fails."""

    @abstractmethod
    def state(self, *, under_way: bool) -> OrderState:
        """Where the user is: in the iteration under way, or the one that was cut short, else where the next begins.

        Raises:
            StateError: that cannot be told.
        """

    @abstractmethod
    def load(self, state: OrderState) -> None:
        """Goes to where a state says; the next `begin` continues there. The state was checked to fit, but for `extra`.

        Raises:
            StateError: `extra` does not fit.
        """
