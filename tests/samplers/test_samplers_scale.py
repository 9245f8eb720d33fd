"""A slice of the proof of scale: walks through whole epochs of thousands of ranks, by docs/measure_scale.py."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import samplers

DOCS = Path(samplers.__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS))
from measure_scale import PAGE, TABLES, Walked, shares, walk  # noqa: E402


def whole(walked: Walked) -> bool:
    """Whether each sample came exactly once."""
    return walked.taken == walked.distinct == walked.count


def test_thousands_of_ranks_take_each_sample_once() -> None:
    """A million samples over 4096 ranks."""
    assert whole(walk(shares(1_000_003, [4096])))


def test_so_they_do_when_their_number_changes() -> None:
    """Twice within the epoch."""
    todo = shares(100_003, [512, 100, 512], [0.3, 0.6])
    assert {(share.world_size, share.base) for share in todo} == {(512, 0), (100, 29_696), (512, 71_796)}
    assert whole(walk(todo))


def test_a_walk_sees_what_is_lost_or_comes_twice() -> None:
    """A rank that is missing, one that is there twice, and a cut that is one round off."""
    todo = shares(3001, [8])
    lost = walk(todo[1:])
    assert (lost.taken, lost.distinct) == (3001 - 376, 3001 - 376)
    twice = walk([*todo, todo[0]])
    assert (twice.taken, twice.distinct) == (3001 + 376, 3001)
    cut = shares(3001, [8, 5], [0.5])
    assert not whole(walk([*cut[:8], *shares(3001, [8, 5], [0.49])[8:]]))


def test_the_page_holds_what_was_measured() -> None:
    """Every table of the script; and in the walks all samples came, once."""
    page = PAGE.read_text()
    for name in TABLES:
        found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", page, flags=re.DOTALL)
        assert found, f"docs/scale.md has no table {name}"
        assert re.search(r"\n\nMeasured on \d{4}-\d\d-\d\d, .* cores, numpy", found[1]), name
    rows = re.findall(r"^\| ([\d,]+) \| 4,096[^|]* \| ([\d,]+) \| ([\d,]+) \|", page, flags=re.MULTILINE)
    assert len(rows) >= 3
    assert all(len(set(row)) == 1 for row in rows)
    assert max(int(row[0].replace(",", "")) for row in rows) >= 4 * 10**9
