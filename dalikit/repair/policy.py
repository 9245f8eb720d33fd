"""What the user wants to become of bad samples."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass
from typing import Any

from dalikit.errors import ArgumentError

__all__ = ["ON_ERROR", "ErrorPolicy"]

ON_ERROR = ("raise", "replace", "drop")
"""End the iteration; put another sample in the place; make the batch shorter."""


@dataclass(frozen=True, slots=True)
class ErrorPolicy:
    """As the user gave it, checked.

    Raises:
        ArgumentError: an argument is out of range, or of no use beside another.
    """

    on_error: str = "raise"
    """One of ON_ERROR."""
    max_errors: int | float | None = None
    """How many rows may be found bad (int), or which share of the samples (float below 1); None: as many as come."""
    quarantine: str | os.PathLike[str] | None = None
    """The report's file; None: in the folder of the process, with a name of its own for each dataset and rank."""

    def __post_init__(self) -> None:
        if self.on_error not in ON_ERROR:
            raise ArgumentError(f"on_error={self.on_error!r}: must be one of {', '.join(map(repr, ON_ERROR))}")
        if self.on_error == "raise":
            for name in ("max_errors", "quarantine"):
                if getattr(self, name) is not None:
                    raise ArgumentError(f"{name}={getattr(self, name)!r}: is for on_error='replace' or 'drop'")
        if self.max_errors is not None:
            object.__setattr__(self, "max_errors", _check_limit(self.max_errors))
        if self.quarantine is not None and not isinstance(self.quarantine, str | os.PathLike):
            raise ArgumentError(f"quarantine={self.quarantine!r}: must be the path of a file, or None")

    @property
    def tolerant(self) -> bool:
        """Whether a bad sample does not end the run."""
        return self.on_error != "raise"


def _check_limit(value: Any) -> int | float:
    message = f"max_errors={value!r}: must be a whole number, at least 0, or a share of the samples, 0 < share < 1"
    if isinstance(value, bool):
        raise ArgumentError(message)
    if isinstance(value, float):
        if not 0 < value < 1:
            raise ArgumentError(message)
        return value
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(message) from None
    if number < 0:
        raise ArgumentError(message)
    return number
