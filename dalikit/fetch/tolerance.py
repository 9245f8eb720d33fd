"""What counts as one bad sample, and not as a fault of the whole run."""

from __future__ import annotations

import sys

from dalikit.errors import ReadError, SampleError
from dalikit.fetch.rows import Rows

__all__ = ["as_sample_error", "mark_fault", "note"]

_FAULT = "_dalikit_fault"


def note(error: Exception, rows: Rows, row: int, stage: str, errors: dict[int, SampleError]) -> None:
    """Notes that a sample is bad, with its place. Raises an error that is none of one sample.

    Args:
        error: that working on the sample has raised.
        rows: of its batch.
        row: which.
        stage: what was being done.
        errors: where it is noted.
    """
    found = as_sample_error(error)
    if found is None:
        raise error
    rows.tell(found, row, stage)
    errors[row] = found


def as_sample_error(error: BaseException) -> SampleError | None:
    """An error of one sample, if it is one; None: it is a fault of the dataset, the transform or the user's code.

    Of the errors that a dataset's own reading raises, those of the operating system (a file that is not there, EIO) and
    of Pillow (an image that it cannot decode, a decompression bomb) are a sample's.
    """
    if isinstance(error, SampleError):
        return error
    if _FAULT in vars(error):
        return None
    pillow = sys.modules.get("PIL.Image")  # whoever raises its errors has imported it
    bomb = (pillow.DecompressionBombError,) if pillow is not None else ()
    if isinstance(error, (OSError, *bomb)):
        found = ReadError(f"{type(error).__name__}: {error}")
        found.__cause__ = error
        return found
    return None


def mark_fault(error: Exception) -> None:
    """Says of an error that it came from no reading, but from what makes targets, or from a user's function: unless it
    is a SampleError it is a fault of that code, whatever its type.
    """
    vars(error)[_FAULT] = True
