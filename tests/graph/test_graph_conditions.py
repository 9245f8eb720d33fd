"""Select and Mixture in the graph: which samples are worked on, and what becomes of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_runner import check, odd_images, resized, run, serialized
from PIL import Image, ImageEnhance, ImageOps

from dalikit.transforms import operations as op

BILINEAR = op.InterpolationMode.BILINEAR
EVERYTHING = (
    (),
    (op.Brightness(1),),
    (op.Contrast(1),),
    (op.Saturation(1),),
    (op.Hue(2),),
    (op.ColorJitter(3),),
    (op.Grayscale(),),
    (op.Solarize(11),),
    (op.Posterize(12),),
    (op.Invert(),),
    (op.Autocontrast(),),
    (op.Equalize(),),
    (op.Sharpness(1),),
    (op.GaussianBlur(13, (5, 5)),),
    (op.Warp(14, False, BILINEAR, (1, 2, 3)),),
    (op.Warp(14, True, BILINEAR, (0, 0, 0)),),
    (op.Mixture(24, ((op.Invert(),),)),),
)
"""Column 0: the case; then the columns of all operations."""


def row(case: float, size: tuple[int, int]) -> list[float]:
    jitter = [0, 1, 2, 3, 1.2, 0.8, 1.2, 0.1]
    warp = [size[1], size[0], 1, 0.1, 0, -0.1, 1, 0, 0, 0]
    return [case, 1.3, 0.1, *jitter, 128, 4, 1.0, *warp, 0.5, 0.5]


class TestSelect:
    def test_each_sample_goes_through_its_case(self) -> None:
        images = [image for image in odd_images() for _ in range(4)]
        cases = np.arange(len(images)) % 4
        select = op.Select(0, ((), (op.Invert(),), (op.Invert(), op.Solarize(1)), (op.Solarize(1),)))
        references = {
            0: lambda image: image,
            1: ImageOps.invert,
            2: lambda image: ImageOps.solarize(ImageOps.invert(image), 100),
            3: lambda image: ImageOps.solarize(image, 100),
        }
        results = run((select,), images, np.column_stack([cases, np.full(len(images), 100)]))
        check(results, [references[c](i) for c, i in zip(cases, images, strict=True)], largest=0, mean=0)

    def test_cases_within_cases(self, photographs: list[Path]) -> None:
        inner = op.Select(1, ((op.Posterize(2),), (op.Solarize(3),)))
        outer = op.Select(0, ((), (op.Invert(), inner, op.Invert())))
        images = resized(photographs[:8], 32)
        rows = np.array([[n & 1, n >> 1 & 1, 1 + n % 8, 40 * n] for n in range(8)], np.float32)
        references = []
        for image, (taken, case, bits, threshold) in zip(images, rows, strict=True):
            done = ImageOps.invert(image)
            done = ImageOps.solarize(done, float(threshold)) if case else ImageOps.posterize(done, int(bits))
            references.append(ImageOps.invert(done) if taken else image)
        check(run((outer,), images, rows), references, largest=0, mean=0)

    def test_sizes_may_part_ways(self, photographs: list[Path]) -> None:
        """A warp gives its own size; what follows the Select takes them all."""
        images = resized(photographs[:4], 40)
        select = op.Select(0, ((), (op.Warp(1, False, BILINEAR, (0, 0, 0)),)))
        rows = [[n % 2, 20 + n, 30, 1, 0, 0, 0, 1, 0] for n in range(4)]
        results = run((select, op.Invert()), images, rows)
        assert [result.shape for result in results] == [(40, 40, 3), (21, 30, 3), (40, 40, 3), (23, 30, 3)]
        for number in (1, 3):
            expected = 255 - np.array(images[number])[: 20 + number, :30]
            np.testing.assert_array_equal(results[number], expected)

    @pytest.mark.parametrize("case", range(len(EVERYTHING)))
    def test_every_operation_within_a_case(self, case: int) -> None:
        """Alone in a batch of others, the others alone, and the whole batch: the same pixels as without a Select."""
        images = odd_images()
        rows = np.float32([row(0, image.size) for image in images])
        select = op.Select(0, ((), EVERYTHING[case]))
        unselected = run(EVERYTHING[case], images, rows)
        for drawn in ([], [4], range(len(images))):
            rows[:, 0] = 0
            rows[list(drawn), 0] = 1
            results = run((select,), images, rows)
            expected = [unselected[n] if n in drawn else np.array(image) for n, image in enumerate(images)]
            check(results, expected, largest=0, mean=0)

    def test_all_operations_side_by_side(self, photographs: list[Path]) -> None:
        images = resized(photographs, 48) + odd_images()
        cases = np.arange(len(images)) % len(EVERYTHING)
        rows = np.float32([row(case, image.size) for case, image in zip(cases, images, strict=True)])
        results = run((op.Select(0, EVERYTHING),), images, rows)
        for case in range(len(EVERYTHING)):
            chosen = np.flatnonzero(cases == case)
            alone = run(EVERYTHING[case], [images[n] for n in chosen], rows[chosen])
            check([results[n] for n in chosen], alone, largest=0, mean=0)


class TestMixture:
    def test_the_weighted_sum_is_cut_to_whole_levels(self, photographs: list[Path]) -> None:
        images = resized(photographs, 64) + odd_images()
        weights = np.random.default_rng(0).dirichlet([1, 1, 1], len(images)).astype(np.float32)
        weights[0], weights[1] = [1, 0, 0], [0, 0, 1]
        branches = ((op.Invert(),), (op.Select(3, ((), (op.Brightness(4),))),))
        rows = np.column_stack([weights, np.arange(len(images)) % 2, np.full(len(images), 0.5)])
        references = []
        for number, (image, weight) in enumerate(zip(images, weights, strict=True)):
            third = ImageEnhance.Brightness(image).enhance(0.5) if number % 2 else image
            parts = [np.array(part, np.float32) for part in (image, ImageOps.invert(image), third)]
            # a thousandth: where the sum is a whole level, the last bit of a float decides
            references.append(np.floor(sum(w * p for w, p in zip(weight, parts, strict=True)) + 1e-3).astype(np.uint8))
        check(run((op.Mixture(0, branches),), images, rows), references, largest=1, mean=0.01)


def test_the_gpus_graph_serializes_without_a_gpu() -> None:
    assert b"\x03gpu" in serialized((op.Select(0, EVERYTHING),), 26, on_gpu=True)


def test_masks_stay_on_the_cpu() -> None:
    """Where DALI wants them: the graph of the GPU has as many splits as that of the CPU."""
    graphs: list[Any] = [serialized((op.Select(0, EVERYTHING),), 26, on_gpu=on_gpu) for on_gpu in (False, True)]
    assert graphs[0].count(b"conditional__Split") == graphs[1].count(b"conditional__Split") > 0


def test_a_batch_of_one_image_type() -> None:
    """Gray photographs are RGB by the time they come here."""
    image = Image.new("L", (5, 5), 100).convert("RGB")
    assert run((op.Select(0, ((), (op.Invert(),))),), [image], [[1.0]])[0].tolist() == [[[155] * 3] * 5] * 5
