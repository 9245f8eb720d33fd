"""Tar shards with random access: their members are found once, and remembered in an index."""

from dalikit.shards.build import build_index
from dalikit.shards.file import read_index
from dalikit.shards.foreign import read_dali_index, read_energon_index, write_dali_index
from dalikit.shards.index import NO_CLASS, ShardIndex
from dalikit.shards.opening import open_index
from dalikit.shards.patterns import expand_shards
from dalikit.shards.verify import verify_index

__all__ = [
    "NO_CLASS",
    "ShardIndex",
    "build_index",
    "expand_shards",
    "open_index",
    "read_dali_index",
    "read_energon_index",
    "read_index",
    "verify_index",
    "write_dali_index",
]
