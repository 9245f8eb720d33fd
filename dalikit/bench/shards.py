"""Loaders to be measured on tar shards."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import webdataset

from dalikit.bench.peers import DaliReader
from dalikit.datasets import ImageFolder

__all__ = ["DaliShards", "PackedShards"]

_SHARD_SAMPLES = 1000
"""Samples a shard. img2dataset's shards have 10,000, those of webdataset's examples about 1,000."""


class PackedShards:
    """The images of an ImageFolder in tar shards, written by webdataset to a temporary folder that goes with it.

    Args:
        root: the ImageFolder.
        count: how many samples are written; the images repeat. None: each once.
    """

    def __init__(self, root: str, count: int | None = None) -> None:
        folder = ImageFolder(root, progress=False)
        self.folder = Path(tempfile.mkdtemp(prefix="dalikit-shards-"))
        self._finalizer = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        pattern = str(self.folder / "%06d.tar")
        with webdataset.ShardWriter(pattern, maxcount=_SHARD_SAMPLES, verbose=0) as writer:
            for number in range(count or len(folder)):
                row = number % len(folder)
                sample = {"jpg": folder.get_image_data(row), "cls": folder.get_target(row)}
                writer.write({"__key__": f"{number:09d}", **sample})
        self.paths = sorted(map(str, self.folder.glob("*.tar")))


class DaliShards(DaliReader):
    """DALI's own pipeline on tar shards: its webdataset reader, which reads them from the first byte to the last.

    Its `root` is a PackedShards.
    """

    name = "DALI webdataset reader, in order"

    def _read(self, fn: Any) -> Any:
        return fn.readers.webdataset(
            paths=self._root.paths, ext=["jpg", "cls"], missing_component_behavior="error", name="reader"
        )
