"""Targets that lie beside the images in tar shards: which member holds one, and what its bytes mean."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError, ReadError

__all__ = ["MAX_TARGET", "TargetPart", "decode_target", "parse_target"]

MAX_TARGET = 256 << 20
"""256 MiB: a larger member is no target, but a mistake."""

_SHOWN = 40  # characters of a member that a message shows
_INTEGER = re.compile(rb"[+-]?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class TargetPart:
    """One target of a sample: the first member that it has of several."""

    text: str
    """As it was given: "json:label;txt"."""
    fields: dict[str, tuple[str, ...]]
    """The extensions, the first first; of each the names that lead to a value within JSON, none for all of it."""


def parse_target(text: str | None) -> tuple[TargetPart, ...]:
    """Takes "cls", "json:label;txt" or "cls,txt" apart: ';' between alternatives, ',' between targets.

    Returns:
        The targets; none for None or "none".

    Raises:
        ArgumentError: it is not of this form.
    """
    if text is None or (isinstance(text, str) and text.lower() == "none"):
        return ()
    if not isinstance(text, str):
        raise ArgumentError(f'target must be an extension, such as "cls", or None, got {text!r}')
    return tuple(_parse_part(text, part) for part in text.split(","))


def _parse_part(text: str, part: str) -> TargetPart:
    fields: dict[str, tuple[str, ...]] = {}
    for piece in part.split(";"):
        extension, colon, path = piece.strip().partition(":")
        extension = extension.removeprefix(".").lower()
        names = tuple(path.split(".")) if colon else ()
        if not extension or extension in fields or not all(names):
            raise ArgumentError(
                'target must be extensions, each once: "cls", "json:label", "cls;txt" (the first that there is) or '
                f'"cls,txt" (a tuple), got {text!r}'
            )
        if colon and _kind(extension) not in ("json", "jsn"):
            raise ArgumentError(f"target {text!r}: only JSON has fields, so {extension!r} cannot be followed by ':'")
        fields[extension] = names
    return TargetPart(part, fields)


def decode_target(data: npt.NDArray[np.uint8], extension: str, field: tuple[str, ...]) -> Any:
    """What a member's bytes mean, by the last piece of its extension, as webdataset decodes it.

    cls cls2 class count index inx id: int. json jsn: what it holds, or the value of `field`. txt text transcript: str.
    npy: an array. Anything else, and what only pickle could read: the bytes as they are.

    Raises:
        ReadError: they do not have this form. Whoever reads adds the place.
    """
    return _DECODERS.get(_kind(extension), _as_bytes)(data.tobytes(), field)


def _kind(extension: str) -> str:
    return extension.rpartition(".")[2]


def _as_bytes(data: bytes, field: tuple[str, ...]) -> bytes:
    del field
    return data


def _as_number(data: bytes, field: tuple[str, ...]) -> int:
    del field
    if not _INTEGER.fullmatch(data.strip()):
        raise ReadError(f"target {_show(data)} is no whole number; target=txt gives the text")
    return int(data)


def _as_text(data: bytes, field: tuple[str, ...]) -> str:
    del field
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ReadError(f"target {_show(data)} is no UTF-8 text: {error.reason} at byte {error.start}") from None


def _as_json(data: bytes, field: tuple[str, ...]) -> Any:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ReadError(f"target {_show(data)} is no JSON: {error}") from None
    for name in field:
        if not isinstance(value, dict) or name not in value:
            there = ", ".join(map(str, value)) if isinstance(value, dict) else f"a {type(value).__name__}"
            raise ReadError(f"target: the JSON has no field {'.'.join(field)!r}: instead of {name!r} there is {there}")
        value = value[name]
    return value


def _as_array(data: bytes, field: tuple[str, ...]) -> npt.NDArray[Any]:
    """An own reading of the header: numpy's would take what memory the header asks for before it sees the bytes."""
    del field
    file = BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[
            version
        ]
        shape, fortran, dtype = read_header(file)
    except KeyError:
        raise ReadError(f"target: npy files of version {version} are not read; save with another dtype") from None
    except Exception as error:  # a header is a Python literal: numpy raises what its parser does
        raise ReadError(f"target is no npy file: {error}") from None
    if dtype.hasobject:
        raise ReadError(f"target: an npy file of {dtype} holds Python objects, which are not read")
    start, count = file.tell(), math.prod(shape)
    if min(shape, default=0) < 0 or dtype.itemsize == 0 or count * dtype.itemsize != len(data) - start:
        raise ReadError(f"target: an npy file of shape {shape}, {dtype}, has {len(data) - start} bytes of data")
    try:
        flat: npt.NDArray[Any] = np.frombuffer(data, dtype, count, start) if count else np.empty(0, dtype)
        return flat.reshape(shape, order="F" if fortran else "C").copy()
    except ValueError as error:  # an array within each element; lengths beyond numpy's beside one of 0
        raise ReadError(f"target: an npy file of shape {shape}, {dtype}, cannot be read: {error}") from None


def _show(data: bytes) -> str:
    """The beginning of a member, for a message."""
    text = data[:_SHOWN].decode("utf-8", "backslashreplace")
    return repr(text + "..." if len(data) > _SHOWN else text)


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

_DECODERS: dict[str, Callable[[bytes, tuple[str, ...]], Any]] = {
    **dict.fromkeys(("cls", "cls2", "class", "count", "index", "inx", "id"), _as_number),
    **dict.fromkeys(("json", "jsn"), _as_json),
    **dict.fromkeys(("txt", "text", "transcript"), _as_text),
    "npy": _as_array,
}
