"""Worker processes whose loader's process is gone end, whatever they are doing: nobody is left who could end them."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from multiprocessing.process import BaseProcess

__all__ = ["end_with_parent"]

_LOOK_SECONDS = 1.0


def end_with_parent() -> None:
    """From now on this process ends soon after the loader's process. Torch's workers look only between two batches, and
    one may take for ever.

    A thread looks once a second, so a worker that never lets go of the GIL is not ended.
    """
    arguments = (os.getppid(), multiprocessing.parent_process())
    threading.Thread(target=_await_orphanhood, args=arguments, name="dalikit-orphans", daemon=True).start()


def _await_orphanhood(parent: int, loader: BaseProcess | None) -> None:
    # The parent is the loader's process, or the server that forks for it. That lives as long as a worker does; but the
    # loader's end of a pipe to each of its workers closes. Those of forked workers their siblings have open as well.
    while os.getppid() == parent and (loader is None or loader.is_alive()):
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
