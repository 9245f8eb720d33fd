"""What somebody else has written, brought into a form that can be compared, shown and kept without harm."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from dalikit.errors import StateError

__all__ = ["brief", "tame_state"]

_MOST_PARTS = 1000
_DEEPEST = 32
_MOST_TEXT = 1000
_SHOWN = 80  # of a longer text
_MOST_BITS = 64


def tame_state(state: Mapping[Any, Any], *, untouched: str) -> dict[str, Any]:
    """A copy of plain numbers, texts, None, dicts and lists, of a size to print.

    What is of another type is a text that names the type.

    Args:
        state: whatever was given.
        untouched: the key of a value that may be large; it is kept as it is.

    Raises:
        StateError: it is too large or too deep for a loader's state, or holds a huge number.
    """
    budget = [_MOST_PARTS]
    return {
        _tame_key(key): value if key == untouched else _tame(value, budget, _DEEPEST) for key, value in state.items()
    }


def brief(text: str, most: int = 200) -> str:
    """On one line, and cut where a word ends, with "..." in place of the rest. A terminal obeys nothing in it.

    Args:
        text: of anybody.
        most: characters.
    """
    words = " ".join(text[: 20 * most].split())
    if len(words) > most or len(text) > 20 * most:
        start = words[: most + 1].rsplit(" ", 1)[0]
        words = f"{start[:most]} ..." if len(start) <= most else f"{start[:most]}..."
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def _tame(value: Any, budget: list[int], depth: int) -> Any:
    budget[0] -= 1
    if budget[0] < 0 or depth == 0:
        raise StateError(f"state: has more than {_MOST_PARTS:,} parts, or too deep ones; is it a loader's state?")
    if isinstance(value, Mapping):
        return {_tame_key(key): _tame(part, budget, depth - 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_tame(part, budget, depth - 1) for part in value]
    if isinstance(value, bool | None):
        return value
    if isinstance(value, int):
        if value.bit_length() > _MOST_BITS:
            raise StateError(f"state: has a number of {value.bit_length():,} bits; is it a loader's state?")
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return _tame_text(value) if isinstance(value, str) else f"<{type(value).__name__}>"


def _tame_text(text: str) -> str:
    if len(text) <= _MOST_TEXT:
        return str(text)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{text[:_SHOWN]}... ({len(text):,} characters, {digest})"


def _tame_key(key: Any) -> str:
    return key[:80] if isinstance(key, str) else f"<{type(key).__name__}>"
