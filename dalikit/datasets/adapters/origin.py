"""Whose class a dataset is, told from its class's lineage: no package is imported."""

from __future__ import annotations

from typing import Any

from dalikit.errors import ArgumentError

__all__ = ["check_not_overridden", "find_class", "overridden", "own_members"]

_METHODS = ("__getitem__", "__getitems__", "__len__")
"""What says which items a dataset has."""


_OF_ANY_CLASS = frozenset(
    {"__annotate__", "__annotate_func__", "__dict__", "__init__", "__init_subclass__", "__repr__", "__weakref__"}
)
"""Code of a class that it has in any case, or that has no say in what its items are."""


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


def own_members(dataset: Any, origin: type) -> set[str]:
    """What the classes of a dataset define beside those that `origin` is derived from; not how it is made, nor what
    Python itself notes down in a class, such as `__module__` or, when it is first copied, `__slotnames__`.
    """
    kinds = [cls for cls in type(dataset).__mro__ if cls not in origin.__mro__]
    return {name for cls in kinds for name, value in vars(cls).items() if not _is_note(name, value)}


def _is_note(name: str, value: Any) -> bool:
    if not name.startswith("__"):
        return False
    return name in _OF_ANY_CLASS or not (callable(value) or hasattr(type(value), "__get__"))


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
