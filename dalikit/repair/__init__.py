"""What becomes of bad samples: others take their places, or they are left out, and a report says which they were."""

from dalikit.repair.finding import draw_or_refuse, find_failed
from dalikit.repair.mending import Mender
from dalikit.repair.policy import ErrorPolicy
from dalikit.repair.quarantine import Quarantine

__all__ = ["ErrorPolicy", "Mender", "Quarantine", "draw_or_refuse", "find_failed"]
