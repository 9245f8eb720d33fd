"""Affine, rotation, perspective and padding: the maps are torchvision's and Pillow's."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from drawn_parameters import draw, drawn_columns, sizes_of, told
from PIL import Image
from pillow_reference import pillow_pixels, to_tensor
from torchvision_import import import_torchvision

import dalikit.transforms as T
from dalikit.errors import ArgumentError
from dalikit.transforms import operations as op
from dalikit.transforms.base import Sizes, Transform
from dalikit.transforms.matrices import affine_map, perspective_map, rotation_map
from dalikit.transforms.warps import Pad, RandomAffine, RandomPerspective, RandomRotation

import_torchvision()
from torchvision.transforms import functional as tv  # noqa: E402  (only after the line above)

NEAREST, BILINEAR = T.InterpolationMode.NEAREST, T.InterpolationMode.BILINEAR
RESAMPLING = [Image.Resampling.NEAREST, Image.Resampling.BILINEAR]
NAN = float("nan")


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def warped(image: Image.Image, size: Sizes, coefficients: Any, resampling: Image.Resampling) -> Image.Image:
    numbers = [float(np.broadcast_to(values, 1)[0]) for values in coefficients]
    shape = int(size.widths[0]), int(size.heights[0])
    kind = Image.Transform.AFFINE if len(numbers) == 6 else Image.Transform.PERSPECTIVE
    return image.transform(shape, kind, numbers, resampling, fillcolor=(1, 2, 3))


def assert_same(ours: Image.Image, theirs: Image.Image) -> None:
    """But for a level here and there, where the last digit of a coefficient rounds another way."""
    assert ours.size == theirs.size
    different = np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int))
    assert different.max() <= 1
    assert (different > 0).mean() < 0.02


class TestAffine:
    @pytest.mark.parametrize("resampling", RESAMPLING)
    @pytest.mark.parametrize("centre", [None, (3, 40)])
    def test_the_map_is_torchvisions(self, resampling: Image.Resampling, centre: tuple[int, int] | None) -> None:
        random = np.random.default_rng(1)
        for _ in range(20):
            width, height = random.integers(1, 90, 2).tolist()
            angle, scale = float(random.uniform(-180, 180)), float(random.uniform(0.3, 3))
            shear, shift = random.uniform(-40, 40, 2).tolist(), random.integers(-20, 20, 2).tolist()
            image = noise(width, height)
            parts = [np.array([number]) for number in (angle, scale, *shear)]
            middle = (width / 2, height / 2) if centre is None else centre
            found = affine_map(parts[0], parts[1], (parts[2], parts[3])).around(middle, tuple(shift))
            mode = tv.InterpolationMode.NEAREST if resampling == RESAMPLING[0] else tv.InterpolationMode.BILINEAR
            theirs = tv.affine(image, angle, shift, scale, shear, mode, fill=[1, 2, 3], center=centre)
            assert_same(warped(image, Sizes.full(1, height, width), found, resampling), theirs)

    def test_columns_are_the_map_of_the_numbers_told(self) -> None:
        transform = RandomAffine(30, (0.1, 0.2), (0.5, 2), (-10, 10, -5, 5), "bilinear", (9, 8, 7))
        sizes = sizes_of([(40 + row, 90 - row) for row in range(30)])
        columns, after = draw(transform, sizes)
        np.testing.assert_array_equal(columns[:, 0], sizes.heights)
        np.testing.assert_array_equal(columns[:, 1], sizes.widths)
        np.testing.assert_array_equal(after.heights, sizes.heights)
        for row, (height, width, *numbers) in enumerate(columns.tolist()):
            angle, across, down, scale, *shear = numbers[6:]
            image = noise(int(width), int(height), row)
            shift = [int(across), int(down)]
            theirs = tv.affine(image, angle, shift, scale, shear, tv.InterpolationMode.BILINEAR, fill=[9, 8, 7])
            ours = pillow_pixels(image, transform, columns[row])
            different = (ours.int() - to_tensor(theirs).int()).abs()
            assert (different > 1).float().mean() < 0.01  # the coefficients are float32 here

    def test_what_is_not_asked_for_is_not_drawn(self) -> None:
        numbers = told(RandomAffine(0), 50)
        assert set(numbers["angle"].tolist()) == {0.0}
        assert set(numbers["scale"].tolist()) == {1.0}
        assert not numbers["translation"].any()
        assert not numbers["shear"].any()
        np.testing.assert_array_equal(drawn_columns(RandomAffine(0), 50)[:, 2:8], [[1, 0, 0, 0, 1, 0]] * 50)

    def test_shear_of_one_axis(self) -> None:
        for shear in (10, (-10, 10)):
            numbers = told(RandomAffine(0, shear=shear), 50)["shear"]
            assert numbers[:, 0].any()
            assert not numbers[:, 1].any()

    def test_shifts_are_whole_pixels_within_the_share_of_each_side(self) -> None:
        shifts = told(RandomAffine(0, translate=(0.1, 0.25)), 3000, height=40, width=90)["translation"]
        assert set(shifts[:, 0].tolist()) == set(range(-9, 10))
        assert set(shifts[:, 1].tolist()) == set(range(-10, 11))

    def test_is_one_operation(self) -> None:
        assert RandomAffine(0, fill=5).operations(3) == (op.Warp(3, False, NEAREST, (5, 5, 5)),)
        assert RandomRotation(0, 2, fill=None).operations(3) == (op.Warp(3, False, BILINEAR, (0, 0, 0)),)


class TestRotation:
    @pytest.mark.parametrize("expand", [False, True])
    @pytest.mark.parametrize("centre", [None, (3, 10)])
    def test_the_map_and_the_size_are_pillows(self, expand: bool, centre: tuple[int, int] | None) -> None:
        random = np.random.default_rng(2)
        for angle in [*random.uniform(-400, 400, 100), 30, 45, 60, 120, -30]:
            width, height = random.integers(1, 60, 2).tolist()
            image, sizes = noise(width, height), Sizes.full(1, height, width)
            found, after = rotation_map(np.array([float(angle)]), sizes, centre, expand=expand)
            for resampling in RESAMPLING:
                theirs = image.rotate(angle, resampling, expand, centre, fillcolor=(1, 2, 3))
                assert_same(warped(image, after, found, resampling), theirs)

    @pytest.mark.parametrize("angle", [0, 90, 180, 270, -90, 360, 450, 1e-13])
    @pytest.mark.parametrize("expand", [False, True])
    def test_quarter_turns_are_exact(self, angle: float, expand: bool) -> None:
        """Pillow does them without a matrix."""
        for width, height in ((5, 4), (6, 4), (5, 5), (1, 1), (7, 2), (3, 9), (4, 4)):
            image, sizes = noise(width, height), Sizes.full(1, height, width)
            found, after = rotation_map(np.array([float(angle)]), sizes, None, expand=expand)
            for resampling in RESAMPLING:
                theirs = image.rotate(angle, resampling, expand, fillcolor=(1, 2, 3))
                assert_same(warped(image, after, found, resampling), theirs)

    def test_columns_are_the_map_of_the_angle_told(self) -> None:
        transform = RandomRotation((-60, 200), expand=True)
        sizes = sizes_of([(40 + row, 90 - row) for row in range(30)])
        columns, after = draw(transform, sizes)
        for row, angle in enumerate(columns[:, 8].tolist()):
            image = noise(int(sizes.widths[row]), int(sizes.heights[row]), row)
            theirs, ours = to_tensor(image.rotate(angle, expand=True)), pillow_pixels(image, transform, columns[row])
            assert ours.shape == theirs.shape == (3, after.heights[row], after.widths[row])
            assert (ours != theirs).float().mean() < 0.001  # the coefficients are float32 here

    def test_one_angle_is_always_taken(self) -> None:
        assert set(told(RandomRotation((90, 90)), 20)["angle"].tolist()) == {90.0}


class TestPerspective:
    def test_the_map_is_torchvisions(self) -> None:
        random = np.random.default_rng(3)
        for _ in range(100):
            width, height = random.integers(8, 300, 2).tolist()
            _, corners = tv_perspective_points(width, height, 0.7)
            (found, valid) = perspective_map(np.array([corners]), Sizes.full(1, height, width))
            start = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
            theirs = np.array(tv._get_perspective_coeffs(start, corners))
            assert valid.all()
            np.testing.assert_allclose(np.concatenate(found), theirs, rtol=1e-4, atol=1e-4)

    def test_pixels_are_torchvisions(self) -> None:
        transform = RandomPerspective(0.5, 1.0, fill=(9, 8, 7))
        columns = drawn_columns(transform, 20, height=50, width=70)
        image = noise(70, 50)
        for row in columns:
            coefficients = np.append(row[3:], 1.0).reshape(3, 3)
            back = np.linalg.inv(coefficients)  # takes the image's corner pixels to where they were moved
            start = [[0, 0], [69, 0], [69, 49], [0, 49]]
            ends = [(back @ [x, y, 1])[:2] / (back @ [x, y, 1])[2] for x, y in start]
            corners = [np.rint(end).astype(int).tolist() for end in ends]
            np.testing.assert_allclose(ends, corners, atol=1e-3)
            theirs = tv.perspective(image, start, corners, tv.InterpolationMode.BILINEAR, fill=[9, 8, 7])
            assert ((pillow_pixels(image, transform, row) != to_tensor(theirs)).float().mean()) < 0.001

    def test_no_distortion_leaves_every_pixel(self) -> None:
        columns = drawn_columns(RandomPerspective(0, 1.0), 10)
        np.testing.assert_allclose(columns[:, 3:], [[1, 0, 0, 0, 1, 0, 0, 0]] * 10, atol=1e-6)

    def test_images_that_are_not_chosen_stay(self) -> None:
        transform = RandomPerspective(p=0.5)
        columns = drawn_columns(transform, 200)
        assert transform.operations(4) == (op.Select(4, ((), (op.Warp(5, True, BILINEAR, (0, 0, 0)),))),)
        np.testing.assert_array_equal(told(transform, 200)["perspective"], columns[:, 0] == 1)
        assert not drawn_columns(RandomPerspective(p=0), 200)[:, 0].any()
        assert drawn_columns(RandomPerspective(p=1), 200)[:, 0].all()

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (50, 1), (2, 2), (3, 2), (4, 4), (5, 5)])
    def test_corners_on_a_line_leave_the_image_as_it_is(self, height: int, width: int) -> None:
        """torchvision solves equations without a solution there."""
        columns = drawn_columns(RandomPerspective(1.0, 1.0), 500, height=height, width=width)
        assert np.isfinite(columns).all()
        assert (columns[:, 0] == 0).any()
        assert (columns[:, 0] == 1).any() == (min(height, width) > 1)


def tv_perspective_points(width: int, height: int, distortion: float) -> tuple[list[list[int]], list[list[int]]]:
    from torchvision.transforms import RandomPerspective as Theirs

    points: tuple[list[list[int]], list[list[int]]] = Theirs.get_params(width, height, distortion)
    return points


class TestPad:
    @pytest.mark.parametrize("padding", [0, 3, [2], (1, 4), (1, 2, 3, 4)])
    def test_the_border_is_torchvisions(self, padding: Any) -> None:
        transform = Pad(padding, fill=(9, 8, 7))
        image = noise(12, 10)
        theirs = tv.pad(image, padding, fill=(9, 8, 7))
        columns, after = draw(transform, Sizes.full(1, 10, 12))
        assert (after.widths[0], after.heights[0]) == theirs.size
        assert (pillow_pixels(image, transform, columns[0]) == to_tensor(theirs)).all()

    def test_is_a_crop_over_the_edges(self) -> None:
        assert Pad(3).operations(2) == (op.Crop(2, (0, 0, 0)),)
        assert drawn_columns(Pad((1, 2, 3, 4)), 1).tolist() == [[-2, -1, 66, 84]]


INTERPOLATION = "must be nearest or bilinear here; bicubic warps are not on the device"
FILL = "must be a whole number from 0 to 255, or three of them (red, green, blue)"
ANGLES: list[tuple[type[Transform], dict[str, Any], str]] = [
    (kind, {"degrees": value}, message)
    for kind in (RandomAffine, RandomRotation)
    for value, message in (
        (-1, "if degrees is a single number, it must be positive"),
        ((1,), "should be a number or a sequence of length 2"),
        ("12", "should be a number or a sequence of length 2"),
        (None, "should be a number or a sequence of length 2"),
        ((1, NAN), "must be a sequence of 2 finite numbers"),
        ((2, 1), "each range must be (minimum, maximum) with minimum <= maximum"),
    )
]
BAD: list[tuple[type[Transform], dict[str, Any], str]] = [
    *ANGLES,
    *[
        (RandomAffine, {"degrees": 0, "translate": value}, "translation values should be between 0 and 1")
        for value in ((0.1, 1.1), (-0.1, 0))
    ],
    *[(RandomAffine, {"degrees": 0, "translate": value}, "must be a sequence of 2 ") for value in (0.1, (0.1,), "ab")],
    *[
        (RandomAffine, {"degrees": 0, "scale": value}, "must be (minimum, maximum) with 0 < minimum <= maximum")
        for value in ((0, 1), (2, 1))
    ],
    (RandomAffine, {"degrees": 0, "shear": -1}, "if shear is a single number, it must be positive"),
    (RandomAffine, {"degrees": 0, "shear": (1, 2, 3)}, "should be a number or a sequence of length 2 or 4"),
    (RandomAffine, {"degrees": 0, "shear": (1, 2, 3, 2)}, "each range must be (minimum, maximum)"),
    *[
        (kind, {**first, "interpolation": value}, message)
        for kind, first in ((RandomAffine, {"degrees": 0}), (RandomRotation, {"degrees": 0}), (RandomPerspective, {}))
        for value, message in (("bicubic", INTERPOLATION), (3, INTERPOLATION), ("area", "must be one of nearest"))
    ],
    *[
        (kind, {**first, "fill": value}, FILL)
        for kind, first in (
            (RandomAffine, {"degrees": 0}),
            (RandomRotation, {"degrees": 0}),
            (RandomPerspective, {}),
            (Pad, {"padding": 0}),
        )
        for value in (-1, 256, (1, 2), "red", 0.5, [256])
    ],
    *[
        (kind, {"degrees": 0, "center": value}, "must be a sequence of 2 ")
        for kind in (RandomAffine, RandomRotation)
        for value in (1, (1,), (1, NAN), "12")
    ],
    (RandomRotation, {"degrees": 0, "expand": 1}, "must be True or False"),
    *[(RandomPerspective, {"distortion_scale": value}, "must be a number from 0 to 1") for value in (-0.1, 1.1, "1")],
    (RandomPerspective, {"p": 2}, "must be a number from 0 to 1"),
    *[
        (Pad, {"padding": value}, "must be an int, (left/right, top/bottom) or (left, top, right, bottom)")
        for value in (-1, 1.5, (1, 2, 3), "1", (), 65536)
    ],
    *[
        (Pad, {"padding": 1, "padding_mode": value}, "must be 'constant', the only one on the device")
        for value in ("edge", "reflect", "symmetric", None)
    ],
]


@pytest.mark.parametrize(("kind", "arguments", "message"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_argument_is_named_with_what_is_allowed(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)) as caught:
        kind(**arguments)
    assert any(f"{name}={value!r}" in str(caught.value) or name == "fill" for name, value in arguments.items())


def test_a_fill_is_read_as_torchvision_reads_it() -> None:
    for fill, colour in ((None, (0, 0, 0)), (5, (5, 5, 5)), ([5], (5, 5, 5)), ((1, 2.0, 3), (1, 2, 3))):
        assert RandomRotation(1, fill=fill).fill == colour
