"""torchvision's, DINOv2's and DINOv3's transform objects as dalikit's: known by class name, read by attributes.

None of the three is imported. Both of torchvision's APIs are known, `transforms` and `transforms.v2`; where they keep
an argument in different forms, both are read.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

from dalikit.errors import ArgumentError
from dalikit.transforms.base import Transform
from dalikit.transforms.compose import Compose
from dalikit.transforms.torchvision_classes import (
    BASES,
    READERS,
    REASONS,
    TENSOR_MAKERS,
    Reader,
    Source,
    read_nothing,
    read_sequential,
)
from dalikit.transforms.views import MultiCrop, Views

__all__ = ["Inconvertible", "convertible", "from_torchvision", "outline"]

_LIBRARIES = ("torchvision.transforms", "dinov2.data", "dinov3.data")
_WHAT_TO_DO = (
    "Leave these steps out or put transforms of dalikit.transforms in their place. A function of your own can be the "
    "first step as OnCPU(function): it gets the image as Pillow decodes it (RGB), and runs on the CPU; or apply the "
    "whole transform in the dataset's __getitem__, and give the loader none"
)
_LONGEST = 100  # characters of a step's repr in a message


def convertible(transform: Any) -> bool:
    """Whether an object is a transform of torchvision, DINOv2 or DINOv3 at all, and so meant for from_torchvision.

    True too for a class derived from one of theirs, and for a torch.nn.Sequential that holds one. False for what is
    derived from torchvision's bare base class alone: that is a callable like any other.
    """
    if _is_of_torch(transform, "Sequential"):
        return any(convertible(part) for part in transform)
    origin = _origin(type(transform))
    return origin is not None and origin.__name__ not in BASES


def from_torchvision(transform: Any) -> Transform:
    """The dalikit transform that does what a transform object of torchvision, DINOv2 or DINOv3 does.

    What is drawn comes from the same distributions, but from dalikit's own random numbers. `antialias=False` counts
    only behind a conversion to tensors: torchvision ignores it on PIL images.

    Args:
        transform: an object of torchvision.transforms, torchvision.transforms.v2, dinov2.data or dinov3.data, or a
            torch.nn.Sequential of such. dalikit's own transforms may stand among its parts, and such objects in the
            Views of a dalikit MultiCrop. What is all dalikit's is given back as it is.

    Raises:
        ArgumentError: it cannot be converted, or some of its parts cannot; every one is named, with its place and why.
    """
    converter = _Converter()
    converted = converter.convert(transform, "")
    refused = converter.refused
    if not refused:
        return converted
    lines = [f"  {f'{part.place} {part.step}'.lstrip()}: {part.reason}" for part in refused]
    count = "1 step" if len(refused) == 1 else f"{len(refused)} steps"
    raise ArgumentError("\n".join([f"{_name(type(transform))}: {count} cannot be converted:", *lines, _WHAT_TO_DO]))


def outline(transform: Any) -> Transform:
    """As from_torchvision, but with an Inconvertible in place of each step that cannot be converted."""
    return _Converter().convert(transform, "")


@dataclass(frozen=True)
class Inconvertible(Transform):
    """Stands for a step that cannot be converted."""

    step: str
    """Its repr, on one line."""
    reason: str
    """Why."""
    place: str
    """Where, such as "transforms[3].transforms[1]"; empty for the whole."""

    @property
    def cases(self) -> tuple[tuple[Transform, ...], ...]:
        """One in which nothing is done, so that it can stand inside any other transform."""
        return ((),)


class _Converter:
    """Converts, and notes what cannot be."""

    def __init__(self) -> None:
        self.refused: list[Inconvertible] = []
        self._on_tensors = False  # whether a conversion to tensors was met already

    def convert(self, transform: Any, place: str) -> Transform:
        """A transform, with whatever it holds."""
        if isinstance(transform, Compose):
            parts = [
                self.convert(part, _within(place, f"transforms[{n}]")) for n, part in enumerate(transform.transforms)
            ]
            return transform if all(map(operator.is_, parts, transform.transforms)) else Compose(parts)
        if isinstance(transform, MultiCrop):
            return self._convert_views(transform, place)
        if isinstance(transform, Transform):
            self._note_tensors(type(transform))
            return transform
        try:
            converted = _reader(transform)(Source(self.convert, transform, place, self._on_tensors))
        except ArgumentError as error:
            self.refused.append(Inconvertible(_on_one_line(transform), str(error), place))
            converted = self.refused[-1]
        self._note_tensors(_origin(type(transform)))
        return converted

    def _note_tensors(self, kind: type | None) -> None:
        self._on_tensors |= kind is not None and kind.__name__ in TENSOR_MAKERS

    def _convert_views(self, crop: MultiCrop, place: str) -> MultiCrop:
        """Views may be given torchvision's transforms; one that stands for several views is converted once."""
        groups = []
        on_tensors = self._on_tensors
        for group in crop.views:
            known: dict[int, Transform] = {}
            for number, each in enumerate(group.transform):
                if id(each) not in known:
                    self._on_tensors = on_tensors
                    known[id(each)] = self.convert(each, _within(place, f"{group.name}[{number}]"))
            groups.append(Views(group.name, tuple(known[id(each)] for each in group.transform)))
        return crop if tuple(groups) == crop.views else MultiCrop(groups, crop.aliases, crop.constants)


def _reader(transform: Any) -> Reader:
    """What reads an object.

    Raises:
        ArgumentError: nothing does.
    """
    if _is_of_torch(transform, "Sequential"):
        return read_sequential
    if _is_of_torch(transform, "Identity"):
        return read_nothing
    kind = type(transform)
    origin = _origin(kind)
    if origin is None:
        raise ArgumentError(f"{_name(kind)} is no transform of dalikit, torchvision, DINOv2 or DINOv3")
    own = _overridden(transform, origin)
    if own:
        raise ArgumentError(f"{_name(kind)} is a subclass of {_name(origin)} with its own {', '.join(own)}")
    reader = READERS.get((_library_of(origin) or "", origin.__name__))
    if reader is None:
        raise ArgumentError(REASONS.get(origin.__name__, "there is no such operation"))
    return reader


def _library_of(kind: type) -> str | None:
    return next((name for name in _LIBRARIES if f"{kind.__module__}.".startswith(f"{name}.")), None)


def _origin(kind: type) -> type | None:
    """The class of a known library that an object's class is, or is derived from."""
    return next((each for each in kind.__mro__ if _library_of(each) is not None), None)


def _overridden(transform: Any, origin: type) -> list[str]:
    """Methods that a class derived from a known one, or the object itself, has in place of the known ones.

    How it is made and how it prints do not matter: its attributes are read.
    """
    kinds = type(transform).__mro__
    names = {
        name
        for kind in kinds[: kinds.index(origin)]
        for name in vars(kind)
        if (name == "__call__" or not name.startswith("__")) and name not in ("extra_repr", "_v1_transform_cls")
        if callable(getattr(origin, name, None)) and getattr(kind, name) is not getattr(origin, name)
    }
    return sorted(names | {name for name in ("forward", "transform") if name in getattr(transform, "__dict__", {})})


def _is_of_torch(transform: Any, name: str) -> bool:
    kind = type(transform)
    return kind.__name__ == name and f"{kind.__module__}.".startswith("torch.nn.")


def _within(place: str, part: str) -> str:
    return f"{place}.{part}".removeprefix(".")


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _on_one_line(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:  # that is the object's own code
        text = f"{type(value).__qualname__}(...)"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
