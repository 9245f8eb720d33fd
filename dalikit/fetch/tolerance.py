"""What counts as one bad sample, and not as a fault of the whole run."""

from __future__ import annotations

import sys

from dalikit.errors import ReadError, SampleError

__all__ = ["as_sample_error"]


def as_sample_error(error: BaseException) -> SampleError | None:
    """An error of one sample, if it is one; None: it is a fault of the dataset, the transform or the user's code.

    Of the errors that a dataset's own code raises, those of the operating system (a file that is not there, EIO) and
    of Pillow (an image that it cannot decode, a decompression bomb) are a sample's.
    """
    if isinstance(error, SampleError):
        return error
    pillow = sys.modules.get("PIL.Image")  # whoever raises its errors has imported it
    bomb = (pillow.DecompressionBombError,) if pillow is not None else ()
    if isinstance(error, (OSError, *bomb)):
        found = ReadError(f"{type(error).__name__}: {error}")
        found.__cause__ = error
        return found
    return None
