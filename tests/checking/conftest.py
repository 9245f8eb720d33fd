"""A folder with every kind of fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_folder import write_broken
from encoded_images import photograph

from dalikit.cli.photographs import make_photographs


@pytest.fixture(scope="session")
def fine_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 photographs, all different."""
    return make_photographs(tmp_path_factory.mktemp("fine"), 12)


@pytest.fixture(scope="session")
def broken_folder(tmp_path_factory: pytest.TempPathFactory, fine_folder: Path) -> Path:
    """One image of each fault."""
    source = min(fine_folder.rglob("*.jpg"))
    return write_broken(tmp_path_factory.mktemp("broken") / "root", photograph(source, 160, 120))
