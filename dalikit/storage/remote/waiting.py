"""Blocking calls that answer Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from dalikit.storage.remote.failures import RemoteError

__all__ = ["Pending", "call"]

Result = TypeVar("Result")

_POLL_S = 0.2  # Ctrl-C may be delivered to another thread, which does not wake the main one: it looks now and then


class Pending(Generic[Result]):
    """A call under way on a thread of its own, which does not hold up the process's end."""

    def __init__(self, action: Callable[[], Result]) -> None:
        self._results: list[Result] = []
        self._errors: list[BaseException] = []
        self._done = threading.Event()
        threading.Thread(target=self._run, args=(action,), name="dalikit-remote", daemon=True).start()

    def result(self, stopped: Callable[[], bool] = lambda: False) -> Result:
        """Waits for what the call returns or raises.

        Args:
            stopped: asked several times a second: whether to wait no longer.

        Raises:
            RemoteError: it was `stopped`. What the call gets is thrown away.
        """
        while not self._done.wait(_POLL_S):
            if stopped():
                raise RemoteError("was not read to its end: its reading was stopped")
        if self._errors:
            raise self._errors[0]
        return self._results[0]

    def _run(self, action: Callable[[], Result]) -> None:
        try:
            self._results.append(action())
        except BaseException as error:
            self._errors.append(error)
        finally:
            self._done.set()


def call(action: Callable[[], Result]) -> Result:
    """Calls `action`; on the main thread by way of another one, because obstore does not return at a signal.

    After Ctrl-C the other thread goes on to the end of its request, and what it gets is thrown away.
    """
    if threading.current_thread() is not threading.main_thread():
        return action()
    return Pending(action).result()
