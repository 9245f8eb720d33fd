"""What native decoders write to the process's stderr."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from types import TracebackType
from typing import Self, TextIO

from dalikit.checking.complaints import is_harmless

__all__ = ["NativeMessages"]

_STDERR = 2
_MAX_SIZE = 16 << 20  # bytes; more is forgotten
_MAX_SHOWN = 300  # characters
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class NativeMessages:
    """While it is open, what is written to file descriptor 2 goes into memory; Python's own sys.stderr stays.

    libjpeg and libpng say nothing but there that an image is damaged: a JPEG whose second half is missing is decoded,
    gray, without an error. Descriptor 2 is the whole process's, so this is for programs, not for libraries; and a
    message does not tell which thread it came from (see `size`).

        stderr ----> a copy of descriptor 2 <---- sys.stderr
        memory <---- descriptor 2 <-------------- native libraries
    """

    def __init__(self) -> None:
        self._file = -1
        self._copy = -1
        self._text: TextIO | None = None
        self._python = contextlib.ExitStack()

    def __enter__(self) -> Self:
        sys.stderr.flush()
        self._file = os.memfd_create("dalikit-messages", os.MFD_CLOEXEC)
        self._copy = os.dup(_STDERR)
        if _refers_to_descriptor(sys.stderr):
            self._text = open(self._copy, "w", buffering=1, errors="backslashreplace", closefd=False)
            self._python.enter_context(contextlib.redirect_stderr(self._text))
        os.dup2(self._file, _STDERR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.dup2(self._copy, _STDERR)
        self._python.close()
        if self._text is not None:
            self._text.close()
        os.close(self._copy)
        os.close(self._file)

    @property
    def size(self) -> int:
        """Changes whenever something was written: what was at work meanwhile may be what it is about."""
        size = os.fstat(self._file).st_size
        if size > _MAX_SIZE:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
        return size

    def since(self, size: int) -> str:
        """What was written since there were `size` bytes and is not harmless, in one line; "" if nothing was."""
        data = os.pread(self._file, 64 * _MAX_SHOWN, size)
        lines = (line.strip() for line in _COLOUR.sub("", data.decode("utf-8", "backslashreplace")).split("\n"))
        return "; ".join(dict.fromkeys(line for line in lines if line and not is_harmless(line)))[:_MAX_SHOWN]


def _refers_to_descriptor(stream: TextIO) -> bool:
    """Whether a Python stream writes to descriptor 2, and not somewhere else that was put in its place."""
    try:
        return stream.fileno() == _STDERR
    except (OSError, ValueError, io.UnsupportedOperation):
        return False
