"""Which of a dataset's columns is the image, and which the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dalikit.errors import ArgumentError

__all__ = ["Columns", "choose_columns"]

_LABEL = "label"


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of an adapted dataset."""

    image: Any
    """The image's name, or place."""
    targets: tuple[Any, ...]
    """Those that make the target."""
    bare: bool
    """The target is the value of the only column, not a dict of values."""

    def join(self, values: Mapping[Any, Any]) -> Any:
        """The target of a row, of its columns' values."""
        if self.bare:
            return values[self.targets[0]]
        return {name: values[name] for name in self.targets}


def choose_columns(
    name: str,
    columns: Sequence[str],
    *,
    images: Sequence[str],
    image: str | None,
    target: str | None,
    classes: Sequence[str] = (),
) -> Columns:
    """The image's column: the one that was asked for, else the only one that is an image. The target's: the one that
    was asked for, else the only one of classes, else "label"; else the target is a dict of all other columns.

    Args:
        name: of the dataset's class.
        columns: all of them.
        images: those that are encoded images.
        image: what was asked for.
        target: what was asked for.
        classes: those that are known to be a class's number.

    Raises:
        ArgumentError: there is no such column, or not one image.
    """
    there = ", ".join(map(repr, columns)) or "none"
    for option, wanted in (("image", image), ("target", target)):
        if wanted is not None and wanted not in columns:
            raise ArgumentError(f"as_encoded({name}): {option}={wanted!r}: there is no such column; there are {there}")
    if image is None:
        if len(images) != 1:
            found = f"{len(images)} columns of encoded images ({', '.join(images)})" if images else "no image column"
            raise ArgumentError(f"as_encoded({name}): found {found}; name it with image=. Its columns: {there}")
        image = images[0]
    if target is None:
        labels = [column for column in classes if column != image]
        if len(labels) == 1:
            target = labels[0]
        elif _LABEL in columns and image != _LABEL:
            target = _LABEL
    if target is None:
        return Columns(image, tuple(column for column in columns if column != image), bare=False)
    return Columns(image, (target,), bare=True)
