"""Lists an image folder in an object store: its classes and files, in the order of a local one."""

from __future__ import annotations

from dalikit.datasets.listing import EXTENSIONS, Listing, refuse_empty
from dalikit.datasets.paths import join_paths
from dalikit.errors import EmptyDatasetError
from dalikit.storage import list_objects
from dalikit.storage.remote.address import redact

__all__ = ["list_remote_folder"]


def list_remote_folder(root: str) -> Listing:
    """Lists all objects below an address: some 1,000 a request.

    Args:
        root: the address, without a slash at the end.

    Raises:
        ArgumentError: the address cannot be meant, or is http(s), which has no lists.
        DatasetError: it cannot be listed.
        EmptyDatasetError: there is no class, or one without an image.
    """
    names = [uri[len(root) + 1 :] for uri in list_objects(root)]
    found: dict[str, list[tuple[str, str]]] = {name.partition("/")[0]: [] for name in names if "/" in name}
    if not found:
        raise EmptyDatasetError(
            f"root {redact(root)!r} has no class folders: found {len(names)} object{'s' * (len(names) != 1)} at the "
            "top; ImageFolder wants root/class/image.jpg"
        )
    for name in names:
        folder, slash, file = name.rpartition("/")
        if slash and file.lower().endswith(EXTENSIONS):
            found[name.partition("/")[0]].append((folder, file))
    classes = sorted(found)
    refuse_empty(redact(root), [name for name in classes if not found[name]])
    paths = [f"{folder}/{file}" for name in classes for folder, file in sorted(found[name])]
    return Listing(classes, [len(found[name]) for name in classes], join_paths(paths), [], [])
