"""Colour and tone operations of the graph against Pillow, as torchvision calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_runner import Images, check, difference, odd_images, resized, run, serialized
from PIL import Image, ImageEnhance, ImageOps

from dalikit.graph.columns import HUE_COLUMNS, GraphColumns
from dalikit.transforms import operations as op

FACTORS = [0.0, 0.1, 0.5, 0.6, 0.8, 1.0, 1.1, 1.3, 1.4, 2.0, 7.5, 300.0]


def turned(image: Image.Image, part: float) -> Image.Image:
    """torchvision's `adjust_hue`."""
    hue, saturation, value = image.convert("HSV").split()
    levels = np.array(hue).astype(int) + int(part * 255)
    return Image.merge("HSV", (Image.fromarray((levels % 256).astype(np.uint8)), saturation, value)).convert("RGB")


ENHANCE: dict[int, Callable[[Image.Image, float], Image.Image]] = {
    0: lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    1: lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    2: lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    3: turned,
}
"""By the numbers that they have in a ColorJitter's order."""


def jittered(image: Image.Image, row: Any) -> Image.Image:
    for number in row[:4].astype(int):
        if number != op.NOTHING:
            image = ENHANCE[number](image, float(row[4 + number]))
    return image


def drawn_jitter(count: int, strength: float, hue: float, seed: int = 0) -> Any:
    generator = np.random.default_rng(seed)
    order = np.stack([generator.permutation(4) for _ in range(count)])
    factors = generator.uniform(1 - strength, 1 + strength, (count, 3))
    return np.concatenate([order, factors, generator.uniform(-hue, hue, (count, 1))], axis=1).astype(np.float32)


def many(images: Images, count: int) -> Images:
    return [images[number % len(images)] for number in range(count)]


class TestFactors:
    @pytest.mark.parametrize(
        ("operation", "number"), [(op.Brightness(0), 0), (op.Contrast(0), 1), (op.Saturation(0), 2)]
    )
    def test_levels_are_pillows(self, operation: Any, number: int, photographs: list[Path]) -> None:
        """Off in at most one value of 500: where DALI's gray or the last bit of a float differs, by one level there."""
        for images in (resized(photographs), odd_images()):
            images = many(images, max(len(images), len(FACTORS)))
            factors = np.float32([FACTORS[index % len(FACTORS)] for index in range(len(images))])
            references = [ENHANCE[number](image, float(f)) for image, f in zip(images, factors, strict=True)]
            results = run((operation,), images, factors)
            for factor, result, reference in zip(factors, results, references, strict=True):
                off = abs(1 - factor) if number else 0
                check([result], [reference], largest=1 + off, mean=0.02 + 0.02 * off)

    @pytest.mark.parametrize("operation", [op.Brightness(0), op.Contrast(0), op.Saturation(0)])
    def test_a_factor_of_one_changes_nothing(self, operation: Any, photographs: list[Path]) -> None:
        images = resized(photographs[:4]) + odd_images()
        check(run((operation,), images, np.ones(len(images))), images, largest=0, mean=0)


class TestHue:
    @pytest.mark.parametrize("strength", [0.1, 0.2, 0.5])
    def test_it_turns_as_in_pillows_hsv(self, strength: float, photographs: list[Path]) -> None:
        """Pillow cuts hue and saturation to 8 bits, which is imitated on average: up to 10 levels in single pixels."""
        images = many(resized(photographs), 24)
        parts = np.linspace(-strength, strength, 24, dtype=np.float32)
        references = [turned(image, float(part)) for image, part in zip(images, parts, strict=True)]
        levels = difference(run((op.Hue(0),), images, parts), references)
        assert levels.mean() < 0.4
        assert levels.max() <= 12
        assert (levels > 4).mean() < 0.001

    @pytest.mark.parametrize("sixth", range(-3, 4))
    def test_pure_colours_change_places(self, sixth: int) -> None:
        wheel = np.uint8([[255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255]])
        result = run((op.Hue(0),), [Image.fromarray(wheel[None])], [sixth / 6])[0]
        # int(part * 255) steps of 255ths are up to one step short of a sixth, and Pillow's cuts are on average made up
        assert np.abs(result[0].astype(int) - np.roll(wheel, -sixth, axis=0)).max() <= 9

    def test_gray_stays_gray(self) -> None:
        images = [image for image in odd_images() if np.ptp(np.array(image), axis=2).max() == 0]
        check(run((op.Hue(0),), images, np.linspace(-0.5, 0.5, len(images))), images, largest=0, mean=0)

    def test_odd_sizes(self) -> None:
        images = odd_images()
        parts = np.linspace(-0.5, 0.5, len(images), dtype=np.float32)
        references = [turned(image, float(part)) for image, part in zip(images, parts, strict=True)]
        check(run((op.Hue(0),), images, parts), references, largest=16, mean=2)


class TestColorJitter:
    @pytest.mark.parametrize(("strength", "hue", "beyond"), [(0.4, 0.1, 0.0005), (0.8, 0.2, 0.003)])
    def test_photographs(self, strength: float, hue: float, beyond: float, photographs: list[Path]) -> None:
        images = many(resized(photographs), 24)
        rows = drawn_jitter(24, strength, hue)
        references = [jittered(image, row) for image, row in zip(images, rows, strict=True)]
        levels = difference(run((op.ColorJitter(0),), images, rows), references)
        assert levels.mean() < 0.5
        assert (levels > 4).mean() < beyond

    def test_every_order_without_hue_is_exact_but_for_single_levels(self, photographs: list[Path]) -> None:
        """Also parts of it: what is replaced by nothing is not done."""
        rows = drawn_jitter(48, 0.4, 0.0)
        rows[:, :4][rows[:, :4] == 3] = op.NOTHING
        rows[::5, 2] = op.NOTHING
        images = many(resized(photographs, 64), 48)
        references = [jittered(image, row) for image, row in zip(images, rows, strict=True)]
        check(run((op.ColorJitter(0),), images, rows), references, largest=3, mean=0.02)

    def test_every_order_is_found_in_the_graph(self) -> None:
        """On an image on which every order gives another result."""
        colours = np.uint8([[200, 90, 30], [20, 60, 110], [90, 160, 70], [10, 10, 10]]).reshape(2, 2, 3)
        orders = np.array(np.meshgrid(*[range(4)] * 4)).reshape(4, -1).T
        orders = np.array([order for order in orders if len(set(order)) == 4])
        rows = np.concatenate([orders, np.tile([1.5, 0.5, 1.7, 0.21], (24, 1))], axis=1).astype(np.float32)
        references = [np.asarray(jittered(Image.fromarray(colours), row)) for row in rows]
        assert len({reference.tobytes() for reference in references}) >= 20
        check(run((op.ColorJitter(0),), [Image.fromarray(colours)] * 24, rows), references, largest=10, mean=1.5)

    def test_odd_sizes(self) -> None:
        images = odd_images()
        rows = drawn_jitter(len(images), 0.4, 0.1)
        references = [jittered(image, row) for image, row in zip(images, rows, strict=True)]
        check(run((op.ColorJitter(0),), images, rows), references, largest=20, mean=1.5)

    def test_a_sample_does_not_depend_on_its_neighbours(self, photographs: list[Path]) -> None:
        images, rows = resized(photographs, 64), drawn_jitter(12, 0.4, 0.1)
        together = run((op.ColorJitter(0),), images, rows)
        for number in (0, 5, 11):
            alone = run((op.ColorJitter(0),), [images[number]], rows[number : number + 1])[0]
            np.testing.assert_array_equal(alone, together[number])


class TestTones:
    @pytest.mark.parametrize(
        ("operation", "values", "reference", "largest"),
        [
            (op.Grayscale(), [0], lambda image, _: image.convert("L").convert("RGB"), 1),
            (op.Solarize(0), [0, 1, 100.5, 128, 255, 256], lambda image, v: ImageOps.solarize(image, v), 0),
            (op.Posterize(0), range(1, 9), lambda image, v: ImageOps.posterize(image, int(v)), 0),
            (op.Invert(), [0], lambda image, _: ImageOps.invert(image), 0),
            (op.Autocontrast(), [0], lambda image, _: ImageOps.autocontrast(image), 1),
            (op.Equalize(), [0], lambda image, _: ImageOps.equalize(image), 2),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_levels_are_pillows(
        self, operation: Any, values: Any, reference: Any, largest: int, photographs: list[Path]
    ) -> None:
        for images in (resized(photographs), odd_images()):
            rows = np.float32([list(values)[index % len(values)] for index in range(len(images))])
            references = [reference(image, float(value)) for image, value in zip(images, rows, strict=True)]
            check(run((operation,), images, rows), references, largest=largest, mean=0.5)

    def test_no_bits_are_black(self) -> None:
        assert run((op.Posterize(0),), odd_images()[:3], [0, 0, 0])[0].max() == 0

    def test_equalize_of_few_pixels_and_of_few_levels(self, photographs: list[Path]) -> None:
        """Where Pillow's whole pixels a step are far from the true number."""
        images = [image for size in (8, 16, 17, 23, 32, 45) for image in resized(photographs[:4], size)]
        images += [ImageOps.posterize(image, 2) for image in images]
        check(run((op.Equalize(),), images, np.zeros(48)), [ImageOps.equalize(i) for i in images], largest=2, mean=0.6)


OPERATIONS = [
    op.Brightness(0),
    op.Contrast(0),
    op.Saturation(0),
    op.Hue(0),
    op.ColorJitter(0),
    op.Grayscale(),
    op.Solarize(0),
    op.Posterize(0),
    op.Invert(),
    op.Autocontrast(),
    op.Equalize(),
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: type(operation).__name__)
def test_the_gpus_graph_serializes_without_a_gpu(operation: Any) -> None:
    assert b"\x03gpu" in serialized((operation,), 8, on_gpu=True)
    assert b"\x03gpu" not in serialized((operation,), 8, on_gpu=False)


def test_columns_are_added_once_for_each_operation() -> None:
    inner = (op.Hue(3), op.Posterize(4))
    posterize = 8 + HUE_COLUMNS
    columns = GraphColumns((op.Hue(3), op.Select(0, ((), inner)), op.Mixture(0, (inner,))), 8)
    assert (columns.first(op.Hue(3)), columns.first(op.Posterize(4)), columns.width) == (8, posterize, posterize + 1)
    matrix = np.zeros((2, 8), np.float32)
    matrix[:, 4] = [3, 8]
    extended = columns.extend(matrix)
    np.testing.assert_array_equal(extended[:, :8], matrix)
    np.testing.assert_array_equal(extended[:, posterize], [0b11100000, 0b11111111])
    assert GraphColumns((op.Invert(),), 8).extend(matrix) is matrix
