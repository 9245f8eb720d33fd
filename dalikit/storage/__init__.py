"""WHERE the bytes lie: byte ranges of files, read into reusable memory, and of remote objects."""

from dalikit.storage.arena import Arena, ArenaPool
from dalikit.storage.gzipped import inflate
from dalikit.storage.local import read_local
from dalikit.storage.location import Location, check_scheme, is_remote
from dalikit.storage.objects import ObjectInfo, list_objects, read_stream, stat_object
from dalikit.storage.reading import read

__all__ = [
    "Arena",
    "ArenaPool",
    "Location",
    "ObjectInfo",
    "check_scheme",
    "inflate",
    "is_remote",
    "list_objects",
    "read",
    "read_local",
    "read_stream",
    "stat_object",
]
