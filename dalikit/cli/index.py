"""`dalikit index`: finds the members of tar shards once, so that any sample can be read at random."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError
from dalikit.shards import (
    ShardIndex,
    build_index,
    expand_shards,
    open_index,
    read_index,
    verify_index,
    write_dali_index,
)
from dalikit.shards.places import default_places

__all__ = ["run"]

_ROWS = 1 << 22  # of a column at once


def run(arguments: Any) -> int:
    """Builds, verifies or converts; 0 done, 1 something is wrong with the index or a shard.

    Raises:
        ArgumentError: an argument is off, or no shard is there.
        DatasetError: a shard or the index cannot be read or written.
    """
    return {"build": _build, "verify": _verify, "convert": _convert}[arguments.action](arguments)


def _build(arguments: Any) -> int:
    """Walks over the shards and writes the index; prints what is in it."""
    shards = _expand(arguments.shards)
    path = arguments.out or _writable_place(shards)
    index = build_index(shards, path, num_processes=arguments.processes, resume=not arguments.restart)
    found = {"index": str(path), **_contents(index)}
    print(json.dumps(found) if arguments.json else _table(found))
    return 0


def _verify(arguments: Any) -> int:
    """Compares the index with the shards; prints what is wrong, a line each."""
    shards = _expand(arguments.shards)
    path = arguments.index or _existing_place(shards)
    index = read_index(path, shards=shards)
    faults = verify_index(index, full=arguments.full)
    if arguments.json:
        print(json.dumps({"index": str(path), "samples": len(index), "shards": len(index.shards), "faults": faults}))
    elif faults:
        print("\n".join(faults))
        print(f"{path}: {len(faults):,} faults; build it anew: dalikit index build", file=sys.stderr)
    else:
        how = "every member" if arguments.full else "sizes, times and some members"
        print(f"{path}: {len(index):,} samples in {len(index.shards):,} shards, {how} as indexed")
    return 1 if faults else 0


def _convert(arguments: Any) -> int:
    """Writes an index of DALI's form for each shard."""
    shards = _expand(arguments.shards)
    names = [_stem(shard) + ".idx" for shard in shards]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ArgumentError(f"--out: several shards would write {twice[0]!r}; convert one folder of shards at a time")
    out: Path = arguments.out
    index = open_index(shards, index=arguments.index)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names):
            write_dali_index(index, number, out / name)
    except DatasetError:
        raise
    except OSError as error:
        raise DatasetError(f"folder {str(out)!r} cannot be written: {error.strerror or error}") from error
    found = {"folder": str(out), "files": names}
    print(json.dumps(found) if arguments.json else f"{len(names):,} files in {out}")
    return 0


def _expand(patterns: list[str]) -> list[str]:
    """The shards that patterns name."""
    shards = [shard for pattern in patterns for shard in expand_shards(pattern)]
    if not shards:
        raise ArgumentError(f"shards {', '.join(patterns)}: no file fits the pattern")
    return shards


def _stem(shard: str) -> str:
    """The name of a shard without folders and ".tar"."""
    return shard.partition("?")[0].rpartition("/")[2].removesuffix(".tar")


def _writable_place(shards: list[str]) -> Path:
    """Where an index is looked for, if it can be written there."""
    places = default_places(shards)
    return next((place for place in places if os.access(place.parent, os.W_OK)), places[-1])


def _existing_place(shards: list[str]) -> Path:
    """Where the index lies."""
    places = default_places(shards)
    for place in places:
        if place.exists():
            return place
    looked = " or ".join(map(str, places))
    raise DatasetNotFoundError(f"there is no index at {looked}; build it, or name it with --index")


def _contents(index: ShardIndex) -> dict[str, Any]:
    """What is in an index: JSON-able."""
    kinds = len(index.extensions)
    counts, sizes = np.zeros(kinds, dtype=np.int64), np.zeros(kinds, dtype=np.int64)
    for start in range(0, len(index.member_size), _ROWS):
        kind = index.member_extension[start : start + _ROWS]
        counts += np.bincount(kind, minlength=kinds)
        weights = index.member_size[start : start + _ROWS].astype(np.float64)  # whole numbers below 2**53 stay exact
        sizes += np.bincount(kind, weights=weights, minlength=kinds).astype(np.int64)
    extensions = {
        name: {"members": int(counts[number]), "bytes": int(sizes[number])}
        for number, name in enumerate(index.extensions)
    }
    return {
        "samples": len(index),
        "shards": len(index.shards),
        "fingerprint": index.fingerprint,
        "extensions": dict(sorted(extensions.items(), key=lambda item: -item[1]["members"])),
    }


def _table(found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{found['samples']:,} samples in {found['shards']:,} shards, index in {found['index']}"]
    for name, kind in found["extensions"].items():
        mean = kind["bytes"] / max(kind["members"], 1)
        size = f"{kind['bytes'] / 1e9:>12,.3f} GB, {mean:,.0f} bytes each"
        lines.append(f"  {name or '(none)':12} {kind['members']:>12,} members {size}")
    return "\n".join(lines)
