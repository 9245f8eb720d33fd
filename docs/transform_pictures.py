"""The pictures of docs/transforms.md: what each executor makes of a photograph, beside torchvision."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from transform_measuring import Views, carried_out, executor_makers, squares
from transform_rows import DINO, KINDS, ROWS, Row

from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.operations import Output

__all__ = ["DINO_PICTURE", "PICTURED_KINDS", "write_pictures"]

PICTURED_KINDS = ("sizes", "colour", "levels", "filters", "warps", "policies", "recipes")
"""One picture each, named after the kind."""
DINO_PICTURE = "dino"

_EXECUTORS = ("host", "dali")
_COLUMNS = ("original", "torchvision", "host", "dali", "host: difference x 16", "dali: difference x 16")
_SIDE = 176  # of the photographs, pixels
_CELL = 160  # the largest that is shown
_GAP = 4
_CAPTION = 13
_CHARACTER = 6  # pixels
_BACKGROUND = (250, 250, 250)
_INK = (40, 40, 40)
_MAX_BYTES = 290_000
_ZOOM = 16  # of differences
_FIRST = 3  # position: what is drawn there shows what each transform does
_CHOSEN = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle")
"""The photographs in colour with something to see at once."""


def write_pictures(folder: Path, photographs: Sequence[Path], scratch: Path) -> None:
    """Writes a JPEG a kind, and that of DINO's views.

    Args:
        folder: where to; it is made.
        photographs: files of `make_photographs`.
        scratch: for files on the way.
    """
    folder.mkdir(exist_ok=True)
    chosen = [next(path for path in photographs if path.name.startswith(name)) for name in _CHOSEN]
    small = squares(chosen, scratch, _SIDE)
    for kind in PICTURED_KINDS:
        rows = [row for row in ROWS if row.kind == kind and row.pictured and row.transform != DINO]
        lines = [_line(row, number, chosen if row.original else small) for number, row in enumerate(rows)]
        _save(_table(KINDS[kind], [row.label.replace("`", "") for row in rows], lines), folder / f"{kind}.jpg")
    _save(_dino(chosen), folder / f"{DINO_PICTURE}.jpg")


def _line(row: Row, number: int, paths: Sequence[Path]) -> list[Image.Image]:
    """The cells of a row; each has another photograph and position."""
    (views,) = carried_out(row, [paths[number % len(paths)]], executor_makers(None), _FIRST + number)
    output = compile_recipe(row.transform).groups[0].views[0].output
    wanted = _levels(views.expected[0], output)
    found = [_levels(views.found[name][0], output) for name in _EXECUTORS]
    cells = [wanted, *found, *((each - wanted).abs() * _ZOOM for each in found)]
    return [views.image.copy(), *(_image(cell) for cell in cells)]


def _levels(view: Tensor, output: Output) -> Tensor:
    """A view as levels, not rounded."""
    levels = view.double()
    if output.scale is None or output.shift is None:
        return levels
    scale, shift = (
        torch.tensor(numbers, dtype=torch.float64)[:, None, None] for numbers in (output.scale, output.shift)
    )
    return (levels - shift) / scale


def _image(levels: Tensor) -> Image.Image:
    return Image.fromarray(levels.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy())


def _fitted(image: Image.Image, side: int = _CELL) -> Image.Image:
    """Not larger than a cell."""
    image.thumbnail((side, side), Image.Resampling.BOX)
    return image


def _table(heading: str, captions: Sequence[str], lines: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Rows with a caption above each, columns with theirs at the top."""
    width = _GAP + len(_COLUMNS) * (_CELL + _GAP)
    fitted = [[_fitted(cell) for cell in line] for line in lines]
    heights = [max(cell.height for cell in line) for line in fitted]
    sheet, draw = _sheet(width, 2 * _CAPTION + _GAP + sum(_CAPTION + height + _GAP for height in heights))
    draw.text((_GAP, 0), heading, fill=_INK)
    for column, text in enumerate(_COLUMNS):
        draw.text((_GAP + column * (_CELL + _GAP), _CAPTION), text, fill=_INK)
    top = 2 * _CAPTION + _GAP
    for caption, line, height in zip(captions, fitted, heights, strict=True):
        draw.text((_GAP, top), caption[: width // _CHARACTER], fill=_INK)
        for column, cell in enumerate(line):
            sheet.paste(cell, (_GAP + column * (_CELL + _GAP), top + _CAPTION))
        top += _CAPTION + height + _GAP
    return sheet


def _dino(paths: Sequence[Path]) -> Image.Image:
    """DINO's ten views: torchvision's above, then each executor's."""
    row = next(row for row in ROWS if row.transform == DINO)
    views: Views = next(iter(carried_out(row, paths[:1], executor_makers(None))))
    outputs = [view.output for group in compile_recipe(DINO).groups for view in group.views]
    lines: list[tuple[str, list[Tensor]]] = [("torchvision", views.expected)]
    lines += [(name, views.found[name]) for name in _EXECUTORS]
    cells = [[_fitted(_image(_levels(*pair))) for pair in zip(line, outputs, strict=True)] for _, line in lines]
    width = _GAP + sum(cell.width + _GAP for cell in cells[0])
    sheet, draw = _sheet(width, len(lines) * (_CAPTION + _CELL + _GAP) + _GAP)
    for number, ((name, _), line) in enumerate(zip(lines, cells, strict=True)):
        top, left = _GAP + number * (_CAPTION + _CELL + _GAP), _GAP
        draw.text((left, top - 2), f"{name}: two global crops, eight local crops", fill=_INK)
        for cell in line:
            sheet.paste(cell, (left, top + _CAPTION))
            left += cell.width + _GAP
    return sheet


def _sheet(width: int, height: int) -> tuple[Image.Image, Any]:
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    return sheet, ImageDraw.Draw(sheet)


def _save(sheet: Image.Image, path: Path) -> None:
    """As good a JPEG as the size allows."""
    for quality in range(90, 20, -5):
        buffer = io.BytesIO()
        sheet.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= _MAX_BYTES:
            break
    path.write_bytes(buffer.getvalue())
