"""Scripts started by torchrun, to their end, and whether they left any process behind."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from left_over import assert_no_more

__all__ = ["Torchrun", "finish", "marked"]

_MARK = "DALIKIT_TEST_RUN"


@dataclass(frozen=True)
class Torchrun:
    """A script on some processes, torchrun above them; on a free port, and each process on one thread.

    Args:
        script: a Python file.
        arguments: of it.
        num_processes: how many ranks.
        folder: where they run; default: here.
    """

    script: Path
    arguments: Sequence[str]
    num_processes: int
    folder: Path | None = None

    def start(self) -> tuple[subprocess.Popen[str], str]:
        """Starts it. Returns torchrun's process, and the mark that all its descendants carry."""
        mark = uuid.uuid4().hex
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(self.num_processes), "--max-restarts", "0", str(self.script)]
        process = subprocess.Popen(
            [*command, *self.arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", _MARK: mark},
        )
        return process, mark

    def run(self, *, seconds: float = 100.0) -> subprocess.CompletedProcess[str]:
        """Runs it to its end, and sees that no process is left.

        Args:
            seconds: how long it may take.
        """
        process, mark = self.start()
        return finish(process, mark, seconds=seconds)


def finish(process: subprocess.Popen[str], mark: str, *, seconds: float = 100.0) -> subprocess.CompletedProcess[str]:
    """Waits for the end of what `start` began, and sees that no process is left."""
    try:
        output, errors = process.communicate(timeout=seconds)
        assert_no_more(lambda: [len(marked(mark))], [0])
    finally:
        for left in marked(mark):
            left.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def marked(mark: str) -> list[psutil.Process]:
    """The processes that carry a mark in their environment, as descendants do whoever their parent is by now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # gone, or another user's
            continue
    return found
