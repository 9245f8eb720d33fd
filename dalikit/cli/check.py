"""`dalikit check`: reads and decodes every image of a dataset, and lists what is broken or odd."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from tqdm import tqdm

from dalikit.checking import KINDS, Limits, NativeMessages, ReportWriter, Summary, check_images
from dalikit.datasets import ImageFolder, create_dataset, dataset_names
from dalikit.errors import ArgumentError, DatasetError

__all__ = ["run"]


def run(arguments: Any) -> int:
    """Checks, and prints a table; 0 if nothing is bad, else 1.

    Raises:
        ArgumentError: the dataset cannot be opened, or an argument is off.
        KeyboardInterrupt: Ctrl-C; the report holds what was found.
    """
    limits = Limits(
        min_side=arguments.min_side,
        max_pixels=arguments.max_pixels,
        max_bytes=arguments.max_bytes,
        exclude=arguments.exclude,
        duplicates=not arguments.no_duplicates,
    )
    dataset, description = _open(arguments.dataset)
    report = ReportWriter(arguments.report, dataset, bad=limits.bad, description=description)
    try:
        with report, NativeMessages() as messages, _Bar(len(dataset)) as bar:
            summary = check_images(
                dataset, report, limits, num_threads=arguments.threads, messages=messages, advance=bar.advance
            )
    except KeyboardInterrupt:
        _say_how_far(report, len(dataset))
        raise
    print(json.dumps(summary.to_dict()) if arguments.json else _table(summary))
    if report.path is not None:
        print(f"report: {report.path}", file=sys.stderr)
    return 1 if summary.num_bad else 0


def _open(text: str) -> tuple[Any, str]:
    """The dataset, and the dataset string that describes it."""
    name, colon, _ = text.partition(":")
    try:
        if os.path.isdir(text) or (name not in dataset_names() and (not colon or os.sep in name)):
            return ImageFolder(text), f"ImageFolder:root={text}"
        return create_dataset(text), text
    except DatasetError as error:
        raise ArgumentError(str(error)) from error


def _say_how_far(report: ReportWriter, length: int) -> None:
    checked = 0 if report.summary is None else report.summary.checked
    how = ", while some were looked at again" if checked == length else ""
    where = "" if report.written is None else f"; what was found is in {report.written}"
    print(f"stopped after {checked:,} of {length:,} images{how}{where}", file=sys.stderr)


class _Bar:
    """A progress bar on stderr, if that is a terminal."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._bar: Any = None
        self._stage = ""

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def advance(self, stage: str, count: int) -> None:
        """So many rows more of a stage are done."""
        if stage != self._stage:
            self.close()
            self._stage = stage
            length = self._length if stage == "checking" else None
            disable = not sys.stderr.isatty()
            self._bar = tqdm(total=length, desc=stage, unit=" images", unit_scale=True, disable=disable)
        self._bar.update(count)

    def close(self) -> None:
        """Leaves it as it is on the terminal."""
        if self._bar is not None:
            self._bar.close()


def _table(summary: Summary) -> str:
    """For people."""
    found = summary.to_dict()
    lines = [f"{summary.checked:,} images in {summary.seconds:.1f} s ({summary.images_per_second:,.0f} images/s)", ""]
    lines += [f"  {kind:12} {summary.kinds.get(kind, 0):>9,}   {meaning}" for kind, meaning in KINDS.items()]
    lines += ["", f"  {'bad rows':12} {summary.num_bad:>9,}", ""]
    for name in ("height", "width"):
        if (spread := found[name]) is not None:
            lines.append(f"  {name:12} {spread['min']:,} to {spread['max']:,} pixels, median {spread['median']:,}")
    size = found["bytes"]
    if size["max"] is not None:
        total = f"{size['total'] / 1e9:,.3f} GB"
        lines.append(f"  {'files':12} {size['min']:,} to {size['max']:,} bytes, together {total}")
    lines.append(
        f"  {'formats':12} " + (", ".join(f"{name} {count:,}" for name, count in found["formats"].items()) or "-")
    )
    channels = ", ".join(f"{number} channels {count:,}" for number, count in found["channels"].items())
    lines.append(f"  {'as stored':12} " + (channels or "-"))
    return "\n".join(lines)
