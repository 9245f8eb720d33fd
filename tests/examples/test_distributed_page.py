"""The evaluation of docs/distributed.md, as a file of its own: under torchrun, and alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from framework_run import EXAMPLES
from launching import Torchrun


@pytest.fixture
def script(photograph_root: Path, tmp_path: Path) -> Path:
    """The page's example, beside the folder that it names."""
    page = (EXAMPLES.parent / "docs" / "distributed.md").read_text()
    (example,) = re.findall(r"^```python\n((?:(?!^```).)*all_reduce.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "images").symlink_to(photograph_root)
    path = tmp_path / "evaluate.py"
    path.write_text(f"{example}open(f'{{dist.get_rank()}}.txt', 'w').write(str(int(sums[1])))\n")
    return path


@pytest.mark.slow
def test_each_image_is_counted_once_by_two_ranks(script: Path) -> None:
    """Both have the sum."""
    result = Torchrun(script, [], 2, folder=script.parent).run()
    assert result.returncode == 0, result.stderr
    assert [(script.parent / f"{rank}.txt").read_text() for rank in range(2)] == ["12", "12"]


def test_each_image_is_counted_once_by_one_process(script: Path) -> None:
    """Which no launcher started."""
    command = [sys.executable, str(script)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=script.parent)
    assert (result.returncode, result.stderr) == (0, "")
    assert (script.parent / "0.txt").read_text() == "12"
