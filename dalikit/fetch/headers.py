"""The headers of a batch's images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.by_pillow import as_ppm, is_for_pillow
from dalikit.codec import Header, known_header, read_header, with_end
from dalikit.datasets.base import declares_images
from dalikit.datasets.traits import measures
from dalikit.errors import ArgumentError, DecodeError, SampleError
from dalikit.fetch.batch import ImageBatch
from dalikit.fetch.limits import NO_LIMITS, Limits

__all__ = ["NO_HEADER", "HeaderReader", "HeaderRules", "add_headers"]


NO_HEADER = Header(stream=None, height=0, width=0, codec="")
"""Of a row that was not read."""


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """How headers are read."""

    adjust_orientation: bool = False
    """Whether the images will be decoded with their EXIF orientation."""
    compare_sizes: bool = False
    """Hold what the dataset's index says against the header, which is then parsed after all: for an executor that does
    not compare them itself when it decodes."""
    limits: Limits = NO_LIMITS
    accept_truncated: bool = False
    """Take JPEG files that were cut off: what is missing is gray."""
    tolerant: bool = False
    """Note bad samples in `ImageBatch.errors`, instead of raising the first one's error."""


class HeaderReader:
    """Finds the size of each image: in the encoded bytes, some microseconds an image; in the dataset's index, if it has
    one (`image_size`), under a microsecond, for executors that compare the two when they decode; or in the shape of
    those that come decoded. Thread-safe.

    Args:
        dataset: whose images they are.
        rules: how.
    """

    def __init__(self, dataset: Any, rules: HeaderRules) -> None:
        self._rules = rules
        self._limits = rules.limits
        self._measure = dataset.image_size if declares_images(dataset) and measures(dataset) else None
        self._adjust_orientation = rules.adjust_orientation

    def read(self, batch: ImageBatch, row: int) -> Header:
        """The header of the image in a row. What it refers to are the bytes in the batch.

        Raises:
            DecodeError: the header is not one that can be decoded, or the image was cut off or is too large, or, if
                they are compared, has another size than the index says. It carries its place.
            ReadError: it has too many bytes.
            ArgumentError: `image_size` gave something else.
        """
        data = batch.data[row]
        if batch.decoded:
            return Header(None, data.shape[0], data.shape[1], "")
        try:
            self._limits.check_bytes(len(data))
            try:
                header = self._parse(batch, row)
            except DecodeError as error:
                batch.data[row] = self._converted(data, error)
                header = self._parse(batch, row)
            self._limits.check_pixels(header.height, header.width)
        except SampleError as error:
            error.locate(batch.place(row, "header"))
            raise
        return header

    def _parse(self, batch: ImageBatch, row: int) -> Header:
        data, size = batch.data[row], self._known_size(batch, row)
        if size is None:
            return read_header(data, adjust_orientation=self._adjust_orientation)
        header = known_header(data, *size, adjust_orientation=self._adjust_orientation)
        if self._rules.compare_sizes:
            return Header(header.stream, header.height, header.width, header.codec)
        return header

    def _converted(self, data: npt.NDArray[np.uint8], error: DecodeError) -> npt.NDArray[np.uint8]:
        """Other bytes of the same image, which can be decoded, instead of those that cannot. Else raises the error."""
        if error.truncated and self._rules.accept_truncated:
            return with_end(data)
        if not is_for_pillow(data):
            raise error
        return as_ppm(data, adjust_orientation=self._adjust_orientation, check_size=self._limits.check_pixels)

    def _known_size(self, batch: ImageBatch, row: int) -> tuple[int, int, int] | None:
        """Height, width and EXIF orientation, as far as the dataset knows them."""
        if self._measure is None:
            return None
        size = self._measure(int(batch.indices[row]))
        if size is None:
            return None
        try:
            height, width, orientation = size
        except (TypeError, ValueError):
            raise ArgumentError(
                f"image_size of {type(batch.dataset).__name__} gave {size!r}: it must give (height, width, EXIF "
                f"orientation or 0), or None [{batch.place(row, 'header')}]"
            ) from None
        return height, width, orientation


def add_headers(batch: ImageBatch, rules: HeaderRules) -> None:
    """Fills `batch.headers`, as HeaderReader does; raises as it does.

    Args:
        batch: in this process: what is found refers to its bytes.
        rules: how.
    """
    reader = HeaderReader(batch.dataset, rules)
    batch.headers = []
    for row in range(len(batch.data)):
        header = NO_HEADER
        if row not in batch.errors:
            try:
                header = reader.read(batch, row)
            except SampleError as error:
                if not rules.tolerant:
                    raise
                batch.errors[row] = error
        batch.headers.append(header)
