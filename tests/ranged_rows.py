"""The smallest dataset of byte ranges: rows of files or remote objects, packed one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dalikit.datasets import StoredDataset
from dalikit.storage import Location

__all__ = ["RangedRows", "join"]


class RangedRows(StoredDataset):
    """Row i is location i, its target is 10 i, its key is "row-i".

    Args:
        locations: one a row.
        attributes: that the dataset is to have: `remote`, `memory_map`, `may_be_gzipped`.
    """

    def __init__(self, locations: Sequence[Location], **attributes: Any) -> None:
        super().__init__()
        self._locations = list(locations)
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self._locations)

    def get_location(self, index: int) -> Location:
        return self._locations[self._row(index)]

    def get_target(self, index: int) -> Any:
        return 10 * self._row(index)

    def get_key(self, index: int) -> str:
        return f"row-{self._row(index)}"

    @property
    def fingerprint(self) -> str:
        return f"ranged {len(self)}"


def join(uri: str, pieces: Sequence[bytes], gap: int = 0) -> tuple[bytes, list[Location]]:
    """A file that holds the pieces, with `gap` zeros before each; and where each lies in it."""
    content, locations = b"", []
    for piece in pieces:
        content += bytes(gap)
        locations.append(Location(uri, len(content), len(piece)))
        content += piece
    return content, locations
