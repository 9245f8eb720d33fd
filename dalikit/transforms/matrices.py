"""The coefficients of warps: where each pixel of the output is taken from.

An affine map is six arrays a, b, c, d, e, f; a perspective one has g, h more. They mean what Pillow's
`Image.transform` means by them, and are computed as torchvision and Pillow's `Image.rotate` compute them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dalikit.transforms.base import Sizes

__all__ = ["Affine", "affine_map", "identity_map", "perspective_map", "rotation_map"]

Numbers = npt.NDArray[np.float64]
Value = Numbers | float
Point = tuple[Value, Value]


class Affine(NamedTuple):
    """An output pixel (x, y) is taken at (a x + b y + c, d x + e y + f). float64 (R,) each."""

    a: Numbers
    b: Numbers
    c: Numbers
    d: Numbers
    e: Numbers
    f: Numbers

    def at(self, x: Value, y: Value) -> tuple[Numbers, Numbers]:
        """Where a point is taken."""
        return self.a * x + self.b * y + self.c, self.d * x + self.e * y + self.f

    def around(self, centre: Point, shift: Point = (0.0, 0.0)) -> Affine:
        """The same map about another point than the corner, after the output was shifted."""
        c, f = self.at(-centre[0] - shift[0], -centre[1] - shift[1])
        return self._replace(c=c + centre[0], f=f + centre[1])


def identity_map(count: int) -> Affine:
    """Every pixel from its own place."""
    one, zero = np.ones(count), np.zeros(count)
    return Affine(one, zero, zero, zero, one, zero)


def affine_map(angle: Numbers, scale: Numbers, shear: tuple[Numbers, Numbers]) -> Affine:
    """torchvision's affine transform about the corner: the inverse of rotation, scaling, then shears along y and x.

    Args:
        angle: clockwise, in degrees.
        scale: above 0.
        shear: along x and along y, in degrees.
    """
    turn, along_x, along_y = np.deg2rad(angle), np.deg2rad(shear[0]), np.deg2rad(shear[1])
    cosine, sine = np.cos(turn - along_y) / np.cos(along_y), np.sin(turn - along_y) / np.cos(along_y)
    slope = np.tan(along_x)
    # The forward map is [[cosine, -cosine slope - sin(turn)], [sine, -sine slope + cos(turn)]]; its determinant is 1.
    zero = np.zeros_like(turn)
    return Affine(
        (np.cos(turn) - sine * slope) / scale,
        (np.sin(turn) + cosine * slope) / scale,
        zero,
        -sine / scale,
        cosine / scale,
        zero,
    )


def rotation_map(
    angle: Numbers, sizes: Sizes, centre: tuple[float, float] | None, *, expand: bool
) -> tuple[Affine, Sizes]:
    """Pillow's `Image.rotate`, and the sizes that come out.

    Args:
        angle: counter-clockwise, in degrees.
        sizes: of the images.
        centre: the point (x, y) that stays; None: the middle.
        expand: make the output as large as the turned image.
    """
    widths, heights = sizes.widths.astype(np.float64), sizes.heights.astype(np.float64)
    turn = -np.deg2rad(angle % 360.0)
    cosine: Numbers = np.cos(turn).round(15)  # quarter turns become exact
    sine: Numbers = np.sin(turn).round(15)
    zero = np.zeros_like(turn)
    found = Affine(cosine, sine, zero, -sine, cosine, zero)
    found = found.around((widths / 2.0, heights / 2.0) if centre is None else centre)
    if not expand:
        return found, sizes
    corners = [found.at(x * widths, y * heights) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    xs, ys = (np.stack(values) for values in zip(*corners, strict=True))
    new_widths = np.ceil(xs.max(axis=0)) - np.floor(xs.min(axis=0))
    new_heights = np.ceil(ys.max(axis=0)) - np.floor(ys.min(axis=0))
    if centre is None:
        # Pillow turns by whole quarters without a matrix, so without the row that rounding adds to odd sizes.
        swapped = np.isin(angle % 360.0, (90.0, 270.0))
        new_widths, new_heights = np.where(swapped, heights, new_widths), np.where(swapped, widths, new_heights)
    c, f = found.at(-(new_widths - widths) / 2.0, -(new_heights - heights) / 2.0)
    after = Sizes(new_heights.astype(np.int64), new_widths.astype(np.int64))
    return found._replace(c=c, f=f), after


def perspective_map(corners: npt.NDArray[np.int64], sizes: Sizes) -> tuple[tuple[Numbers, ...], npt.NDArray[np.bool_]]:
    """The map that puts an image's four corner pixels at other places.

    Source: P. Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989, section 2.2: the map of a square to
    a quadrilateral in closed form, and its adjoint. torchvision solves the same equations by least squares.

    Args:
        corners: int64 (R, 4, 2), places x, y of the top left, top right, bottom right and bottom left pixel.
        sizes: of the images.

    Returns:
        a to h, and which rows have such a map: no three of the places lie on a line.
    """
    x, y = (corners[:, :, axis].T.astype(np.float64) for axis in (0, 1))  # (4, R)
    valid = _no_three_on_a_line(corners)
    with np.errstate(divide="ignore", invalid="ignore"):  # of rows that have no map
        square = _square_to_quadrilateral(x, y)
        a, b, c, d, e, f, g, h = square
        # The adjoint of [[a, b, c], [d, e, f], [g, h, 1]] takes a place to the unit square, whose sides are then those
        # from the first pixel to the last.
        across, down = sizes.widths - 1.0, sizes.heights - 1.0
        last = a * e - b * d
        found = (
            across * (e - f * h) / last,
            across * (c * h - b) / last,
            across * (b * f - c * e) / last,
            down * (f * g - d) / last,
            down * (a - c * g) / last,
            down * (c * d - a * f) / last,
            (d * h - e * g) / last,
            (b * g - a * h) / last,
        )
    valid &= np.isfinite(np.stack(found)).all(axis=0)
    neutral = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    return tuple(np.where(valid, values, rest) for values, rest in zip(found, neutral, strict=True)), valid


def _square_to_quadrilateral(x: Numbers, y: Numbers) -> tuple[Numbers, ...]:
    """a to h of the map from the unit square's corners to four points, in the order of `perspective_map`."""
    across_x, across_y = x[1] - x[2], y[1] - y[2]
    down_x, down_y = x[3] - x[2], y[3] - y[2]
    sum_x, sum_y = x[0] - x[1] + x[2] - x[3], y[0] - y[1] + y[2] - y[3]
    whole = across_x * down_y - down_x * across_y
    g = (sum_x * down_y - down_x * sum_y) / whole
    h = (across_x * sum_y - sum_x * across_y) / whole
    return (
        x[1] - x[0] + g * x[1],
        x[3] - x[0] + h * x[3],
        x[0],
        y[1] - y[0] + g * y[1],
        y[3] - y[0] + h * y[3],
        y[0],
        g,
        h,
    )


def _no_three_on_a_line(corners: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    found = np.ones(len(corners), dtype=bool)
    for left_out in range(4):
        first, second, third = (corners[:, place] for place in range(4) if place != left_out)
        one, two = second - first, third - first
        found &= one[:, 0] * two[:, 1] != one[:, 1] * two[:, 0]
    return found
