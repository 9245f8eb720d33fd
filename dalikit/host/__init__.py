"""transforms -> torch's uint8 kernels on threads, a sample at a time in cache (the host executor)."""

from dalikit.host.executor import HostExecutor

__all__ = ["HostExecutor"]
