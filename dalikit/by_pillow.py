"""Formats that nvImageCodec lacks and Pillow has: decoded by Pillow, and passed on as PPM, which is lossless and plain.

So all that comes after, executors and regions among it, works as with any other format.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from dalikit.errors import DecodeError

__all__ = ["as_ppm", "is_for_pillow"]

Bytes = npt.NDArray[np.uint8]

_GIF = (b"GIF87a", b"GIF89a")
_AVIF_BRANDS = (b"avif", b"avis")  # AV1 Image File Format, section 6: of a still image, of a sequence


def is_for_pillow(data: Bytes) -> bool:
    """Whether bytes begin as GIF or AVIF.

    Args:
        data: uint8 (n,).
    """
    head = data[:12].tobytes()
    return head.startswith(_GIF) or (head[4:8] == b"ftyp" and head[8:] in _AVIF_BRANDS)


def as_ppm(
    data: Bytes, *, adjust_orientation: bool = False, check_size: Callable[[int, int], None] | None = None
) -> Bytes:
    """An image as Pillow's `convert("RGB")` has it, as a PPM file: uint8 (n,). Of an animation the first frame.

    Args:
        data: uint8 (n,), the encoded bytes.
        adjust_orientation: turn it as its EXIF orientation says.
        check_size: is told height and width before it is decoded; may raise.

    Raises:
        DecodeError: Pillow cannot decode it.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data.tobytes()), formats=("GIF", "AVIF")) as file:
            if check_size is not None:
                check_size(file.height, file.width)
            upright = ImageOps.exif_transpose(file) if adjust_orientation else file
            image = upright.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DecodeError(f"the image cannot be decoded by Pillow: {error}") from None
    head = b"P6\n%d %d\n255\n" % image.size
    return np.frombuffer(head + image.tobytes(), dtype=np.uint8)
