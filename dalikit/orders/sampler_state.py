"""What a sampler of other people said of itself at one moment; written down only if somebody asks for it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from dalikit.errors import StateError
from dalikit.orders.packing import pack, unpack

__all__ = ["SamplerState"]


class SamplerState:
    """A sampler's `state_dict()`, as it was.

    It is taken with every batch that is drawn, and most are never asked for: so it is copied then, and packed later. A
    sampler whose state cannot be copied or written down can be iterated all the same.

    Args:
        packed: what `pack` gave before.
    """

    def __init__(self, packed: Any = None) -> None:
        self._packed = packed
        self._copy: Any = None  # not packed yet
        self._owner = ""
        self._error: StateError | None = None

    @classmethod
    def of(cls, sampler: Any, owner: str) -> SamplerState:
        """Takes it now. Never fails.

        Args:
            sampler: has `state_dict`.
            owner: its name, for messages.
        """
        taken = cls()
        taken._owner = owner
        try:
            state = sampler.state_dict()
        except Exception as error:  # nobody may ever want it
            taken._error = StateError(
                f"{owner}: its state_dict() failed ({error!r}). Mend it; or take it out, then a resume iterates the "
                "sampler once more and compares"
            )
            taken._error.__cause__ = error
            return taken
        try:
            taken._copy = deepcopy(state)
        except Exception:  # what cannot be copied can seldom be written, but a tensor with a gradient can
            taken._pack(state)
        return taken

    def pack(self) -> Any:
        """What JSON can hold of it; see `packing.pack`.

        Raises:
            StateError: it holds what cannot be written down, or the sampler could not tell it.
        """
        if self._copy is not None:
            self._pack(self._copy)
        if self._error is not None:
            raise self._error.with_traceback(None)
        return self._packed

    def unpack(self) -> Any:
        """A copy for the sampler to load. Raises as `pack` does."""
        return unpack(self.pack())

    def _pack(self, state: Any) -> None:
        self._copy = None
        try:
            self._packed = pack(state, self._owner)
        except StateError as error:
            self._error = error
