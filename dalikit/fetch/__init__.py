"""Indices -> EncodedBatch, in order, ahead of time. Knows neither samplers nor DALI."""

from dalikit.fetch.batch import EncodedBatch
from dalikit.fetch.on_cpu import HostFunction
from dalikit.fetch.threads import PendingBatch, ThreadFetcher

__all__ = ["EncodedBatch", "HostFunction", "PendingBatch", "ThreadFetcher"]
