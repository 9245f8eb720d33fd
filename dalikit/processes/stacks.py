"""Where threads and worker processes are in their Python code: for the report of a timeout."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import shutil
import signal
import tempfile
import time
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

__all__ = ["STACK_SIGNAL", "StackFolder", "answer_with_stacks", "worker_stacks"]

# Schedulers, launchers and users have SIGUSR1 and SIGUSR2 for themselves; of the real-time signals the first are what
# libraries reach for when they need one, and the last is valgrind's.
STACK_SIGNAL = signal.SIGRTMAX - 6
"""A worker process that gets it writes its stacks to its file."""

_ANSWER_SECONDS = 0.5
_LOOK_SECONDS = 0.01
_REMOVALS = 10  # at the interpreter's exit a worker that is just starting may put its file into the folder meanwhile
_QUIET_LOOKS = 3  # a dump has no end mark: it is whole when nothing was added for so many looks


class StackFolder:
    """A temporary folder with one file a worker process. Gone with `remove`, or when this is collected: hold it as long
    as there are workers, which write into it.

    The process that made it removes it; copies in other processes leave it alone.
    """

    def __init__(self) -> None:
        self._path = Path(tempfile.mkdtemp(prefix="dalikit-stacks-"))
        self._finalizer = weakref.finalize(self, _remove, self._path, os.getpid())

    def __getstate__(self) -> Path:
        return self._path

    def __setstate__(self, path: Path) -> None:
        self._path = path

    def file(self, worker_id: int) -> Path:
        """Where a worker process writes. It makes the file once it can answer."""
        return self._path / f"worker-{worker_id}.txt"

    def remove(self) -> None:
        """Removes the folder. May be called again."""
        self._finalizer()


def _remove(path: Path, process: int) -> None:
    if os.getpid() != process:
        return
    for _ in range(_REMOVALS):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return


def answer_with_stacks(path: Path) -> IO[Any] | None:
    """From now on this process answers STACK_SIGNAL by appending the stacks of all its threads to a file.

    The answer comes from C code in the signal's handler, so also while the process hangs in a call that holds the GIL.

    Returns:
        The file, which must be kept open; None if it cannot be made: then there will be no answer.
    """
    try:
        file = open(path, "ab", buffering=0)  # noqa: SIM115 - stays open as long as the process lives
    except OSError:
        return None
    # Registered before the file has its name in place would be better still, but needs the file: a signal between the
    # two lines would end the process, so the sender looks for a first byte too.
    faulthandler.register(STACK_SIGNAL, file=file, all_threads=True, chain=False)
    file.write(b"\n")
    return file


def worker_stacks(workers: Iterable[tuple[int, int, Path]]) -> str:
    """The Python stacks of worker processes, the calls last made first. Takes half a second at most.

    Args:
        workers: of each its id, its pid, and the file in which it answers.

    Returns:
        A paragraph for each; of one that is gone or does not answer a line that says so.
    """
    listed = list(workers)
    deadline = time.monotonic() + _ANSWER_SECONDS
    asked = [_ask(pid, path) for _, pid, path in listed]
    return "\n".join(
        f"worker {worker_id} (pid {pid}): {_answer(path, known, deadline)}"
        for (worker_id, pid, path), known in zip(listed, asked, strict=True)
    )


def _ask(pid: int, path: Path) -> int | str:
    """Sends the signal. Gives the size of the file before it, or why there will be no answer."""
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    if not _is_alive(pid):
        return "is gone"
    if size == 0:  # the signal would end a process that is not prepared for it
        return "is still starting"
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, STACK_SIGNAL)
    return size


def _is_alive(pid: int) -> bool:
    """Whether a process is there, and not only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _answer(path: Path, known: int | str, deadline: float) -> str:
    if isinstance(known, str):
        return known
    size, quiet = known, 0
    while quiet < _QUIET_LOOKS and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        try:
            now = path.stat().st_size
        except OSError:
            return "is gone"
        quiet = quiet + 1 if now == size > known else 0
        size = now
    with open(path, "rb") as file:
        file.seek(known)
        text = file.read().decode(errors="replace").strip()
    return "\n" + _shortened(text) if text else "does not answer"


def _shortened(dump: str) -> str:
    """Without what is the same in every worker: the threads that send answers and that look after the
    loader's process, and the calls that led to its work.
    """
    threads = []
    for thread in dump.split("\n\n"):
        lines = thread.splitlines()
        if any(line.endswith(("in _feed", "in _await_orphanhood")) for line in lines):
            continue
        ends = [number for number, line in enumerate(lines) if line.endswith("in _worker_loop")]
        threads.append("\n".join(lines[: ends[0]] if ends else lines))
    return "\n\n".join(threads)
