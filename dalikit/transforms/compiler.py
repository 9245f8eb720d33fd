"""From a transform to a Recipe: checks it as a whole and brings it down to operations."""

from __future__ import annotations

import sys
import warnings
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError
from dalikit.transforms.base import Transform
from dalikit.transforms.compose import flatten
from dalikit.transforms.containers import RandomChoice
from dalikit.transforms.conversion import Conversion, ConvertImageDtype, Decode, Normalize
from dalikit.transforms.erasing import RandomErasing
from dalikit.transforms.layout import Family, lay_out
from dalikit.transforms.mixing import BatchTransform, Mixing, check_mixing
from dalikit.transforms.on_cpu import OnCPU, without_addresses
from dalikit.transforms.operations import Crop, Erase, Flip, Operation, Output, Select
from dalikit.transforms.recipe import SHARED_VIEW, Branch, Group, Recipe, View
from dalikit.transforms.torchvision import convertible, from_torchvision
from dalikit.transforms.views import MultiCrop

__all__ = ["compile_recipe"]


def compile_recipe(transform: Any) -> Recipe:
    """Checks a transform as a whole and brings it down to operations.

    Args:
        transform: a dalikit transform; one of torchvision, DINOv2 or DINOv3, which is converted; a function of a PIL
            image, which runs on the CPU, with a warning; or None: the decoded image as it is, uint8.

    Raises:
        ArgumentError: it is nothing of these or cannot be converted, or its steps do not fit together.
    """
    transform = _as_transform(transform)
    description = without_addresses(repr(transform))
    steps = () if transform is None else flatten(transform)
    decode, steps = (steps[0], steps[1:]) if steps and isinstance(steps[0], Decode) else (Decode(), steps)
    function, steps = (steps[0].function, steps[1:]) if steps and isinstance(steps[0], OnCPU) else (None, steps)
    steps, mixing = _take_mixing(steps)
    crossing = [place for place, step in enumerate(steps) if isinstance(step, MultiCrop)]
    if len(crossing) > 1:
        raise ArgumentError("MultiCrop: must stand only once in a transform")
    builder = _Builder()
    if not crossing:
        builder.add_group(None, (steps,))
        return builder.recipe(decode, function, description, mixing=mixing)
    crop = steps[crossing[0]]
    assert isinstance(crop, MultiCrop)
    builder.add_trunk(steps[: crossing[0]])
    rest = steps[crossing[0] + 1 :]
    for group in crop.views:
        builder.add_group(group.name, tuple((*flatten(each), *rest) for each in group.transform))
    return builder.recipe(decode, function, description, mixing=mixing, crop=crop)


def _as_transform(transform: Any) -> Transform | None:
    """torchvision's, DINOv2's and DINOv3's transforms are converted; any other function runs on the CPU.

    dalikit's own may hold such: in the Views of a MultiCrop.
    """
    if transform is None:
        return None
    if isinstance(transform, Transform) or convertible(transform):
        return from_torchvision(transform)
    if not callable(transform) or isinstance(transform, type):
        raise ArgumentError(
            f"transform={transform!r}: must be a transform of dalikit.transforms or torchvision, a function or None, "
            f"came {type(transform).__module__}.{type(transform).__qualname__}"
        )
    warnings.warn(
        f"transform={transform!r} is no transform of dalikit or torchvision: it runs on the CPU, in Python, one image "
        "at a time; T.OnCPU(function) says that this is meant",
        stacklevel=_level_of_user() + 1,
    )
    return OnCPU(transform)


def _level_of_user() -> int:
    """How many calls lie between the caller and the first code outside dalikit: a loader is made in several ways."""
    frame, level = sys._getframe(1), 0
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("dalikit."):
        frame, level = frame.f_back, level + 1
    return level


def _mixes(step: Transform) -> TypeGuard[RandomChoice]:
    """Whether it is a choice of MixUps and CutMixes."""
    return isinstance(step, RandomChoice) and isinstance(step.transforms[0], BatchTransform)


class _Split(NamedTuple):
    """A row of steps, taken apart."""

    images: tuple[Transform, ...]
    """What works on uint8 images."""
    tail: tuple[Transform, ...]
    """Conversions and erasures, in order."""

    def lay_out(self) -> Family:
        """The layout of all that draws."""
        return lay_out((*self.images, *(step for step in self.tail if isinstance(step, RandomErasing))))


class _Builder:
    """Collects groups and counts columns and views."""

    def __init__(self) -> None:
        self._column = 0
        self._view = 0
        self._shared: tuple[Operation, ...] = ()
        self._trunk: Branch | None = None
        self._branches: list[Branch] = []
        self._groups: list[Group] = []

    def add_trunk(self, steps: tuple[Transform, ...]) -> None:
        """The steps before the views part."""
        if not steps:
            return
        images, tail = _split(steps)
        if tail:
            raise ArgumentError(f"{tail[0]!r}: must come after MultiCrop, or into the transforms of its views")
        family = lay_out(images)
        self._shared = family.operations(0)
        self._trunk = Branch(family, 0, SHARED_VIEW, 1)
        self._column = family.num_columns

    def add_group(self, name: str | None, transforms: tuple[tuple[Transform, ...], ...]) -> None:
        """A group with one row of steps for each view; equal ones that follow one another are drawn together."""
        views: list[View] = []
        while transforms:
            count = next((n for n, steps in enumerate(transforms) if steps != transforms[0]), len(transforms))
            split = _split(transforms[0])
            family = split.lay_out()
            self._branches.append(Branch(family, self._column, self._view, count))
            for _ in range(count):
                views.append(_view(split, family, self._column))
                self._column += family.num_columns
            self._view += count
            transforms = transforms[count:]
        if len({view.output.floating for view in views}) > 1:
            raise ArgumentError(f"the views {name!r}: some end in floating point (ToTensor) and some do not")
        self._groups.append(Group(name, tuple(views)))

    def recipe(
        self,
        decode: Decode,
        function: Any,
        description: str,
        *,
        mixing: Mixing | None = None,
        crop: MultiCrop | None = None,
    ) -> Recipe:
        """All that was collected."""
        recipe = Recipe(
            decode=decode,
            function=function,
            shared=self._shared,
            groups=tuple(self._groups),
            num_columns=self._column,
            description=description,
            aliases=crop.aliases if crop is not None else (),
            constants=crop.constants if crop is not None else (),
            trunk=self._trunk,
            branches=tuple(self._branches),
            mixing=mixing,
        )
        if mixing is not None:
            check_mixing(mixing, floating=recipe.floating, single=recipe.single)
        return recipe


def _take_mixing(steps: tuple[Transform, ...]) -> tuple[tuple[Transform, ...], Mixing | None]:
    """The steps without a MixUp or CutMix, or a choice of such, at their end; and what that is."""
    if not steps:
        return steps, None
    last = steps[-1]
    if isinstance(last, BatchTransform):
        return steps[:-1], last
    if _mixes(last):
        return steps[:-1], tuple(zip(last.transforms, last.p or [1.0] * len(last.transforms), strict=True))
    return steps, None


def _view(split: _Split, family: Family, start: int) -> View:
    # The erasures' own steps come last in the family: they belong to the output, not to what is done to images.
    erasures = sum(isinstance(step, RandomErasing) for step in split.tail)
    columns = [start + step.column for step in family.steps[len(family.steps) - erasures :]]
    return View(lay_out(split.images).operations(start), _output(split.tail, columns))


def _split(steps: tuple[Transform, ...]) -> _Split:
    """The steps on uint8 images, and the conversion at the end.

    A flip or an inner crop after ToTensor gives the same values as before it, and is moved there. What would not is
    refused.
    """
    images: list[Transform] = []
    tail: list[Transform] = []
    for step in steps:
        _refuse_misplaced(step)
        if isinstance(step, Conversion) and not step.changes_values:
            if tail and isinstance(step, ConvertImageDtype):
                raise ArgumentError(f"{step!r}: must come before {type(tail[0]).__name__}: what is floating stays it")
            continue
        if isinstance(step, Conversion | RandomErasing):
            tail.append(step)
            continue
        late = next((part for part in tail if isinstance(part, RandomErasing)), tail[0] if tail else None)
        if isinstance(late, RandomErasing):
            raise ArgumentError(f"{step!r}: must come before RandomErasing, which is done to the finished tensor, last")
        if late is not None and not _moves_pixels_only(lay_out((step,)).operations(0)):
            raise ArgumentError(f"{step!r}: must come before {type(late).__name__}; it works on uint8 images")
        images.append(step)
    return _Split(tuple(images), tuple(tail))


def _refuse_misplaced(step: Transform) -> None:
    """Refuses what can stand first or last in the whole alone."""
    if isinstance(step, Decode):
        raise ArgumentError("Decode: must be the first step of the transform")
    if isinstance(step, OnCPU):
        raise ArgumentError(f"{step!r}: must be the first step of the transform; what is before it, do in it")
    if isinstance(step, BatchTransform) or _mixes(step):
        raise ArgumentError(f"{step!r}: must be the last step of the transform; it works on finished batches")
    if isinstance(step, MultiCrop):
        raise ArgumentError("MultiCrop: must not stand inside a view or another transform")


def _moves_pixels_only(operations: tuple[Operation, ...]) -> bool:
    for operation in operations:
        if isinstance(operation, Select):
            if not all(_moves_pixels_only(case) for case in operation.cases):
                return False
        elif isinstance(operation, Crop):
            if operation.fill is not None:
                return False
        elif not isinstance(operation, Flip):
            return False
    return True


def _output(tail: tuple[Transform, ...], columns: list[int]) -> Output:
    """Folds the conversions into one multiplication and one addition a channel.

    What is erased before a Normalize is normalized like the rest, so its value goes through the same arithmetic.
    """
    scale, shift = np.ones(3), np.zeros(3)
    floating = False
    erased: list[tuple[int, npt.NDArray[np.float64]]] = []
    for step in tail:
        if isinstance(step, RandomErasing):
            if not floating:
                _check_levels(step)
            erased.append((columns[len(erased)], np.asarray(step.value, dtype=np.float64)))
            continue
        assert isinstance(step, Conversion)
        if isinstance(step, Normalize) and not floating:
            raise ArgumentError(f"{step!r}: must come after ToTensor; it works on floating point")
        if isinstance(step, ConvertImageDtype) and floating:
            continue  # from one floating type to another no value changes
        if not isinstance(step, Normalize) and floating:
            raise ArgumentError(f"{type(step).__name__}: must stand only once in a transform")
        floating = True
        factor, offset = (np.asarray(numbers, dtype=np.float64) for numbers in step.arithmetic())
        scale, shift = scale * factor, shift * factor + offset
        erased = [(column, value * factor + offset) for column, value in erased]
    erase = tuple(Erase(column, _triple(value)) for column, value in erased)
    if not floating:
        return Output(erase=erase)
    return Output(scale=_triple(scale), shift=_triple(shift), erase=erase)


def _check_levels(step: RandomErasing) -> None:
    """What is erased in a uint8 image must be a level."""
    if not all(0 <= value <= 255 and value == int(value) for value in step.value):
        raise ArgumentError(
            f"value={step.value!r} of RandomErasing: must be whole numbers from 0 to 255 in a uint8 image; "
            "put RandomErasing after ToTensor for others"
        )


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = np.broadcast_to(values, 3).tolist()
    return float(red), float(green), float(blue)
