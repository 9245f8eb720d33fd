"""A progress bar on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Bar", "show_progress"]


class Bar:
    """A progress bar that shows nothing."""

    def update(self, count: int) -> None:
        """`count` more are done."""


@contextmanager
def show_progress(progress: bool | None, what: str, unit: str, total: int) -> Iterator[Bar]:
    """A bar, if it is wanted.

    Args:
        progress: None: if stderr is a terminal.
        what: what is being done: "indexing".
        unit: of what is counted.
        total: how many there are.
    """
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield Bar()
        return
    from tqdm import tqdm

    class Shown(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no thread that would outlive the bar, and be there when workers fork

    with Shown(desc=what, unit=f" {unit}", total=total) as bar:
        yield bar
