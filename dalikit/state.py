"""A checkpoint of a loader: a few numbers, and what made the stream that they count in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from dalikit.errors import StateError
from dalikit.taming import brief, tame_state

__all__ = [
    "FOREIGN_IS_BOUND",
    "ITERABLE_IS_BOUND",
    "STATE_VERSION",
    "LoaderState",
    "OrderState",
    "check_state",
    "describe_differences",
    "describe_rest",
    "why_bound_to_ranks",
]

STATE_VERSION = 1
"""Raised when older states can no longer be read (a CHECKPOINT change)."""

_ENDLESS = 2**61 - 1  # far enough from the end of 63-bit positions to go on
_FINITE = {"passes": 2**23 - 1, "epoch": 2**23 - 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderState:
    """An order's part of a checkpoint: where in the stream of samples, and what made that stream."""

    passes: int
    """As the fields of LoaderState, and so are all that follow."""
    place: int
    epoch: int
    world_size: int
    sampler: Mapping[str, Any]
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderState:
    """Where a loader is. JSON-able; costs nothing to make."""

    passes: int
    """Complete passes over the sampler before this one."""
    place: int
    """Samples that all ranks together had taken of this pass, counted in the global order. With a torch-style sampler:
    those of this rank, times the ranks. Of an iterable dataset: batches of this rank."""
    epoch: int
    """The sampler's epoch (it stays 0 where `set_epoch` is never called)."""
    seed: int
    """Key of the augmentation parameters."""
    world_size: int
    """Ranks among which the sampler divides its places."""
    sampler: Mapping[str, Any]
    """What makes the order: the sampler's class and arguments. Of an iterable dataset: what shares it out."""
    dataset: Mapping[str, Any]
    """Class, length and fingerprint of the dataset."""
    transform: str
    """Fingerprint of the transform."""
    executor: str
    """"dali" or "host"."""
    version: int = STATE_VERSION
    extra: Mapping[str, Any] | None = None
    """What else an order needs to go on, if it is not one of dalikit's samplers; JSON-able."""
    exclude: str | None = None
    """How many rows are excluded, and a hash of them; None: none are."""

    @classmethod
    def of_order(cls, order: OrderState, **others: Any) -> LoaderState:
        """An order's part and the fields that are not the order's: a whole."""
        return cls(**{name: getattr(order, name) for name in _ORDER_FIELDS}, **others)

    @property
    def order(self) -> OrderState:
        """The order's part."""
        return OrderState(**{name: getattr(self, name) for name in _ORDER_FIELDS})

    def to_dict(self) -> dict[str, Any]:
        """Numbers, strings, None, and dicts of them. Always the same keys, and `extra` as JSON: torch's distributed
        checkpoints take a dict apart, and load the keys that a fresh loader has.
        """
        state = asdict(self)
        if self.extra is not None:
            state["extra"] = json.dumps(self.extra)
        return state

    @classmethod
    def from_dict(cls, state: Any) -> LoaderState:
        """Reads what `to_dict` made.

        Raises:
            StateError: it is no such dict, or of another version.
        """
        if not isinstance(state, Mapping):
            advice = ": json.loads it first" if isinstance(state, str | bytes) else ""
            raise StateError(f"state: must be what state_dict() gave, a dict, came {type(state).__name__}{advice}")
        plain = tame_state(state, untouched="extra")
        _check_keys(cls, plain)
        for name in ("passes", "place", "epoch", "seed", "world_size"):
            least = 1 if name == "world_size" else 0
            if not isinstance(plain[name], int) or isinstance(plain[name], bool) or plain[name] < least:
                raise StateError(f"state[{name!r}]={plain[name]!r}: must be a whole number, at least {least}")
        for name, kind in _KINDS.items():
            if not isinstance(plain.get(name), kind):
                raise StateError(
                    f"state[{name!r}]: must be what state_dict() gave, came {brief(repr(plain[name]), 80)}"
                )
        return cls(**{**plain, "extra": _read_extra(plain.get("extra"))})


def _check_keys(cls: type[LoaderState], state: Mapping[str, Any]) -> None:
    """Refuses what is no loader's state, or one of another version."""
    names = {known.name for known in fields(cls)}
    if not names & set(state):
        inside = [key for key, value in state.items() if isinstance(value, Mapping) and names & set(value)]
        found = f"; there is one at [{inside[0]!r}]" if inside else ""
        raise StateError(f"state: is no loader's state (its keys: {_some(state)}){found}; give what state_dict() gave")
    version = state.get("version")
    if version != STATE_VERSION or isinstance(version, bool):
        raise StateError(f"state['version']={version!r}: this dalikit reads version {STATE_VERSION}")
    for word, odd in (("lacks", names - _OPTIONAL - set(state)), ("has unknown keys", set(state) - names)):
        if odd:
            raise StateError(f"state: {word} {_some(odd)}; is it a loader's state, unchanged?")


def _some(keys: Iterable[str]) -> str:
    """A few keys, in words."""
    listed = sorted(keys)
    return ", ".join(map(repr, listed[:_SHOWN])) + (", ..." if len(listed) > _SHOWN else "") if listed else "none"


def _read_extra(extra: Any) -> Mapping[str, Any] | None:
    """A dict, or one written as JSON."""
    found = extra
    if isinstance(extra, str):
        try:
            found = json.loads(extra)
        except (ValueError, RecursionError):
            found = extra
    if not isinstance(found, Mapping | None):
        raise StateError(f"state['extra']={str(extra)[:200]!r}: must be what state_dict() gave, a text or nothing")
    return found


_OPTIONAL = frozenset({"extra", "exclude"})
_KINDS: dict[str, Any] = {
    "sampler": Mapping,
    "dataset": Mapping,
    "transform": str,
    "executor": str,
    "exclude": str | None,
}
_SHOWN = 8
_ORDER_FIELDS = tuple(known.name for known in fields(OrderState))


def check_state(
    state: LoaderState, mine: LoaderState, *, size: int | None, adopt: frozenset[str], bound_to_ranks: str | None
) -> None:
    """Refuses a state that counts in another stream than this loader's, or beyond its end.

    Args:
        state: what is to be loaded.
        mine: this loader's own.
        size: places in a pass; None: endless.
        adopt: what may differ, because the loader takes it over: "seed" and "sampler.seed".
        bound_to_ranks: why the number of ranks must be the same; None: it need not.

    Raises:
        StateError: with both sides.
    """
    lines = []
    for name in ("dataset", "sampler", "world_size", "seed"):
        theirs, ours = getattr(state, name), getattr(mine, name)
        if name == "sampler" and "sampler.seed" in adopt and isinstance(theirs, Mapping):
            theirs, ours = ({**side, "seed": 0} for side in (theirs, ours))
        if theirs == ours or name in adopt or (name == "world_size" and bound_to_ranks is None):
            continue
        lines += [f"  {name} in the state:  {_show(theirs)}", f"  {name} of the loader: {_show(ours)}"]
        if name == "dataset" and _only_fingerprints_differ(theirs, ours):
            lines.append(_OTHER_CONTENTS)
        if name == "world_size":
            lines.append(f"  {bound_to_ranks}")
    if lines:
        raise StateError("the state does not fit this loader:\n" + "\n".join(lines))
    _check_limits(state, size)


FOREIGN_IS_BOUND = (
    "how a torch-style sampler shares the samples out is its own affair; use make_data_loader with "
    "SamplerType.KEYED_EPOCH, KEYED_INFINITE, EPOCH or DISTRIBUTED, which go on on any number"
)
"""Why a state of a torch-style sampler cannot go on with another number of ranks, and what to use."""

ITERABLE_IS_BOUND = (
    "how an iterable dataset shares itself out is its own affair; use a map-style dataset (of tar shards: "
    "dalikit's WebDataset) with SamplerType.KEYED_EPOCH or KEYED_INFINITE, which go on on any number"
)
"""The same of an iterable dataset."""


def why_bound_to_ranks(sampler: str) -> str:
    """Why a state of a sampler that is not elastic is for its own number of ranks, and what to use.

    Args:
        sampler: the sampler's class.
    """
    return (
        f"{sampler} shares the samples out by the number of ranks, which are not at one place of a common order; use "
        "SamplerType.KEYED_INFINITE (endless) or KEYED_EPOCH, which go on on any number"
    )


def _check_limits(state: LoaderState, size: int | None) -> None:
    limits = {"place": _ENDLESS, "passes": 0, "epoch": 0} if size is None else _FINITE | {"place": size}
    for name, limit in limits.items():
        if getattr(state, name) > limit:
            what = "a pass has {:,d} places" if name == "place" else "there are {:,d} passes at most"
            raise StateError(f"state[{name!r}]={getattr(state, name)}: is beyond the end: {what.format(limit)}")


def describe_differences(state: LoaderState, mine: LoaderState) -> Iterator[str]:
    """What a state that fits was made with, and this loader has otherwise: a sentence each."""
    for name in ("executor", "transform"):
        theirs, ours = getattr(state, name), getattr(mine, name)
        if theirs != ours:
            yield (
                f"the state was made with another {name} ({theirs}, here {ours}): the order is the same, pixels differ"
            )
    if state.exclude != mine.exclude:
        yield (
            f"the state was made with another exclude ({state.exclude or 'no row'}, here {mine.exclude or 'no row'}): "
            "the samples differ in the places of those rows"
        )


def describe_rest(state: LoaderState, world_size: int, *, size: int | None, batch_size: int | None) -> str:
    """What is left of the pass of a state that another number of ranks has made, and what of it fills no batch.

    Args:
        state: a state that fits.
        world_size: ranks that go on.
        size: places in a pass; None: endless.
        batch_size: samples a batch of each rank; None: single samples.
    """
    text = (
        f"resuming on {world_size} ranks a state made by {state.world_size}: pass {state.passes} is dealt out anew "
        f"from place {state.place:,d} on"
    )
    if size is None:
        return text
    left, whole = size - state.place, world_size * (batch_size or 1)
    return f"{text}; {left:,d} samples are left: {left // whole:,d} global batches of {whole}, and {left % whole} more"


_OTHER_CONTENTS = (
    "  the same class and length, but other contents: names, order, targets, or options such as target= with which the "
    "dataset was opened"
)


def _only_fingerprints_differ(theirs: Any, ours: Any) -> bool:
    return isinstance(theirs, Mapping) and {**theirs, "fingerprint": None} == {**ours, "fingerprint": None}


def _show(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={part!r}" for name, part in value.items())
    return repr(value)
