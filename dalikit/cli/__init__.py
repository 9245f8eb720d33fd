"""The command line: `dalikit demo | bench` (also `python -m dalikit`)."""

from dalikit.cli.main import main

__all__ = ["main"]
