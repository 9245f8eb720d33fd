"""Reads datasets that declare encoded images: the same on threads of this process and in worker processes."""

from __future__ import annotations

import operator
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.datasets.traits import is_mapped, lies_remotely, may_be_gzipped
from dalikit.datasets.views import comes_first, lies_in_files, reads_pairs
from dalikit.errors import ArgumentError, DecodeError
from dalikit.fetch.limits import NO_LIMITS, Limits
from dalikit.fetch.on_cpu import HostFunction
from dalikit.fetch.rows import Rows
from dalikit.fetch.tolerance import mark_fault
from dalikit.items import as_encoded, is_bytes
from dalikit.storage import Arena, Location, inflate, is_remote, read, read_local
from dalikit.storage.descriptors import Descriptor, RecentFiles
from dalikit.storage.gzipped import MAX_INFLATED
from dalikit.storage.hints import will_need
from dalikit.storage.mapped import map_file, read_mapped
from dalikit.storage.reading import MAX_SIZE, check_range

__all__ = ["Bytes", "DeclaredRows"]

Bytes = npt.NDArray[np.uint8]
"""uint8 (n,), encoded; or, once a function had it, uint8 (height, width, 3)."""


class DeclaredRows:
    """Rows of a dataset with `get_image_data` and `get_target`: bytes, the user's function on them, and targets.

    Belongs to the process that made it: it keeps files open. It reads them as they were when it opened them.

    Args:
        dataset: the dataset.
        function: a user's function that has the images before all else; None: there is none.
        limits: of an image.
    """

    def __init__(self, dataset: Any, function: HostFunction | None, limits: Limits = NO_LIMITS) -> None:
        self._dataset = dataset
        self._limits = limits
        self._function = function
        self.whole = comes_first(dataset, "get_batch")
        """Whether `get_batch` reads all rows of a batch at once."""
        self.in_files = not self.whole and lies_in_files(dataset)
        """Whether rows are read straight from files or remote objects."""
        self.remote = self.in_files and lies_remotely(dataset)
        """Whether some of those are remote, so that rows are to be read in spans."""
        self._in_pairs = self.in_files and reads_pairs(dataset)
        self._locate = dataset.get_pair_location if self._in_pairs else getattr(dataset, "get_location", None)
        self._gzipped = self.in_files and may_be_gzipped(dataset)
        self._descriptors = RecentFiles(Descriptor)
        self._maps = RecentFiles(map_file) if self.in_files and is_mapped(dataset) else None

    def rows(self, indices: Sequence[Any] | npt.NDArray[Any], positions: npt.NDArray[np.int64]) -> Rows:
        """The rows of a batch.

        Raises:
            ArgumentError: an index is no whole number.
        """
        return Rows(self._dataset, self._whole_numbers(indices), positions)

    def locate(self, index: int) -> Location:
        """Where the bytes of a row of the dataset lie, if it lies in files; with its target, if that lies beside them.

        Raises:
            ReadError: there are too many.
            Exception: the dataset's own.
        """
        assert self._locate is not None
        location: Location = self._locate(index)
        most = self._limits.max_encoded_bytes
        if location.size is not None and most < MAX_SIZE and location.size > most:
            alone = self._dataset.get_location(index) if self._in_pairs else location
            self._limits.check_bytes(alone.size or 0)
        return location

    def expect(self, rows: Rows, row: int) -> None:
        """Tells the kernel that a row of a local file will be read soon. Fails never: reading it will."""
        try:
            location = self.locate(int(rows.indices[row]))
            check_range(location)
        except Exception:
            return
        if not is_remote(location.uri):
            will_need(location, self._descriptors)

    def fetch(self, location: Location, arena: Arena | None) -> Bytes:
        """uint8 (n,), not to be written to: the bytes at a location, as they lie there.

        Args:
            location: of a dataset that lies in files.
            arena: where those of local files go, unless they are mapped.

        Raises:
            ReadError: they cannot be read. It carries the file or object.
        """
        assert arena is not None
        check_range(location)
        most = self._limits.max_encoded_bytes if location.size is None else MAX_SIZE  # a span holds several images
        if "://" in location.uri and is_remote(location.uri):  # the first question is the cheaper one
            return read(location, arena, max_size=most)
        if self._maps is not None and location.size is not None:
            return read_mapped(location, self._maps)
        return read_local(location, arena, max_size=most, descriptors=self._descriptors)

    def read(self, rows: Rows, row: int, arena: Arena | None) -> tuple[Bytes, Any]:
        """One row: uint8 (n,), the encoded bytes, not copied; or what the function makes of them; and its target, as it
        is stored. From any thread.

        Args:
            rows: of the batch.
            row: which.
            arena: where the bytes go, if the dataset lies in files.

        Raises:
            ReadError: they cannot be read. As all errors it carries the sample's place.
            Exception: the dataset's or the function's own.
        """
        dataset, index = self._dataset, int(rows.indices[row])
        try:
            if self.in_files:
                data = self.fetch(self.locate(index), arena)
            else:
                data = _as_bytes(dataset.get_image_data(index))
        except Exception as error:
            rows.tell(error, row, "read")
            raise
        return self.complete(rows, row, data)

    def complete(self, rows: Rows, row: int, data: Bytes) -> tuple[Bytes, Any]:
        """What `read` gives, of the bytes that lie where `locate` says. From any thread."""
        data, target = self._with_target(rows, row, data)
        try:
            if self._gzipped:
                data = inflate(data, max_size=min(MAX_INFLATED, self._limits.max_encoded_bytes))
        except Exception as error:
            rows.tell(error, row, "read")
            raise
        return self._apply(rows, row, data), target

    def _with_target(self, rows: Rows, row: int, data: Bytes) -> tuple[Bytes, Any]:
        """The bytes of the image alone, and the target."""
        index = int(rows.indices[row])
        try:
            if self._in_pairs:
                pair: tuple[Bytes, Any] = self._dataset.split_pair(index, data)
                return pair
            return data, self._dataset.get_target(index)
        except Exception as error:
            mark_fault(error)
            rows.tell(error, row, "read")
            raise

    def read_whole(self, rows: Rows) -> list[tuple[Bytes, Any]]:
        """The same of all rows, by `get_batch(indices)`, which gives (bytes, target) for each.

        Raises:
            ArgumentError: it gave something else.
        """
        try:
            pairs = self._dataset.get_batch([int(index) for index in rows.indices])
        except Exception as error:
            rows.tell_all(error, "read")
            raise
        read = []
        for row, pair in enumerate(rows.check(pairs, "get_batch")):
            try:
                data, target = _as_bytes(pair[0]), pair[1]
            except Exception as error:
                rows.tell(error, row, "read")
                raise
            read.append((self._apply(rows, row, data), target))
        return read

    def transform_targets(self, rows: Rows, targets: list[Any], without: Container[int] = ()) -> None:
        """Puts what `target_transform` makes of the targets in their place, if there is one; but of some rows."""
        transform = getattr(self._dataset, "target_transform", None)
        if transform is None:
            return
        for row, target in enumerate(targets):
            if row in without:
                continue
            try:
                targets[row] = transform(target)
            except Exception as error:
                rows.tell(error, row, "target_transform")
                raise

    def _apply(self, rows: Rows, row: int, data: Bytes) -> Bytes:
        """The user's function of the image."""
        if self._function is None:
            return data
        try:
            return self._function(data, int(rows.positions[row]))
        except Exception as error:
            mark_fault(error)
            rows.tell(error, row, "decode" if isinstance(error, DecodeError) else "transform")
            raise

    def _whole_numbers(self, indices: Any) -> npt.NDArray[np.int64]:
        """int64 (B,), of what a torch-style sampler yields too: integers of Python, numpy or torch."""
        if isinstance(indices, np.ndarray) and indices.dtype == np.int64:
            return indices
        numbers = []
        for index in indices:
            try:
                numbers.append(np.int64(operator.index(index)))
            except (TypeError, OverflowError):
                raise ArgumentError(
                    f"dataset {type(self._dataset).__name__} takes whole numbers as indices, came {index!r}: use a "
                    "sampler that yields them"
                ) from None
        return np.array(numbers, dtype=np.int64)


def _as_bytes(data: Any) -> Bytes:
    """uint8 (n,), not copied: of all that shows its memory, as mapped files do."""
    return as_encoded(data) if is_bytes(data) else np.frombuffer(data, dtype=np.uint8)
