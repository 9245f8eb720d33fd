"""How image files begin: telling encoded images from other bytes, by what their format's specification demands."""

from __future__ import annotations

import re
import struct

import numpy as np
import numpy.typing as npt

from dalikit.by_pillow import is_for_pillow

__all__ = ["FORMATS", "image_format", "is_encoded_image"]

FORMATS = "JPEG, PNG, WebP, TIFF, BMP, PNM, JPEG 2000, GIF, AVIF"
"""Those that can be decoded, for messages; the last two by Pillow."""

_LOOKED_AT = 1024
"""Bytes; only the comments of a PNM file take more than 32."""

_JPEG = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]")  # start of image, then another marker (ITU T.81, B.1.1.3)
_PNG = re.compile(rb"\x89PNG\r\n\x1a\n")
_WEBP = re.compile(rb"RIFF....WEBPVP8[ LX]", re.DOTALL)
_TIFF = re.compile(rb"II\*\0|MM\0\*|II\+\0\x08\0\0\0|MM\0\+\0\x08\0\0")  # the last two: BigTIFF
_JPEG_2000 = re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51\0")  # a JP2 file; a bare codestream (SOC, SIZ)
_SIGNATURES = {"JPEG": _JPEG, "PNG": _PNG, "WebP": _WEBP, "TIFF": _TIFF, "JPEG 2000": _JPEG_2000}

_SPACE = rb"(?:[ \t\r\n]|#[^\r\n]*[\r\n])+"
_PNM = re.compile(
    rb"P(?:(?P<bits>[14])|[2356])" + _SPACE + rb"(?P<width>[0-9]{1,7})" + _SPACE + rb"(?P<height>[0-9]{1,7})"
    rb"(?(bits)|" + _SPACE + rb"(?P<largest>[0-9]{1,5}))[ \t\r\n]"
)
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})  # of all versions of its second header


def is_encoded_image(data: npt.NDArray[np.uint8]) -> bool:
    """Whether bytes begin as an image file of a format that can be decoded: JPEG, PNG, WebP, TIFF, BMP, PNM, JPEG 2000,
    and, by Pillow, GIF and AVIF.

    Two or three letters would do for BMP and PNM, and text may begin with them, so their headers must make sense too.
    Whether the rest can be decoded is another question: a file that was cut off is an image, though a broken one.

    Args:
        data: uint8 (n,).
    """
    return image_format(data) is not None or is_for_pillow(data)


def image_format(data: npt.NDArray[np.uint8]) -> str | None:
    """The format as which bytes begin, of those; None: as none.

    Args:
        data: uint8 (n,).
    """
    head = data[:_LOOKED_AT].tobytes()
    for name, signature in _SIGNATURES.items():
        if signature.match(head):
            return name
    if _is_bmp(head):
        return "BMP"
    return "PNM" if _is_pnm(head, len(data)) else None


def _is_bmp(head: bytes) -> bool:
    """A file header of 14 bytes, then one that begins with its own size, and says that there is one plane."""
    if head[:2] != b"BM" or len(head) < 28:
        return False
    (size,) = struct.unpack_from("<I", head, 14)
    (planes,) = struct.unpack_from("<H", head, 22 if size == 12 else 26)
    return size in _BMP_HEADER_SIZES and planes == 1


def _is_pnm(head: bytes, count: int) -> bool:
    match = _PNM.match(head)
    if match is None:
        return False
    width, height, largest = int(match["width"]), int(match["height"]), int(match["largest"] or 1)
    if width == 0 or height == 0 or not 0 < largest < 65536:
        return False
    # The plain forms are text, as other text is: they must be long enough for their pixels, a character each.
    return head[1:2] not in b"123" or count - match.end() >= width * height
