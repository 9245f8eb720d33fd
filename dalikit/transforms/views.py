"""Several output images of one sample: multi-crop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dalikit.errors import ArgumentError
from dalikit.transforms.base import Transform

__all__ = ["MultiCrop", "Views"]

_MAX_VIEWS = 1024  # the random counter has room for 65,535; a graph of so many views has not


@dataclass(frozen=True)
class Views:
    """A group of output images that come out stacked, under one name.

    Args:
        name: the group's key in the batch.
        transform: what makes a view of the image, a transform of dalikit or torchvision; or a sequence with one for
            each view.
        count: how many views; None: as many as there are transforms.

    Raises:
        ArgumentError: the name is empty, `count` does not fit the transforms, or one of them is no transform.
    """

    name: str
    transform: Any
    count: Any = None

    def __post_init__(self) -> None:
        """Checks, and keeps one transform for each view."""
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentError(f"name={self.name!r}: must be a word, the key of the group in the batch")
        several = isinstance(self.transform, Sequence)
        transforms = tuple(self.transform) if several else (self.transform,)
        count = self.count if self.count is not None else len(transforms)
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MAX_VIEWS:
            raise ArgumentError(f"count={self.count!r} of the views {self.name!r}: must be from 1 to {_MAX_VIEWS}")
        if several and count != len(transforms):
            raise ArgumentError(f"count={count} of the views {self.name!r}: {len(transforms)} transforms were given")
        for each in transforms:  # torchvision's are told from other functions when the whole is compiled
            if not isinstance(each, Transform) and (not callable(each) or isinstance(each, type)):
                raise ArgumentError(
                    f"transform={each!r} of the views {self.name!r}: must be a transform of dalikit.transforms or "
                    "torchvision, or a list of such"
                )
        object.__setattr__(self, "transform", transforms if several else transforms * count)
        object.__setattr__(self, "count", count)


@dataclass(frozen=True)
class MultiCrop(Transform):
    """Several views of each image, which is decoded once: groups of them, each with a name and transforms of its own.

        T.MultiCrop([T.Views("global_crops", T.RandomResizedCrop(224), count=2),
                     T.Views("local_crops", T.RandomResizedCrop(96, scale=(0.05, 0.32)), count=8)])

    A batch's images are then a dict: for each group a tensor (count, B, 3, H, W), contiguous and crop-major, so that
    `.flatten(0, 1)` is the concatenation of the views without a copy. Steps before MultiCrop are done once and shared
    by the views; steps after it are done to each view.

    Args:
        views: the groups.
        aliases: further names in the batch: {"new name": "name of a group"}.
        constants: further entries of the batch, as they are.

    Raises:
        ArgumentError: there is no group, two have one name, an alias names none, or aliases or constants are no dict.
    """

    views: Any
    aliases: Any = ()
    constants: Any = ()

    def __post_init__(self) -> None:
        """Checks and keeps tuples."""
        if isinstance(self.views, Views) or not isinstance(self.views, Iterable):
            raise ArgumentError(f"views={self.views!r}: must be a list of Views")
        views = tuple(self.views)
        if not views or not all(isinstance(group, Views) for group in views):
            raise ArgumentError(f"views={self.views!r}: must be a list of Views, at least one")
        object.__setattr__(self, "views", views)
        for name in ("aliases", "constants"):
            object.__setattr__(self, name, _check_entries(name, getattr(self, name)))
        self._check_names()

    def _check_names(self) -> None:
        groups = [group.name for group in self.views]
        names = [*groups, *(name for name, _ in self.aliases), *(name for name, _ in self.constants)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ArgumentError(f"views: the name {twice[0]!r} stands twice; every group needs one of its own")
        for name, group in self.aliases:
            if group not in groups:
                raise ArgumentError(f"aliases: {name!r} stands for {group!r}, which is none of {', '.join(groups)}")
        if sum(group.count for group in self.views) > _MAX_VIEWS:
            raise ArgumentError(f"views: at most {_MAX_VIEWS} views altogether")


def _check_entries(name: str, value: Any) -> tuple[tuple[str, Any], ...]:
    """A dict, or pairs, as a tuple of pairs."""
    entries = value.items() if isinstance(value, Mapping) else value
    pairs = tuple(entries) if isinstance(entries, Iterable) else (None,)
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        raise ArgumentError(f"{name}={value!r}: must be a dict with names as keys")
    return tuple((key, part) for key, part in pairs)
