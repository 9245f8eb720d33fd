"""The pieces of work in which the rows of a batch are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from dalikit.errors import ReadError, SampleError
from dalikit.fetch.declared import Bytes, DeclaredRows
from dalikit.fetch.rows import Rows
from dalikit.fetch.tolerance import as_sample_error, note
from dalikit.storage import Arena, Location, is_remote
from dalikit.storage.spans import Span, plan_spans, split_span

__all__ = ["Pieces", "Sample", "plan_pieces", "read_tolerantly"]

_NOWHERE = Location("", 0, 0)

Sample = tuple[int, Bytes, Any]
"""A row of the batch, its image as `DeclaredRows.read` gives it, and its target as it is stored."""


class Pieces(Protocol):
    """Which rows are read together. Each piece may be read on a thread of its own, in any order."""

    def __len__(self) -> int:
        """How many pieces."""

    def rows_of(self, piece: int) -> Sequence[int]:
        """The rows in a piece."""

    def read(self, piece: int, arena: Arena | None) -> Iterable[Sample]:
        """Reads a piece, as far as it is asked for its rows.

        Args:
            piece: which.
            arena: where bytes of local files go, if the dataset lies in files.

        Raises:
            SampleError: a row cannot be read. It carries the row's place.
            Exception: the dataset's or the function's own, with a note that says which row it was.
        """


def plan_pieces(declared: DeclaredRows, rows: Rows) -> Pieces:
    """The pieces of a batch: all rows at once, if the dataset has `get_batch`; spans of remote objects; else rows.

    Never raises: what cannot be planned is a piece that fails.
    """
    if declared.whole:
        return _Whole(declared, rows)
    return _Spans(declared, rows) if declared.remote else _Single(declared, rows)


def read_tolerantly(
    pieces: Pieces,
    declared: DeclaredRows,
    rows: Rows,
    errors: dict[int, SampleError],
    piece: int,
    arena: Arena | None,
) -> Iterator[Sample]:
    """Reads a piece, and notes the rows that cannot be read. One that fails as a whole is read row by row.

    Args:
        pieces: of the batch, as `declared` and `rows` are.
        declared: reads single rows.
        rows: their indices.
        errors: where bad rows are noted.
        piece: which.
        arena: as of `Pieces.read`.

    Raises:
        Exception: one that is not a bad sample's.
    """
    left = list(pieces.rows_of(piece))
    try:
        for sample in pieces.read(piece, arena):
            left.remove(sample[0])
            yield sample
        return
    except Exception as error:
        if len(left) == 1:
            note(error, rows, left[0], "read", errors)
            return
        if as_sample_error(error) is None:
            raise
    for row in left:
        try:
            sample = (row, *declared.read(rows, row, arena))
        except Exception as error:
            note(error, rows, row, "read", errors)
        else:
            yield sample


class _Single:
    """Each row by itself."""

    def __init__(self, declared: DeclaredRows, rows: Rows) -> None:
        self._declared = declared
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows.indices)

    def rows_of(self, piece: int) -> Sequence[int]:
        return [piece]

    def read(self, piece: int, arena: Arena | None) -> Iterable[Sample]:
        return [(piece, *self._declared.read(self._rows, piece, arena))]


class _Whole:
    """All rows by `get_batch`."""

    def __init__(self, declared: DeclaredRows, rows: Rows) -> None:
        self._declared = declared
        self._rows = rows

    def __len__(self) -> int:
        return 1 if len(self._rows.indices) else 0

    def rows_of(self, piece: int) -> Sequence[int]:
        del piece
        return range(len(self._rows.indices))

    def read(self, piece: int, arena: Arena | None) -> Iterable[Sample]:
        del piece, arena
        return [(row, *pair) for row, pair in enumerate(self._declared.read_whole(self._rows))]


class _Spans:
    """Rows of remote objects that lie close together in one request; others, and those of local files, by themselves.

    A span that cannot be read is read row by row: the error is of the first row that cannot. A row whose location
    cannot be told is a piece that fails, and comes first: it keeps no other from being read.
    """

    def __init__(self, declared: DeclaredRows, rows: Rows) -> None:
        self._declared = declared
        self._rows = rows
        self._locations: list[Location] = []
        self._failures: dict[int, Exception] = {}
        """Of rows whose location cannot be told."""
        self._pieces: list[Span | int] = []
        self._locate()
        self._plan()

    def _locate(self) -> None:
        for row, index in enumerate(self._rows.indices):
            try:
                location = self._declared.locate(int(index))
            except Exception as error:
                self._rows.tell(error, row, "read")
                self._failures[row] = error
                location = _NOWHERE
            self._locations.append(location)

    def _plan(self) -> None:
        located = [row for row in range(len(self._locations)) if row not in self._failures]
        remote = [row for row in located if is_remote(self._locations[row].uri)]
        local = set(located).difference(remote)
        spans = [
            span._replace(rows=[remote[place] for place in span.rows])
            for span in plan_spans([self._locations[row] for row in remote])
        ]
        # What is needed first is asked for first, so remote rows wait for no local ones: those take no time.
        self._pieces = [*self._failures, *spans, *sorted(local)]

    def __len__(self) -> int:
        return len(self._pieces)

    def rows_of(self, piece: int) -> Sequence[int]:
        span = self._pieces[piece]
        return [span] if isinstance(span, int) else span.rows

    def read(self, piece: int, arena: Arena | None) -> Iterable[Sample]:
        span = self._pieces[piece]
        if isinstance(span, int):
            if span in self._failures:
                raise self._failures[span]
            yield span, *self._declared.read(self._rows, span, arena)
            return
        for row, data in self._read_span(span, arena):
            yield row, *self._declared.complete(self._rows, row, data)

    def _read_span(self, span: Span, arena: Arena | None) -> Iterable[tuple[int, Bytes]]:
        """The bytes of its rows."""
        try:
            data = self._declared.fetch(Location(span.uri, span.offset, span.size, span.version), arena)
        except Exception as error:
            if isinstance(error, ReadError) and len(span.rows) > 1:
                return ((row, self._read_row(row, arena)) for row in span.rows)
            self._rows.tell(error, span.rows[0], "read")
            raise
        return split_span(span, self._locations, data)

    def _read_row(self, row: int, arena: Arena | None) -> Bytes:
        """The bytes of one row, in a request of its own."""
        try:
            return self._declared.fetch(self._locations[row], arena)
        except Exception as error:
            self._rows.tell(error, row, "read")
            raise
