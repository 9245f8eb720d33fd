"""What becomes of a transform: a table of its steps, the operations behind them, and how exact they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields
from enum import Enum
from typing import Any, NamedTuple

from dalikit.errors import ArgumentError
from dalikit.transforms.accuracy import EXECUTORS, measured_error
from dalikit.transforms.base import Transform
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.compose import Compose, Preset
from dalikit.transforms.conversion import Conversion, Decode
from dalikit.transforms.erasing import RandomErasing
from dalikit.transforms.layout import lay_out
from dalikit.transforms.mixing import BatchTransform
from dalikit.transforms.on_cpu import OnCPU
from dalikit.transforms.operations import Mixture, Operation, Select
from dalikit.transforms.torchvision import Inconvertible, outline
from dalikit.transforms.views import MultiCrop

__all__ = ["describe"]

_WIDEST = 84  # characters of a step; a longer one has a line of its own above its columns


def describe(transform: Any) -> str:
    """A table of a transform's steps, for reading.

    A line a step: the step with the arguments that are not the defaults; for each executor "exact", "approximated (max
    M, mean m levels)" (against Pillow's result, in grey levels of 256, of the least exact of its operations) or "not
    measured"; and the names of its operations. A step that cannot be converted says "not on the device" and why. What
    stands inside another transform is indented. If the steps do not fit together, the last line says so.

    Args:
        transform: a dalikit transform, one of torchvision, DINOv2 or DINOv3, or None.
    """
    if transform is None:
        return "no transform: the decoded image as it is, uint8"
    converted = outline(transform)
    rows = list(_rows(converted, 0))
    lines = _table(rows)
    if not any(row.refused for row in rows):
        try:
            compile_recipe(converted)
        except ArgumentError as error:
            lines.append(f"as a whole: not on the device: {error}")
    return "\n".join(lines)


class _Row(NamedTuple):
    depth: int
    step: str
    operations: tuple[Operation | str, ...] | None = None
    """None: a line without columns, such as a container's."""
    refused: str = ""
    """Why it is not on the device."""
    remark: str = ""
    """Instead of the columns."""


def _rows(transform: Transform, depth: int) -> Iterator[_Row]:
    """The lines of a transform and of what it holds."""
    if isinstance(transform, Inconvertible):
        yield _Row(depth, transform.step, refused=transform.reason)
    elif isinstance(transform, Compose):
        for part in transform.transforms:
            yield from _rows(part, depth)
    elif isinstance(transform, Preset):
        yield _Row(depth, _text(transform))
        yield from _rows(transform.expand(), depth + 1)
    elif isinstance(transform, MultiCrop):
        yield _Row(depth, "MultiCrop")
        yield from _group_rows(transform, depth + 1)
    elif hasattr(transform, "transforms"):
        yield _Row(depth, _text(transform))
        yield from _part_rows(transform.transforms, depth + 1)
    else:
        yield _step_row(transform, depth)


def _step_row(step: Transform, depth: int) -> _Row:
    if isinstance(step, OnCPU):
        return _Row(depth, repr(step), remark="in Python, on the CPU")
    if isinstance(step, BatchTransform):
        return _Row(depth, _text(step), remark="done to the finished batch")
    return _Row(depth, _text(step), operations=_operations(step))


def _part_rows(parts: tuple[Transform, ...], depth: int) -> Iterator[_Row]:
    for part in parts:
        if isinstance(part, Compose):  # a choice, say, of several steps together
            yield _Row(depth, "Compose()")
        yield from _rows(part, depth + isinstance(part, Compose))


def _group_rows(crop: MultiCrop, depth: int) -> Iterator[_Row]:
    for group in crop.views:
        yield _Row(depth, f"{group.name}: {group.count} view{'s' * (group.count != 1)}")
        alike = all(each == group.transform[0] for each in group.transform)
        for number, each in enumerate(group.transform[: 1 if alike else None], start=1):
            if not alike:
                yield _Row(depth + 1, f"view {number}")
            yield from _rows(each, depth + 1 + (not alike))
    for alias, name in crop.aliases:
        yield _Row(depth, f"{alias}: the same as {name}")
    for name, value in crop.constants:
        yield _Row(depth, f"{name}: always {value!r}")


def _operations(step: Transform) -> tuple[Operation | str, ...]:
    """The operations that a step comes down to; a name where the step is part of reading or of the output."""
    if isinstance(step, Decode):
        return ("Decode",)
    if isinstance(step, RandomErasing):
        return ("Erase",)
    if isinstance(step, Conversion):
        return ("Output",) if step.changes_values else ()
    return tuple(_single_operations(lay_out((step,)).operations(0)))


def _single_operations(operations: tuple[Operation, ...]) -> Iterator[Operation]:
    for operation in operations:
        if isinstance(operation, Mixture):
            yield operation
        if isinstance(operation, Select | Mixture):
            for inner in operation.cases if isinstance(operation, Select) else operation.branches:
                yield from _single_operations(inner)
        else:
            yield operation


def _exactness(operations: tuple[Operation | str, ...], executor: str) -> str:
    errors = [measured_error(operation, executor) for operation in operations]
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return "not measured"
    largest, mean = (max((error[place] for error in known), default=0.0) for place in (0, 1))
    return "exact" if largest == 0.0 else f"approximated (max {largest:.3g}, mean {mean:.3g} levels)"


def _table(rows: list[_Row]) -> list[str]:
    steps = ["  " * row.depth + row.step for row in rows]
    width = max((len(step) for step in steps if len(step) <= _WIDEST), default=0)
    cells = {
        (place, executor): _exactness(row.operations, executor)
        for place, row in enumerate(rows)
        if row.operations is not None
        for executor in EXECUTORS
    }
    widths = {name: max([len(name), *(len(cells[key]) for key in cells if key[1] == name)]) for name in EXECUTORS}
    lines = ["  ".join(["step".ljust(width), *(name.ljust(widths[name]) for name in EXECUTORS), "operations"])]
    for place, (step, row) in enumerate(zip(steps, rows, strict=True)):
        columns = [f"not on the device: {row.refused}"] if row.refused else [row.remark] if row.remark else []
        if row.operations is not None:
            names = (part if isinstance(part, str) else type(part).__name__ for part in row.operations)
            columns = [cells[place, executor].ljust(widths[executor]) for executor in EXECUTORS]
            columns.append(", ".join(dict.fromkeys(names)) or "nothing to do")
        if columns and len(step) > width:
            lines.append(step)
            step = ""
        lines.append("  ".join([step.ljust(width), *columns]).rstrip())
    return lines


def _text(step: Any) -> str:
    """A step with the arguments that are not the defaults; what it holds has lines of its own."""
    given = {field.name: getattr(step, field.name) for field in fields(step)}
    required = {field.name: given[field.name] for field in fields(step) if field.default is MISSING}
    given.pop("transforms", None)
    try:  # keeps the defaults in the form in which the step keeps its own arguments
        defaults = vars(type(step)(**required))
    except ArgumentError:  # torchvision's default is not allowed here
        defaults = {}
    shown = [
        f"{name}={_value(value)}"
        for name, value in given.items()
        if name not in defaults or name in required or value != defaults[name] or (name == "p" and value is not None)
    ]
    return f"{type(step).__name__}({', '.join(shown)})"


def _value(value: Any) -> str:
    if isinstance(value, Enum):
        return repr(value.value)
    if isinstance(value, tuple):
        inside = ", ".join(_value(part) for part in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
