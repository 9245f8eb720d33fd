"""Which pass an iteration is, where the passes themselves are nobody's but the loader's."""

from __future__ import annotations

from typing import Generic, TypeVar

from dalikit.orders.base import Progress

__all__ = ["Passes"]

_P = TypeVar("_P", bound=Progress)


class Passes(Generic[_P]):
    """Counts iterations: each that begins is the next pass, unless one was asked for or a state was loaded.

    Args:
        first: where the first one begins.
        repeat: one that was cut short is begun again: it is the same pass once more.
    """

    def __init__(self, first: _P, *, repeat: bool = False) -> None:
        self._repeat = repeat
        self.current = first
        """The iteration that began last; if that came to its end, or a state was loaded: where the next begins."""
        self.resumed = False
        """Whether a state was loaded since the last iteration began."""
        self._entered: int | None = None  # the pass that was asked for, until the next iteration begins

    @property
    def moved(self) -> bool:
        """Whether another pass was asked for since the last iteration began."""
        return self._entered is not None

    def enter(self, passes: int) -> None:
        """Asks for a pass."""
        self._entered = passes

    def resume(self, progress: _P) -> None:
        """Goes to where a state says: the next iteration goes on there, unless another pass is asked for."""
        self.current, self.resumed, self._entered = progress, True, None

    def mark(self) -> tuple[_P, bool, int | None]:
        """Where all is, for `go_back`."""
        return self.current, self.resumed, self._entered

    def go_back(self, mark: tuple[_P, bool, int | None]) -> None:
        """An iteration that began could not be opened: it is none."""
        self.current, self.resumed, self._entered = mark

    def following(self) -> tuple[int, bool]:
        """The pass of the next iteration, and whether it is the one that a loaded state is in."""
        current, entered = self.current, self._entered
        if self.resumed and entered in (None, current.passes):
            return current.passes, True
        if entered is not None:
            return entered, False
        return current.passes + (current.begun and not self._repeat), False

    def begin(self, progress: _P) -> _P:
        """An iteration begins."""
        progress.begun = True
        self.current, self.resumed, self._entered = progress, False, None
        return progress

    def end(self, progress: Progress, following: _P) -> bool:
        """An iteration came to its end. Returns whether the next follows on it: not if another began meanwhile."""
        last = self.current is progress
        if last:
            self.current = following
        return last
