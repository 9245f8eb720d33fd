"""Puts other samples in the places of bad ones, or leaves these out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.errors import SampleError, TooManyErrorsError
from dalikit.exclusion import Exclusion, replacements
from dalikit.fetch import ImageBatch, Request
from dalikit.repair.quarantine import Quarantine

__all__ = ["Mender"]

Read = Callable[[Request], ImageBatch]

_REMEMBERED = 100_000
_ATTEMPTS = 32  # beyond: with half of all rows bad one in 4 billion gets so far


class Mender:
    """Mends batches with bad samples.

    What stands in for a bad sample follows from the seed and the position alone: the first of `exclusion.replacements`
    that is good. So it is the same after a resume, at any batch size and on any number of ranks, and the same that
    `exclude=` puts there once the row is in a list. Where nobody knows from which rows a sampler draws, it is another
    sample of the same batch. It is augmented with the position's own parameters.

    Args:
        drop: bad samples are left out instead.
        seed: the loader's.
        count: rows from which the sampler draws; None: nobody knows.
        quarantine: is told.
        exclusion: rows that stand in for nothing.
    """

    def __init__(
        self, *, drop: bool, seed: int, count: int | None, quarantine: Quarantine, exclusion: Exclusion | None = None
    ) -> None:
        self._drop = drop
        self._seed = seed
        self._count = count
        self._quarantine = quarantine
        self._exclusion = exclusion
        self._known: Exclusion | None = exclusion
        self._num_known = 0
        self._tried: dict[int, set[int]] = {}
        """Of positions whose own sample is bad: which rows are, it and those that were to stand in for it."""

    def anticipate(self, request: Request) -> Request:
        """Puts others in the places of rows that are known to be bad, before they are read; counts the samples.

        Args:
            request: one that no row of `exclude` is in any more.
        """
        number = len(request.indices)
        if self._count is None or self._drop or not self._quarantine.num_bad:
            self._quarantine.saw(number)
            return request
        known = self._get_known()
        assert known is not None
        replaced = request.positions[known.covers(np.asarray(request.indices, dtype=np.int64))]
        self._quarantine.saw(number, len(replaced))
        for position in replaced.tolist():
            self._note(position)
        return known.apply(request, seed=self._seed)

    def _get_known(self) -> Exclusion | None:
        """The rows that are bad for certain, and those of `exclude`."""
        if self._num_known != self._quarantine.num_bad:
            rows = self._quarantine.bad_rows()
            self._num_known = len(rows)
            if self._exclusion is not None:
                rows = np.union1d(rows, self._exclusion.indices)
            assert self._count is not None
            if len(rows) >= self._count:
                raise TooManyErrorsError(f"all {self._count} rows of the dataset are bad; see {self._quarantine.path}")
            self._known = Exclusion(rows, self._count)
        return self._known

    def mend(self, batch: ImageBatch, read: Read) -> ImageBatch | None:
        """A batch without bad samples; None: nothing is left of it.

        Args:
            batch: with `errors`. It is changed.
            read: reads further rows.

        Raises:
            TooManyErrorsError: there are too many by now.
            SampleError: no good sample was found that could stand in.
        """
        for row in sorted(batch.errors):
            position = int(batch.positions[row])
            self._quarantine.add(batch.errors[row], stand_in=position in self._tried)
            self._note(position, batch.indices[row])
        if self._drop:
            return _without(batch, set(batch.errors))
        if self._count is None:
            return self._mend_within(batch)
        return self._mend_from_all(batch, read)

    def _note(self, position: int, *rows: int) -> None:
        """A position's sample is bad, and so are these rows."""
        if len(self._tried) > _REMEMBERED:
            del self._tried[next(iter(self._tried))]
        self._tried.setdefault(position, set()).update(map(int, rows))

    def _mend_from_all(self, batch: ImageBatch, read: Read) -> ImageBatch:
        rows = np.array(sorted(batch.errors), dtype=np.int64)
        error = batch.errors[int(rows[0])]
        for attempt in range(_ATTEMPTS):
            positions = batch.positions[rows]
            candidates = replacements(self._seed, positions, attempt, self._count or 0)
            usable = self._are_usable(candidates, positions)
            good = np.zeros(len(rows), dtype=bool)
            if usable.any():
                places = np.flatnonzero(usable)
                request = Request(candidates[places], positions[places], taken=batch.taken)
                found = read(request)
                for number, bad in found.errors.items():
                    self._quarantine.add(bad, stand_in=True)
                    self._note(int(request.positions[number]), request.indices[number])
                for number, place in enumerate(places.tolist()):
                    if number not in found.errors:
                        _put(batch, int(rows[place]), found, number)
                        good[place] = True
            rows = rows[~good]
            if not len(rows):
                batch.errors = {}
                return batch
        raise _none_found(error, f"{_ATTEMPTS} others in a row are bad too")

    def _are_usable(self, candidates: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which rows are not known to be bad."""
        tried = (self._tried.get(position, ()) for position in positions.tolist())
        usable = np.array([row not in rows for row, rows in zip(candidates.tolist(), tried, strict=True)])
        known = self._get_known()
        return usable if known is None else usable & ~known.covers(candidates)

    def _mend_within(self, batch: ImageBatch) -> ImageBatch:
        bad = np.array(sorted(batch.errors), dtype=np.int64)
        good = np.setdiff1d(np.arange(len(batch)), bad)
        if not len(good):
            raise _none_found(
                batch.errors[int(bad[0])],
                "all samples of its batch are, and the sampler does not say which others could take their place",
            )
        chosen = good[replacements(self._seed, batch.positions[bad], 0, len(good))]
        for row, other in zip(bad.tolist(), chosen.tolist(), strict=True):
            _put(batch, row, batch, other)
        batch.errors = {}
        return batch


def _put(batch: ImageBatch, row: int, source: ImageBatch, other: int) -> None:
    """Puts a sample of one batch into a row of another, whose position stays."""
    if source is not batch and len(batch.errors) == len(batch):  # of nothing that was read, nobody knows what it is
        batch.layout, batch.decoded = source.layout, source.decoded
    indices = batch.indices if isinstance(batch.indices, list) else list(batch.indices)
    indices[row] = source.indices[other]
    batch.indices = indices
    batch.data[row] = source.data[other]
    batch.headers[row] = source.headers[other]
    batch.targets[row] = source.targets[other]
    if source is not batch:
        batch.owner = (batch.owner, source)  # the bytes lie in its memory


def _without(batch: ImageBatch, bad: set[int]) -> ImageBatch | None:
    """The batch without some rows."""
    rows = [row for row in range(len(batch)) if row not in bad]
    if not rows:
        return None
    batch.indices = [batch.indices[row] for row in rows]
    batch.positions = batch.positions[rows]
    for name in ("data", "headers", "targets"):
        values: list[Any] = getattr(batch, name)
        setattr(batch, name, [values[row] for row in rows])
    batch.errors = {}
    return batch


def _none_found(error: SampleError, why: str) -> SampleError:
    return type(error)(f"{error.reason}; no sample could stand in for it: {why}", error.place)
