"""GaussianBlur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dalikit.transforms import operations as ops
from dalikit.transforms.arguments import check_kernel_size, check_sigma
from dalikit.transforms.base import Columns, Drawn, Sizes, Transform, TransformRefusalError
from dalikit.transforms.draws import Draws, uniform
from dalikit.transforms.purposes import Purpose

__all__ = ["GaussianBlur"]


@dataclass(frozen=True)
class GaussianBlur(Transform):
    """Blurs with a Gaussian window of a random width, the image reflected at its edges.

    Args:
        kernel_size: side of the window, or (width, height), odd and positive, in pixels.
        sigma: standard deviation in pixels: a positive number, or (minimum, maximum) to draw it from uniformly.

    Raises:
        ArgumentError: an argument is out of range.
    """

    kernel_size: Any
    sigma: Any = (0.1, 2.0)

    purpose: ClassVar[int] = Purpose.GAUSSIAN_BLUR
    num_blocks: ClassVar[int] = 1
    _num_columns: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        object.__setattr__(self, "kernel_size", check_kernel_size("kernel_size", self.kernel_size))
        object.__setattr__(self, "sigma", check_sigma("sigma", self.sigma))

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: the standard deviation."""
        width, height = self.kernel_size
        small = (sizes.heights <= height // 2) | (sizes.widths <= width // 2)
        if small.any():
            row = int(small.argmax())
            raise TransformRefusalError(
                row,
                f"GaussianBlur(kernel_size={self.kernel_size}): the image is {sizes.heights[row]}x{sizes.widths[row]} "
                "(height x width), too small to be reflected at its edges: each side must be more than half the "
                "window's; resize it first, or take a smaller window",
            )
        return (uniform(draws.words()[:, 0], *self.sigma),), sizes

    def operations(self, column: int) -> tuple[ops.Operation, ...]:
        """A blur."""
        return (ops.GaussianBlur(column, self.kernel_size),)

    def drawn(self, values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
        """The standard deviation in pixels."""
        return (Drawn("blur_sigma", values[:, 0], 0.0),)
