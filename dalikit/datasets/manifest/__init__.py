"""A list of images and targets: text, CSV, TSV or Parquet."""

from dalikit.datasets.manifest.manifest import Manifest

__all__ = ["Manifest"]
