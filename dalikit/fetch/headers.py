"""The headers of a batch's images."""

from __future__ import annotations

from dalikit.codec import Header, read_header
from dalikit.errors import SampleError
from dalikit.fetch.batch import ImageBatch

__all__ = ["add_headers"]


def add_headers(batch: ImageBatch, *, adjust_orientation: bool) -> None:
    """Fills `batch.headers`: parsed from the encoded bytes, some microseconds an image; of decoded images their size.

    Args:
        batch: in this process: what is parsed refers to its bytes.
        adjust_orientation: whether the images will be decoded with their EXIF orientation.

    Raises:
        DecodeError: the header of an image is not one that can be decoded. It carries the image's place.
    """
    headers = []
    for row, data in enumerate(batch.data):
        if batch.decoded:
            headers.append(Header(None, data.shape[0], data.shape[1], ""))
            continue
        try:
            headers.append(read_header(data, adjust_orientation=adjust_orientation))
        except SampleError as error:
            error.locate(batch.place(row, "header"))
            raise
    batch.headers = headers
