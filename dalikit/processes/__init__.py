"""Worker processes that read batches, on torch's machinery.

session       for one pass, or pass after pass: what the loader has
serving       one set of processes, from their start to their end
torch_processes  torch's iterator, the only place that knows its inside
inheritance   what forked processes must not free       orphans   workers whose parent is gone
tickets       what is asked for, in torch's order        worker    what runs in a process
packing       how a batch travels                        blocks    shared memory, used again and again
board         what each worker has in hand               stacks    where each worker is, in Python
startup       worker_packages, worker_globals, worker_init_fn
"""

from dalikit.processes.session import WorkerFeed, WorkerSession
from dalikit.processes.startup import Startup, make_startup

__all__ = ["Startup", "WorkerFeed", "WorkerSession", "make_startup"]
