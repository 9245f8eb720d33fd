"""The parts that a dataset is published in, by name."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeVar

from dalikit.errors import ArgumentError

__all__ = ["find_split"]

_SplitT = TypeVar("_SplitT", bound=Enum)


def find_split(splits: type[_SplitT], split: Any) -> _SplitT:
    """The split that is meant: a member, one of the same name of DINOv2's or DINOv3's enum, or its name, in any case.

    Raises:
        ArgumentError: it is none.
    """
    name = split.name if isinstance(split, Enum) else split
    if isinstance(name, str) and name.upper() in splits.__members__:
        return splits[name.upper()]
    *names, last = splits.__members__
    raise ArgumentError(f"split must be {', '.join(names)} or {last}, got {split!r}")
