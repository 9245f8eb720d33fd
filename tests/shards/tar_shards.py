"""Tar shards made by `tarfile`, and by hand where that refuses."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image

__all__ = ["END", "FORMATS", "header", "jpeg", "member", "pax_header", "samples", "write_shards", "write_tar"]

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
END = bytes(1024)


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], format_name: str = "ustar") -> Path:
    """A shard with regular files."""
    with tarfile.open(path, "w", format=FORMATS[format_name]) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def jpeg(width: int, height: int, orientation: int | None = None) -> bytes:
    """A small image."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def samples(count: int, start: int = 0) -> list[tuple[str, bytes]]:
    """Members of samples: an image of (index + 1) x 8 pixels, and its class."""
    return [
        pair
        for index in range(start, start + count)
        for pair in ((f"s{index:05d}.jpg", jpeg(index + 1, 8)), (f"s{index:05d}.cls", b"%d" % (index % 7)))
    ]


def write_shards(folder: Path, counts: Sequence[int]) -> list[str]:
    """Shards with so many samples each."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, start = [], 0
    for number, count in enumerate(counts):
        paths.append(str(write_tar(folder / f"shard-{number:03d}.tar", samples(count, start))))
        start += count
    return paths


def header(
    name: bytes, size: int | bytes, kind: bytes = b"0", *, checksum: bytes | None = None, **fields: bytes
) -> bytes:
    """One header; `size` as bytes goes in as it is."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    block[156:157] = kind
    block[257:265] = fields.get("magic", b"ustar\x0000")
    prefix = fields.get("prefix", b"")
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block) if checksum is None else checksum
    return bytes(block)


def member(name: bytes, content: bytes, kind: bytes = b"0") -> bytes:
    """A header with its content, padded."""
    return header(name, len(content), kind) + content + bytes(-len(content) % 512)


def pax_header(records: Mapping[bytes, bytes], kind: bytes = b"x") -> bytes:
    """An extended header."""
    content = b""
    for key, value in records.items():
        length = len(key) + len(value) + 3
        total = length + len(str(length + len(str(length))))
        content += b"%d %s=%s\n" % (total, key, value)
    return member(b"PaxHeaders/x", content, kind)
