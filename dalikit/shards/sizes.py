"""Image size and orientation from the first bytes of an image file.

Formats: JPEG (ITU T.81, B.2.2: the frame header; EXIF 2.32: the APP1 segment), PNG (W3C PNG, 5.3 and 11.3.2), WebP (RFC
9649), BMP and GIF89a. What is read is what Pillow reads, so that both say the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["FIRST_BYTES", "UNKNOWN", "ImageSize", "measure"]

FIRST_BYTES = 2048
"""Of an image that are looked at first: within them most JPEGs have said their size."""

_FURTHEST = 1 << 20
"""1 MiB: a size that comes later is not looked for. Colour profiles and previews of some 100 KiB stand before it."""

_UPRIGHT = 1
_ORIENTATION = 0x0112  # the EXIF tag
_INTEGERS = {3: "H", 4: "I"}  # TIFF 6.0, section 2: field types
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0 to SOF15
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
_SCAN, _APP1, _END = 0xDA, 0xE1, 0xD9

Read = Callable[[int, int], bytes]
"""read(place, size): bytes of the file, fewer at its end. No call begins before an earlier one."""


class ImageSize(NamedTuple):
    """What an image says of itself before it is decoded."""

    height: int
    """In pixels, as stored; 0: not known."""
    width: int
    orientation: int
    """EXIF's, 1 to 8; 1 also if it says nothing; 0: not known, as decoders differ over it."""


UNKNOWN = ImageSize(0, 0, 0)


def measure(read: Read) -> ImageSize:
    """The size of an image, by its first bytes, whatever its name is.

    Args:
        read: gives bytes of the file; some KiB are asked for, at most 1 MiB into the file.

    Returns:
        UNKNOWN if it is of another format, cut off, or broken: the decoder will say what is wrong.
    """
    data = read(0, FIRST_BYTES)
    if data.startswith(b"\xff\xd8\xff"):
        size = _jpeg(data, read)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        size = _png(data, read)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        size = _webp(data)
    elif data.startswith(b"BM"):
        size = _bmp(data)
    elif data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 10:
        width, height = struct.unpack_from("<HH", data, 6)
        size = ImageSize(height, width, _UPRIGHT)
    else:
        return UNKNOWN
    return size if size.height and size.width else UNKNOWN


def _jpeg(data: bytes, read: Read) -> ImageSize:
    """Goes from segment to segment up to the first scan: EXIF may stand on either side of the frame header."""
    start, place = 0, 2  # of `data` in the file, and in `data`
    height = width = 0
    orientation, has_exif = _UPRIGHT, False
    while True:
        if place + 10 > len(data):
            start, place = start + place, 0
            data = read(start, FIRST_BYTES) if start < _FURTHEST else b""
            if len(data) < 10:
                return UNKNOWN
        marker = data[place + 1]
        if data[place] != 0xFF or marker == 0xFF:  # Pillow, too, looks for the next marker
            place += 1
        elif marker in (_SCAN, _END):
            return ImageSize(height, width, orientation)
        elif marker in _ALONE or marker == 0:
            place += 2
        else:
            if marker in _FRAMES:
                height, width = data[place + 5] << 8 | data[place + 6], data[place + 7] << 8 | data[place + 8]
            elif marker == _APP1 and data.startswith(b"Exif", place + 4):
                odd = has_exif or not data.startswith(b"\0\0", place + 8)
                orientation, has_exif = 0 if odd else _jpeg_orientation(data, start, place, read), True
            place += 2 + (data[place + 2] << 8 | data[place + 3])


def _jpeg_orientation(data: bytes, start: int, place: int, read: Read) -> int:
    """The orientation in an APP1 segment at `place`."""
    end = place + 2 + (data[place + 2] << 8 | data[place + 3])
    found = _exif(data[place + 10 : end])
    if found is None and end > len(data):
        found = _exif(read(start + place, end - place)[10:])
    return found or 0


def _exif(tiff: bytes) -> int | None:
    """The orientation in the first directory of an EXIF block (behind "Exif"). None: not all of it is there; 0: it is
    not said as EXIF would have it, so that the decoder has the word.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return None
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    if directory + 2 > len(tiff):
        return None
    (count,) = struct.unpack_from(order + "H", tiff, directory)
    for entry in range(directory + 2, min(directory + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, number = struct.unpack_from(order + "HHI", tiff, entry)
        if tag == _ORIENTATION:
            if kind not in _INTEGERS or number != 1:
                return 0
            (value,) = struct.unpack_from(order + _INTEGERS[kind], tiff, entry + 8)
            return int(value) if 1 <= value <= 8 else _UPRIGHT
    return _UPRIGHT if directory + 2 + 12 * count <= len(tiff) else None


def _png(data: bytes, read: Read) -> ImageSize:
    """The IHDR chunk, and an eXIf chunk if one comes before the pixels, which is where Pillow looks."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        return UNKNOWN
    width, height = struct.unpack_from(">II", data, 16)
    place, orientation = 33, 0
    while place < _FURTHEST:
        chunk = data[place : place + 8] if place + 8 <= len(data) else read(place, 8)
        if len(chunk) < 8:
            break
        length, kind = struct.unpack(">I4s", chunk)
        if kind == b"IDAT":
            orientation = orientation or _UPRIGHT
            break
        if kind == b"eXIf":
            orientation = _exif(read(place, min(8 + length, _FURTHEST))[8:]) or 0
            break
        place += 12 + length
    return ImageSize(height, width, orientation)


def _webp(data: bytes) -> ImageSize:
    """The first chunk: a simple lossy or lossless image, or the canvas of an extended one."""
    if len(data) < 30:
        return UNKNOWN
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return ImageSize(height & 0x3FFF, width & 0x3FFF, _UPRIGHT)
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return ImageSize((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, _UPRIGHT)
    if kind == b"VP8X":
        has_exif = data[20] & 0x08  # its chunk is the last one, behind the pixels
        width, height = (1 + int.from_bytes(data[place : place + 3], "little") for place in (24, 27))
        return ImageSize(height, width, 0 if has_exif else _UPRIGHT)
    return UNKNOWN


def _bmp(data: bytes) -> ImageSize:
    """The header behind the file header: OS/2's with 16-bit numbers, or one of Windows'."""
    if len(data) < 26:
        return UNKNOWN
    if struct.unpack_from("<I", data, 14) == (12,):
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return ImageSize(abs(height), max(width, 0), _UPRIGHT)  # negative: from top to bottom
