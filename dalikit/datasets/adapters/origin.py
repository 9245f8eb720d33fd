"""Whose class a dataset is, told from its class's lineage: no package is imported."""

from __future__ import annotations

from typing import Any

from dalikit.errors import ArgumentError

__all__ = ["check_not_overridden", "find_class", "overridden"]

_METHODS = ("__getitem__", "__getitems__", "__len__")
"""What says which items a dataset has."""


def find_class(thing: Any, package: str, *names: str) -> type | None:
    """The class of a package that an object is of, or is derived from: the nearest, of these names if any are given."""
    for cls in type(thing).__mro__:
        if _is_of(cls, package) and (not names or cls.__name__ in names):
            return cls
    return None


def overridden(dataset: Any, package: str) -> list[str]:
    """The methods that say which items a dataset has, where a class from outside the package has its own."""
    found = []
    for name in _METHODS:
        owner = next((cls for cls in type(dataset).__mro__ if name in vars(cls)), None)
        if owner is not None and not _is_of(owner, package):
            found.append(name)
    return found


def check_not_overridden(dataset: Any, package: str, what: str) -> None:
    """Raises ArgumentError if such methods are somebody else's: only they know what they do."""
    names = overridden(dataset, package)
    if names:
        raise ArgumentError(
            f"as_encoded({type(dataset).__name__}): the class has its own {' and '.join(names)} in place of {what}'s, "
            "and only they know what an item is. Give the class get_image_data(index) and get_target(index) instead"
        )


def _is_of(cls: type, package: str) -> bool:
    return f"{cls.__module__}.".startswith(f"{package}.")
