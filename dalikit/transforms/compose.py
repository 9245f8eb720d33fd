"""Several transforms, one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dalikit.errors import ArgumentError
from dalikit.transforms.base import Transform

__all__ = ["Compose", "Preset", "check_transforms", "flatten"]


def check_transforms(name: str, value: Any) -> tuple[Transform, ...]:
    """A list of dalikit transforms, as a tuple."""
    if isinstance(value, Transform) or not isinstance(value, Iterable):
        raise ArgumentError(f"{name}={value!r}: must be a list of dalikit transforms")
    parts = tuple(value)
    for place, part in enumerate(parts):
        if not isinstance(part, Transform):
            raise ArgumentError(
                f"{name}[{place}]={part!r}: must be a transform of dalikit.transforms, "
                f"came {type(part).__module__}.{type(part).__qualname__}; "
                "torchvision's own are converted by T.from_torchvision(...)"
            )
    return parts


@dataclass(frozen=True)
class Compose(Transform):
    """Several transforms, one after the other.

    Args:
        transforms: dalikit transforms, in order; another Compose among them counts as its parts.

    Raises:
        ArgumentError: one of them is not a dalikit transform.
    """

    transforms: Any

    def __post_init__(self) -> None:
        """Checks the parts and keeps them as a tuple."""
        object.__setattr__(self, "transforms", check_transforms("transforms", self.transforms))

    def flat(self) -> tuple[Transform, ...]:
        """The parts, with every Compose and Preset among them taken apart."""
        return flatten(self)


class Preset(Transform):
    """A transform that stands for others: what it comes down to is asked for when a recipe is compiled."""

    def expand(self) -> Transform:
        """The transform that is meant."""
        raise NotImplementedError


def flatten(transform: Transform) -> tuple[Transform, ...]:
    """A transform as single steps."""
    if isinstance(transform, Preset):
        return flatten(transform.expand())
    if not isinstance(transform, Compose):
        return (transform,)
    return tuple(step for part in transform.transforms for step in flatten(part))
