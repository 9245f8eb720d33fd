"""Local files and folders are asked in the same words as remote objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from dalikit.errors import DatasetError, DatasetNotFoundError
from dalikit.storage import ObjectInfo, list_objects, read_stream, stat_object


def test_a_folder_is_listed(tmp_path: Path) -> None:
    """All files below it, sorted by their whole paths; folders are none."""
    for name in ("b/c.tar", "b-1.tar", "a.tar", "b/a/d.tar", "empty"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x") if name != "empty" else (tmp_path / name).mkdir()
    found = list_objects(str(tmp_path))
    assert found == [str(tmp_path / name) for name in ("a.tar", "b-1.tar", "b/a/d.tar", "b/c.tar")]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    """A dataset may be put together from them; one that leads back to a folder above does not go on for ever."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.tar").write_bytes(b"x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "root")
    assert list_objects(str(tmp_path / "root")) == [str(tmp_path / "root" / "link" / "a.tar")]


def test_a_file_is_streamed(tmp_path: Path) -> None:
    """In pieces, from an offset on."""
    (tmp_path / "a").write_bytes(bytes(range(100)))
    pieces = list(read_stream(str(tmp_path / "a"), offset=10, chunk_size=40))
    assert [len(piece) for piece in pieces] == [40, 40, 10]
    assert b"".join(pieces) == bytes(range(10, 100))


def test_a_file_is_known_by_size_and_time(tmp_path: Path) -> None:
    """It has no ETag."""
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert stat_object(str(path)) == ObjectInfo(str(path), 3, path.stat().st_mtime_ns, None)


def test_what_is_not_there(tmp_path: Path) -> None:
    """Says so."""
    missing = str(tmp_path / "missing")
    with pytest.raises(DatasetNotFoundError, match=r"file '.*missing' does not exist"):
        stat_object(missing)
    with pytest.raises(DatasetNotFoundError, match=r"file '.*missing' does not exist"):
        next(read_stream(missing))
    with pytest.raises(DatasetNotFoundError, match=r"folder '.*missing' does not exist"):
        list_objects(missing)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """Says why."""
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"folder '.*file' cannot be listed: Not a directory"):
        list_objects(str(tmp_path / "file"))
    with pytest.raises(DatasetError, match=r"file '.*' cannot be read: Is a directory"):
        next(read_stream(str(tmp_path)))
    with pytest.raises(DatasetError, match="cannot be read: embedded null"):
        stat_object("a\0b")
