"""The headers of a batch's images."""

from __future__ import annotations

from typing import Any

from dalikit.codec import Header, known_header, read_header
from dalikit.datasets.base import declares_images
from dalikit.datasets.traits import measures
from dalikit.errors import ArgumentError, SampleError
from dalikit.fetch.batch import ImageBatch

__all__ = ["HeaderReader", "add_headers"]


class HeaderReader:
    """Finds the size of each image: in the encoded bytes, some microseconds an image; in the dataset's index, if it has
    one (`image_size`), under a microsecond, for executors that compare the two when they decode; or in the shape of
    those that come decoded. Thread-safe.

    Args:
        dataset: whose images they are.
        adjust_orientation: whether the images will be decoded with their EXIF orientation.
        compare_sizes: hold what the index says against the header, which is then parsed after all: for an executor that
            does not compare them itself when it decodes.
    """

    def __init__(self, dataset: Any, *, adjust_orientation: bool, compare_sizes: bool = False) -> None:
        self._compare_sizes = compare_sizes
        self._measure = dataset.image_size if declares_images(dataset) and measures(dataset) else None
        self._adjust_orientation = adjust_orientation

    def read(self, batch: ImageBatch, row: int) -> Header:
        """The header of the image in a row. What it refers to are the bytes in the batch.

        Raises:
            DecodeError: the header is not one that can be decoded, or the image was cut off, or, if they are compared,
            has another size than the index says. It carries its place.
            ArgumentError: `image_size` gave something else.
        """
        data, size = batch.data[row], None
        if batch.decoded:
            return Header(None, data.shape[0], data.shape[1], "")
        try:
            if self._measure is not None:
                size = self._measure(int(batch.indices[row]))
            if size is None:
                return read_header(data, adjust_orientation=self._adjust_orientation)
            try:
                height, width, orientation = size
            except (TypeError, ValueError):
                raise ArgumentError(
                    f"image_size of {type(batch.dataset).__name__} gave {size!r}: it must give (height, width, EXIF "
                    f"orientation or 0), or None [{batch.place(row, 'header')}]"
                ) from None
            known = known_header(data, height, width, orientation, adjust_orientation=self._adjust_orientation)
            return Header(known.stream, known.height, known.width, known.codec) if self._compare_sizes else known
        except SampleError as error:
            error.locate(batch.place(row, "header"))
            raise


def add_headers(batch: ImageBatch, *, adjust_orientation: bool, compare_sizes: bool = False) -> None:
    """Fills `batch.headers`, as HeaderReader does.

    Args:
        batch: in this process: what is found refers to its bytes.
        adjust_orientation: whether the images will be decoded with their EXIF orientation.
        compare_sizes: as of HeaderReader.

    Raises:
        DecodeError: the header of an image is not one that can be decoded. It carries the image's place.
    """
    reader = HeaderReader(batch.dataset, adjust_orientation=adjust_orientation, compare_sizes=compare_sizes)
    batch.headers = [reader.read(batch, row) for row in range(len(batch.data))]
