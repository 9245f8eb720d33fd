"""Who differs from whom, in what: in words."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["describe_differences", "describe_ranks"]

_FIELDS_SHOWN = 16
_VALUES_SHOWN = 4
_INTERVALS_SHOWN = 8
_LENGTH_SHOWN = 72  # characters of a value
_NOTHING = "nothing"  # where a record has no such field; no value looks so in JSON


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


def describe_differences(records: Sequence[str], number: int) -> str:
    """What the records of the ranks differ in, field by field; empty: in nothing."""
    alike: dict[str, list[int]] = {}
    for rank, record in enumerate(records):
        alike.setdefault(record, []).append(rank)
    if len(alike) == 1:
        return ""
    kinds = [(ranks, dict(_leaves("", json.loads(record)))) for record, ranks in alike.items()]
    fields = {name for _, leaves in kinds for name in leaves}
    lines: dict[str, str] = {}
    for name in sorted(fields):
        values: dict[str, list[int]] = {}
        for ranks, leaves in kinds:
            values.setdefault(leaves.get(name, _NOTHING), []).extend(ranks)
        if len(values) > 1:
            lines[name] = f"  {name}: {_values(values)}"
    shown = list(lines.values())[:_FIELDS_SHOWN]
    if len(lines) > len(shown):
        shown.append(f"  ... and {len(lines) - len(shown)} more")
    return "\n".join([f"the ranks do not load the same (loader number {number} of each):", *shown, _advice(lines)])


def _advice(names: Mapping[str, str]) -> str:
    """What to do. Where ranks differ in several things, the reason may be that they are different loaders."""
    advice = "Give all ranks the same dataset, sampler and seed, and after a restart one and the same state"
    if len({name.partition(".")[0] for name in names}) < 2:
        return f"{advice}."
    return f"{advice}; or the ranks make their loaders in different orders: the n-th of each has to be the same."


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """What nested dicts hold, each with its path: "dataset.root". Lists are values as a whole."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}" if name else str(key), inner)
    elif name:
        yield name, json.dumps(value, ensure_ascii=False)


def _values(values: Mapping[str, Sequence[int]]) -> str:
    """Who has what: "0 on ranks 0-6, 1 on rank 7". Long values are shown from shortly before they differ."""
    told = [value for value in values if value != _NOTHING]
    begin = 0
    if max(map(len, told)) > _LENGTH_SHOWN:
        same = itertools.takewhile(lambda characters: len(set(characters)) == 1, zip(*told, strict=False))
        begin = max(0, len(list(same)) - _LENGTH_SHOWN // 4)
    parts = []
    for value, ranks in list(values.items())[:_VALUES_SHOWN]:
        end = begin + _LENGTH_SHOWN
        if value != _NOTHING:
            value = ("..." if begin else "") + value[begin:end] + ("..." if len(value) > end else "")
        parts.append(f"{value} on {describe_ranks(sorted(ranks))}")
    rest = list(values.values())[_VALUES_SHOWN:]
    if rest:
        others = sorted(rank for ranks in rest for rank in ranks)
        parts.append(f"{len(rest)} other values on {describe_ranks(others)}")
    return ", ".join(parts)
