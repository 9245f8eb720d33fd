"""`dalikit state`: what a saved loader state says, and how it would go on, on any number of ranks."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, fields
from typing import Any

from dalikit.cli.checkpoints import Found, choose_state, read_checkpoint
from dalikit.cli.state_text import text_of
from dalikit.errors import ArgumentError, StateError
from dalikit.forecast import Forecast, bound_to_ranks, untold
from dalikit.state import LoaderState

__all__ = ["run"]

_MOST_NEXT = 1_000_000
_MOST_RANKS = 2**31 - 1  # the samplers'


def run(arguments: Any) -> int:
    """Prints the state and a forecast for each number of ranks; 0.

    Raises:
        ArgumentError: an argument is off, or the file is not there.
        StateError: the file cannot be read, or holds no state that a loader makes.
    """
    if arguments.count > _MOST_NEXT:
        raise ArgumentError(f"--count {arguments.count}: at most {_MOST_NEXT:,} samples are told")
    found = choose_state(read_checkpoint(arguments.file), arguments.file, arguments.at)
    try:
        report = _report(arguments, found, found.read())
    except StateError as error:
        at = f", at {found.path}" if found.path else ""
        raise StateError(f"{arguments.file}{at}: {error}") from None
    _print(json.dumps(report) if arguments.json else text_of(report))
    return 0


def _print(text: str) -> None:
    """To the end, or for as long as somebody reads: `| head` does not read all."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where Python's own last flush goes


def _report(arguments: Any, found: Found, state: LoaderState) -> dict[str, Any]:
    """All that is printed, as JSON has it."""
    worlds = arguments.ranks or [state.world_size]
    if max(worlds) > _MOST_RANKS:
        raise ArgumentError(f"--ranks {max(worlds)}: at most {_MOST_RANKS:,}")
    if arguments.rank >= (least := min(worlds)):
        raise ArgumentError(f"--rank {arguments.rank}: must be below the number of ranks, {least}")
    why = untold(state.sampler)
    own = None if why is not None else Forecast(state, state.world_size)
    where = None if own is None else own.where(0)
    return {
        "file": arguments.file,
        "at": found.path,
        "state": {known.name: getattr(state, known.name) for known in fields(state)},
        "size": None if own is None else own.size,
        "where": None if where is None else asdict(where),
        "untold": why,
        "bound_to_ranks": bound_to_ranks(state.sampler),
        "forecasts": [_forecast(arguments, state, world_size) for world_size in worlds],
    }


def _forecast(arguments: Any, state: LoaderState, world_size: int) -> dict[str, Any]:
    """How the state goes on, on some number of ranks."""
    refused = bound_to_ranks(state.sampler) if world_size != state.world_size else None
    if refused is not None or untold(state.sampler) is not None:
        return {"ranks": world_size, "refused": refused}
    forecast = Forecast(state, world_size)
    where = forecast.where(arguments.rank)
    found: dict[str, Any] = {
        "ranks": world_size,
        "refused": None,
        "left": forecast.left,
        "alike": forecast.alike,
        "shares": [{"start": each.start, "stop": each.stop, "samples": each.samples} for each in forecast.shares],
        "repeated": forecast.repeated,
        "dropped": forecast.dropped,
        "rank": arguments.rank,
        "where": None if where is None else asdict(where),
        "next": asdict(forecast.next(arguments.rank, arguments.count)),
    }
    if arguments.batch_size is not None and forecast.size is not None:
        found["batch_size"] = arguments.batch_size
        for name, drop_last in (("batches", False), ("batches_drop_last", True)):
            batches = forecast.batches(arguments.batch_size, drop_last=drop_last)
            found[name] = None if batches is None else asdict(batches)
    return found
