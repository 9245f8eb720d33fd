"""The command line: `dalikit demo | bench | check | index | state` (also `python -m dalikit`)."""

from dalikit.cli.main import main

__all__ = ["main"]
