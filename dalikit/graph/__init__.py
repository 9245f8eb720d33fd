"""transforms -> a DALI pipeline (the device executor). With engine.py the only place that may import nvidia.dali."""

from dalikit.graph.executor import GraphExecutor

__all__ = ["GraphExecutor"]
