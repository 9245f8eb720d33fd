"""All ranks of a run load the same: compared when they begin, and again after each restart."""

from __future__ import annotations

from dalikit.agreement.rank_agreement import RankAgreement

__all__ = ["RankAgreement"]
