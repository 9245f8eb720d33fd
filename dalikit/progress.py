"""Progress bars on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ProgressBar", "progress_bar"]


_FEW = 10_000
"""Fewer are counted one by one: "2/147", not "2.00/147"."""


class ProgressBar:
    """A progress bar that shows nothing."""

    def update(self, count: int) -> None:
        """`count` more are done."""


@contextmanager
def progress_bar(progress: bool | None, description: str, unit: str, total: int | None = None) -> Iterator[ProgressBar]:
    """A progress bar on stderr, if it is wanted.

    Args:
        progress: whether to show it; None: if stderr is a terminal.
        description: what is being done.
        unit: what is counted, in the plural.
        total: how many there are; None: not known.
    """
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield ProgressBar()
        return
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no thread that would outlive the bar, and be there when workers fork

    few = total is not None and total < _FEW
    with Bar(desc=description, unit=f" {unit}", unit_scale=not few, total=total) as bar:
        yield bar
