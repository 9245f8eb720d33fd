"""Reads and decodes every image of a dataset, and reports those that are broken or odd.

    with ReportWriter("report.jsonl", dataset) as report:
        summary = check_images(dataset, report, Limits())

The report is JSON Lines; `exclude="report.jsonl"` makes a loader leave out what is marked bad in it.
"""

from dalikit.checking.findings import KINDS, Finding
from dalikit.checking.limits import MAX_BYTES, MAX_PIXELS, MIN_SIDE, Limits
from dalikit.checking.native_messages import NativeMessages
from dalikit.checking.passes import check_images
from dalikit.checking.report import ReportWriter
from dalikit.checking.summary import Summary

__all__ = [
    "KINDS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MIN_SIDE",
    "Finding",
    "Limits",
    "NativeMessages",
    "ReportWriter",
    "Summary",
    "check_images",
]
