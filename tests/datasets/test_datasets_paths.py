"""A path table gives back the paths that went in."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from dalikit.datasets.paths import PathTable, join_paths, split_paths

paths = st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name).map(os.fsdecode)


class TestPathTable:
    @given(names=st.lists(paths, max_size=30))
    def test_what_goes_in_comes_out(self, names):
        table = PathTable(join_paths(names))
        assert [table[row] for row in range(len(table))] == names
        assert split_paths(table.block) == names

    def test_it_costs_its_bytes_and_a_bound(self):
        table = PathTable(join_paths(f"class/{number:06}.jpg" for number in range(1000)))
        assert len(table.block) == 1000 * 17
        assert table._bounds.nbytes == 1001 * 8
