"""Every error that dalikit raises on purpose.

    DalikitError
    |-- ArgumentError (ValueError)           an argument, alone or beside another, cannot be meant
    |-- DeviceError (RuntimeError)           the device that was asked for is not there
    |-- DatasetError                         a dataset cannot be opened
    |   |-- DatasetNotFoundError (FileNotFoundError)
    |   `-- EmptyDatasetError (FileNotFoundError)
    |-- SampleError                          one sample cannot be used; carries its place
    |   |-- ReadError (OSError)              its bytes cannot be read
    |   |-- DecodeError (RuntimeError)       its bytes are not an image that can be decoded
    |   `-- TransformError (ValueError)      a transform cannot be applied to it
    |-- TooManyErrorsError (RuntimeError)    more samples are bad than `max_errors` allows
    |-- StateError (ValueError)              a checkpoint does not fit this loader
    |-- RankMismatchError (ValueError)       the ranks of a run do not load the same
    |-- LoaderTimeoutError (TimeoutError, RuntimeError: torch's)  a batch did not come in time
    |-- LoaderClosedError (RuntimeError)     the loader was closed in the middle of an iteration
    `-- InternalError (RuntimeError)         a fault of dalikit itself: please report it

Each also inherits the builtin that a caller would expect, so that `except ValueError` and `except OSError`
work as they do elsewhere. A message says what came, what is allowed and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

__all__ = [
    "ArgumentError",
    "DalikitError",
    "DatasetError",
    "DatasetNotFoundError",
    "DecodeError",
    "DeviceError",
    "EmptyDatasetError",
    "InternalError",
    "LoaderClosedError",
    "LoaderTimeoutError",
    "Place",
    "RankMismatchError",
    "ReadError",
    "SampleError",
    "StateError",
    "TooManyErrorsError",
    "TransformError",
]


class DalikitError(Exception):
    """The root of the tree: `except DalikitError` catches all that dalikit raises on purpose."""


class ArgumentError(DalikitError, ValueError):
    """An argument, alone or beside another, cannot be meant. Raised at construction."""


class DeviceError(DalikitError, RuntimeError):
    """The device that was asked for is not there, or cannot be used."""


class DatasetError(DalikitError):
    """A dataset cannot be opened."""


class DatasetNotFoundError(DatasetError, FileNotFoundError):
    """A dataset's root is not there."""


class EmptyDatasetError(DatasetError, FileNotFoundError):
    """A dataset's root is there, but it holds no sample. (torchvision raises FileNotFoundError here too.)"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sample lies. What is not known is left None and not printed."""

    dataset: str | None = None
    """The dataset's class."""
    index: int | None = None
    """Row of the dataset."""
    position: int | None = None
    """Place in the global order over all ranks and epochs."""
    key: str | None = None
    """Name of the sample."""
    file: str | None = None
    """File or object that holds its bytes."""
    offset: int | None = None
    """First byte within `file`."""
    stage: str | None = None
    """What was being done: "read", "header", "decode", "transform" or "collate"."""

    def __str__(self) -> str:
        """The known fields, as `name=value` pairs."""
        known = ((field.name, getattr(self, field.name)) for field in fields(self))
        return ", ".join(f"{name}={value}" for name, value in known if value is not None)


class SampleError(DalikitError):
    """One sample cannot be used. `place` says which; `reason` says why."""

    def __init__(self, reason: str, place: Place | None = None) -> None:
        self.reason = reason
        self.place = place if place is not None else Place()
        super().__init__(reason, self.place)

    def __str__(self) -> str:
        """The reason, then the place in brackets."""
        place = str(self.place)
        return f"{self.reason} [{place}]" if place else self.reason

    def locate(self, known: Place) -> Self:
        """Adds what a caller further up knows of the place; what is already known stays. Returns the error itself."""
        missing = {field.name: getattr(known, field.name) for field in fields(Place) if not self._knows(field.name)}
        self.place = replace(self.place, **missing)
        return self

    def _knows(self, name: str) -> bool:
        return getattr(self.place, name) is not None


class ReadError(SampleError, OSError):
    """A sample's bytes cannot be read, or fewer came than there should be."""


class DecodeError(SampleError, RuntimeError):
    """A sample's bytes are not an image that can be decoded."""

    partial = False
    """Whether only a part of the image was looked at, as a crop happened to lie."""
    truncated = False
    """Whether it is a JPEG that was cut off: `truncated="accept"` takes what there is of it."""


class TransformError(SampleError, ValueError):
    """A transform cannot be applied to a sample: a crop larger than the image, say."""


class TooManyErrorsError(DalikitError, RuntimeError):
    """More samples are bad than `max_errors` allows."""


class StateError(DalikitError, ValueError):
    """A checkpoint does not fit this loader: another dataset, sampler, seed or number of ranks."""


class RankMismatchError(DalikitError, ValueError):
    """The ranks of a run do not load the same: another seed, dataset, sampler or position. Raised on every rank."""


class LoaderTimeoutError(DalikitError, TimeoutError, RuntimeError):
    """A batch did not come within the loader's `timeout`. (torch raises a RuntimeError.)"""


class LoaderClosedError(DalikitError, RuntimeError):
    """The loader was closed in the middle of an iteration, and the next batch was asked for."""


class InternalError(DalikitError, RuntimeError):
    """A fault of dalikit itself. Please report it with the whole traceback."""
