"""WHERE the bytes lie: byte ranges of files, read into reusable memory."""

from dalikit.storage.arena import Arena, ArenaPool
from dalikit.storage.local import read_local
from dalikit.storage.location import Location

__all__ = ["Arena", "ArenaPool", "Location", "read_local"]
