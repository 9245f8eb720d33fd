"""A user's function between reading and all other steps: a PIL image in, the pixels of an image out."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.callables import seeded_generators
from dalikit.errors import DecodeError
from dalikit.fetch.limits import NO_LIMITS, Limits
from dalikit.transforms.purposes import Purpose

__all__ = ["HostFunction"]

Pixels = npt.NDArray[np.uint8]


class HostFunction:
    """Gives a function its image, and what it returns to the rest of the loader, as a decoded image.

    It pickles if the function does.

    Args:
        function: takes a PIL image (RGB); returns one, or a uint8 array (H, W, 3), or a uint8 tensor (3, H, W).
        seed: the loader's.
        adjust_orientation: whether the function gets an encoded image turned as its EXIF orientation says.
        limits: of an encoded image.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        seed: int,
        *,
        adjust_orientation: bool = False,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._limits = limits
        self._function = function
        self._seed = seed
        self._adjust_orientation = adjust_orientation

    def __call__(self, data: npt.NDArray[np.uint8], position: int) -> Pixels:
        """What the function makes of an encoded image, which Pillow decodes.

        Args:
            data: uint8 (n,), the encoded bytes.
            position: global position of the sample: with the seed the key of what the function draws.

        Returns:
            uint8 (H, W, 3), contiguous; nobody else's memory, though it may be read-only.

        Raises:
            DecodeError: Pillow cannot decode it, or it is too large.
            TypeError: the function returned something else than an image.
        """
        from PIL import Image, ImageOps

        self._limits.check_bytes(len(data))
        try:
            with Image.open(io.BytesIO(data.tobytes())) as file:
                self._limits.check_pixels(file.height, file.width)
                upright = ImageOps.exif_transpose(file) if self._adjust_orientation else file
                image = upright.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DecodeError(f"the image cannot be decoded by Pillow: {error}") from None
        return self._pixels_of(image, position)

    def of_pixels(self, pixels: Pixels, position: int) -> Pixels:
        """The same of a decoded image: uint8 (H, W, 3), which stays as it is whatever the function does."""
        from PIL import Image

        return self._pixels_of(Image.fromarray(pixels), position)

    def _pixels_of(self, image: Any, position: int) -> Pixels:
        with seeded_generators(self._seed, position, Purpose.FUNCTION):
            result = self._function(image)
            return _as_pixels(result)  # within: another thread's call may write into the same memory


def _as_pixels(result: Any) -> Pixels:
    """uint8 (H, W, 3): a copy, because a function may return memory that it writes its next image into."""
    from PIL import Image

    if isinstance(result, dict | list | tuple):
        raise TypeError(
            f"the function of OnCPU returned a {type(result).__name__} of {len(result)}: it must make one image; "
            "several views are T.MultiCrop([T.Views(...), ...]), DINO's are T.DataAugmentationDINO(...)"
        )
    is_image = isinstance(result, Image.Image)
    array = np.asarray(result.convert("RGB") if is_image and result.mode != "RGB" else result)
    shape = array.shape
    if hasattr(result, "permute") and array.ndim == 3:  # a tensor: channels first
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise TypeError(
            f"the function of OnCPU returned {type(result).__name__} of {array.dtype} {shape}: must be a PIL "
            "image, a uint8 array (H, W, 3) or a uint8 tensor (3, H, W); leave conversion to floating point to the "
            "steps after it; or apply the whole transform in the dataset's __getitem__, and give the loader none"
        )
    return array if is_image else np.array(array, order="C")  # what Pillow gives is a copy already
