"""Encoded images of many kinds, made by Pillow, and broken ones."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["KINDS", "PALETTE_TIFF", "broken_png", "encode", "photograph", "truncated_webp", "write_kind"]

EXIF_ORIENTATION = 0x0112


def photograph(source: Path, width: int = 121, height: int = 97) -> Image.Image:
    """A small RGB image with a photograph's content; its sides are odd, as chroma subsampling likes least."""
    with Image.open(source) as file:
        return file.convert("RGB").resize((width, height))


def encode(image: Image.Image, format_name: str, **options: Any) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def _with_alpha(image: Image.Image) -> Image.Image:
    out = image.convert("RGBA")
    out.putalpha(Image.linear_gradient("L").resize(image.size))
    return out


def _mode(mode: str) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.convert(mode)


_SAME = _mode("RGB")

KINDS: dict[str, tuple[str, Callable[[Image.Image], Image.Image], dict[str, Any]]] = {
    "jpeg 4:4:4": ("JPEG", _SAME, {"subsampling": 0}),
    "jpeg 4:2:2": ("JPEG", _SAME, {"subsampling": 1}),
    "jpeg 4:2:0": ("JPEG", _SAME, {"subsampling": 2}),
    "jpeg gray": ("JPEG", _mode("L"), {}),
    "jpeg cmyk": ("JPEG", _mode("CMYK"), {}),
    "jpeg progressive": ("JPEG", _SAME, {"progressive": True}),
    "jpeg restart markers": ("JPEG", _SAME, {"restart_marker_rows": 1}),
    "png rgb": ("PNG", _SAME, {}),
    "png gray": ("PNG", _mode("L"), {}),
    "png 1 bit": ("PNG", _mode("1"), {}),
    "png palette": ("PNG", _mode("P"), {}),
    "png palette with a transparent colour": ("PNG", _mode("P"), {"transparency": 3}),
    "png alpha": ("PNG", _with_alpha, {}),
    "png gray alpha": ("PNG", lambda image: _with_alpha(image).convert("LA"), {}),
    "webp lossy": ("WEBP", _SAME, {}),
    "webp lossless": ("WEBP", _SAME, {"lossless": True}),
    "webp lossy alpha": ("WEBP", _with_alpha, {}),
    "webp lossless alpha": ("WEBP", _with_alpha, {"lossless": True, "exact": True}),
    "bmp rgb": ("BMP", _SAME, {}),
    "bmp gray": ("BMP", _mode("L"), {}),
    "bmp palette": ("BMP", _mode("P"), {}),
    "tiff": ("TIFF", _SAME, {}),
    "tiff lzw": ("TIFF", _SAME, {"compression": "tiff_lzw"}),
    "tiff deflate": ("TIFF", _SAME, {"compression": "tiff_deflate"}),
    "tiff jpeg": ("TIFF", _SAME, {"compression": "jpeg"}),
    "tiff gray": ("TIFF", _mode("L"), {}),
    "tiff cmyk": ("TIFF", _mode("CMYK"), {}),
    "tiff alpha": ("TIFF", _with_alpha, {}),
    "ppm": ("PPM", _SAME, {}),
    "pgm": ("PPM", _mode("L"), {}),
    "pbm": ("PPM", _mode("1"), {}),
    "jpeg 2000": ("JPEG2000", _SAME, {}),
    "jpeg 2000 codestream": ("JPEG2000", _SAME, {"no_jp2": True}),
    "jpeg 2000 gray": ("JPEG2000", _mode("L"), {}),
    "jpeg 2000 lossy": ("JPEG2000", _SAME, {"irreversible": True, "quality_layers": [20]}),
}
"""Name -> format, conversion of an RGB image, options of Pillow's `save`."""

PALETTE_TIFF = ("TIFF", _mode("P"), {})
"""Its palette has 16 bits a colour, which decoders round in two ways."""


def write_kind(path: Path, image: Image.Image, kind: tuple[str, Any, dict[str, Any]], orientation: int = 1) -> Path:
    """Writes the image as that kind; an orientation other than 1 stands in its EXIF data."""
    format_name, convert, options = kind
    if orientation != 1:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = orientation
        options = {**options, "exif": exif}
    path.write_bytes(encode(convert(image), format_name, **options))
    return path


def truncated_webp(image: Image.Image) -> bytes:
    """Its header is whole; it cannot be decoded."""
    data = encode(image, "WEBP")
    return data[: len(data) // 2]


def broken_png(image: Image.Image) -> bytes:
    """Its header is whole; its compressed data is not."""
    data = encode(image, "PNG")
    return data[:60] + bytes(20) + data[80:]
