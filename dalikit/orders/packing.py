"""States of other people's objects, written so that JSON can hold them, and read back without unpickling anything."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dalikit.errors import StateError

__all__ = ["pack", "pack_bytes", "unpack", "unpack_bytes"]

_MARK = "~"  # keys that say what a dict stands for; dicts of the user's that have such keys become pairs


def pack(value: Any, owner: str) -> Any:
    """A copy of `value` that JSON can hold: tensors, arrays and bytes as base64, tuples and odd dicts marked as such.

    Args:
        value: None, booleans, numbers, strings, bytes, CPU or GPU tensors, numpy arrays and scalars; lists, tuples and
            dicts of those.
        owner: whose it is, for the message.

    Raises:
        StateError: something else is in it.
    """
    if value is None or isinstance(value, bool):
        return value
    for plain in (int, float, str):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return pack(value.item(), owner)
    if isinstance(value, list):
        return [pack(part, owner) for part in value]
    if isinstance(value, tuple):
        return {"~tuple": [pack(part, owner) for part in value]}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith(_MARK) for key in value):
            return {str(key): pack(part, owner) for key, part in value.items()}
        return {"~dict": [[pack(key, owner), pack(part, owner)] for key, part in value.items()]}
    return _pack_numbers(value, owner)


def _pack_numbers(value: Any, owner: str) -> Any:
    if isinstance(value, bytes | bytearray):
        return {"~bytes": pack_bytes(value)}
    if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_quantized:
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return {"~tensor": pack_bytes(data), "dtype": str(value.dtype).removeprefix("torch."), "shape": [*value.shape]}
    if isinstance(value, np.ndarray) and not value.dtype.hasobject and value.dtype.names is None:
        return {"~array": pack_bytes(value.tobytes()), "dtype": value.dtype.str, "shape": [*value.shape]}
    raise StateError(
        f"{owner}: its state_dict() holds a {type(value).__name__}, which cannot be written down. Give numbers, "
        "strings, bytes, tensors, arrays, and lists, tuples and dicts of them"
    )


def unpack(packed: Any) -> Any:
    """What `pack` was given.

    Raises:
        StateError: `pack` did not make it.
    """
    if isinstance(packed, list):
        return [unpack(part) for part in packed]
    if not isinstance(packed, Mapping):
        return packed
    mark = next((key for key in packed if isinstance(key, str) and key.startswith(_MARK)), None)
    if mark is None:
        return {key: unpack(part) for key, part in packed.items()}
    try:
        return _READERS[mark](packed[mark], packed)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise StateError(
            f"state: {mark!r} in it is broken ({error!r}); give what state_dict() gave, unchanged"
        ) from None


def _read_tensor(text: str, packed: Mapping[str, Any]) -> torch.Tensor:
    dtype = getattr(torch, packed["dtype"])
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"dtype={packed['dtype']!r}")
    data = bytearray(unpack_bytes(text))
    return (
        torch.frombuffer(data, dtype=dtype).reshape(packed["shape"])
        if data
        else torch.empty(packed["shape"], dtype=dtype)
    )


def _read_array(text: str, packed: Mapping[str, Any]) -> Any:
    return np.frombuffer(unpack_bytes(text), dtype=np.dtype(packed["dtype"])).reshape(packed["shape"]).copy()


_READERS = {
    "~tuple": lambda parts, _: tuple(unpack(part) for part in parts),
    "~dict": lambda pairs, _: dict(unpack(pair) for pair in pairs),
    "~bytes": lambda text, _: unpack_bytes(text),
    "~tensor": _read_tensor,
    "~array": _read_array,
}


def pack_bytes(data: bytes | bytearray) -> str:
    """As base64."""
    return base64.b64encode(data).decode("ascii")


def unpack_bytes(text: str) -> bytes:
    """What `pack_bytes` was given. Raises ValueError (or TypeError) if it is no base64 text."""
    return base64.b64decode(text, validate=True)
