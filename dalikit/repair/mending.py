"""Puts other samples in the places of bad ones, or leaves these out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.errors import SampleError, TooManyErrorsError
from dalikit.exclusion import ATTEMPTS, Exclusion, replacements
from dalikit.fetch import ImageBatch, Request
from dalikit.repair.quarantine import Quarantine

__all__ = ["Mender"]

Read = Callable[[Request], ImageBatch]

_REMEMBERED = 100_000


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
        self._tried: dict[int, set[Any]] = {}
        """Of positions whose own sample is bad, while their batch is under way: which rows are, it and those that were
        to stand in for it.
        """
        self._lock = threading.Lock()
        """Of the three above: the next batches are asked for while others are mended."""

    def __getstate__(self) -> dict[str, Any]:
        """Without the lock: a copy has its own."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def anticipate(self, request: Request) -> Request:
        """Puts others in the places of rows that are known to be bad, before they are read, or leaves these out; counts
        the samples.

        Args:
            request: one that no row of `exclude` is in any more.
        """
        if self._quarantine.num_bad and self._drop:
            return self._without_known(request)
        if self._quarantine.num_bad and self._count is not None:
            return self._replace_known(request)
        self._quarantine.saw(len(request.indices))
        return request

    def _replace_known(self, request: Request) -> Request:
        known = self._get_known()
        assert known is not None
        replaced = request.positions[known.covers(np.asarray(request.indices, dtype=np.int64))]
        self._quarantine.saw(len(request.indices), len(replaced))
        for position in replaced.tolist():
            self._note(position)
        return known.apply(request, seed=self._seed)

    def _without_known(self, request: Request) -> Request:
        """As far as that leaves anything: an empty batch cannot be asked for."""
        indices = request.indices
        keep = [place for place, index in enumerate(indices) if not self._quarantine.is_bad(index)]
        if not keep:
            self._quarantine.saw(len(indices))
            return request
        self._quarantine.saw(len(indices), len(indices) - len(keep))
        if len(keep) == len(indices):
            return request
        left = indices[keep] if isinstance(indices, np.ndarray) else [indices[place] for place in keep]
        return request._replace(indices=left, positions=request.positions[keep])

    def _get_known(self) -> Exclusion | None:
        """The rows that are bad for certain, and those of `exclude`."""
        with self._lock:
            if self._num_known != self._quarantine.num_bad:
                rows = self._quarantine.bad_rows()
                number = len(rows)
                if self._exclusion is not None:
                    rows = np.union1d(rows, self._exclusion.indices)
                assert self._count is not None
                if len(rows) >= self._count:
                    raise TooManyErrorsError(
                        f"all {self._count} rows of the dataset are bad; see {self._quarantine.path}"
                    )
                self._known = Exclusion(rows, self._count)
                self._num_known = number
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
            self._quarantine.add(batch.errors[row], stand_in=self._is_noted(position))
            self._note(position, batch.indices[row])
        if self._drop:
            return _without(batch, set(batch.errors))
        if self._count is None:
            return self._mend_within(batch)
        return self._mend_from_all(batch, read)

    def done(self, positions: npt.NDArray[np.int64]) -> None:
        """A batch is finished: what was tried for it is forgotten, so that it comes out the same should it come again.

        Args:
            positions: its.
        """
        if self._tried:
            with self._lock:
                for position in positions.tolist():
                    self._tried.pop(position, None)

    def _note(self, position: int, *rows: Any) -> None:
        """A position's sample is bad, and so are these rows."""
        with self._lock:
            if len(self._tried) > _REMEMBERED:
                del self._tried[next(iter(self._tried))]
            self._tried.setdefault(position, set()).update(map(self._quarantine.row_of, rows))

    def _is_noted(self, position: int) -> bool:
        with self._lock:
            return position in self._tried

    def _tried_for(self, position: int) -> set[Any]:
        """Rows that are of no use there."""
        with self._lock:
            return set(self._tried.get(position, ()))

    def _mend_from_all(self, batch: ImageBatch, read: Read) -> ImageBatch:
        rows = np.array(sorted(batch.errors), dtype=np.int64)
        error = batch.errors[int(rows[0])]
        for attempt in range(2 * ATTEMPTS):
            positions = batch.positions[rows]
            if attempt < ATTEMPTS:
                candidates = replacements(self._seed, positions, attempt, self._count or 0)
                usable = self._are_usable(candidates, positions)
            else:
                candidates = np.array([self._last_resort(position, error) for position in positions.tolist()])
                usable = np.ones(len(rows), dtype=bool)
            good = np.zeros(len(rows), dtype=bool)
            if usable.any():
                places = np.flatnonzero(usable)
                request = Request(candidates[places], positions[places], taken=batch.taken)
                good[places] = self._put_good(batch, rows[places], request, read(request))
            rows = rows[~good]
            if not len(rows):
                batch.errors = {}
                return batch
        raise _none_found(error, f"{2 * ATTEMPTS} others in a row are bad too")

    def _put_good(
        self, batch: ImageBatch, rows: npt.NDArray[np.int64], request: Request, found: ImageBatch
    ) -> npt.NDArray[np.bool_]:
        """Puts what was read into some rows of a batch. Which are good."""
        for number, bad in sorted(found.errors.items()):
            self._quarantine.add(bad, stand_in=True)
            self._note(int(request.positions[number]), request.indices[number])
        good = np.array([number not in found.errors for number in range(len(rows))], dtype=bool)
        for number in np.flatnonzero(good).tolist():
            _put(batch, int(rows[number]), found, number)
        return good

    def _are_usable(self, candidates: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which rows are not known to be bad."""
        pairs = zip(candidates.tolist(), positions.tolist(), strict=True)
        usable = np.array([row not in self._tried_for(position) for row, position in pairs], dtype=bool)
        known = self._get_known()
        return usable if known is None else usable & ~known.covers(candidates)

    def _last_resort(self, position: int, error: SampleError) -> int:
        """Where nearly all rows are bad: what `exclude=` puts there, given those that are known by now."""
        assert self._count is not None
        known = self._get_known()
        rows = np.array(sorted(self._tried_for(position)), dtype=np.int64)
        if known is not None:
            rows = np.union1d(rows, known.indices)
        if len(rows) >= self._count:
            raise _none_found(error, f"all {self._count} rows are bad, or cannot be used there")
        return int(Exclusion(rows, self._count).last_resort(self._seed, np.array([position]))[0])

    def _mend_within(self, batch: ImageBatch) -> ImageBatch:
        good = np.setdiff1d(np.arange(len(batch)), sorted(batch.errors))
        chosen = {row: self._choose_within(batch, row, good) for row in sorted(batch.errors)}
        for row, other in chosen.items():
            _put(batch, row, batch, other)
        batch.errors = {}
        return batch

    def _choose_within(self, batch: ImageBatch, row: int, good: npt.NDArray[np.int64]) -> int:
        """Another row of the batch, whose sample was not tried there before."""
        position = batch.positions[row : row + 1]
        tried = self._tried_for(int(position[0]))
        left = np.array([at for at in good.tolist() if self._quarantine.row_of(batch.indices[at]) not in tried])
        if not len(left):
            which = "all samples of its batch are" if not len(good) else "none of those of its batch can be used there"
            why = f"{which}, and the sampler does not say which others could take their place"
            raise _none_found(batch.errors[row], why)
        for attempt in range(ATTEMPTS):
            other = int(good[replacements(self._seed, position, attempt, len(good))[0]])
            if other in left:
                return other
        return int(left[replacements(self._seed, position, ATTEMPTS, len(left))[0]])


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
