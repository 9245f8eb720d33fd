"""Where the members of ImageNet-22k's class tars lie, from the logs that GNU tar makes of them."""

from __future__ import annotations

import os
import re
import tarfile
from typing import BinaryIO, NamedTuple

from dalikit.errors import DatasetError, DatasetNotFoundError, EmptyDatasetError

__all__ = ["ClassBlocks", "find_class_tars", "read_blocks"]

_BLOCK = 512
_LINE = re.compile(r"block ([0-9]{1,16}): ([^\n]+)\n?")
_END = "** Block of NULs **"

_NO_IMAGE = "n06470073_47249.JPEG"
"""A file of ImageNet-22k that is no image: DINOv2's table leaves it out, so that row numbers agree."""

_BEFORE_HEADER = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_PLAIN = re.compile(r"[!-.0-\[\]-~]{1,99}")  # a name that fits a ustar header: what is longer has a header before it
_MAX_BEFORE = 1 << 20  # bytes of such a header


_Range = tuple[int, int]


class ClassBlocks(NamedTuple):
    """The images in one tar."""

    names: list[str]
    starts: list[int]
    """First byte of each one's header."""
    ends: list[int]
    """The first byte that is no more its own."""


def find_class_tars(root: str) -> list[str]:
    """The names of the tars in a folder without ".tar", sorted by code point.

    Raises:
        DatasetError: the folder cannot be listed.
        EmptyDatasetError: there is none.
    """
    try:
        found = sorted(name.removesuffix(".tar") for name in os.listdir(root) if name.endswith(".tar"))
    except OSError as error:
        raise DatasetError(f"root {root!r} cannot be listed: {error.strerror}") from error
    class_ids = [name for name in found if name]
    if not class_ids:
        raise EmptyDatasetError(f"root {root!r} has no tars: ImageNet22k wants one a class, such as n00004475.tar")
    return class_ids


def read_blocks(root: str, class_id: str) -> ClassBlocks:
    """The images of a class, from its log, held against its tar.

    Raises:
        DatasetNotFoundError: there is no log.
        DatasetError: the log or the tar cannot be read, it is no such log, or it belongs to another tar.
    """
    log, tar = os.path.join(root, "blocks", f"{class_id}.log"), os.path.join(root, f"{class_id}.tar")
    lines = _read_log(log, f"tar --list --block-number --file {tar} > {log}")
    names = [name for name, _ in lines[:-1]]
    starts = [start for _, start in lines[:-1]]
    ends = [start for _, start in lines[1:]]
    try:
        with open(tar, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if lines[-1][1] > size:
                raise DatasetError(
                    f"file {log!r} tells of {lines[-1][1]} bytes, but {tar!r} has {size}: it belongs to another tar, "
                    "or the tar was cut"
                )
            members = _find_members(file, names, list(zip(starts, ends, strict=True)))
    except tarfile.HeaderError as error:
        raise DatasetError(f"file {tar!r} has no tar header where {log!r} tells of one: {error}") from error
    except OSError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"file {tar!r} cannot be read: {error.strerror or error}") from error
    images = [
        (name, *member) for name, member in zip(names, members, strict=True) if member is not None and name != _NO_IMAGE
    ]
    return ClassBlocks(*(list(column) for column in zip(*images, strict=True))) if images else ClassBlocks([], [], [])


def _read_log(path: str, command: str) -> list[tuple[str, int]]:
    """Name and first byte of every member; the last is the end of the tar."""
    lines: list[tuple[str, int]] = []
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for number, line in enumerate(file, 1):
                match = _LINE.fullmatch(line)
                ended = bool(lines) and lines[-1][0] == _END
                if match is None or ended:
                    wanted = "nothing after the end" if ended else '"block 0: n00004475_6590.JPEG"'
                    raise DatasetError(f"file {path!r}: line {number} is {line[:80]!r}; {wanted} is wanted")
                start = _BLOCK * int(match[1])
                if lines and start <= lines[-1][1]:
                    raise DatasetError(f"file {path!r}: line {number}: block {match[1]} is not behind the one before")
                lines.append((match[2], start))
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"file {path!r} does not exist: make it with GNU tar: {command}") from error
    except OSError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"file {path!r} cannot be read: {error.strerror or error}") from error
    if not lines or lines[-1][0] != _END:
        raise DatasetError(f"file {path!r} does not end with {_END!r}: it or the tar was cut; make it with: {command}")
    return lines


def _find_members(file: BinaryIO, names: list[str], told: list[_Range]) -> list[_Range | None]:
    """The bytes of each member, from its own header to the end of its last block; None: it is no file.

    Some have a header before their header. GNU tar's log tells of the first if it is a GNU long name, and of the second
    if it is of POSIX.1-2001 ("pax"): then the member before seems to go on to there.

    Only the first and the last member are looked at, and those at unusual names, which need such a header: reading a
    block for each image would take hours on a disk. If one of the two is not as the log tells, all are looked at.
    """
    found: list[_Range | None] = list(told)
    looked = {place: _find_member(file, *told[place]) for place in ({0, len(names) - 1} if names else ())}
    everywhere = any(member != told[place] for place, member in looked.items())
    for place, member in looked.items():
        found[place] = member
    for place in range(len(names)):
        unusual = any(not _PLAIN.fullmatch(name) for name in names[place : place + 2])
        if place not in looked and (everywhere or unusual):
            found[place] = _find_member(file, *told[place])
    return found


def _find_member(file: BinaryIO, start: int, end: int) -> _Range | None:
    """The bytes of the file in [start, end), from its own header on; None: it is no file."""
    while start < end:
        file.seek(start)
        header = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "surrogateescape")
        if not 0 <= header.size <= end - start - _BLOCK:
            raise tarfile.HeaderError(f"at byte {start}, a member of {header.size} bytes")
        behind = start + _BLOCK + -(-header.size // _BLOCK) * _BLOCK
        if header.type not in _BEFORE_HEADER:
            return (start, behind) if header.isreg() else None
        if header.size > _MAX_BEFORE:
            break
        start = behind
    raise tarfile.HeaderError(f"at byte {start}, no member of its own follows")
