"""Known bad rows: which they are, and what takes their place. The dataset's length and all other samples stay."""

from dalikit.exclusion.lists import REPORT_VERSION, read_exclusion
from dalikit.exclusion.replacing import ATTEMPTS, Exclusion, make_exclusion, replacements

__all__ = ["ATTEMPTS", "REPORT_VERSION", "Exclusion", "make_exclusion", "read_exclusion", "replacements"]
