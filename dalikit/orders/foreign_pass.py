"""One iteration over a torch-style sampler: begun as torch begins it, or brought to where a state left off."""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import torch

from dalikit.errors import StateError
from dalikit.orders.base_seed import BaseSeed
from dalikit.orders.foreign_source import ForeignSource
from dalikit.orders.foreign_state import ForeignState, Start
from dalikit.orders.sampler_state import SamplerState

__all__ = ["NOTHING_TAKEN", "ForeignPass"]

NOTHING_TAKEN = blake2b(digest_size=16).hexdigest()
"""Fingerprint of no indices."""


class ForeignPass:
    """Draws the batches of one pass, and knows what it takes to draw them again.

    Args:
        source: what gives the batches.
        seed: torch's base seed, which is drawn once the sampler was iterated.
        start: how to begin; the generator is in that state already.
    """

    def __init__(self, source: ForeignSource, seed: BaseSeed, start: Start) -> None:
        self._source = source
        self._stateful = source.stateful
        self._generator = _generator_of(source, start)
        self.samples = 0
        """Drawn so far."""
        self.start: Start | None = start if self._stateful is None else None
        """None: the order is known not to follow from it."""
        self._hash = blake2b(digest_size=16)
        self._attempts = 0  # batches that were asked for here; the end counts as one
        self._marks: deque[tuple[int, torch.Tensor]] = deque()  # states of its own generator, after so many attempts
        self._watching = self.start is not None and not start.own  # whether it draws from the global generator
        self._kept: list[list[Any] | None] = []  # drawn, not given out yet
        self._used_up = False
        self._batches = self._watch(source.batches)
        if start.base_seed:
            seed.draw()
        else:
            seed.pass_over()
        if start.twice:
            self._batches = self._watch(source.batches)
        self._mark()

    def _watch(self, call: Any) -> Any:
        """Calls; if that changes the generator's state, the order follows from it."""
        before = self._generator.get_state() if self._watching else None
        result = call()
        if before is not None and not torch.equal(before, self._generator.get_state()):
            self._watching = False
        return result

    def draw(self, *, surely: int = 0) -> list[Any] | None:
        """The indices of the next batch; None: there is none.

        Args:
            surely: `rewind` will not go back to less than so many attempts.
        """
        batch = self._kept.pop() if self._kept else self._attempt()
        while len(self._marks) > 1 and self._marks[1][0] <= surely:
            self._marks.popleft()
        if batch is not None:
            self._used_up = self._source.used_up_by(batch)
            self.samples += len(batch)
            if self._stateful is None:
                self._hash.update(_as_bytes(batch))
        return batch

    def _attempt(self) -> list[Any] | None:
        self._attempts += 1
        batch: list[Any] | None = self._watch(lambda: next(self._batches, None))
        if self._watching:  # it did not draw when it was iterated, nor for the first batch
            self._watching, self.start = False, None
        self._mark()
        return batch

    def _mark(self) -> None:
        if self.start is not None and self.start.own:
            self._marks.append((self._attempts, self._generator.get_state()))

    def state(self) -> dict[str, Any]:
        """What it takes to go on after the batch that was drawn last: fields of ForeignState."""
        if self._stateful is not None:
            sampler = SamplerState.of(self._stateful, repr(self._source))
            return {"samples": self.samples, "sampler": sampler, "finished": self._used_up}
        return {"samples": self.samples, "indices": self._hash.hexdigest()}

    def rewind(self, attempts: int) -> None:
        """Takes back what its own generator was asked for beyond so many batches, if nobody used it since."""
        if self._marks and self._attempts > attempts and torch.equal(self._marks[-1][1], self._generator.get_state()):
            earlier = [state for number, state in self._marks if number <= attempts]
            if earlier:
                self._generator.set_state(earlier[-1])
        self._marks.clear()

    # Where a state left off

    @classmethod
    def replayed(cls, source: ForeignSource, seed: BaseSeed, start: Start, state: ForeignState) -> ForeignPass:
        """Begins as the pass of `state` began, and draws what was taken there.

        torch's global generator has that pass's state meanwhile, and its own again afterwards; unless it stands just
        where it stood then: the pass has then drawn from it, as it did.

        Raises:
            StateError: the sampler gives another order.
        """
        if state.start is None:
            return cls(source, seed, start)._skip(state)
        generator = _generator_of(source, state.start)
        users = generator.get_state()
        _set(generator, state.start, source)
        try:
            drawn = cls(source, seed, state.start)._skip(state)
            if not state.start.own:
                drawn._kept.append(drawn._attempt())
        except BaseException:
            generator.set_state(users)
            raise
        if not state.start.own and not torch.equal(users, state.start.generator):
            generator.set_state(users)
        return drawn

    def _skip(self, state: ForeignState) -> ForeignPass:
        for number in range(state.batches):
            if self.draw(surely=self._attempts + 1) is None:
                raise StateError(
                    f"{self._source!r}: ended after {number} batches, but {state.batches} were taken when the state "
                    "was made; give it the data and the seed that it had then"
                )
        if self._hash.hexdigest() != state.indices:
            raise StateError(
                f"{self._source!r}: its first {state.batches} batches hold other indices than those that were taken "
                "when the state was made, so the iteration cannot go on where it was. Seed it as it was seeded then "
                "(its generator; or set_epoch, before iterating), or give it state_dict() and load_state_dict(). With "
                "several ranks, each saves and loads its own state; that of a sampler of the package `samplers` fits "
                "all ranks"
            )
        self._attempts = 0
        self._marks.clear()
        self._mark()
        return self

    @classmethod
    def leave(cls, source: ForeignSource, seed: BaseSeed, state: ForeignState, ahead: int) -> None:
        """Brings the sampler's own generator to where the pass of `state` leaves it if it is cut short there.

        Args:
            source: what gives the batches.
            seed: torch's base seed.
            state: where the pass was cut short. Nothing happens if it was not drawn from a generator of the sampler's.
            ahead: batches that torch has asked for beyond those that were taken.

        Raises:
            StateError: the sampler's generator is gone, or is another one.
        """
        if state.start is None or not state.start.own:
            return
        generator = _generator_of(source, state.start)
        _set(generator, state.start, source)
        # A base seed from elsewhere does not matter here, and leaves no trace there.
        shared = seed.generator is generator
        start = replace(state.start, base_seed=state.start.base_seed and shared)
        drawn = cls(source, BaseSeed(generator, persistent=False), start)
        for _ in range(state.batches + ahead):
            if drawn.draw() is None:
                break
        seed.pass_over()

    @classmethod
    def continued(cls, source: ForeignSource, seed: BaseSeed, start: Start, state: ForeignState) -> ForeignPass:
        """Has the sampler load its own state, and goes on from there.

        Raises:
            StateError: it cannot.
        """
        sampler, kept = source.stateful, state.sampler
        assert kept is not None
        if sampler is None:
            raise StateError(f"state: holds its sampler's state_dict(), but {source!r} has no load_state_dict() here")
        sampler.load_state_dict(kept.unpack())
        # A sampler at its end may have something to do yet before its next pass; or it has done it, and gives that.
        if state.finished and next(source.batches(), None) is not None:
            sampler.load_state_dict(kept.unpack())
        drawn = cls(source, seed, start)
        drawn.samples = state.samples
        if state.finished and state.batches:
            drawn._batches = iter(())
        return drawn


def _generator_of(source: ForeignSource, start: Start) -> torch.Generator:
    if not start.own:
        return torch.default_generator
    if source.generator is None:
        raise StateError(
            f"state: holds the state of its sampler's generator, but {source!r} has none here; give it one"
        )
    return source.generator


def _set(generator: torch.Generator, start: Start, source: ForeignSource) -> None:
    try:
        generator.set_state(start.generator)
    except (RuntimeError, TypeError) as error:  # of another kind of device, say
        raise StateError(f"state: the generator of {source!r} does not take the state of one: {error}") from None


def _as_bytes(batch: list[Any]) -> bytes:
    """The same for the same indices, in any process."""
    try:
        data = array("q", batch).tobytes()
    except (TypeError, ValueError, OverflowError):  # keys of any kind
        data = repr(batch).encode("utf-8", "backslashreplace")
    return len(data).to_bytes(8, "little") + data
