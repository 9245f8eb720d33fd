"""Telling encoded images from other bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from encoded_images import KINDS, PALETTE_TIFF, encode
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from dalikit.signatures import is_encoded_image


def make_image(width: int = 7, height: int = 5) -> Image.Image:
    """Noise."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def told(data: bytes) -> bool:
    """Whether they are told to be an image."""
    return is_encoded_image(np.frombuffer(data, dtype=np.uint8))


@pytest.mark.parametrize("name", KINDS)
def test_what_pillow_writes_is_an_image(name: str, photographs: list[Path]) -> None:
    """Each format, in each of its kinds, whole and cut off."""
    format_name, convert, options = KINDS[name]
    with Image.open(photographs[0]) as file:
        data = encode(convert(file.convert("RGB")), format_name, **options)
    assert told(data)
    assert told(data[: 3 * len(data) // 4])


def test_palette_tiff_and_big_tiff() -> None:
    """Those too."""
    format_name, convert, options = PALETTE_TIFF
    assert told(encode(convert(make_image()), format_name, **options))
    assert told(encode(make_image(), "TIFF", big_tiff=True))
    assert told(b"MM\0*" + bytes(12))


@given(st.sampled_from(sorted(KINDS)), st.integers(1, 40), st.integers(1, 40))
def test_images_of_any_size(name: str, width: int, height: int) -> None:
    """Down to one pixel."""
    format_name, convert, options = KINDS[name]
    assert told(encode(convert(make_image(width, height)), format_name, **options))


@pytest.mark.parametrize(
    "data",
    [
        *(b"P1\n2 2\n0 1\n1 0\n", b"P2 2 1 255 0 255", b"P3\n1 1\n255\n1 2 3\n", b"P4 8 1\n\xff"),
        *(b"P5 1 1 255 x", b"P6\n# a comment\n1 1\n# another\n255\nabc", b"P5\r\n1 1\r\n65535\nab"),
    ],
)
def test_pnm_in_all_its_forms(data: bytes) -> None:
    """Plain and raw, with comments, however it is spaced."""
    assert told(data)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"0", b"7", b"B", b"BM", b"P5", b"P6", b"P6 ", b"P7\n1 1\n255\n", b"cat", b"II", b"MM", b"RIFF"),
        *(b"P6 100", b"P6 0 5 255 x", b"P5 5 5 0 x", b"P5 5 5 99999 x", b"P2 10 20 30 40", b"P1 12 13 14"),
        *(b"BMW 320i, a car with four doors and one owner", b"BM" + bytes(60), b"BM" + b"\xff" * 60),
        *(
            b"\xff\xd8",
            b"\xff\xd8\xff\x00",
            b"\x89PNG",
            b"RIFF\0\0\0\0WAVEfmt ",
            b"\xff\x4f",
        ),
    ],
)
def test_short_labels_and_text_are_no_images(data: bytes) -> None:
    """Whatever letters they begin with."""
    assert not told(data)


@given(st.text(max_size=2000))
@example("BM" * 30)
@example("P6 is the name of a processor")
@example("P1 100 200 300")
def test_text_is_no_image(text: str) -> None:
    """In UTF-8 or in UTF-16."""
    assert not told(text.encode("utf-8", "surrogatepass"))
    assert not told(text.encode("utf-16", "surrogatepass"))


@given(st.sampled_from([b"", b"BM", b"P5", b"P6 ", b"II", b"RIFF", b"\xff\xd8"]), st.binary(max_size=64))
def test_random_bytes_are_no_image(start: bytes, rest: bytes) -> None:
    """Even behind the letters that a format begins with."""
    assume(not rest.startswith(b"\xff") and not rest.startswith((b"*\0", b"+\0")))
    assume(not (start.startswith(b"P") and rest[:1].isdigit()))
    assume(start or not rest.startswith((b"\x89PNG", b"II", b"MM", b"RIFF", b"GIF8", b"\0\0\0\x0c", b"BM", b"P")))
    assume((start + rest)[4:8] != b"ftyp")
    assert not told(start + rest)


@given(st.lists(st.integers(0, 10**6), max_size=30))
def test_numbers_in_text_are_no_image(numbers: list[int]) -> None:
    """Labels as text, one behind the other."""
    assert not told(b" ".join(b"%d" % number for number in numbers))
