"""All ranks of a run load the same: compared when they begin, and again after each restart."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dalikit.distributed import initialised
from dalikit.errors import RankMismatchError

if TYPE_CHECKING:
    from torch.distributed import Store

__all__ = ["GIVE_UP_AFTER", "WARN_AFTER", "RankAgreement", "describe_ranks"]

WARN_AFTER = 10.0
"""Seconds for which a rank waits for the others before it says so."""

GIVE_UP_AFTER = 60.0
"""Seconds after which it goes on without them."""

_LOG = logging.getLogger("dalikit")
_ORDINALS = itertools.count()

_PAUSES = 0.001, 0.25  # seconds between two looks into the store: the first, and the longest
_TEXT_WITHIN = 30.0  # seconds in which the rank that reads all records has told the others what it found

_FIELDS_SHOWN = 16
_VALUES_SHOWN = 4
_INTERVALS_SHOWN = 8
_MISSING_SHOWN = 4
_LENGTH_SHOWN = 72  # characters of a value


class RankAgreement:
    """Compares what the ranks of a run load, for one loader whose sampler is shared out among them.

    Ranks that load with different seeds, of different datasets, or from different positions train without a word, on
    some samples twice and on others never. So each tells what it loads, and if they differ, every rank raises.

    **Over the store, not by a collective.** The ranks meet in the key-value store of the default process group, the one
    that set the group up. It is there with gloo and with NCCL, needs no GPU, and may be used from any thread at any
    time. A collective would have to be called by all ranks in one order: one that begins its loader before a step of
    the training, while another does so after it, would hang both, or mix the two up; with NCCL it would need a device.

    **Costs.** A rank that agrees does five operations (one does six) and a look every quarter of a second while it waits
    for others, whatever the number of ranks: each counts itself under a hash of what it loads, and if all are under one
    hash, all is said. Only where they are not are all records read, by one rank, which tells the others.

    **How to call it.** `check(record)` when the first iteration begins, and when the first begins after a state was
    loaded; `finish()` when any other begins. Both on the user's thread; Ctrl-C ends the waiting. Nothing is compared,
    and `check` returns at once, where no process group is initialised, where the group is not the loader's ranks (a
    mesh with model-parallel ranks), and where it has no store (MPI).

    **Ranks that do not come** hold nobody up for ever: after `warn_after` seconds a warning says for which ranks this
    one waits, after `give_up_after` it goes on, and the comparison is `pending`. `finish` makes up for it once the
    others have come. A `check` while it is pending says anew, in the same comparison, what this rank loads: so a
    rank that has looked at a batch, alone, before it loaded a state, is compared by where it is then.
    A store that fails, because rank 0 is gone, say, is a warning: it is for the training to notice that.

    Args:
        rank: this rank.
        world_size: number of ranks among which the sampler is shared out.
        store: in place of the default process group's; for tests.
        ordinal: which loader of this process it is. Default None: the next one. The n-th of each rank is one and the
            same loader, so ranks have to make their loaders in one order.
        warn_after: seconds; see above. Default 10.
        give_up_after: seconds; see above. Default 60: ranks start minutes apart, but only before the group is set up.
    """

    def __init__(
        self,
        *,
        rank: int,
        world_size: int,
        store: Store | None = None,
        ordinal: int | None = None,
        warn_after: float = WARN_AFTER,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> None:
        self._rank = rank
        self._world_size = world_size
        self._store = store
        self._ordinal = next(_ORDINALS) if ordinal is None else ordinal
        self._warn_after = warn_after
        self._give_up_after = give_up_after
        self._round = 0
        self._pending: _Comparison | None = None

    @property
    def pending(self) -> bool:
        """Whether this rank has told what it loads and not yet heard from all the others."""
        return self._pending is not None

    def check(self, record: Mapping[str, Any]) -> None:
        """Waits for all ranks, and compares.

        Args:
            record: what has to be the same on all ranks: numbers, strings, lists and dicts, ready for JSON.

        Raises:
            RankMismatchError: they differ. Every rank raises it, with the same text: which ranks differ in what.
        """
        self.finish()
        store = self._store if self._store is not None else _group_store(self._rank, self._world_size)
        if store is None:
            # Counted all the same: ranks stay in step if one begins before the group is set up and another after it.
            self._round += 1
            return
        with self._tolerated():
            comparison = self._enter(store, json.dumps(record, sort_keys=True))
            if self._waited_for(comparison):
                self._conclude(comparison)

    def finish(self) -> None:
        """Ends a comparison that is pending if all ranks have come meanwhile: one operation; none if nothing is pending.

        Raises:
            RankMismatchError: as `check`.
        """
        comparison = self._pending
        if comparison is None:
            return
        with self._tolerated():
            if comparison.complete():
                self._conclude(comparison)

    def _enter(self, store: Store, record: str) -> _Comparison:
        if self._pending is not None:
            self._pending.change(record)
            return self._pending
        comparison = _Comparison(store, self._ordinal, self._round, self._rank, self._world_size)
        self._round += 1
        comparison.enter(record)
        self._pending = comparison
        return comparison

    def _conclude(self, comparison: _Comparison) -> None:
        text = comparison.verdict()
        self._pending = None
        if text:
            raise RankMismatchError(text)

    def _waited_for(self, comparison: _Comparison) -> bool:
        """Whether all ranks have come in time.

        By looking again and again. The store's own `wait` would hold up all other threads that use the store, Ctrl-C
        too, and prints warnings of its own each time that it ends in vain.
        """
        begin, warned = time.monotonic(), False
        for pause in _pauses():
            if comparison.complete():
                return True
            waited = time.monotonic() - begin
            if waited >= self._give_up_after:
                break
            if waited >= self._warn_after and not warned:
                warned = True
                self._warn_of_waiting(comparison)
            time.sleep(pause)
        _LOG.warning(
            "rank %d goes on after %.0f s without a comparison of what the ranks load: %s not there",
            self._rank,
            self._give_up_after,
            comparison.missing(),
        )
        return False

    def _warn_of_waiting(self, comparison: _Comparison) -> None:
        _LOG.warning(
            "rank %d waits for %s to iterate over loader number %d too, to compare what the ranks load, and goes on "
            "without that after %.0f s. Its sampler is shared out among %d ranks, so each of them has to iterate over "
            "it; a loader for one rank alone is made with rank=0, world_size=1",
            self._rank,
            comparison.missing(),
            self._ordinal + 1,
            self._give_up_after,
            self._world_size,
        )

    @contextlib.contextmanager
    def _tolerated(self) -> Iterator[None]:
        """A store that fails ends the comparison, not the training."""
        try:
            yield
        except (RuntimeError, OSError) as error:  # torch.distributed's errors are RuntimeErrors
            self._pending = None
            _LOG.warning(
                "what the ranks load was not compared: the process group's store failed on rank %d (%s: %s)",
                self._rank,
                type(error).__name__,
                str(error).partition("\n")[0],
            )


class _Comparison:
    """One comparison, in the store: what each rank loads, how many load what, and how many have come.

    Args:
        store: of the process group.
        ordinal: number of the loader.
        number: of the comparison, for this loader.
        rank: this rank.
        world_size: how many have to come.
    """

    def __init__(self, store: Store, ordinal: int, number: int, rank: int, world_size: int) -> None:
        self._store = store
        self._prefix = f"dalikit/{ordinal}/{number}"
        self._ordinal = ordinal
        self._rank = rank
        self._world_size = world_size
        self._digest = ""

    def enter(self, record: str) -> None:
        """Tells what this rank loads, and that it has come."""
        self._tell(record)
        if self._store.add(self._key("came"), 1) == self._world_size:
            self._store.set(self._key("all"), "")

    def change(self, record: str) -> None:
        """Tells anew what this rank loads: it has come, and not all others have."""
        self._store.add(self._digest, -1)
        self._tell(record)

    def complete(self) -> bool:
        """Whether all ranks have come."""
        return bool(self._store.check([self._key("all")]))

    def verdict(self) -> str:
        """What the ranks differ in; empty: in nothing. When all have come."""
        if self._store.add(self._digest, 0) == self._world_size:
            return ""
        if self._store.add(self._key("readers"), 1) > 1:
            for pause in _pauses(_TEXT_WITHIN):
                if self._store.check([self._key("text")]):
                    return self._store.get(self._key("text")).decode()
                time.sleep(pause)
        records = self._store.multi_get([self._key(rank) for rank in range(self._world_size)])
        text = _describe([record.decode() for record in records], self._ordinal + 1)
        self._store.set(self._key("text"), text)
        return text

    def missing(self) -> str:
        """Ranks that have not come, in words; found by halves, so that one of thousands costs a few operations."""
        count = self._world_size - self._store.add(self._key("came"), 0)
        found: list[int] = []
        parts = [(0, self._world_size)]
        while parts and len(found) < min(count, _MISSING_SHOWN):
            start, stop = parts.pop()
            if self._store.check([self._key(rank) for rank in range(start, stop)]):
                continue
            if stop - start == 1:
                found.append(start)
                continue
            middle = (start + stop) // 2
            parts += [(middle, stop), (start, middle)]
        shown = describe_ranks(found)
        return shown if len(found) >= count else f"{count} ranks ({shown} among them)"

    def _tell(self, record: str) -> None:
        self._digest = self._key("digest/" + hashlib.sha256(record.encode()).hexdigest())
        self._store.set(self._key(self._rank), record)
        self._store.add(self._digest, 1)

    def _key(self, name: str | int) -> str:
        return f"{self._prefix}/{name}"


def _group_store(rank: int, world_size: int) -> Store | None:
    """The default process group's store, if it is the group of these ranks and has one."""
    distributed = initialised()
    if distributed is None or (distributed.get_rank(), distributed.get_world_size()) != (rank, world_size):
        return None
    try:
        store: Store | None = distributed.group.WORLD.get_group_store()
    except RuntimeError:
        return None
    return store


def _pauses(seconds: float | None = None) -> Iterator[float]:
    """Longer and longer ones; None: without end."""
    pause, longest = _PAUSES
    stop = None if seconds is None else time.monotonic() + seconds
    while stop is None or time.monotonic() < stop:
        yield pause
        pause = min(pause * 1.5, longest)


def describe_ranks(ranks: Sequence[int]) -> str:
    """Ascending ranks in words: "rank 7", "ranks 0-5, 9". Many intervals are cut short."""
    intervals: list[list[int]] = []
    for rank in ranks:
        if intervals and intervals[-1][1] == rank - 1:
            intervals[-1][1] = rank
        else:
            intervals.append([rank, rank])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in intervals[:_INTERVALS_SHOWN]]
    rest = ["..."] if len(intervals) > _INTERVALS_SHOWN else []
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(shown + rest)


def _describe(records: Sequence[str], number: int) -> str:
    """What the records of the ranks differ in, field by field; empty: in nothing."""
    alike: dict[str, list[int]] = {}
    for rank, record in enumerate(records):
        alike.setdefault(record, []).append(rank)
    if len(alike) == 1:
        return ""
    kinds = [(ranks, dict(_leaves("", json.loads(record)))) for record, ranks in alike.items()]
    fields = dict.fromkeys(name for _, leaves in kinds for name in leaves)
    lines: dict[str, str] = {}
    for name in fields:
        values: dict[str, list[int]] = {}
        for ranks, leaves in kinds:
            values.setdefault(leaves.get(name, "nothing"), []).extend(ranks)
        if len(values) > 1:
            lines[name] = f"  {name}: {_values(values)}"
    shown = list(lines.values())[:_FIELDS_SHOWN]
    if len(lines) > len(shown):
        shown.append(f"  ... and {len(lines) - len(shown)} more")
    return "\n".join([f"the ranks do not load the same (loader number {number} of each):", *shown, _advice(lines)])


def _advice(names: Mapping[str, str]) -> str:
    """What to do. Where ranks differ in several things, the reason may be that they are different loaders."""
    advice = "Give all ranks the same dataset, sampler and seed, and after a restart one and the same state"
    if len({name.partition(".")[0].partition("[")[0] for name in names}) < 2:
        return f"{advice}."
    return f"{advice}; or the ranks make their loaders in different orders: the n-th of each has to be the same."


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The ends of a nest of dicts and lists, each with its path: "dataset.root", "sizes[3]"."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(f"{name}[{index}]", inner)
    else:
        yield name, json.dumps(value, ensure_ascii=False)


def _values(values: Mapping[str, Sequence[int]]) -> str:
    """Who has what: "0 on ranks 0-6, 1 on rank 7". Long values are shown from shortly before they differ."""
    begin = 0
    if max(map(len, values)) > _LENGTH_SHOWN:
        begin = max(0, len(os.path.commonprefix(list(values))) - _LENGTH_SHOWN // 4)
    parts = []
    for value, ranks in list(values.items())[:_VALUES_SHOWN]:
        end = begin + _LENGTH_SHOWN
        cut = ("..." if begin else "") + value[begin:end] + ("..." if len(value) > end else "")
        parts.append(f"{cut} on {describe_ranks(sorted(ranks))}")
    rest = list(values.values())[_VALUES_SHOWN:]
    if rest:
        others = sorted(rank for ranks in rest for rank in ranks)
        parts.append(f"{len(rest)} other values on {describe_ranks(others)}")
    return ", ".join(parts)
