"""What the samplers' constructors accept, checked once, before anything is built."""

from __future__ import annotations

import operator
import sys

import numpy as np

__all__ = ["flag", "rank_and_world_size", "seed_number", "whole_number"]

_SEED_STOP = 2**63


def whole_number(name: str, value: object, low: int, stop: int, advice: str) -> int:
    """`value` as an int in `[low, stop)`.

    Accepts whatever has `__index__` (int, numpy integers, 0-d integer tensors), but no bool and no float: `True` and
    `3.0` where a count is meant are mistakes more often than not.

    Raises:
        TypeError: `value` is not a whole number.
        ValueError: it is out of range. `advice` ends the message and says what to do.
    """
    if type(value) is int and low <= value < stop:  # asked for every batch: the usual case first
        return value
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(
            f"{name} is {value!r} ({type(value).__name__}), but must be a whole number (int or numpy integer). {advice}"
        )
    number = operator.index(value)
    if not low <= number < stop:
        raise ValueError(f"{name} is {number}, but must lie in [{low}, {stop}). {advice}")
    return number


def flag(name: str, value: object) -> bool:
    """`value` as a bool. TypeError for anything but a bool: `"false"` and `None` are no answers."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}), but must be True or False.")
    return bool(value)


def seed_number(value: object) -> int:
    """`value` as a seed: a whole number in [0, 2**63), the range that torch and numpy both take."""
    return whole_number("seed", value, 0, _SEED_STOP, "Pass a seed that is not negative and fits 63 bits.")


def rank_and_world_size(
    rank: object, world_size: object, *, names: tuple[str, str] = ("start", "step")
) -> tuple[int, int]:
    """The two as ints, `0 <= rank < world_size`. What is None is asked of torch.distributed, else 0 and 1.

    torch is never imported for it: a process that has not imported torch has not initialised torch.distributed.
    `names` are what the caller's constructor calls the two.
    """
    group_rank, group_size = _process_group()
    size_name = names[1]
    size = whole_number(
        size_name,
        group_size if world_size is None else world_size,
        1,
        2**31,
        f"Pass the number of ranks, or leave out {size_name}: torch.distributed is asked for it.",
    )
    return (
        whole_number(
            names[0],
            group_rank if rank is None else rank,
            0,
            size,
            f"It is this process's rank and must be less than {size_name}={size}: pass both, or neither.",
        ),
        size,
    )


def _process_group() -> tuple[int, int]:
    """Rank and world size of torch.distributed's default group; (0, 1) where there is none."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return 0, 1
    return int(distributed.get_rank()), int(distributed.get_world_size())
