"""Asks again when a request failed in a way that another may not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from dalikit.errors import DalikitError
from dalikit.storage.remote.failures import RemoteError, explain

__all__ = ["ATTEMPTS", "attempt"]

Result = TypeVar("Result")

ATTEMPTS = 3
"""obstore itself asks again where there was no answer or a 5xx. These are for answers that broke off, stalled or were
short, which it mostly does not repeat."""
BACKOFF_S = 0.2
"""Before the second attempt; twice that before the third. Times a factor in [0.5, 1.5), so that threads which failed
together do not come back together."""
GIVE_UP_S = 60.0
"""No further attempt is begun after this long: a server that stalls each time is not waited for three times over."""


def attempt(request: Callable[[], Result]) -> Result:
    """The result of `request`, asked for up to `ATTEMPTS` times.

    Raises:
        RemoteError: the last attempt failed, or one in a way that will not change.
    """
    number, began = 1, time.monotonic()
    while True:
        try:
            return request()
        except DalikitError:
            raise
        except RemoteError as error:
            failure = error
        except Exception as error:
            failure = explain(error)
        if not failure.again:
            raise failure from None
        if number == ATTEMPTS or time.monotonic() - began > GIVE_UP_S:
            raise RemoteError(f"cannot be read after {number} attempts: {failure.reason}") from None
        _pause(BACKOFF_S * 2 ** (number - 1))
        number += 1


def _pause(seconds: float) -> None:
    """Waits, about. The jitter is the operating system's: the process's random generators belong to the user."""
    threading.Event().wait(seconds * (0.5 + os.urandom(1)[0] / 256))
