"""The one door to nvImageCodec: image headers, and decoding on the CPU.

nvImageCodec is the library inside DALI's own decoders (one and the same since DALI 2.0), and comes with DALI. Called
directly it gives three things that the operator does not: the header before decoding, a verdict for each image, and a
decode on the calling thread. It is imported on first use; every call releases the GIL while it decodes.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dalikit.errors import DecodeError
from dalikit.signatures import FORMATS, image_format

__all__ = [
    "CpuDecoder",
    "Header",
    "Region",
    "find_undecodable",
    "known_header",
    "read_header",
    "undecodable",
    "with_end",
]

Region = tuple[int, int, int, int]
"""top, left, height, width in pixels."""

_EXIF_ORIENTATION = 0x0112
_OTHER_ORIENTATIONS = ("xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # Pillow asks these too, the decoder not
_START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"  # of a JPEG (ITU T.81, B.1.1.3)
_QUARTER_TURNS = frozenset({5, 6, 7, 8})  # EXIF 2.32, tag 274: the values that swap height and width


@functools.cache
def _nvimgcodec() -> Any:
    from nvidia import nvimgcodec  # 0.1 s, and only who decodes needs it

    return nvimgcodec


class Header(NamedTuple):
    """What is known of an encoded image before it is decoded."""

    stream: Any
    """nvImageCodec's CodeStream: the parsed header and a reference to the bytes."""
    height: int
    """In pixels, as the image will be decoded (so after the EXIF orientation, if that is asked for)."""
    width: int
    codec: str
    """"jpeg", "png", "webp", "tiff", "bmp", "pnm" or "jpeg2k"; "" if that was not looked at."""


def undecodable(header: Header) -> str:
    """Why an image that the decoder gives up on is no image: its size, too, as one too large for the memory is such."""
    return f"the image cannot be decoded: its header says {header.height}x{header.width} pixels (height x width)"


class _Unread(NamedTuple):
    """An image whose header is read when it is needed."""

    data: npt.NDArray[np.uint8]
    height: int
    """As stored, as all that follows."""
    width: int


class _KnownHeader(Header):
    """A header whose size was known before. Its `stream` is made when it is asked for."""

    __slots__ = ()

    @property
    def stream(self) -> Any:
        """A new CodeStream.

        Raises:
            DecodeError: the image has another size than the index says, or cannot be decoded.
        """
        unread: _Unread = self[0]
        found = _parse(unread.data)
        if (found.height, found.width) != (unread.height, unread.width):
            raise DecodeError(
                f"the index says {unread.height}x{unread.width} pixels (height x width), the file has "
                f"{found.height}x{found.width}: rebuild the index"
            )
        return found.stream


def read_header(data: npt.NDArray[np.uint8], *, adjust_orientation: bool = False) -> Header:
    """Parses an image's header: some microseconds.

    Args:
        data: uint8 (n,), the encoded bytes; they must stay as they are while the header's stream is used.
        adjust_orientation: whether the image will be decoded with its EXIF orientation applied.

    Raises:
        DecodeError: the bytes are no image of a format that can be decoded, a broken one, one without pixels, or a JPEG
            without an end-of-image marker (so one that was cut off).
    """
    header = _parse(data)
    if header.codec == "jpeg" and data[-2:].tobytes() != _END_OF_IMAGE and not _has_end_of_image(data):
        raise _truncated(data)
    if adjust_orientation and _exif_orientation(data) in _QUARTER_TURNS:
        return Header(header.stream, header.width, header.height, header.codec)
    return header


def known_header(
    data: npt.NDArray[np.uint8], height: int, width: int, orientation: int, *, adjust_orientation: bool = False
) -> Header:
    """The header of an image whose size is known: under a microsecond, as its bytes are not parsed.

    Its `stream` is made anew whenever it is asked for, by whoever decodes the image, and raises DecodeError if the
    image has another size.

    Args:
        data: uint8 (n,), the encoded bytes; they must stay as they are while the header is used.
        height: in pixels, as stored.
        width: likewise.
        orientation: EXIF's, 1 to 8; 0: not known, so that `adjust_orientation` takes reading the header after all.
        adjust_orientation: whether the image will be decoded with its EXIF orientation applied.

    Raises:
        DecodeError: a JPEG without an end-of-image marker (so one that was cut off), or no bytes at all.
    """
    tail = data[-2:].tobytes()
    if (adjust_orientation and not orientation) or not tail:
        return read_header(data, adjust_orientation=adjust_orientation)
    if tail != _END_OF_IMAGE and data[:2].tobytes() == _START_OF_IMAGE and not _has_end_of_image(data):
        raise _truncated(data)
    unread = _Unread(data, height, width)
    if adjust_orientation and orientation in _QUARTER_TURNS:
        height, width = width, height
    return _KnownHeader(unread, height, width, "")


def _parse(data: npt.NDArray[np.uint8]) -> Header:
    """The header, as stored."""
    if len(data) == 0:
        raise DecodeError("no bytes: the file is empty")
    try:
        stream = _nvimgcodec().CodeStream(data)
        height, width, codec = stream.height, stream.width, stream.codec_name
    except RuntimeError:
        kind = image_format(data)
        if kind is not None:
            raise DecodeError(f"a {kind} whose header or body is broken or cut off: {len(data)} bytes") from None
        raise DecodeError(
            f"not an image of a format that can be decoded ({FORMATS}): {len(data)} "
            f"bytes beginning with {bytes(data[:16])!r}"
        ) from None
    if height <= 0 or width <= 0:
        raise DecodeError(f"an image of {height}x{width} pixels (height x width)")
    return Header(stream, height, width, codec)


def _truncated(data: npt.NDArray[np.uint8]) -> DecodeError:
    error = DecodeError(f"truncated JPEG: {len(data)} bytes without an end-of-image marker")
    error.truncated = True
    return error


def with_end(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A JPEG that was cut off, with an end: uint8 (n + 2,). Decoders fill in what is missing with gray."""
    return np.concatenate([data, np.frombuffer(_END_OF_IMAGE, dtype=np.uint8)])


def _has_end_of_image(data: npt.NDArray[np.uint8]) -> bool:
    """Whether an end-of-image marker follows the first scan of a JPEG that does not end with one.

    Files with bytes behind the image are common. Within entropy-coded data 0xFF is always followed by 0x00 or a restart
    marker (ITU T.81, B.1.1.5), so 0xFFD9 behind the start of the scan is the marker; before it, it may belong to a
    thumbnail, so the segments are walked over.
    """
    text = bytes(data)
    place = 2
    while place + 4 <= len(text) and text[place] == 0xFF:
        marker = text[place + 1]
        if marker == 0xDA:
            return text.rfind(b"\xff\xd9") > place
        place += 1 if marker == 0xFF else 2 + int.from_bytes(text[place + 2 : place + 4], "big")
    return False


def _exif_orientation(data: npt.NDArray[np.uint8]) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) if there is none."""
    from PIL import Image  # only for who asks for the orientation

    try:
        with Image.open(io.BytesIO(data.tobytes())) as image:
            for other in _OTHER_ORIENTATIONS:
                image.info.pop(other, None)
            return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Image.DecompressionBombError as error:
        raise DecodeError(f"its EXIF orientation is not read: {error}") from None
    except (OSError, ValueError, SyntaxError):
        return 1


class CpuDecoder:
    """Decodes one image at a time on the calling thread, to RGB, with the pixels of Pillow's `convert("RGB")`.

    Belongs to one thread.

    Args:
        adjust_orientation: apply the EXIF orientation.
    """

    def __init__(self, *, adjust_orientation: bool = False) -> None:
        nvimgcodec = _nvimgcodec()
        self._region = nvimgcodec.Region
        self._decoder = nvimgcodec.Decoder(
            device_id=nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY,
            max_num_cpu_threads=1,
            backends=[nvimgcodec.Backend(nvimgcodec.CPU_ONLY)],
        )
        self._params = nvimgcodec.DecodeParams(
            apply_exif_orientation=adjust_orientation,
            color_spec=nvimgcodec.ColorSpec.SRGB,
            sample_format=nvimgcodec.SampleFormat.I_RGB,
        )

    def decode(self, stream: Any, region: Region | None = None) -> npt.NDArray[np.uint8] | None:
        """The image, or a region that lies inside it: uint8 (height, width, 3). None if it cannot be decoded."""
        if region is not None:
            top, left, height, width = region
            stream = stream.get_sub_code_stream(0, self._region(top, left, top + height, left + width))
        image = self._decoder.decode(stream, params=self._params)
        return None if image is None else np.asarray(image)


def find_undecodable(
    headers: Sequence[Header], boxes: Sequence[Region | None] | None = None, *, adjust_orientation: bool
) -> Iterator[tuple[int, DecodeError]]:
    """Which of a batch's images cannot be decoded, and why: each is decoded alone.

    DALI names one image of a batch at best, and a decoder that is asked for a region sees no more than that.

    Args:
        headers: of the images.
        boxes: the part of each that is decoded; None: the whole.
        adjust_orientation: apply the EXIF orientation.
    """
    decoder = CpuDecoder(adjust_orientation=adjust_orientation)
    for row, header in enumerate(headers):
        try:
            if decoder.decode(header.stream, None if boxes is None else boxes[row]) is None:
                yield row, DecodeError(undecodable(header))
        except DecodeError as wrong_size:
            yield row, wrong_size
