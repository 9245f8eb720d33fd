"""What decoders complain of although no pixel is lost."""

from __future__ import annotations

import re

__all__ = ["HARMLESS", "is_harmless"]

HARMLESS = {
    # PNG specification, 5.4: a chunk whose name begins with a small letter is not needed to show the image. Such are
    # colour profiles (iCCP, sRGB, gAMA, cHRM), texts, times and sizes in print; nobody here uses them.
    "ancillary PNG chunk": r"libpng warning: [a-z][A-Za-z]{3}: ",
    # All rows are there, and something behind them.
    "more PNG data than pixels": r"libpng warning: IDAT: (?:Extra compressed data|Too much image data)",
    # A version above 2 in the header of JFIF; all else is the same.
    "JFIF version": r"Warning: unknown JFIF revision number ",
    # Adobe's marker names no known colours: YCbCr is taken, and every pixel is read.
    "Adobe colour code": r"Unknown Adobe color transform code ",
    # Other spectral bounds than 0 and 63, which are the only ones that there can be, and which the decoder goes by.
    "bounds of a sequential JPEG": r"Invalid SOS parameters for sequential JPEG",
}
"""Patterns of how a line begins, by what it is about. Any other counts: that data is corrupt, or ends too early; also
"extraneous bytes before marker" of a JPEG, which is what flipped bits leave."""

_HARMLESS = re.compile("|".join(f"(?:{pattern})" for pattern in HARMLESS.values()))


def is_harmless(line: str) -> bool:
    """Whether a line that a decoder wrote is no sign of lost pixels."""
    return _HARMLESS.match(line) is not None
