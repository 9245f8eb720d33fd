"""Where a report goes: to a file once it is complete, into pipes and terminals as it comes."""

from __future__ import annotations

import json
import os
import pty
import signal
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from dalikit.checking import ReportWriter, Summary, check_images
from dalikit.datasets import ImageFolder


class Given:
    """Rows that are no images."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def get_image_data(self, index: int) -> bytes:
        return b"no image" * (index + 1)

    def get_target(self, index: int) -> int:
        return index


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Of a report."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def found_in(lines: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Kind and row of each finding."""
    return [(line["kind"], line["index"]) for line in lines[1:-1]]


def finished(path: Path, *, complete: bool = True) -> ReportWriter:
    """A report of nothing."""
    with ReportWriter(path, Given(1), bad=frozenset()) as report:
        report.finish(Summary.of([], length=1, checked=1, complete=complete, num_bad=0, kinds={}, seconds=0.0))
    return report


def test_an_incomplete_report_does_not_replace_one_that_is_complete(tmp_path: Path) -> None:
    """It keeps the name that it was written under, and says so."""
    path = tmp_path / "report.jsonl"
    path.write_text("earlier")
    assert finished(path, complete=False).written == f"{path}.part"
    assert path.read_text() == "earlier"
    assert lines_of(tmp_path / "report.jsonl.part")[-1]["complete"] is False
    assert finished(path).written == str(path)
    assert lines_of(path)[-1]["complete"] is True
    assert os.listdir(tmp_path) == ["report.jsonl"]


@pytest.mark.parametrize("there", [True, False])
def test_a_report_through_a_link_replaces_what_it_leads_to(tmp_path: Path, there: bool) -> None:
    """The link stays."""
    (tmp_path / "folder").mkdir()
    if there:
        (tmp_path / "folder" / "real").write_text("earlier")
    link = tmp_path / "link"
    link.symlink_to("folder/real")
    finished(link)
    assert link.is_symlink()
    assert os.listdir(tmp_path / "folder") == ["real"]
    assert len(lines_of(tmp_path / "folder" / "real")) == 2


def test_a_report_into_a_pipe_or_a_terminal_is_written_straight(tmp_path: Path) -> None:
    """Neither is replaced by a file; nor through a link."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ours, theirs = pty.openpty()
    (tmp_path / "link").symlink_to(os.ttyname(theirs))
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for path, descriptor in ((pipe, reader), (tmp_path / "link", ours)):
        assert finished(path).written == str(path)
        data = b""
        while data.count(b"\n") < 2:  # a terminal gives it line by line
            data += os.read(descriptor, 65536)
        assert [json.loads(line)["kind"] for line in data.splitlines()] == ["header", "summary"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]
    for descriptor in (reader, ours, theirs):
        os.close(descriptor)


@pytest.mark.timeout(20)
def test_a_pipe_among_the_images_is_no_image(tmp_path: Path, fine_folder: Path) -> None:
    """To open it would wait for ever."""
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "a.jpg").write_bytes(min(fine_folder.rglob("*.jpg")).read_bytes())
    os.mkfifo(tmp_path / "class" / "b.jpg")
    path = tmp_path / "report.jsonl"
    with ReportWriter(path, dataset := ImageFolder(tmp_path), bad=frozenset()) as report:
        check_images(dataset, report, num_threads=1)
    lines = lines_of(path)
    assert found_in(lines) == [("unreadable", 1)]
    assert lines[1]["error"] == "no regular file: a pipe, a socket or a device"


class Slow(Given):
    """Rows of which the last waits until the check was interrupted."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.reached, self.interrupted = threading.Event(), threading.Event()

    def get_image_data(self, index: int) -> bytes:
        if index == len(self) - 1:
            self.reached.set()
            self.interrupted.wait(10)
        return super().get_image_data(index)


def test_rows_of_a_block_that_is_not_done_count_as_checked(tmp_path: Path) -> None:
    """What was looked at before a Ctrl-C is said, and what was found stands in the report."""
    dataset = Slow(5)

    main = threading.get_ident()

    def interrupt() -> None:
        dataset.reached.wait(10)
        signal.pthread_kill(main, signal.SIGINT)

    path = tmp_path / "report.jsonl"
    thread = threading.Thread(target=interrupt)
    thread.start()
    with ReportWriter(path, dataset, bad=frozenset()) as report, pytest.raises(KeyboardInterrupt):
        check_images(dataset, report, num_threads=1)
    dataset.interrupted.set()
    thread.join()
    assert report.summary is not None
    assert (report.summary.checked, report.summary.complete) == (4, False)
    assert found_in(lines_of(tmp_path / "report.jsonl.part")) == [("corrupt", row) for row in range(4)]
