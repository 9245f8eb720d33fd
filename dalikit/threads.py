"""Keeps torch's own threads out of ours.

Each thread of the host executor does one image at a time. torch would split an operation of more than 32,768 elements
over its own team of threads, one team for every thread that calls it: four threads would keep sixteen cores busy.
`torch.set_num_threads` is process-wide (threads born later inherit it), and the process's setting is the user's.
OpenMP's own setting is the calling thread's alone (OpenMP 5.2, 18.2.1: omp_set_num_threads changes the nthreads-var of
the current task), so that one is used.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from pathlib import Path

import torch

__all__ = ["use_one_thread"]

_LOG = logging.getLogger("dalikit")


@functools.cache
def _openmp() -> ctypes.CDLL | None:
    """The OpenMP that torch's CPU library is linked with, or None where it has none."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        openmp = ctypes.CDLL(str(library))  # already loaded: this gives a handle, through which its libraries are found
        openmp.omp_set_num_threads.argtypes = [ctypes.c_int]
        openmp.omp_set_num_threads.restype = None
    except (OSError, AttributeError):
        _LOG.warning(
            "torch's OpenMP was not found beside %s: torch may use more threads than num_threads; "
            "torch.set_num_threads(1) bounds them",
            library,
        )
        return None
    return openmp


def use_one_thread() -> None:
    """Makes torch's operations in the calling thread run on this thread alone."""
    torch.get_num_threads()  # torch sets a new thread up at its first call; later it would undo what follows
    openmp = _openmp()
    if openmp is not None:
        openmp.omp_set_num_threads(1)
