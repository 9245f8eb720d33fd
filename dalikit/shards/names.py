"""How the name of a member says which sample it belongs to."""

from __future__ import annotations

__all__ = ["is_metadata", "split_name"]


def split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """Splits a member's name into its sample's key and the extension, as webdataset's `base_plus_ext` does.

    The split is at the first dot behind the last slash: "a.b/c.seg.png" is "a.b/c" and "seg.png". None if there is no
    such dot. Two corners of webdataset's regular expression are kept, so that both count the same samples: the key of
    "a/.b" is "a/" (unless the folder has a dot in its name), and folders behind a newline must be without dots.
    """
    slash = name.rfind(b"/")
    dot = name.find(b".", slash + 1)
    if dot > slash + 1 and b"\n" not in name:
        return name[:dot], name[dot + 1 :]
    if dot < 1:
        return None
    newline = name.find(b"\n", 0, dot)
    start = name.rfind(b"/", 0, dot - 1 if newline < 0 else min(newline, dot - 1)) + 1
    if b"." in name[start:dot]:
        return None
    return name[:dot], name[dot + 1 :]


def is_metadata(name: bytes) -> bool:
    """Whether webdataset leaves a member out for its name: what lies at the top as "__x__", or in such a folder."""
    if not name.startswith(b"__"):
        return False
    top, slash, _ = name.partition(b"/")
    if slash:
        return len(top) >= 4 and top.endswith(b"__")
    return top.endswith(b"__") or (len(top) >= 5 and top.endswith(b"__\n"))  # "$" also stands before a last newline
