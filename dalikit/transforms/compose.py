"""Several transforms, one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dalikit.errors import ArgumentError
from dalikit.transforms.base import Transform

__all__ = ["Compose"]


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
        if isinstance(self.transforms, Transform) or not isinstance(self.transforms, Iterable):
            raise ArgumentError(f"transforms={self.transforms!r}: must be a list of dalikit transforms")
        parts = tuple(self.transforms)
        for place, part in enumerate(parts):
            if not isinstance(part, Transform):
                raise ArgumentError(
                    f"transforms[{place}]={part!r}: must be a transform of dalikit.transforms, "
                    f"came {type(part).__module__}.{type(part).__qualname__}"
                )
        object.__setattr__(self, "transforms", parts)

    def flat(self) -> tuple[Transform, ...]:
        """The parts, with every Compose among them taken apart."""
        out: list[Transform] = []
        for part in self.transforms:
            out.extend(part.flat() if isinstance(part, Compose) else (part,))
        return tuple(out)
