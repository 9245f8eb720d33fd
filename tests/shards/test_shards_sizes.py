"""Sizes and orientations are those that Pillow reads."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dalikit.shards.sizes import UNKNOWN, ImageSize, measure

KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {"progressive": True}),
    ("JPEG", "CMYK", {"quality": 30}),
    ("JPEG", "RGB", {"icc_profile": b"p" * 150_000, "comment": b"c" * 3000}),
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {}),
    ("PNG", "1", {}),
    ("PNG", "I;16", {"icc_profile": b"p" * 9000}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGBA", {"exact": True}),
    ("BMP", "RGB", {}),
    ("BMP", "P", {}),
    ("GIF", "P", {}),
]


def measured(content: bytes) -> ImageSize:
    """The size of a file, read forward only, in pieces as they are asked for."""
    latest = 0

    def read(place: int, size: int) -> bytes:
        nonlocal latest
        assert place >= latest
        latest = place
        return content[place : place + size]

    return measure(read)


def encode(mode: str, size: tuple[int, int], format_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format_name, **options)
    return buffer.getvalue()


def pillows(content: bytes) -> ImageSize:
    """What Pillow says of a file; an orientation that EXIF does not define is upright."""
    with Image.open(io.BytesIO(content)) as image:
        orientation = image.getexif().get(0x0112, 1)
        return ImageSize(image.height, image.width, orientation if orientation in range(1, 9) else 1)


@given(st.sampled_from(KINDS), st.integers(1, 500), st.integers(1, 500))
def test_size_is_pillows(kind: tuple[str, str, dict[str, Any]], width: int, height: int) -> None:
    """Images of every format, in many modes, with much before the size or little."""
    format_name, mode, options = kind
    content = encode(mode, (width, height), format_name, **options)
    assert measured(content) == (height, width, 1) == pillows(content)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("before", [0, 5000, 60_000])
def test_orientation_is_pillows(format_name: str, orientation: int, before: int) -> None:
    """The EXIF tag, whatever else the EXIF block holds; what it does not define is upright."""
    exif = Image.Exif()
    exif[0x010E] = "d" * before  # a description, sorted before the orientation, its text behind it
    exif[0x0112] = orientation
    content = encode("RGB", (7, 5), format_name, exif=exif)
    assert measured(content) == pillows(content)


@pytest.mark.parametrize(("order", "magic"), [("<", b"II*\0"), (">", b"MM\0*")])
@pytest.mark.parametrize(("kind", "code"), [(3, "H"), (4, "I")])
@pytest.mark.parametrize("far", [8, 4000, 65_000])
def test_exif_of_both_byte_orders(order: str, magic: bytes, kind: int, code: str, far: int) -> None:
    """The directory may stand anywhere in the segment, also behind what is read at first."""
    value = struct.pack(order + code, 6).ljust(4, b"\0")
    tiff = magic + struct.pack(order + "I", far) + bytes(far - 8)
    tiff += struct.pack(order + "HHHI", 1, 0x0112, kind, 1) + value + bytes(4)
    plain = encode("RGB", (7, 5), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    content = plain[:2] + segment + plain[2:]
    assert measured(content) == (5, 7, 6) == pillows(content)


def exif_segment(kind: int, count: int, header: bytes = b"Exif\0\0") -> bytes:
    """An APP1 segment that turns the image by a quarter."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, kind, count, 6, 0, 0)
    return b"\xff\xe1" + struct.pack(">H", len(header + tiff) + 2) + header + tiff


@pytest.mark.parametrize(
    "segments",
    [
        exif_segment(1, 1),
        exif_segment(3, 2),
        exif_segment(3, 1, b"Exif\0\1"),
        exif_segment(3, 1) * 2,
        b"\xff\xe1\0\x0aExif\0\0no",
    ],
    ids=["bytes", "two numbers", "another header", "two of them", "cut off"],
)
def test_odd_exif_is_an_unknown_orientation(segments: bytes) -> None:
    """Decoders differ over what it means: the one that will be used is asked when it is."""
    plain = encode("RGB", (7, 5), "JPEG")
    assert measured(plain[:2] + exif_segment(3, 1) + plain[2:]) == (5, 7, 6)
    assert measured(plain[:2] + segments + plain[2:]) == (5, 7, 0)


def test_webp_with_exif_has_an_unknown_orientation() -> None:
    """Its EXIF stands behind the pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert measured(encode("RGB", (7, 5), "WEBP", exif=exif)) == (5, 7, 0)


def test_bitmaps_from_top_to_bottom_and_of_os2() -> None:
    """A negative height, and the old header with 16-bit numbers."""
    content = bytearray(encode("RGB", (7, 5), "BMP"))
    content[22:26] = struct.pack("<i", -5)
    assert measured(bytes(content)) == (5, 7, 1) == pillows(bytes(content))
    old = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 7, 5, 1, 24) + bytes(120)
    assert measured(old) == (5, 7, 1)


def test_fill_bytes_and_junk_between_segments() -> None:
    """Padding that T.81 allows, and what Pillow passes over."""
    plain = encode("RGB", (7, 5), "JPEG")
    for between in (b"\xff" * 3, b"\0\0"):
        assert plain[2:6] == b"\xff\xe0\0\x10"  # the first segment, of 18 bytes
        content = plain[:20] + between + plain[20:]
        assert measured(content) == (5, 7, 1) == pillows(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\0\0",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"BM",
        b"GIF89a",
        b"x" * 99,
    ],
)
def test_what_is_cut_off_or_foreign_is_unknown(content: bytes) -> None:
    """The decoder will say what is wrong with it."""
    assert measured(content) == UNKNOWN


def test_no_more_than_a_megabyte_is_looked_at() -> None:
    """A size behind 1 MiB of other segments is not looked for."""
    segment = b"\xff\xe2\xff\xff" + bytes(65533)
    plain = encode("RGB", (7, 5), "JPEG")
    assert measured(plain[:2] + segment * 15 + plain[2:]) == (5, 7, 1)
    assert measured(plain[:2] + segment * 17 + plain[2:]) == UNKNOWN


@given(st.sampled_from(KINDS), st.data())
def test_any_bytes_are_measured(kind: tuple[str, str, dict[str, Any]], data: st.DataObject) -> None:
    """Files with some bytes changed or cut off give a size or UNKNOWN, and never an exception."""
    format_name, mode, options = kind
    exif = Image.Exif()
    exif[0x0112] = 3
    content = bytearray(
        encode(mode, (9, 9), format_name, **options, **({"exif": exif} if format_name != "GIF" else {}))
    )
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(8, min(len(content), 300) - 1))] = data.draw(st.integers(0, 255))
    size = measured(bytes(content[: data.draw(st.integers(0, len(content)))]))
    assert size == UNKNOWN or (size.height > 0 and size.width > 0 and 0 <= size.orientation <= 8)
