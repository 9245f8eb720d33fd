"""Turns the text of an option into what its parameter is annotated to be."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from dalikit.errors import ArgumentError

__all__ = ["convert_option"]

_BOOLEANS = {
    "true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip


def _boolean(text: str) -> bool:
    """Raises KeyError for what is neither."""
    return _BOOLEANS[text.lower()]


_CONVERTERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "bool": (_boolean, "true or false (yes, no, on, off, 1, 0)"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "Path": (Path, "a path"),
}


def convert_option(name: str, text: str, annotation: Any) -> Any:
    """Turns an option's text into a bool, int, float or Path, if its parameter is annotated as one.

    A parameter that may also be None becomes so by the text "none", in any case. One that may be a str, or is annotated
    otherwise or not at all, gets the text.

    Args:
        name: how messages name the option.
        text: what was given.
        annotation: a type, a union of types, or the source text of one (`from __future__ import annotations`).

    Raises:
        ArgumentError: the text is not of that type.
    """
    wanted = _type_names(annotation)
    kinds = [kind for kind in _CONVERTERS if kind in wanted]
    if "str" in wanted or not kinds:
        return text
    if "None" in wanted and text.lower() == "none":
        return None
    for kind in kinds:
        try:
            return _CONVERTERS[kind][0](text)
        except (KeyError, ValueError):
            continue
    allowed = " or ".join(_CONVERTERS[kind][1] for kind in kinds) + (" or none" if "None" in wanted else "")
    raise ArgumentError(f"{name} must be {allowed}, got {text!r}")


def _type_names(annotation: Any) -> set[str]:
    """The names of the types that an annotation allows."""
    if annotation is inspect.Parameter.empty:
        return set()
    if isinstance(annotation, str):
        inner = annotation.removeprefix("typing.").removeprefix("Optional[")
        names = {part.strip().rpartition(".")[2] for part in inner.removesuffix("]").split("|")}
        return names | ({"None"} if inner != annotation.removeprefix("typing.") else set())
    if get_origin(annotation) in (Union, types.UnionType):
        return {name for part in get_args(annotation) for name in _type_names(part)}
    return {"None"} if annotation is types.NoneType else {getattr(annotation, "__name__", "")}
