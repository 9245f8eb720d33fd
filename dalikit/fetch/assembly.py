"""From a list of items to a batch: images and what is left beside them, or whatever else it is, collated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.random  # a collate_fn that imports it would draw from it unseeded
import numpy.typing as npt
from torch.utils.data import default_collate, default_convert

from dalikit.callables import seeded_generators
from dalikit.errors import ArgumentError, DecodeError, SampleError
from dalikit.fetch.batch import ImageBatch, OtherBatch, Request
from dalikit.fetch.keeping import copied
from dalikit.fetch.rows import Rows
from dalikit.fetch.task import ReadTask
from dalikit.fetch.tolerance import note
from dalikit.items import PAIR, Layout, as_encoded, as_pixels, describe_item, find_image, find_only_bytes, holds_bytes
from dalikit.signatures import FORMATS
from dalikit.transforms.purposes import Purpose

__all__ = ["NO_BYTES", "NO_PIXELS", "assemble", "assemble_images"]

Bytes = npt.NDArray[np.uint8]

NO_BYTES: Bytes = np.empty(0, dtype=np.uint8)
"""In the place of an image that could not be read; NO_PIXELS where images come decoded."""
NO_PIXELS: Bytes = np.empty((0, 0, 3), dtype=np.uint8)


def assemble(
    task: ReadTask, request: Request, rows: Rows, items: list[Any], errors: dict[int, SampleError] | None = None
) -> ImageBatch | OtherBatch:
    """A batch of items, whose kind is found from the first one: the same whatever batches came before.

    Should there be bytes in the first item that do not begin as an image does, the next item is asked: they may be an
    image that is broken.

    Args:
        task: says what counts as an image, and how the rest is collated.
        request: the batch that was asked for.
        rows: the items' indices and positions.
        items: at least one; the one, if the request is not `batched`.
        errors: of rows whose item could not be read; None: there is none. Others are added, if the task is tolerant.

    Raises:
        ArgumentError: the items hold no image, but the loader has a transform for images; or more than one; or items
            are of differing kinds.
        DecodeError: a decoded image has no pixels, or Pillow cannot decode one for `task.function`.
    """
    errors = {} if errors is None else errors
    if len(errors) == len(items):
        return _nothing(task, request, rows, errors)
    for row, item in enumerate(items):
        if row in errors:
            continue
        try:
            found = find_image(item, encoded=task.encoded, transformed=task.transformed)
        except ArgumentError as error:
            rows.tell(error, row, "read")
            raise
        if found is not None:
            return _assemble_found(task, request, rows, items, errors, item, *found)
        if not holds_bytes(item):
            break
    if (broken := _find_broken(task, items, errors)) is not None:
        return _assemble_found(task, request, rows, items, errors, *broken)
    if errors:  # only images have others to stand in for them
        raise errors[min(errors)]
    if task.transformed or task.encoded:
        raise _no_image(task, rows, items[0])
    return _assemble_others(task, request, rows, items)


def _find_broken(task: ReadTask, items: list[Any], errors: dict[int, SampleError]) -> tuple[Any, Layout, bool] | None:
    """Where the broken images are in a batch that holds no other: an item with one piece of bytes, and where that is.

    Only where the items must hold images, and may be broken. None: there is no such item.
    """
    if not task.tolerant or not task.transformed or task.encoded is False:
        return None
    for row, item in enumerate(items):
        if row not in errors and (layout := find_only_bytes(item)) is not None:
            return item, layout, False
    return None


def _nothing(task: ReadTask, request: Request, rows: Rows, errors: dict[int, SampleError]) -> ImageBatch:
    """A batch of which nothing could be read."""
    nothing = NO_PIXELS if task.function is not None else NO_BYTES
    count = len(errors)
    return assemble_images(task, request, rows, [nothing] * count, [None] * count, errors=errors)


def _assemble_found(
    task: ReadTask,
    request: Request,
    rows: Rows,
    items: list[Any],
    errors: dict[int, SampleError],
    model: Any,
    layout: Layout,
    decoded: bool,
) -> ImageBatch:
    data: list[Bytes] = []
    rests: list[Any] = []
    row, collated = 0, _is_collated(task, request)
    nothing = NO_PIXELS if decoded or task.function is not None else NO_BYTES
    try:
        for row, item in enumerate(items):
            if row in errors:
                data.append(nothing)
                rests.append(None)
                continue
            image, rest = layout.take(item)
            if not task.transformed:  # not copied by `keep_item`
                image, rest = copied(image), rest if collated else copied(rest)
            rests.append(rest)
            data.append(_image_or_nothing(task, rows, row, errors, image, decoded=decoded, nothing=nothing))
    except ArgumentError as error:
        kind = "a decoded image" if decoded else "bytes"
        mixed = ArgumentError(
            f"{error}; the items of a dataset must be of one kind, and another item of this batch has {kind} at "
            f"{layout}: {describe_item(model)}"
        )
        rows.tell(mixed, row, "read")
        raise mixed from None
    except Exception as error:
        stage = "read" if task.function is None else "transform"
        rows.tell(error, row, "decode" if isinstance(error, DecodeError) else stage)
        raise
    return assemble_images(task, request, rows, data, rests, layout=layout, decoded=decoded, errors=errors)


def _image_or_nothing(
    task: ReadTask,
    rows: Rows,
    row: int,
    errors: dict[int, SampleError],
    image: Any,
    *,
    decoded: bool,
    nothing: Bytes,
) -> Bytes:
    """As `_image_for`; a bad one is noted, if the task is tolerant."""
    try:
        return _image_for(task, image, decoded, int(rows.positions[row]))
    except SampleError as error:
        if not task.tolerant:
            raise
        note(error, rows, row, "decode", errors)
        return nothing


def _image_for(task: ReadTask, image: Any, decoded: bool, position: int) -> Bytes:
    """uint8 (n,) or (H, W, 3)."""
    function = task.function
    if decoded:
        pixels = as_pixels(image)
        return pixels if function is None else function.of_pixels(pixels, position)
    data = as_encoded(image)
    return data if function is None else function(data, position)


def assemble_images(
    task: ReadTask,
    request: Request,
    rows: Rows,
    data: list[Bytes],
    rests: list[Any],
    *,
    layout: Layout = PAIR,
    decoded: bool = False,
    errors: dict[int, SampleError] | None = None,
) -> ImageBatch:
    """A batch of images that have been through `task.function`, if there is one.

    Without a collate_fn the rests are collated here, unless the batch is one item that is not `batched`.

    Args:
        task: the reader's.
        request: the batch that was asked for.
        rows: indices and positions.
        data: B images.
        rests: B, each what is left of an item.
        layout: where the image was in each item.
        decoded: whether the images came decoded.
        errors: of rows that could not be read.
    """
    targets: Any = rests
    collated = _is_collated(task, request)
    if collated:
        targets = _collate(rows, default_collate, rests) if layout.path else None
    return ImageBatch(
        dataset=rows.dataset,
        indices=rows.indices,
        positions=rows.positions,
        data=data,
        headers=[],
        targets=targets,
        layout=layout,
        decoded=decoded or task.function is not None,
        collated=collated,
        batched=request.batched,
        taken=request.taken,
        state=request.state,
        errors={} if errors is None else errors,
    )


def _is_collated(task: ReadTask, request: Request) -> bool:
    # Where a bad sample may be replaced later on, its target is too.
    return task.collate_fn is None and request.batched and not task.tolerant


def _assemble_others(task: ReadTask, request: Request, rows: Rows, items: list[Any]) -> OtherBatch:
    default, value = (default_collate, items) if request.batched else (default_convert, items[0])
    first_position = int(rows.positions[0])
    function = task.collate_fn
    if function is None:
        value = _collate(rows, default, value)
    else:
        # What a user's function draws by chance follows from the batch's position too. Not an ItemSeeder: it may have
        # to call the function twice, which may have changed the items.
        with seeded_generators(task.seed, first_position, Purpose.COLLATION):
            value = _collate(rows, function, value)
    return OtherBatch(value, first_position, request.taken, request.state, request.indices)


def _collate(rows: Rows, function: Callable[[Any], Any], value: Any) -> Any:
    try:
        return function(value)
    except Exception as error:  # torch's or the user's own words
        rows.tell_all(error, "collate")
        raise


def _no_image(task: ReadTask, rows: Rows, item: Any) -> ArgumentError:
    reason = "the loader has a transform, which takes images" if task.transformed else "encoded=True"
    advice = "" if task.encoded else "; bytes of another form are decoded with encoded=True"
    if task.encoded is False:
        advice = "; bytes are no image, as encoded=False says"
    message = ArgumentError(
        f"{reason}, but an item of {type(rows.dataset).__name__} holds none: it is {describe_item(item)}. It must hold "
        f"one: the bytes of an image file ({FORMATS}), a PIL image, a uint8 array "
        f"(H, W, 3), (H, W, 1) or (H, W), or a uint8 tensor (3, H, W) or (1, H, W){advice}"
    )
    rows.tell(message, 0, "read")
    return message
