"""Indices -> batches, in order, ahead of time. Knows neither samplers nor DALI."""

from dalikit.fetch.batch import ImageBatch, OtherBatch, Request
from dalikit.fetch.on_cpu import HostFunction
from dalikit.fetch.source import Pending, Source
from dalikit.fetch.threads import PendingBatch, ThreadFetcher

__all__ = ["HostFunction", "ImageBatch", "OtherBatch", "Pending", "PendingBatch", "Request", "Source", "ThreadFetcher"]
