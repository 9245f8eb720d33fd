"""A function of the user's as the first step of a recipe."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dalikit.errors import ArgumentError
from dalikit.transforms.base import Transform

__all__ = ["OnCPU"]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclass(frozen=True, repr=False)
class OnCPU(Transform):
    """Calls a function with the image, as Pillow decodes it, on the CPU; the steps after it go on with what it returns.

    For what is not on the device. Only as the first step (after `Decode`, which has no effect then). The function runs
    on the threads that read the files, one call at a time, so it is as slow as it is in Python: about what torch's
    DataLoader does with one worker.

    Python's, numpy's and torch's global generators are seeded for each call from (seed, position) and put back after
    it, so a function that draws from them repeats after a resume; a draw of another thread in that moment is lost.

    Args:
        function: takes a PIL image (RGB), returns one, or a uint8 array (H, W, 3), or a uint8 tensor (3, H, W).

    Raises:
        ArgumentError: `function` cannot be called.
    """

    function: Callable[[Any], Any] = field(compare=True)

    purpose: ClassVar[int] = 28

    def __post_init__(self) -> None:
        """Checks the argument."""
        if not callable(self.function):
            raise ArgumentError(f"function={self.function!r}: must be a function of an image")

    def __repr__(self) -> str:
        """Without memory addresses: it is what a checkpoint knows of the function."""
        name = getattr(self.function, "__qualname__", None)
        module = getattr(self.function, "__module__", None)
        text = f"{module}.{name}" if name else _ADDRESS.sub("", repr(self.function))
        return f"OnCPU({text})"
