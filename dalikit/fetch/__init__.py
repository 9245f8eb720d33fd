"""Indices -> batches, in order, ahead of time. Knows neither samplers nor DALI."""

from dalikit.fetch.batch import ImageBatch, OtherBatch, Request, show_indices
from dalikit.fetch.feed import Feed, FeedThread, LocalFeed, next_images
from dalikit.fetch.headers import HeaderRules, add_headers
from dalikit.fetch.limits import MAX_PIXELS, Limits
from dalikit.fetch.on_cpu import HostFunction
from dalikit.fetch.source import Pending, PushedSource, Source, ThreadSource
from dalikit.fetch.task import ReadTask
from dalikit.fetch.threads import PendingBatch, ThreadFetcher

__all__ = [
    "MAX_PIXELS",
    "Feed",
    "FeedThread",
    "HeaderRules",
    "HostFunction",
    "ImageBatch",
    "Limits",
    "LocalFeed",
    "OtherBatch",
    "Pending",
    "PendingBatch",
    "PushedSource",
    "ReadTask",
    "Request",
    "Source",
    "ThreadFetcher",
    "ThreadSource",
    "add_headers",
    "next_images",
    "show_indices",
]
