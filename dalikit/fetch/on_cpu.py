"""A user's function between reading and decoding: bytes in, bytes of a bare image (PPM) out."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.callables import seeded_generators
from dalikit.errors import DecodeError
from dalikit.transforms.purposes import Purpose

__all__ = ["HostFunction"]

Bytes = npt.NDArray[np.uint8]


class HostFunction:
    """Decodes by Pillow, calls the function, and packs what it returns as a PPM image, which decoding only copies.

    So the rest of the loader sees encoded bytes as ever.

    Args:
        function: takes a PIL image (RGB); returns one, or a uint8 array (H, W, 3), or a uint8 tensor (3, H, W).
        seed: the loader's.
        adjust_orientation: whether the function gets the image turned as its EXIF orientation says.
    """

    def __init__(self, function: Callable[[Any], Any], seed: int, *, adjust_orientation: bool = False) -> None:
        self._function = function
        self._seed = seed
        self._adjust_orientation = adjust_orientation

    def __call__(self, data: Bytes, position: int) -> Bytes:
        """Bytes of the image that the function makes of the encoded one.

        Raises:
            DecodeError: Pillow cannot decode it.
            TypeError: the function returned something else than an image.
        """
        from PIL import Image, ImageOps

        try:
            with Image.open(io.BytesIO(data.tobytes())) as file:
                upright = ImageOps.exif_transpose(file) if self._adjust_orientation else file
                image = upright.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DecodeError(f"the image cannot be decoded by Pillow: {error}") from None
        with seeded_generators(self._seed, position, Purpose.FUNCTION):
            result = self._function(image)
        return _as_ppm(_as_array(result))


def _as_array(result: Any) -> Bytes:
    """uint8 (H, W, 3)."""
    if isinstance(result, dict | list | tuple):
        raise TypeError(
            f"the function of OnCPU returned a {type(result).__name__} of {len(result)}: it must make one image; "
            "several views are T.MultiCrop([T.Views(...), ...]), DINO's are T.DataAugmentationDINO(...)"
        )
    array = np.asarray(result.convert("RGB") if hasattr(result, "convert") else result)
    shape = array.shape
    if hasattr(result, "permute") and array.ndim == 3:  # a tensor: channels first
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise TypeError(
            f"the function of OnCPU returned {type(result).__name__} of {array.dtype} {shape}: must be a PIL "
            "image, a uint8 array (H, W, 3) or a uint8 tensor (3, H, W); leave conversion to floating point to the "
            "steps after it"
        )
    return array


def _as_ppm(array: Bytes) -> Bytes:
    height, width = array.shape[:2]
    header = np.frombuffer(b"P6\n%d %d\n255\n" % (width, height), dtype=np.uint8)
    return np.concatenate([header, array.reshape(-1)])
