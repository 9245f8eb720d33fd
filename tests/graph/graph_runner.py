"""Runs operations as a DALI graph, and says how far images lie from a reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline
from PIL import Image

from dalikit.graph.columns import GraphColumns
from dalikit.graph.operate import operate
from dalikit.transforms import operations as op

__all__ = ["Images", "check", "define", "difference", "odd_images", "resized", "run", "serialized"]

Images = list[Image.Image]
SIZES = [(1, 1), (1, 9), (7, 1), (2, 2), (3, 2), (37, 53)]
"""Height and width of the odd images."""


def run(
    operations: Sequence[op.Operation],
    images: Images,
    values: Any,
    *,
    finish: Callable[[Any, Any], Any] | None = None,
) -> list[Any]:
    """What the graph makes of images, on the CPU: one array each.

    Args:
        operations: of the graph.
        images: one batch.
        values: their parameters, one row each.
        finish: (image, parameters) -> output, emits what follows.
    """
    matrix = np.array(values, np.float32).reshape(len(images), -1)
    columns = GraphColumns(operations, matrix.shape[1])
    pipeline = Pipeline(batch_size=len(images), num_threads=2, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        pipeline.set_outputs(*define(operations, columns, finish=finish))
    pipeline.build()
    pipeline.feed_input("images", [np.array(image) for image in images])
    pipeline.feed_input("parameters", columns.extend(matrix))
    outputs = pipeline.run()
    return [np.array(outputs[0][number]) for number in range(len(images))]


def define(
    operations: Sequence[op.Operation],
    columns: GraphColumns,
    *,
    on_gpu: bool = False,
    finish: Callable[[Any, Any], Any] | None = None,
) -> list[Any]:
    """Emits the graph; the parameters go out too, because what is fed has to lead somewhere."""
    image = fn.external_source(name="images", dtype=types.UINT8, ndim=3, layout="HWC", no_copy=True)
    parameters = fn.external_source(name="parameters", dtype=types.FLOAT, ndim=1, no_copy=True)
    image = image.gpu() if on_gpu else image

    def carry_out(inner: Sequence[op.Operation], node: Any, row: Any) -> Any:
        for operation in inner:
            node = operate(operation, node, row, columns, carry_out)
        return node

    image = carry_out(operations, image, parameters)
    return [image if finish is None else finish(image, parameters), parameters]


def serialized(operations: Sequence[op.Operation], num_columns: int, *, on_gpu: bool) -> Any:
    """The graph as bytes: DALI checks every operator's arguments then, and needs no GPU."""
    columns = GraphColumns(operations, num_columns)
    pipeline = Pipeline(batch_size=4, num_threads=2, device_id=None)
    with pipeline:
        pipeline.set_outputs(*define(operations, columns, on_gpu=on_gpu))
    return pipeline.serialize()


def difference(results: Sequence[Any], references: Sequence[Any]) -> Any:
    """How many levels every value lies off, over all images."""
    parts = []
    for result, reference in zip(results, references, strict=True):
        expected = np.asarray(reference)
        assert result.shape == expected.shape
        assert result.dtype == expected.dtype
        parts.append(np.abs(result.astype(int) - expected.astype(int)).ravel())
    return np.concatenate(parts)


def check(results: Sequence[Any], references: Sequence[Any], *, largest: float, mean: float) -> None:
    """Holds results against references, in levels."""
    levels = difference(results, references)
    assert levels.max() <= largest
    assert levels.mean() <= mean


def resized(photographs: Sequence[Path], size: int = 224) -> Images:
    """The photographs, square."""
    images = []
    for path in photographs:
        with Image.open(path) as file:
            images.append(file.convert("RGB").resize((size, size)))
    return images


def odd_images() -> Images:
    """Of odd sizes: noise, gray noise, and one colour."""
    generator = np.random.default_rng(0)
    images = []
    for height, width in SIZES:
        noise = generator.integers(0, 256, (height, width, 3), np.uint8)
        images += [noise, noise[:, :, :1].repeat(3, axis=2), np.full_like(noise, 77)]
    return [Image.fromarray(image) for image in images]
