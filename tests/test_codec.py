"""Image headers, verdicts on bytes that are no image, and the CPU decoder."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from encoded_images import KINDS, broken_png, encode, photograph, truncated_webp, write_kind
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from pillow_reference import open_rgb

from dalikit.codec import CpuDecoder, read_header
from dalikit.errors import DecodeError

NO_IMAGE = (
    r"^not an image of a format that can be decoded \(JPEG, PNG, WebP, TIFF, BMP, PNM, JPEG 2000, GIF, AVIF\): "
    r"{count} bytes beginning with {start}$"
)
CODECS = {"jpeg 2000": "jpeg2k", "ppm": "pnm", "pgm": "pnm", "pbm": "pnm"}


def as_array(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(data, dtype=np.uint8)


@pytest.fixture(scope="module")
def image(photographs: list[Path]) -> Image.Image:
    return photograph(photographs[0])


@pytest.fixture(scope="module")
def jpeg(image: Image.Image) -> bytes:
    return encode(image, "JPEG")


def with_thumbnail(jpeg: bytes, thumbnail: bytes) -> bytes:
    """The JPEG with another whole JPEG in an application segment before its own headers, as cameras write them."""
    payload = b"Exif\0\0" + thumbnail
    return jpeg[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + jpeg[2:]


@pytest.mark.parametrize("name", KINDS)
def test_the_header_of_every_kind_gives_its_size_and_codec(name: str, image: Image.Image, tmp_path: Path) -> None:
    data = as_array(write_kind(tmp_path / "image", image, KINDS[name]).read_bytes())
    header = read_header(data)
    assert (header.height, header.width) == (97, 121)
    codec = next((codec for start, codec in CODECS.items() if name.startswith(start)), name.split()[0])
    assert header.codec == codec


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_decodes_to_pillows_pixels(name: str, image: Image.Image, tmp_path: Path) -> None:
    path = write_kind(tmp_path / "image", image, KINDS[name])
    decoded = CpuDecoder().decode(read_header(as_array(path.read_bytes())).stream)
    np.testing.assert_array_equal(decoded, np.asarray(open_rgb(path)))


def test_no_bytes_are_refused() -> None:
    with pytest.raises(DecodeError, match=r"^no bytes: the file is empty$"):
        read_header(as_array(b""))


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"\xff\xd8", b"<html><body>404 Not Found</body></html>", bytes(5000), b"GIF89a" * 9],
    ids=["one byte", "start of a JPEG", "web page", "zeros", "GIF"],
)
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    message = NO_IMAGE.format(count=len(data), start=re.escape(repr(data[:16])))
    with pytest.raises(DecodeError, match=message):
        read_header(as_array(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "TIFF", "JPEG 2000"])
@pytest.mark.parametrize("count", [20, 28])
def test_an_image_cut_off_in_its_header_is_called_so(image: Image.Image, kind: str, count: int) -> None:
    """Not one of another format."""
    data = encode(image, kind.replace(" ", ""))[:count]
    with pytest.raises(DecodeError, match=rf"^a {kind} whose header or body is broken or cut off: {count} bytes$"):
        read_header(as_array(data))


def test_a_png_cut_off_behind_its_header_is_called_so(image: Image.Image) -> None:
    data = encode(image, "PNG")
    with pytest.raises(DecodeError, match=r"^a PNG whose header or body is broken or cut off: \d+ bytes$"):
        read_header(as_array(data[: len(data) // 2]))


def test_a_jpeg_of_nothing_is_broken() -> None:
    with pytest.raises(DecodeError, match=r"^a JPEG whose header or body is broken or cut off: 4 bytes$"):
        read_header(as_array(b"\xff\xd8\xff\xd9"))


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"^an image of 5x0 pixels \(height x width\)$"):
        read_header(as_array(b"P6\n0 5\n255\n"))


@given(share=st.floats(0.0, 1.0))
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_refused(image: Image.Image, progressive: bool, share: float) -> None:
    """Wherever it is cut off behind its headers."""
    data = encode(image, "JPEG", progressive=progressive)
    scan = data.index(b"\xff\xda") + 20
    end = scan + int(share * (len(data) - 2 - scan))
    with pytest.raises(DecodeError, match=rf"^truncated JPEG: {end} bytes without an end-of-image marker$"):
        read_header(as_array(data[:end]))


@pytest.mark.parametrize("garbage", [b"\0", b"\xff", b"\xd9", b"trailing text", bytes(1000)])
def test_bytes_behind_a_jpeg_are_accepted(image: Image.Image, jpeg: bytes, garbage: bytes) -> None:
    header = read_header(as_array(jpeg + garbage))
    expected = CpuDecoder().decode(read_header(as_array(jpeg)).stream)
    np.testing.assert_array_equal(CpuDecoder().decode(header.stream), expected)
    assert expected is not None
    assert expected.shape == (image.height, image.width, 3)


def test_a_truncated_jpeg_with_a_whole_thumbnail_is_refused(image: Image.Image, jpeg: bytes) -> None:
    """The thumbnail's end-of-image marker is not the image's."""
    data = with_thumbnail(jpeg, encode(image.resize((32, 32)), "JPEG"))
    assert read_header(as_array(data)).width == image.width
    assert read_header(as_array(data + b"more")).width == image.width
    with pytest.raises(DecodeError, match=r"^truncated JPEG"):
        read_header(as_array(data[:-2]))
    with pytest.raises(DecodeError, match=r"^truncated JPEG"):
        read_header(as_array(data[: len(data) - 500]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_gives_the_size_as_it_will_be_decoded(image: Image.Image, tmp_path: Path, orientation: int) -> None:
    data = as_array(write_kind(tmp_path / "image", image, KINDS["jpeg 4:2:0"], orientation).read_bytes())
    turned = read_header(data, adjust_orientation=True)
    assert (turned.height, turned.width) == ((121, 97) if orientation >= 5 else (97, 121))
    assert read_header(data)[1:3] == (97, 121)


def test_an_orientation_in_xmp_data_is_not_applied(image: Image.Image) -> None:
    """Pillow falls back on it, the decoder does not, and header and pixels have to agree."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = encode(image, "JPEG", xmp=xmp)
    with Image.open(io.BytesIO(data)) as file:
        assert file.getexif()[0x0112] == 6
    header = read_header(as_array(data), adjust_orientation=True)
    decoded = CpuDecoder(adjust_orientation=True).decode(header.stream)
    assert decoded is not None
    assert decoded.shape[:2] == (header.height, header.width) == (97, 121)


def test_exif_data_that_cannot_be_read_means_upright(image: Image.Image) -> None:
    data = as_array(encode(image, "JPEG", exif=b"Exif\0\0junk that is no EXIF data"))
    assert read_header(data, adjust_orientation=True)[1:3] == (97, 121)


REGION_KINDS = ["jpeg 4:4:4", "jpeg 4:2:0", "jpeg progressive", "png rgb", "webp lossy", "tiff", "bmp rgb", "ppm"]


@pytest.fixture(scope="module")
def decoded_kinds(image: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[object, object]]:
    """Name -> the stream, and the whole image decoded."""
    root = tmp_path_factory.mktemp("kinds")
    out = {}
    for name in REGION_KINDS:
        path = write_kind(root / name.replace(":", ""), image, KINDS[name])
        stream = read_header(as_array(path.read_bytes())).stream
        out[name] = (stream, np.array(CpuDecoder().decode(stream)))
    return out


@given(st.integers(0, 96), st.integers(0, 120), st.integers(1, 97), st.integers(1, 121))
@pytest.mark.parametrize("name", REGION_KINDS)
def test_a_region_is_a_slice_of_the_whole(
    decoded_kinds: dict[str, tuple[object, object]], name: str, top: int, left: int, height: int, width: int
) -> None:
    """But for a box of one pixel's width at the left edge: there libjpeg-turbo makes other chroma of 4:2:0."""
    stream, whole = decoded_kinds[name]
    assume((left, width) != (0, 1))
    assert isinstance(whole, np.ndarray)
    height, width = min(height, 97 - top), min(width, 121 - left)
    part = CpuDecoder().decode(stream, (top, left, height, width))
    np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])


def test_what_cannot_be_decoded_is_none(image: Image.Image) -> None:
    for data in (broken_png(image), truncated_webp(image)):
        stream = read_header(as_array(data)).stream
        assert CpuDecoder().decode(stream) is None
        assert CpuDecoder().decode(stream, (0, 0, 90, 100)) is None


def test_a_decoder_works_on_after_an_image_that_cannot_be_decoded(image: Image.Image, jpeg: bytes) -> None:
    decoder = CpuDecoder()
    first = decoder.decode(read_header(as_array(jpeg)).stream)
    assert decoder.decode(read_header(as_array(broken_png(image))).stream) is None
    np.testing.assert_array_equal(decoder.decode(read_header(as_array(jpeg)).stream), first)
