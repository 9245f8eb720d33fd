"""The report of bad samples: JSON Lines, written as they are found, that `exclude=` takes."""

from __future__ import annotations

import logging
import operator
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.errors import DecodeError, ReadError, SampleError, TooManyErrorsError
from dalikit.repair.policy import ErrorPolicy
from dalikit.repair.report import ReportFile

__all__ = ["Quarantine"]

_LOG = logging.getLogger("dalikit")

_LOGGED_AT_FIRST = 10
_LOG_EVERY = 10.0  # seconds between two lines after those
_LISTED = 10  # of the samples that are found bad, the latest: named by the error that ends the run
_SAMPLES_BEFORE_A_SHARE = 1000  # a share of fewer says little: one bad sample in the first batch is 1.6 % of 64


class Quarantine:
    """Counts bad samples, remembers those whose bytes alone say so, and writes each down, once, as it is found.

    A line of the report:

        {"kind": "corrupt", "bad": true, "index": 7, "key": "cat/008.jpg", "file": "/data/cat/008.jpg",
         "error": "truncated JPEG: ...", "stage": "header", "position": 1099511627783, "rank": 0, "time": 1.7e9}

    The first line is a header, as of a report of `dalikit check`. A report that is there already, of the same dataset,
    is added to. Thread-safe.

    Args:
        policy: the user's.
        dataset: what is read.
        rank: of this process.

    Raises:
        ArgumentError: the report's file is of another dataset, or no report.
    """

    def __init__(self, policy: ErrorPolicy, dataset: Any, rank: int) -> None:
        self._policy = policy
        self._rank = rank
        self._lock = threading.Lock()
        self._report = ReportFile(policy.quarantine, dataset, rank)
        self._found: set[int] = set()  # rows
        self._bad: set[int] = set()  # those of them whose bytes say so
        self._latest: deque[str] = deque(maxlen=_LISTED)
        self._samples = 0
        self._events = 0
        self._logged = 0
        self._last_logged = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Without the lock: a copy has its own."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    @property
    def path(self) -> Path:
        """Of the report. It is made when the first bad sample is found."""
        return self._report.path

    @property
    def counts(self) -> dict[str, int]:
        """Rows that were found bad, and places of the order whose sample was replaced or left out."""
        return {"bad_rows": len(self._found), "bad_samples": self._events}

    def bad_rows(self) -> npt.NDArray[np.int64]:
        """Those whose bytes alone say so, ascending: int64."""
        with self._lock:
            return np.array(sorted(self._bad), dtype=np.int64)

    @property
    def num_bad(self) -> int:
        """How many those are."""
        return len(self._bad)

    def row_of(self, index: Any) -> Any:
        """A row counted from the start, as datasets do it; what is no whole number as text, which can be compared."""
        if index is None or isinstance(index, str):
            return index
        try:
            row = operator.index(index)
        except TypeError:
            return repr(index)
        length = self._report.length
        return row + length if row < 0 and length is not None else row

    def is_bad(self, index: Any) -> bool:
        """Whether a row's bytes say that it is bad."""
        return self.row_of(index) in self._bad

    def saw(self, samples: int, known: int = 0) -> None:
        """Counts samples that were asked for, and how many of them were known to be bad."""
        with self._lock:
            self._samples += samples
            self._events += known

    def add(self, error: SampleError, *, stand_in: bool = False) -> None:
        """A sample cannot be used.

        Args:
            error: says which, and why.
            stand_in: it was only to stand in for another one, which is counted already.

        Raises:
            TooManyErrorsError: it is one too many.
        """
        place = error.place
        with self._lock:
            self._events += not stand_in
            index = self.row_of(place.index)
            known = index is not None and index in self._found
            if index is not None:
                self._found.add(index)
                if _follows_from_bytes(error):
                    self._bad.add(index)
            if not known:
                self._latest.append(str(error))
                self._report.add(self._line(error))
                self._log(error)
            self._check_limit()

    def _check_limit(self) -> None:
        most = self._policy.max_errors
        if most is None:
            return
        if isinstance(most, int):
            over, told = len(self._found) > most, f"{len(self._found)} rows are bad, more than max_errors={most}"
        else:
            share = self._events / max(self._samples, _SAMPLES_BEFORE_A_SHARE)
            over = share > most
            told = f"{self._events} of {self._samples} samples are bad, more than the share max_errors={most}"
        if over:
            listed = "\n".join(f"  {line}" for line in self._latest)
            raise TooManyErrorsError(f"{told}. All are in {self.path}; the latest:\n{listed}")

    def _line(self, error: SampleError) -> dict[str, Any]:
        place = error.place
        kind = (
            "unreadable" if isinstance(error, ReadError) else "corrupt" if isinstance(error, DecodeError) else "refused"
        )
        return {
            "kind": kind,
            "bad": kind != "refused",  # a transform's refusal may follow from what was drawn
            "dataset": place.dataset,
            "index": self.row_of(place.index),
            "key": place.key,
            "file": place.file,
            "offset": place.offset,
            "error": error.reason,
            "stage": place.stage,
            "position": place.position,
            "rank": self._rank,
            "time": round(time.time(), 3),
        }

    def _log(self, error: SampleError) -> None:
        now = time.monotonic()
        if self._logged >= _LOGGED_AT_FIRST and now - self._last_logged < _LOG_EVERY:
            return
        self._logged += 1
        self._last_logged = now
        done = "left out" if self._policy.on_error == "drop" else "replaced"
        _LOG.warning("a bad sample is %s (%d rows so far, see %s): %s", done, len(self._found), self.path, error)


def _follows_from_bytes(error: SampleError) -> bool:
    """Whether the sample is bad whenever it is read: no storage fault, and no verdict on a part of the image."""
    return isinstance(error, DecodeError) and error.place.stage in ("header", "decode") and not error.partial
