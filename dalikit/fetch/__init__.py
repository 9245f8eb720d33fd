"""Indices -> EncodedBatch, in order, ahead of time. Knows neither samplers nor DALI."""

from dalikit.fetch.batch import EncodedBatch, place_of
from dalikit.fetch.threads import PendingBatch, ThreadFetcher

__all__ = ["EncodedBatch", "PendingBatch", "ThreadFetcher", "place_of"]
