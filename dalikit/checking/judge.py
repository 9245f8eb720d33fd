"""Judges a row: reads it, parses its header, decodes it."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.by_pillow import as_ppm, is_for_pillow
from dalikit.checking.findings import Finding
from dalikit.checking.formats import format_of_bytes, format_of_name
from dalikit.checking.limits import Limits
from dalikit.checking.native_messages import NativeMessages
from dalikit.checking.summary import Tally
from dalikit.codec import CpuDecoder, Header, read_header
from dalikit.datasets import StoredDataset
from dalikit.errors import DalikitError, DecodeError, Place, ReadError, SampleError
from dalikit.storage import Arena, Location, inflate, is_remote, read, stat_object

__all__ = ["Bench", "Judge", "read_row"]

Bytes = npt.NDArray[np.uint8]
Found = Callable[[Finding], None]

_ARENA_BYTES = 1 << 20


class Bench:
    """What one thread works with."""

    def __init__(self) -> None:
        self.decoder = CpuDecoder()
        self.arena = Arena(_ARENA_BYTES)
        self.tally = Tally()
        self.judged = 0
        """Rows."""


class Judge:
    """Judges rows, from any number of threads.

    Args:
        dataset: has `get_image_data`, `get_target` and `len`.
        limits: what counts as tiny and huge.
        messages: what native decoders complain of; None: nobody listens.
        marks: uint64 (n,): gets a mark of each row's bytes, which is equal where the bytes are; 0: they were not read.
            None: not wanted.
    """

    def __init__(
        self,
        dataset: Any,
        limits: Limits,
        messages: NativeMessages | None,
        marks: npt.NDArray[np.uint64] | None,
    ) -> None:
        self._dataset = dataset
        self._limits = limits
        self._messages = messages
        self._marks = marks
        self.suspects: list[int] = []
        """Rows that were being decoded when a decoder complained: they, or another thread's."""

    def __call__(self, bench: Bench, index: int, found: Found) -> None:
        """Judges a row.

        Args:
            bench: the thread's.
            index: the row.
            found: is called with each finding.
        """
        try:
            self._dataset.get_target(index)
        except Exception as error:
            found(Finding("target", index, "target", _words(error)))
        data = self._read(bench, index, found)
        if data is None:
            return
        bench.tally.add_bytes(len(data))
        if self._marks is not None:
            self._marks[index] = zlib.crc32(data.data) | min(len(data), 0xFFFFFFFF) << 32
        header = self._parse(bench, index, data, found)
        if header is not None:
            self._decode(bench, index, data, header, found)

    def complaint(self, bench: Bench, index: int) -> str:
        """What the decoder says of a row while no other thread decodes; "" if nothing."""
        assert self._messages is not None
        data = read_row(self._dataset, index, bench.arena, self._limits.max_bytes)
        before = self._messages.size
        bench.decoder.decode(read_header(data).stream)
        return self._messages.since(before)

    def _read(self, bench: Bench, index: int, found: Found) -> Bytes | None:
        limit = self._limits.max_bytes
        try:
            data = read_row(self._dataset, index, bench.arena, limit)
        except Exception as error:
            kind = "huge" if isinstance(error, ReadError) and self._is_large(index) else "unreadable"
            found(Finding(kind, index, "read", _words(error)))
            return None
        if len(data) > limit:
            found(Finding("huge", index, "read", f"{len(data)} bytes are more than the limit of {limit}"))
            return None
        return data

    def _is_large(self, index: int) -> bool:
        """Whether what could not be read is larger than allowed."""
        if not _is_located(self._dataset):
            return False
        try:
            uri, offset, size, _ = self._dataset.get_location(index)
            length: int = stat_object(uri).size - offset if size is None else size
            return length > self._limits.max_bytes
        except DalikitError:
            return False

    def _parse(self, bench: Bench, index: int, data: Bytes, found: Found) -> Header | None:
        header, codec = None, None
        try:
            if is_for_pillow(data):
                codec, data = format_of_bytes(data[:16].tobytes()), as_ppm(data)
            header = read_header(data)
            codec = codec or header.codec
        except DecodeError as error:
            codec = codec or format_of_bytes(data[:16].tobytes())
            more = {} if codec is None else {"format": codec}
            found(Finding("corrupt", index, "header", error.reason, more))
        named = self._promised(index)
        if codec is not None and named is not None and codec != named:
            reason = f"the name says {named}, the bytes are {codec}"
            found(Finding("mislabelled", index, "header", reason, {"format": codec}))
        if header is not None:
            bench.tally.add_image(codec or "", header.height, header.width, header.stream.num_channels)
        return header

    def _promised(self, index: int) -> str | None:
        """The format that the row's name promises; where names have no extension, its file, if that is all its own."""
        dataset = self._dataset
        try:
            named = format_of_name(dataset.get_key(index)) if hasattr(dataset, "get_key") else None
            if named is None and _is_located(dataset):
                uri, offset, size, _ = dataset.get_location(index)
                named = format_of_name(uri) if offset == 0 and size is None else None
        except Exception:  # a dataset that cannot name its rows promises nothing
            return None
        return named

    def _decode(self, bench: Bench, index: int, data: Bytes, header: Header, found: Found) -> None:
        height, width, limits = header.height, header.width, self._limits
        more = {"height": height, "width": width}
        if height * width > limits.max_pixels:
            reason = f"{height}x{width} pixels (height x width) are more than the limit of {limits.max_pixels}"
            found(Finding("huge", index, "header", reason, more))
            return
        if min(height, width) < limits.min_side:
            reason = f"{height}x{width} pixels (height x width): a side is shorter than {limits.min_side}"
            found(Finding("tiny", index, "header", reason, more))
        before = 0 if self._messages is None else self._messages.size
        reason = _decode(bench.decoder, data, header)
        if reason:
            found(Finding("corrupt", index, "decode", reason, {**more, "format": header.codec}))
        elif self._messages is not None and self._messages.size != before:
            self.suspects.append(index)


def read_row(dataset: Any, index: int, arena: Arena, max_bytes: int) -> Bytes:
    """The encoded bytes of a row: uint8 (n,), until the arena is used for the next.

    Raises:
        ReadError: they cannot be read, or those of a file are more than `max_bytes`.
        Exception: the dataset's own.
    """
    if not _is_located(dataset):
        data = dataset.get_image_data(index)
        return np.frombuffer(data, dtype=np.uint8) if len(data) else np.empty(0, dtype=np.uint8)
    arena.reset()
    location = dataset.get_location(index)
    _check_regular(location)
    data = read(location, arena, max_size=max_bytes)
    return inflate(data, max_size=max_bytes) if dataset.may_be_gzipped else data


def _check_regular(location: Location) -> None:
    """Refuses pipes and devices: to open a pipe that nobody writes to would never end."""
    if is_remote(location.uri):
        return
    try:
        mode = os.stat(location.uri).st_mode
    except (OSError, ValueError):  # said when it is read
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ReadError("no regular file: a pipe, a socket or a device", Place(file=location.uri, stage="read"))


def _is_located(dataset: Any) -> bool:
    """Whether `get_location` says where the bytes of `get_image_data` lie."""
    return isinstance(dataset, StoredDataset) and type(dataset).get_image_data is StoredDataset.get_image_data


def _decode(decoder: CpuDecoder, data: Bytes, header: Header) -> str:
    """Why it cannot be decoded; "" if it can."""
    if header.codec == "jpeg2k":
        return _decode_jpeg2k(data)
    try:
        image = decoder.decode(header.stream)
    except RuntimeError as error:
        return str(error)
    return f"{header.codec} that cannot be decoded: its header is whole, its content is not" if image is None else ""


def _decode_jpeg2k(data: Bytes) -> str:
    """By Pillow: broken ones may end the process in nvImageCodec's decoder. Its limits are not Image.open's."""
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

    try:
        with Jpeg2KImageFile(BytesIO(data.tobytes())) as image:
            image.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        return f"jpeg2k that cannot be decoded: {error}"
    return ""


def _words(error: Exception) -> str:
    """An error without its place, which the report has; running out of memory is no row's fault."""
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, SampleError):
        return error.reason
    return f"{type(error).__name__}: {error}"
