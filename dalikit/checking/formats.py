"""Which format a name promises, and which one the bytes are."""

from __future__ import annotations

import posixpath

__all__ = ["format_of_bytes", "format_of_name"]

_EXTENSIONS = {
    "jpeg": ("jpg", "jpeg", "jpe", "jfif"),
    "png": ("png",),
    "webp": ("webp",),
    "tiff": ("tif", "tiff"),
    "bmp": ("bmp", "dib"),
    "pnm": ("pbm", "pgm", "ppm", "pnm"),
    "jpeg2k": ("jp2", "j2k", "j2c", "jpc", "jpx", "jpf"),
    "gif": ("gif",),
    "avif": ("avif",),
    "heif": ("heic", "heif"),
    "jxl": ("jxl",),
}
_FORMATS = {extension: name for name, extensions in _EXTENSIONS.items() for extension in extensions}

_MAGICS = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"\0\0\0\x0cjP  ", "jpeg2k"),
    (b"\xff\x4f\xff\x51", "jpeg2k"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL ", "jxl"),
)
_BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heif", b"heix": "heif", b"mif1": "heif"}  # ISO/IEC 23008-12


def format_of_name(name: str) -> str | None:
    """The format that a file name's extension promises, as nvImageCodec names it. None: it promises none that is known.

    Equal extensions (jpg, jpeg, jpe, jfif) are one format; a ".gz" behind them is passed over.
    """
    name = posixpath.basename(name.lower()).removesuffix(".gz")
    _, dot, extension = name.rpartition(".")
    return _FORMATS.get(extension) if dot else None


def format_of_bytes(data: bytes) -> str | None:
    """The format that a file's first 16 bytes are of. None: none that is known."""
    for magic, name in _MAGICS:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "pnm"
    return _BRANDS.get(data[8:12]) if data[4:8] == b"ftyp" else None
