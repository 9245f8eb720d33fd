"""Headers of tar archives: POSIX.1-1988 ustar, POSIX.1-2001 pax and GNU's, all in 512-byte blocks.

The formats: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13 and the GNU tar manual,
"Basic Tar Format".
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

__all__ = ["BLOCK", "Header", "HeaderError", "parse_header", "parse_pax", "pax_number"]

BLOCK = 512
"""Bytes of a header, and what contents are padded to."""

_FIELDS = struct.Struct("100s24x12s12x8sc100x8s80x155s12x").unpack  # name size checksum type magic prefix
_GNU = b"ustar  \0"
_ADLER = 65521
_MAX_DIGITS = 20  # of a decimal number in a pax header: 2**64 has as many


class HeaderError(ValueError):
    """It is no header, or one that cannot be meant. The caller knows shard and offset."""


class Header(NamedTuple):
    """What a header says."""

    name: bytes
    """As the header itself has it: an extended header before it may say otherwise."""
    size: int
    """Of the content, in bytes; not negative."""
    kind: bytes
    """The type flag, one byte."""


def parse_header(block: bytes) -> Header:
    """Parses a header of 512 bytes.

    Raises:
        HeaderError: its checksum or its size is wrong.
    """
    name, size, checksum, kind, magic, prefix = _FIELDS(block)
    _check(block, checksum)
    name = name.partition(b"\0")[0]
    if prefix[0] and magic != _GNU:  # GNU keeps times there
        name = prefix.partition(b"\0")[0] + b"/" + name
    return Header(name, _number(size), kind)


def _check(block: bytes, checksum: bytes) -> None:
    """Compares the sum of the header's bytes (its checksum counting as spaces) with what the header says.

    The lower half of Adler-32 is 1 + the sum of the bytes, modulo 65521 (RFC 1950), and zlib's runs at memory speed.
    Only if it disagrees is the sum made byte by byte: then also of signed bytes, as old writers did.
    """
    said = _octal(checksum)
    if zlib.adler32(block[156:], zlib.adler32(block[:148])) & 0xFFFF == (said - 255) % _ADLER:
        return
    others = block[:148] + block[156:]
    total = sum(others) + 256
    if said not in (total, total - 256 * sum(byte > 127 for byte in others)):
        raise HeaderError("no tar header: its checksum is wrong")


def _octal(field: bytes) -> int:
    """An octal number, ended by a null byte or spaces. An empty field is 0."""
    text = field.partition(b"\0")[0].strip(b" ")
    try:
        return int(text, 8) if text.isdigit() else _other_octal(field, text)
    except ValueError as error:
        raise HeaderError(f"{field!r} is no octal number") from error


def _other_octal(field: bytes, text: bytes) -> int:
    """An empty field, else refused: Python's int would also take signs, underscores and "0o"."""
    if text:
        raise HeaderError(f"{field!r} is no octal number")
    return 0


def _number(field: bytes) -> int:
    """The size: octal, or GNU's base 256 with the first byte 0x80; negative ones (0xFF) are refused."""
    if field[0] < 0x80:
        return _octal(field)
    if field[0] != 0x80:
        raise HeaderError(f"negative or unknown size {field!r}")
    return int.from_bytes(field[1:], "big")


def parse_pax(records: bytes) -> dict[bytes, bytes]:
    """The records of a pax header, each "length key=value" and a newline. The last one of a key wins.

    Raises:
        HeaderError: a record is broken.
    """
    found: dict[bytes, bytes] = {}
    place = 0
    while place < len(records) and records[place]:
        space = records.find(b" ", place, place + _MAX_DIGITS)
        digits = records[place:space]
        end = place + int(digits) if space > place and digits.isdigit() else place
        if not space < end <= len(records) or end == place or records[end - 1] != 0x0A:
            raise HeaderError(f"broken pax record at byte {place} of the extended header")
        key, equals, value = records[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise HeaderError(f"pax record without '=' at byte {place} of the extended header")
        found[key] = value
        place = end
    return found


def pax_number(text: bytes) -> int:
    """A decimal number of a pax header.

    Raises:
        HeaderError: it is none, or negative.
    """
    if not text.isdigit() or len(text) > _MAX_DIGITS:
        raise HeaderError(f"pax header: size {text[:_MAX_DIGITS]!r} is no number of bytes")
    return int(text)
