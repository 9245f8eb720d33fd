"""An image folder with one image of every kind of fault."""

from __future__ import annotations

import random
import struct
from pathlib import Path

from encoded_images import encode, truncated_webp
from PIL import Image

__all__ = ["FINDINGS", "FINE", "write_broken"]

FINE = ("00 fine.jpg", "09 fine.jp2")
"""Files of which nothing is to be found."""

FINDINGS = {
    "01 half.jpg": [("damaged", "premature end")],
    "02 truncated.jpg": [("corrupt", "truncated JPEG: .* without an end-of-image marker")],
    "03 empty.jpg": [("unreadable", "empty file")],
    "04 text.jpg": [("corrupt", "not an image of a format that can be decoded")],
    "05 png.jpg": [("mislabelled", "the name says jpeg, the bytes are png")],
    "06 gif.png": [("mislabelled", "the name says png, the bytes are gif")],
    "07 bomb.jpg": [("huge", r"30000x30000 pixels \(height x width\) are more than the limit of 178956970")],
    "08 tiny.jpeg": [("tiny", r"40x20 pixels \(height x width\): a side is shorter than 32")],
    "10 broken.jp2": [("corrupt", "jpeg2k that cannot be decoded")],
    "11 half.webp": [("corrupt", "webp that cannot be decoded")],
    "12 twin.jfif": [("duplicate", "the same bytes as row 0")],
    "13 nowhere.jpg": [("unreadable", "No such file or directory")],
    "14 large.bmp": [("huge", r"\d+ bytes are more than the limit of 500000")],
}
"""Of each other file the kinds and the words of what is to be found, with max_bytes=500_000."""


def write_broken(folder: Path, image: Image.Image) -> Path:
    """Writes them into folder/class; gives the folder."""
    place = folder / "class"
    place.mkdir(parents=True)
    jpeg = encode(image, "JPEG")
    jpeg2k = encode(image, "JPEG2000")
    frame = jpeg.index(b"\xff\xc0")
    content = {
        "00 fine.jpg": jpeg,
        "01 half.jpg": jpeg[: len(jpeg) // 2] + b"\xff\xd9",
        "02 truncated.jpg": jpeg[: len(jpeg) // 2],
        "03 empty.jpg": b"",
        "04 text.jpg": b"no image " * 9,
        "05 png.jpg": encode(image, "PNG"),
        "06 gif.png": encode(image, "GIF"),
        "07 bomb.jpg": jpeg[: frame + 5] + struct.pack(">HH", 30_000, 30_000) + jpeg[frame + 9 :],
        "08 tiny.jpeg": encode(image.resize((20, 40)), "JPEG"),
        "09 fine.jp2": jpeg2k,
        "10 broken.jp2": jpeg2k[:200] + random.Random(0).randbytes(2000) + jpeg2k[2200:],
        "11 half.webp": truncated_webp(image),
        "12 twin.jfif": jpeg,
        "14 large.bmp": encode(image.resize((600, 400)), "BMP"),
    }
    for name, data in content.items():
        (place / name).write_bytes(data)
    (place / "13 nowhere.jpg").symlink_to(folder / "nothing")
    return folder
