"""A function of the user's as the first step of a recipe."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, ClassVar

from dalikit.errors import ArgumentError
from dalikit.transforms.base import Transform
from dalikit.transforms.purposes import Purpose

__all__ = ["OnCPU", "without_addresses"]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def without_addresses(text: str) -> str:
    """A repr that is the same in another process."""
    return _ADDRESS.sub("", text)


@dataclass(frozen=True, repr=False)
class OnCPU(Transform):
    """Calls a function with the image, as Pillow decodes it, on the CPU; the steps after it go on with what it returns.

    For what is not on the device. Only as the first step (after `Decode`, whose EXIF orientation is applied before the
    function). The function runs on the threads that read the files, one call at a time, so it is as slow as it is in
    Python: about what torch's DataLoader does with one worker.

    Python's, numpy's and torch's global generators are seeded for each call from (seed, position) and put back after
    it, so a function that draws from them repeats after a resume. They belong to the whole process: if your own thread
    draws from them while the loader runs ahead, both may see each other's draws, and neither repeats. Give functions
    that draw a generator of their own then, or run them where nothing else draws.

    Args:
        function: takes a PIL image (RGB), returns one, or a uint8 array (H, W, 3), or a uint8 tensor (3, H, W).

    Raises:
        ArgumentError: `function` cannot be called.
    """

    function: Callable[[Any], Any] = field(compare=True)

    purpose: ClassVar[int] = Purpose.FUNCTION

    def __post_init__(self) -> None:
        """Checks the argument."""
        if not callable(self.function):
            raise ArgumentError(f"function={self.function!r}: must be a function of an image")

    def __repr__(self) -> str:
        """Name and a hash of the bytecode, without memory addresses: what a checkpoint knows of the function."""
        name = getattr(self.function, "__qualname__", None)
        module = getattr(self.function, "__module__", None)
        text = f"{module}.{name}" if name else without_addresses(repr(self.function))
        code = getattr(self.function, "__code__", None)
        return f"OnCPU({text} {_hash_of(code)})" if isinstance(code, CodeType) else f"OnCPU({text})"


def _hash_of(code: CodeType) -> str:
    """8 hex digits of what a function does, whatever its place in the file: the same in every process."""
    return hashlib.blake2b(_text_of(code).encode(), digest_size=4).hexdigest()


def _text_of(constant: Any) -> str:
    """A constant of a function, or a function's code, as text."""
    if isinstance(constant, CodeType):
        return f"{constant.co_code.hex()} {constant.co_names} {_text_of(constant.co_consts)}"
    if isinstance(constant, tuple | frozenset):
        texts = [_text_of(part) for part in constant]
        return f"{type(constant).__name__}({', '.join(texts if isinstance(constant, tuple) else sorted(texts))})"
    return without_addresses(repr(constant))
