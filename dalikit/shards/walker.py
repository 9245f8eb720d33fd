"""Processes that walk over shards: a walk is Python, so that threads would only take turns.

They are not `multiprocessing`'s, which run the main script once more in every child: a script without an
`if __name__ == "__main__"` would open its dataset again, there. They run this module alone, are told of a shard by a
line on their input, leave its index in a file, and end when their input does: so also when this process is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import IO, Any

from dalikit.errors import DalikitError, DatasetError, DatasetNotFoundError
from dalikit.shards.partial import keep_index
from dalikit.shards.versions import index_settled
from dalikit.storage.remote.address import redact

__all__ = ["Walker", "run_walker"]

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from dalikit.shards.walker import run_walker; run_walker()"
)
_ERRORS: dict[str, type[Exception]] = {
    "DatasetError": DatasetError,
    "DatasetNotFoundError": DatasetNotFoundError,
    "OSError": OSError,
}


class Walker:
    """One such process. Belongs to one thread.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self) -> None:
        paths = json.dumps([os.path.abspath(path) for path in sys.path])
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def index(self, shard: str, target: str) -> None:
        """Walks over a shard and writes its index to a file.

        Raises:
            DatasetError: the shard cannot be indexed, or the process was killed over it.
            OSError: the file cannot be written.
        """
        answer = self._ask(json.dumps([shard, target]).encode() + b"\n")
        if not answer:
            raise DatasetError(
                f"the process that indexed shard {redact(shard)!r} ended with exit code {self._process.wait()}; memory "
                "may have run out. What was indexed is kept"
            )
        error = json.loads(answer)
        if error is not None:
            kind, message = error
            raise _ERRORS.get(kind, DatasetError)(message)

    def _ask(self, line: bytes) -> bytes:
        """The answer to a line; empty if there is none."""
        to, back = self._process.stdin, self._process.stdout
        assert to is not None  # both are pipes
        assert back is not None
        try:
            to.write(line)
            to.flush()
        except BrokenPipeError:
            return b""
        return back.readline()

    def kill(self) -> None:
        """Ends the process at once, in the middle of a shard. Whoever waits for its answer gets an error."""
        self._process.kill()

    def close(self) -> None:
        """Ends the process when it is done."""
        for pipe in (self._process.stdin, self._process.stdout):
            _close(pipe)
        self._process.wait()


def _close(pipe: IO[bytes] | None) -> None:
    try:
        if pipe is not None:
            pipe.close()
    except BrokenPipeError:
        pass


def run_walker() -> None:
    """What such a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends this one
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # nothing else may write where answers go
        for line in sys.stdin.buffer:
            answers.write(json.dumps(_answer(*json.loads(line))).encode() + b"\n")
            answers.flush()


def _answer(shard: str, target: str) -> list[Any] | None:
    try:
        keep_index(index_settled(shard), target)
    except DalikitError as error:
        return [type(error).__name__, str(error)]
    except OSError as error:
        return ["OSError", str(error)]
    return None
