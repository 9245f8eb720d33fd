"""transforms -> a DALI pipeline (the device executor). With engine.py the only place that may import nvidia.dali."""

from dalikit.graph.build import build_pipeline
from dalikit.graph.executor import GraphExecutor

__all__ = ["GraphExecutor", "build_pipeline"]
