"""Tar shards with random access: their members are found once, and remembered in an index."""

from dalikit.shards.index import NO_CLASS, ShardIndex

__all__ = ["NO_CLASS", "ShardIndex"]
