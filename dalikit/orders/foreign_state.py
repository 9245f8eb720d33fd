"""What a checkpoint holds of a torch-style sampler, beside how far the user is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from dalikit.errors import StateError
from dalikit.orders.packing import pack_bytes, unpack_bytes
from dalikit.orders.sampler_state import SamplerState

__all__ = ["ForeignState", "Start"]


@dataclass(frozen=True, slots=True)
class Start:
    """How a pass was begun: with this, the sampler gives the same order once more."""

    generator: torch.Tensor
    """uint8 (n,): state of the generator before the sampler was iterated."""
    own: bool
    """It is the sampler's own generator, not torch's global one."""
    base_seed: bool
    """torch's base seed was drawn between iterating and the first batch."""
    twice: bool
    """The sampler was iterated again after that, as torch does when it starts worker processes."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "generator": pack_bytes(self.generator.numpy().tobytes()),
            "own": self.own,
            "base_seed": self.base_seed,
            "twice": self.twice,
        }

    @classmethod
    def from_dict(cls, start: Mapping[str, Any]) -> Start:
        """Reads what `to_dict` made; raises whatever shows that it did not."""
        data = bytearray(unpack_bytes(start["generator"]))
        flags = {name: bool(start[name]) for name in ("own", "base_seed", "twice")}
        return cls(generator=torch.frombuffer(data, dtype=torch.uint8), **flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignState:
    """Where the user is in a pass, and how the sampler gets there again."""

    batches: int
    """Taken in this pass."""
    samples: int
    """In those."""
    rank: int
    """Whose state it is."""
    epoch: int | None = None
    """The sampler's, if it shows one."""
    indices: str | None = None
    """Fingerprint of the indices that were taken; None: there is `sampler`."""
    start: Start | None = None
    """None: the order is not known to follow from a generator."""
    sampler: SamplerState | None = None
    """What the sampler's `state_dict()` was; None: it has none."""
    finished: bool = False
    """`sampler` is of the end of a pass: of this one, or, if nothing was taken of it, of the one before."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able.

        Raises:
            StateError: the sampler's own state is not.
        """
        state = {known.name: getattr(self, known.name) for known in fields(self)}
        state["start"] = None if self.start is None else self.start.to_dict()
        state["sampler"] = None if self.sampler is None else self.sampler.pack()
        return state

    @classmethod
    def from_dict(cls, extra: Mapping[str, Any] | None) -> ForeignState:
        """Reads what `to_dict` made.

        Raises:
            StateError: it did not make it.
        """
        try:
            state = cls._read(extra or {})
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"state['extra']: is not what a loader with a torch-style sampler gives in its state_dict() ({error!r})"
            ) from None
        return state

    @classmethod
    def _read(cls, extra: Mapping[str, Any]) -> ForeignState:
        start, sampler = extra["start"], extra.get("sampler")
        read = {
            "start": None if start is None else Start.from_dict(start),
            "sampler": None if sampler is None else SamplerState(sampler),
        }
        state = cls(**{**extra, **read})
        for name in ("batches", "samples", "rank", "epoch"):
            number = getattr(state, name)
            if not (isinstance(number, int) and number >= 0) and not (name == "epoch" and number is None):
                raise ValueError(f"{name}={number!r}")
        if state.sampler is None and not isinstance(state.indices, str):
            raise ValueError(f"indices={state.indices!r}")
        return state
