"""transforms -> DALI pipelines (the device executor). With engine.py the only place that may import nvidia.dali."""

import os

# DALI keeps host memory of this size (bytes) and more in a pool, from 32 MB on by default: below, malloc maps most of a
# batch's buffers afresh each time, and clearing their pages takes a tenth of the time on a CPU. Read by DALI when it
# first allocates; a user's own setting stands.
os.environ.setdefault("DALI_MALLOC_POOL_THRESHOLD", str(1 << 16))

from dalikit.graph.executor import GraphExecutor

__all__ = ["GraphExecutor"]
